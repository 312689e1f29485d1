//! A document as JSON.
//!
//! An object of the document's roots by name, in the order of their names; a root with nothing to
//! show is left out. What a root is, is not on the wire, so it is told by what is shown in it:
//!
//! | holds | is | becomes |
//! | --- | --- | --- |
//! | entries under keys, and no list | a map | an object |
//! | characters, formats or embeds | a text | a string, without formats and embeds |
//! | nothing but XML elements, texts and hooks | a fragment | a string of XML |
//! | anything else | an array | an array |
//! | a list and entries | both | `{"$list": …, "$entries": {…}}` |
//!
//! Nested types are what they say they are: a map (or a hook, outside of XML) is an object, an array
//! an array, a text a string, everything else of XML a string of it.
//!
//! Values are as `toJSON` of Yjs and then `JSON.stringify` give them: `undefined`, `NaN` and the
//! infinities are `null`, whole numbers that a double holds exactly have no fraction. What these two
//! cannot say: bytes are `{"$binary": "base64"}`, a `BigInt` is a number if a double holds it
//! exactly and else a string of its digits, and a subdocument is `{"$subdocument": "its guid"}`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Number, Value};

use super::{HALF_FIRST, HALF_LAST, Item, Shape, Tree};
use crate::yjs::scan::{Reader, kind};

/// What a root seems to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seems {
    Array,
    Text,
    Xml,
}

impl Tree {
    /// The whole document, as the module's table has it.
    #[must_use]
    pub fn json(&self) -> Value {
        let mut roots = Map::new();
        for (name, number) in &self.roots {
            let value = self.type_json(*number);
            let empty = match &value {
                Value::String(text) => text.is_empty(),
                Value::Array(values) => values.is_empty(),
                Value::Object(entries) => entries.is_empty(),
                _ => false,
            };
            if !empty {
                roots.insert(name.to_string(), value);
            }
        }
        Value::Object(roots)
    }

    pub(super) fn type_json(&self, number: u32) -> Value {
        match self.types[number as usize].shape {
            Shape::Root => self.root_json(number),
            Shape::Array => self.list_json(number),
            Shape::Map | Shape::Hook => self.entries_json(number),
            Shape::Text => Value::String(self.characters(number)),
            Shape::Element | Shape::Fragment | Shape::XmlText => Value::String(self.xml(number)),
        }
    }

    fn root_json(&self, number: u32) -> Value {
        let entries = self.entries(number).next().is_some();
        let list = self
            .shown(self.types[number as usize].list)
            .next()
            .is_some();
        if !list {
            return self.entries_json(number);
        }
        let list = match self.seems(number) {
            Seems::Array => self.list_json(number),
            Seems::Text => Value::String(self.characters(number)),
            Seems::Xml => Value::String(self.xml(number)),
        };
        if !entries {
            return list;
        }
        let mut both = Map::new();
        both.insert("$entries".into(), self.entries_json(number));
        both.insert("$list".into(), list);
        Value::Object(both)
    }

    /// What the list of a type without a shape of its own seems to be.
    pub(super) fn seems(&self, number: u32) -> Seems {
        let mut xml = true;
        for item in self.shown(self.types[number as usize].list) {
            match item.kind {
                kind::STRING | kind::FORMAT | kind::EMBED => return Seems::Text,
                kind::TYPE => {
                    let shape = self.types[item.holds as usize].shape;
                    xml &= matches!(shape, Shape::Element | Shape::XmlText | Shape::Hook);
                }
                _ => xml = false,
            }
        }
        if xml { Seems::Xml } else { Seems::Array }
    }

    fn list_json(&self, number: u32) -> Value {
        let mut values = Vec::new();
        for item in self.shown(self.types[number as usize].list) {
            self.values(item, 0..item.len, &mut values);
        }
        Value::Array(values)
    }

    fn entries_json(&self, number: u32) -> Value {
        let entries = self.entries(number);
        let entries = entries.map(|(key, item)| (key.to_owned(), self.entry_json(item)));
        Value::Object(entries.collect())
    }

    /// The value of an entry: the last of its values, as in Yjs.
    pub(super) fn entry_json(&self, item: &Item) -> Value {
        let mut values = Vec::new();
        self.values(item, item.len - 1..item.len, &mut values);
        values.pop().unwrap_or_default()
    }

    /// Adds the values of a part of an item, counted in clocks; a string is one value.
    pub(super) fn values(&self, item: &Item, part: std::ops::Range<u32>, out: &mut Vec<Value>) {
        let content = self.content(item);
        let mut reader = Reader::new(content, 0);
        match item.kind {
            kind::ANY => {
                reader.skip_values(kind::ANY, part.start);
                for _ in part {
                    out.push(any(&mut reader));
                }
            }
            kind::JSON => {
                for at in 0..part.end {
                    let text = reader.run().unwrap_or_default();
                    if at >= part.start {
                        out.push(parse(text));
                    }
                }
            }
            kind::STRING => {
                let mut text = String::new();
                self.push_text(item, part, &mut text);
                out.push(Value::String(text));
            }
            kind::BINARY => out.push(binary(reader.run().unwrap_or_default())),
            kind::EMBED => out.push(parse(reader.run().unwrap_or_default())),
            kind::TYPE => out.push(self.type_json(item.holds)),
            kind::DOC => {
                let guid = string(reader.run().unwrap_or_default());
                out.push(tagged("$subdocument", guid));
            }
            _ => {}
        }
    }

    /// The encoded values of a part of an item that holds values, counted in clocks.
    pub(super) fn raw_values(&self, item: &Item, part: std::ops::Range<u32>) -> &[u8] {
        let content = self.content(item);
        let mut reader = Reader::new(content, 0);
        reader.skip_values(item.kind, part.start);
        let start = reader.at;
        reader.skip_values(item.kind, part.end - part.start);
        &content[start..reader.at]
    }

    /// Appends the characters of a part of a string, counted in UTF-16 units. A character of which
    /// only half is there is U+FFFD.
    pub(super) fn push_text(&self, item: &Item, part: std::ops::Range<u32>, out: &mut String) {
        let text = self.str((item.at, item.end));
        if part == (0..item.len) {
            if item.flags & HALF_FIRST != 0 {
                out.push('\u{fffd}');
            }
            out.push_str(text);
            if item.flags & HALF_LAST != 0 {
                out.push('\u{fffd}');
            }
            return;
        }
        let mut unit = 0;
        let first = (item.flags & HALF_FIRST != 0).then_some('\u{fffd}');
        let last = (item.flags & HALF_LAST != 0).then_some('\u{fffd}');
        for char in first.into_iter().chain(text.chars()).chain(last) {
            let end = unit + char.len_utf16() as u32;
            if unit >= part.end {
                break;
            }
            if end > part.start {
                let whole = unit >= part.start && end <= part.end;
                out.push(if whole { char } else { '\u{fffd}' });
            }
            unit = end;
        }
    }
}

/// A value of lib0's "any" encoding, which has been checked.
pub(super) fn any(reader: &mut Reader<'_>) -> Value {
    let Ok(tag) = reader.byte() else {
        return Value::Null;
    };
    match tag {
        125 => Value::from(reader.signed().unwrap_or_default()),
        124 => number(f32::from_be_bytes(reader.array().unwrap_or_default()).into()),
        123 => number(f64::from_be_bytes(reader.array().unwrap_or_default())),
        122 => big(i64::from_be_bytes(reader.array().unwrap_or_default())),
        121 => Value::Bool(false),
        120 => Value::Bool(true),
        119 => Value::String(string(reader.run().unwrap_or_default())),
        118 => {
            let mut entries = Map::new();
            for _ in 0..reader.count().unwrap_or_default() {
                let key = string(reader.run().unwrap_or_default());
                entries.insert(key, any(reader));
            }
            Value::Object(entries)
        }
        117 => {
            let count = reader.count().unwrap_or_default();
            Value::Array((0..count).map(|_| any(reader)).collect())
        }
        116 => binary(reader.run().unwrap_or_default()),
        _ => Value::Null,
    }
}

/// A `BigInt`.
fn big(number: i64) -> Value {
    if number.unsigned_abs() <= WHOLE {
        Value::from(number)
    } else {
        Value::String(number.to_string())
    }
}

/// A number as `JSON.stringify` writes it.
fn number(number: f64) -> Value {
    if number.fract() == 0.0 && number.abs() <= WHOLE as f64 {
        return Value::from(number as i64);
    }
    Number::from_f64(number).map_or(Value::Null, Value::Number)
}

/// Up to here a double holds every whole number.
const WHOLE: u64 = 1 << 53;

fn binary(bytes: &[u8]) -> Value {
    tagged("$binary", STANDARD.encode(bytes))
}

fn tagged(tag: &str, value: String) -> Value {
    let mut object = Map::new();
    object.insert(tag.into(), Value::String(value));
    Value::Object(object)
}

fn string(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A JSON text, which has been checked. `undefined` and numbers beyond a double are `null`; an
/// escaped half of a surrogate pair is U+FFFD.
pub(super) fn parse(text: &[u8]) -> Value {
    match serde_json::from_slice(text) {
        Ok(value) => value,
        Err(_) => serde_json::from_slice(&mended(text)).unwrap_or_default(),
    }
}

/// A JSON text with escaped halves of surrogate pairs replaced.
fn mended(text: &[u8]) -> Vec<u8> {
    let unit = |at: usize| {
        let digits = text.get(at..at + 6)?.strip_prefix(b"\\u")?;
        u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    };
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        let len = match unit(at) {
            Some(0xd800..0xdc00) if matches!(unit(at + 6), Some(0xdc00..0xe000)) => 12,
            Some(0xd800..0xe000) => {
                out.extend_from_slice(b"\\ufffd");
                at += 6;
                continue;
            }
            // What is escaped is no beginning of the next escape.
            None if text[at] == b'\\' => 2,
            _ => 1,
        };
        let end = text.len().min(at + len);
        out.extend_from_slice(&text[at..end]);
        at = end;
    }
    out
}
