//! Random histories of several yrs replicas, and what yrs shows of them.

use bytes::Bytes;
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use serde_json::{Map as Object, Value, json};
use yrs::types::text::YChange;
use yrs::types::{Attrs, ToJson};
use yrs::updates::decoder::Decode;
use yrs::{
    Any, Array, ArrayPrelim, ArrayRef, Doc, GetString, In, Map, MapPrelim, MapRef, OffsetKind,
    Options, Out, ReadTxn, Text, TextPrelim, Transact, TransactionMut, Update, WriteTxn, Xml,
    XmlElementPrelim, XmlElementRef, XmlFragment, XmlOut, XmlTextPrelim, XmlTextRef,
};

/// Replicas that edit one document, each at its own pace.
pub(crate) struct Replicas {
    pub(crate) docs: Vec<(Doc, usize)>,
    /// All updates, each after what it builds on.
    pub(crate) log: Vec<Bytes>,
}

/// A yrs document that counts as Yjs does.
pub(crate) fn doc(client: u64) -> Doc {
    Doc::with_options(Options {
        client_id: yrs::block::ClientID::new(client),
        offset_kind: OffsetKind::Utf16,
        ..Options::default()
    })
}

/// A yrs document that has taken `updates`.
pub(crate) fn doc_of(updates: &[Bytes]) -> Doc {
    let doc = doc(u64::from(u32::MAX));
    apply(&doc, updates);
    doc
}

pub(crate) fn apply(doc: &Doc, updates: &[Bytes]) {
    let mut txn = doc.transact_mut();
    for update in updates {
        txn.apply_update(Update::decode_v1(update).unwrap())
            .unwrap();
    }
}

impl Replicas {
    pub(crate) fn new(random: &mut StdRng, count: usize) -> Self {
        let mut ids: Vec<u64> = Vec::new();
        while ids.len() < count {
            let id = random.random_range(1..1 << 20);
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        Self {
            docs: ids.into_iter().map(|id| (doc(id), 0)).collect(),
            log: Vec::new(),
        }
    }

    /// Lets someone edit, or hear of some of what others did.
    pub(crate) fn step(&mut self, random: &mut StdRng) {
        let at = random.random_range(0..self.docs.len());
        let (doc, heard) = &mut self.docs[at];
        if random.random_range(0..4) == 0 {
            let upto = random.random_range(*heard..=self.log.len());
            apply(doc, &self.log[*heard..upto]);
            *heard = upto;
            return;
        }
        let mut txn = doc.transact_mut();
        for _ in 0..random.random_range(1..4) {
            edit(random, &mut txn);
        }
        let update = txn.encode_update_v1();
        drop(txn);
        if update != [0, 0] {
            self.log.push(update.into());
        }
    }
}

const WORDS: [&str; 8] = ["a", "bc", "ü", "女", "😀", "hello ", "well 😀 done", "\n"];

fn edit(random: &mut StdRng, txn: &mut TransactionMut<'_>) {
    match random.random_range(0..10) {
        0..3 => {
            let text = txn.get_or_insert_text("text");
            edit_text(random, txn, &text, true);
        }
        3..5 => {
            let map = txn.get_or_insert_map("map");
            edit_map(random, txn, &map, 0);
        }
        5..7 => {
            let array = txn.get_or_insert_array("array");
            edit_array(random, txn, &array, 0);
        }
        _ => {
            let xml = txn.get_or_insert_xml_fragment("xml");
            edit_xml(random, txn, &xml, 0);
        }
    }
}

/// A place in a text that is in no surrogate pair and beside no such half.
fn place(random: &mut StdRng, txn: &TransactionMut<'_>, text: &impl Text) -> u32 {
    let at = random.random_range(0..=text.len(txn));
    let mut unit = 0;
    for run in text.diff(txn, YChange::identity) {
        let chars: Vec<u32> = match &run.insert {
            Out::Any(Any::String(run)) => run.chars().map(|char| char.len_utf16() as u32).collect(),
            _ => vec![1],
        };
        for char in chars {
            if unit + char > at {
                return unit;
            }
            unit += char;
        }
    }
    unit
}

fn attributes(random: &mut StdRng) -> Attrs {
    let value = match random.random_range(0..4) {
        0 => Any::Null,
        1 => Any::Bool(true),
        2 => Any::from("red"),
        _ => Any::from_json(r#"{"href": "x", "n": 1}"#).unwrap(),
    };
    let key = *["b", "i", "colour"].choose(random).unwrap();
    Attrs::from([(key.into(), value)])
}

fn edit_text(random: &mut StdRng, txn: &mut TransactionMut<'_>, text: &impl Text, embeds: bool) {
    let at = place(random, txn, text);
    let to = place(random, txn, text).max(at);
    match random.random_range(0..9) {
        0..4 => text.insert(txn, at, WORDS.choose(random).unwrap()),
        4 => {
            let attributes = attributes(random);
            text.insert_with_attributes(txn, at, WORDS.choose(random).unwrap(), attributes);
        }
        5 if embeds => {
            let value = Any::from_json(r#"{"image": "y"}"#).unwrap();
            text.insert_embed(txn, at, value);
        }
        5..8 => {
            let to = if random.random_range(0..5) > 0 {
                to.min(at + 6)
            } else {
                to
            };
            let mut to = to;
            // Not into a pair.
            while to > at && !is_place(txn, text, to) {
                to -= 1;
            }
            text.remove_range(txn, at, to - at);
        }
        _ => {
            let attributes = attributes(random);
            text.format(txn, at, to - at, attributes);
        }
    }
}

fn is_place(txn: &TransactionMut<'_>, text: &impl Text, at: u32) -> bool {
    let mut unit = 0;
    for run in text.diff(txn, YChange::identity) {
        let chars: Vec<u32> = match &run.insert {
            Out::Any(Any::String(run)) => run.chars().map(|char| char.len_utf16() as u32).collect(),
            _ => vec![1],
        };
        for char in chars {
            if unit == at {
                return true;
            }
            unit += char;
        }
    }
    unit == at
}

fn value(random: &mut StdRng) -> Any {
    match random.random_range(0..10) {
        0 => Any::Null,
        1 => Any::Undefined,
        2 => Any::Bool(random.random()),
        3 => Any::from(random.random_range(-100..100)),
        4 => Any::from(random.random_range(-100.0..100.0) / 3.0),
        5 => Any::from(*WORDS.choose(random).unwrap()),
        6 => Any::from_json(r#"{"a": [1, {"b": null}], "c": -0.5}"#).unwrap(),
        7 => Any::from(vec![1u8, 2, 255]),
        8 => Any::from((1u64 << 40) as f64),
        _ => Any::from(f64::NAN),
    }
}

fn prelim(random: &mut StdRng, depth: u32) -> In {
    match random.random_range(0..if depth > 3 { 1 } else { 5 }) {
        0 | 1 => In::Any(value(random)),
        2 => In::Map(MapPrelim::from([
            ("x", value(random)),
            ("y", value(random)),
        ])),
        3 => In::Array(ArrayPrelim::from([value(random), value(random)])),
        _ => In::Text(TextPrelim::new("nested 😀").into()),
    }
}

fn edit_map(random: &mut StdRng, txn: &mut TransactionMut<'_>, map: &MapRef, depth: u32) {
    let key = *["k", "l", "m", "x", "ü"].choose(random).unwrap();
    match (random.random_range(0..6), map.get(txn, key)) {
        (0, _) => {
            map.remove(txn, key);
        }
        (1..4, Some(out)) => edit_out(random, txn, out, depth),
        _ => {
            let value = prelim(random, depth);
            map.insert(txn, key, value);
        }
    }
}

fn edit_array(random: &mut StdRng, txn: &mut TransactionMut<'_>, array: &ArrayRef, depth: u32) {
    let len = array.len(txn);
    let at = random.random_range(0..=len);
    match random.random_range(0..8) {
        0 | 1 if at < len => {
            let count = random.random_range(1..=(len - at).min(4));
            array.remove_range(txn, at, count);
        }
        2..5 if at < len => {
            if let Some(out) = array.get(txn, at) {
                edit_out(random, txn, out, depth);
            }
        }
        5 => {
            let values: Vec<Any> = (0..4).map(|_| value(random)).collect();
            array.insert_range(txn, at, values);
        }
        _ => {
            let value = prelim(random, depth);
            array.insert(txn, at, value);
        }
    }
}

fn edit_out(random: &mut StdRng, txn: &mut TransactionMut<'_>, out: Out, depth: u32) {
    match out {
        Out::YMap(map) => edit_map(random, txn, &map, depth + 1),
        Out::YArray(array) => edit_array(random, txn, &array, depth + 1),
        Out::YText(text) => edit_text(random, txn, &text, false),
        _ => {}
    }
}

fn edit_xml(random: &mut StdRng, txn: &mut TransactionMut<'_>, xml: &impl XmlFragment, depth: u32) {
    let len = xml.len(txn);
    let at = random.random_range(0..=len);
    match random.random_range(0..8) {
        0 if at < len => xml.remove(txn, at),
        1..6 if at < len => match xml.get(txn, at) {
            Some(XmlOut::Element(element)) => {
                if random.random_range(0..3) == 0 {
                    let key = *["id", "class"].choose(random).unwrap();
                    element.insert_attribute(txn, key, *WORDS.choose(random).unwrap());
                } else {
                    edit_xml(random, txn, &element, depth + 1);
                }
            }
            Some(XmlOut::Text(text)) => edit_text(random, txn, &text, true),
            _ => {}
        },
        _ if depth < 4 && random.random() => {
            let name = *["p", "Div"].choose(random).unwrap();
            xml.insert(txn, at, XmlElementPrelim::empty(name));
        }
        _ => {
            xml.insert(txn, at, XmlTextPrelim::new("some text"));
        }
    }
}

/// What yrs shows, as `Tree::json` says it.
pub(crate) fn shown(doc: &Doc) -> Value {
    let mut txn = doc.transact_mut();
    let text = txn.get_or_insert_text("text");
    let map = txn.get_or_insert_map("map");
    let array = txn.get_or_insert_array("array");
    let xml = txn.get_or_insert_xml_fragment("xml");
    let mut roots = Object::new();
    for (name, value) in [
        ("array", array_json(&txn, &array)),
        ("map", map_json(&txn, &map)),
        ("text", json!(text.get_string(&txn))),
        ("xml", json!(nodes(&txn, &xml))),
    ] {
        if value != json!("") && value != json!([]) && value != json!({}) {
            roots.insert(name.into(), value);
        }
    }
    Value::Object(roots)
}

/// The formatted runs of the text, by yrs.
pub(crate) fn formats(doc: &Doc) -> Vec<(Value, Value)> {
    let mut txn = doc.transact_mut();
    let text = txn.get_or_insert_text("text");
    runs(&txn, &text)
}

fn out_json(txn: &impl ReadTxn, out: &Out) -> Value {
    match out {
        Out::Any(any) => any_json(any),
        Out::YText(text) => json!(text.get_string(txn)),
        Out::YMap(map) => map_json(txn, map),
        Out::YArray(array) => array_json(txn, array),
        other => panic!("{other:?}"),
    }
}

fn map_json(txn: &impl ReadTxn, map: &MapRef) -> Value {
    let entries = map.iter(txn);
    let entries = entries.map(|(key, out)| (key.to_owned(), out_json(txn, &out)));
    Value::Object(entries.collect())
}

fn array_json(txn: &impl ReadTxn, array: &ArrayRef) -> Value {
    Value::Array(array.iter(txn).map(|out| out_json(txn, &out)).collect())
}

fn any_json(any: &Any) -> Value {
    match any {
        Any::Null | Any::Undefined => Value::Null,
        Any::Bool(bool) => json!(bool),
        Any::Number(number) => match number.as_i64() {
            Some(number) => json!(number),
            None => json!(number.as_f64()),
        },
        Any::String(text) => json!(&**text),
        Any::Buffer(bytes) => {
            use base64::Engine;
            let text = base64::engine::general_purpose::STANDARD.encode(bytes);
            json!({"$binary": text})
        }
        Any::Array(values) => Value::Array(values.iter().map(any_json).collect()),
        Any::Map(entries) => {
            let entries = entries.iter();
            let entries = entries.map(|(key, value)| (key.clone(), any_json(value)));
            Value::Object(entries.collect())
        }
    }
}

fn runs(txn: &TransactionMut<'_>, text: &impl Text) -> Vec<(Value, Value)> {
    let mut runs: Vec<(Value, Value)> = Vec::new();
    for run in text.diff(txn, YChange::identity) {
        let attributes = run
            .attributes
            .iter()
            .flat_map(|attributes| attributes.iter());
        let attributes = attributes.map(|(key, value)| (key.to_string(), any_json(value)));
        let attributes = Value::Object(attributes.collect());
        let insert = any_json(&run.insert.to_json(txn));
        match (runs.last_mut(), &insert) {
            (Some((Value::String(last), same)), Value::String(more)) if *same == attributes => {
                last.push_str(more);
            }
            _ => runs.push((insert, attributes)),
        }
    }
    runs
}

fn nodes(txn: &TransactionMut<'_>, xml: &impl XmlFragment) -> String {
    let nodes = (0..xml.len(txn)).filter_map(|at| xml.get(txn, at));
    let nodes = nodes.map(|node| match node {
        XmlOut::Element(element) => element_string(txn, &element),
        XmlOut::Fragment(fragment) => nodes_of(txn, &fragment),
        XmlOut::Text(text) => text_string(txn, &text),
    });
    nodes.collect()
}

fn nodes_of(txn: &TransactionMut<'_>, xml: &impl XmlFragment) -> String {
    nodes(txn, xml)
}

fn element_string(txn: &TransactionMut<'_>, element: &XmlElementRef) -> String {
    let attributes = element.attributes(txn);
    let mut attributes: Vec<String> = attributes
        .map(|(key, value)| match out_json(txn, &value) {
            Value::String(text) => format!(" {key}=\"{text}\""),
            other => format!(" {key}=\"{other}\""),
        })
        .collect();
    attributes.sort();
    let name = element.tag().to_lowercase();
    let inside = nodes(txn, element);
    format!("<{name}{}>{inside}</{name}>", attributes.concat())
}

fn text_string(txn: &TransactionMut<'_>, text: &XmlTextRef) -> String {
    let runs = runs(txn, text).into_iter().map(|(insert, attributes)| {
        let Value::String(insert) = insert else {
            return String::new();
        };
        let (mut open, mut close) = (String::new(), String::new());
        for (key, value) in attributes.as_object().unwrap() {
            open += &format!("<{key}");
            for (key, value) in value.as_object().into_iter().flatten() {
                match value {
                    Value::String(value) => open += &format!(" {key}=\"{value}\""),
                    value => open += &format!(" {key}=\"{value}\""),
                }
            }
            open += ">";
            close = format!("</{key}>{close}");
        }
        format!("{open}{insert}{close}")
    });
    runs.collect()
}
