//! A document as text: its characters alone, or as XML.

use std::collections::BTreeMap;

use serde_json::Value;

use super::json::{self, Seems};
use super::{Item, Shape, Tree};
use crate::yjs::scan::{Reader, kind};

impl Tree {
    /// The plain text of the document: that of each root that [has one](Self::text_of) and any
    /// characters in it, in the order of their names. A lone one stands as it is; several are
    /// separated by an empty line, each below a line of its name as `# name`.
    #[must_use]
    pub fn text(&self) -> String {
        let texts = self.roots.keys().filter_map(|name| {
            let text = self.text_of(name).filter(|text| !text.is_empty())?;
            Some((name, text))
        });
        let mut texts: Vec<(&Box<str>, String)> = texts.collect();
        if texts.len() == 1 {
            return texts.remove(0).1;
        }
        let sections = texts.iter().map(|(name, text)| {
            let end = if text.ends_with('\n') { "" } else { "\n" };
            format!("# {name}\n{text}{end}")
        });
        sections.collect::<Vec<String>>().join("\n")
    }

    /// The plain text of a root: of rich text without formats and embeds; of XML, the characters in
    /// each element on a line of their own. `None` if it is neither.
    #[must_use]
    pub fn text_of(&self, root: &str) -> Option<String> {
        let number = *self.roots.get(root)?;
        self.shown(self.types[number as usize].list).next()?;
        match self.seems(number) {
            Seems::Array => None,
            Seems::Text => Some(self.characters(number)),
            Seems::Xml => {
                let mut out = String::new();
                self.push_lines(number, &mut out);
                Some(out)
            }
        }
    }

    /// The characters of a text.
    pub(super) fn characters(&self, number: u32) -> String {
        let mut out = String::new();
        for item in self.shown(self.types[number as usize].list) {
            if item.kind == kind::STRING {
                self.push_text(item, 0..item.len, &mut out);
            }
        }
        out
    }

    /// The texts within XML, a line for each element that holds any.
    fn push_lines(&self, number: u32, out: &mut String) {
        let mut open = false;
        for item in self.shown(self.types[number as usize].list) {
            if item.kind != kind::TYPE {
                continue;
            }
            match self.types[item.holds as usize].shape {
                Shape::XmlText | Shape::Text => {
                    if !open && !out.is_empty() && !out.ends_with('\n') {
                        out.push('\n');
                    }
                    open = true;
                    out.push_str(&self.characters(item.holds));
                }
                Shape::Element | Shape::Fragment => {
                    open = false;
                    self.push_lines(item.holds, out);
                }
                _ => {}
            }
        }
    }

    /// A type as Yjs writes XML: names of elements in small letters, attributes by name, each run of
    /// text that is formatted alike in an element for each of its formats. Nothing is escaped, as Yjs escapes
    /// nothing: the string is to be looked at, not to be put into a page.
    ///
    /// Embeds in texts show nothing, a hook is an empty element of its name, and values of
    /// attributes that are no scalars stand as JSON. Formats are left out where there are far more of
    /// them than of anything else.
    pub(super) fn xml(&self, number: u32) -> String {
        let mut writer = Xml {
            tree: self,
            out: String::new(),
            budget: MARKUP_BYTES,
        };
        writer.node(number);
        writer.out
    }
}

struct Xml<'a> {
    tree: &'a Tree,
    out: String,
    /// How many more bytes may be spent on formats; every item in a text brings some. Each is
    /// written once a run, so without a bound a hostile text would grow by its square.
    budget: usize,
}

impl Xml<'_> {
    fn node(&mut self, number: u32) {
        let tree = self.tree;
        let node = &tree.types[number as usize];
        match node.shape {
            Shape::XmlText | Shape::Text => self.runs(number),
            Shape::Element => {
                let name = tree.str(node.name).to_lowercase();
                self.out.push('<');
                self.out.push_str(&name);
                for (key, item) in tree.entries(number) {
                    let value = scalar(&tree.entry_json(item));
                    self.out.push_str(&format!(" {key}=\"{value}\""));
                }
                self.out.push('>');
                self.children(number);
                self.out.push_str(&format!("</{name}>"));
            }
            Shape::Hook => {
                let name = tree.str(node.name).to_lowercase();
                self.out.push_str(&format!("<{name}></{name}>"));
            }
            Shape::Fragment | Shape::Root => self.children(number),
            Shape::Array | Shape::Map => {}
        }
    }

    fn children(&mut self, number: u32) {
        let tree = self.tree;
        for item in tree.shown(tree.types[number as usize].list) {
            if item.kind == kind::TYPE {
                self.node(item.holds);
            }
        }
    }

    fn runs(&mut self, number: u32) {
        let tree = self.tree;
        let mut formats = BTreeMap::new();
        // What the formats seen since the run began make different.
        let mut changes: BTreeMap<&str, Value> = BTreeMap::new();
        let mut run = String::new();
        for item in tree.shown(tree.types[number as usize].list) {
            self.budget += MARKUP_BYTES + 4 * tree.content(item).len();
            match item.kind {
                kind::STRING => {
                    if !changes.is_empty() {
                        self.run(&mut run, &formats);
                        formats.append(&mut changes);
                        formats.retain(|_, value| !value.is_null());
                    }
                    tree.push_text(item, 0..item.len, &mut run);
                }
                kind::FORMAT => {
                    let (key, value) = tree.format(item);
                    if *formats.get(key).unwrap_or(&Value::Null) == value {
                        changes.remove(key);
                    } else {
                        changes.insert(key, value);
                    }
                }
                kind::TYPE => {
                    self.run(&mut run, &formats);
                    self.node(item.holds);
                }
                _ => self.run(&mut run, &formats),
            }
        }
        self.run(&mut run, &formats);
    }

    fn run(&mut self, run: &mut String, formats: &BTreeMap<&str, Value>) {
        if run.is_empty() {
            return;
        }
        let mut close = Vec::new();
        for (name, value) in formats {
            if self.budget == 0 {
                break;
            }
            let mut open = format!("<{name}");
            if let Value::Object(attributes) = value {
                for (key, value) in attributes {
                    open.push_str(&format!(" {key}=\"{}\"", scalar(value)));
                }
            }
            open.push('>');
            let cost = open.len() + name.len() + 3;
            self.budget = self.budget.saturating_sub(cost);
            self.out.push_str(&open);
            close.push(name);
        }
        self.out.push_str(run);
        for name in close.iter().rev() {
            self.out.push_str(&format!("</{name}>"));
        }
        run.clear();
    }
}

impl Tree {
    /// The name and the value of a format; `null` ends it.
    pub(super) fn format(&self, item: &Item) -> (&str, Value) {
        let content = self.content(item);
        let mut reader = Reader::new(content, 0);
        let key = reader.run().unwrap_or_default();
        let value = json::parse(reader.run().unwrap_or_default());
        (std::str::from_utf8(key).unwrap_or_default(), value)
    }
}

/// A value as it stands in an attribute.
fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Bytes of formats that each item of a text may bring into an XML string, beside four times the
/// length of its content.
const MARKUP_BYTES: usize = 256;
