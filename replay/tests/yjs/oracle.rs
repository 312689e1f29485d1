//! What yrs, given the same updates, says that a document is.

use std::collections::BTreeMap;
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use yrs::types::ToJson;
use yrs::types::text::YChange;
use yrs::updates::decoder::Decode;
use yrs::{
    Any, Doc, GetString, ReadTxn, Text, Transact, Update, WriteTxn, Xml, XmlFragment, XmlOut,
};

/// What a document shows, and what it has of each client. `Err` if yrs refuses an update or panics.
pub(crate) fn seen(updates: &[Bytes]) -> Result<(String, BTreeMap<u64, u32>), String> {
    fenced(|| {
        let doc = integrated(updates)?;
        Ok((show(&doc), version_of(&doc)))
    })
}

/// What a document has of each client. For documents from hostile updates: showing an array that
/// holds characters outside the first plane, yrs never ends.
pub(crate) fn version(updates: &[Bytes]) -> Result<BTreeMap<u64, u32>, String> {
    fenced(|| Ok(version_of(&integrated(updates)?)))
}

fn fenced<T>(run: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| Err("panic".into()))
}

fn integrated(updates: &[Bytes]) -> Result<Doc, String> {
    let doc = Doc::new();
    for update in updates {
        let update = Update::decode_v1(update).map_err(|error| error.to_string())?;
        // Dropping a transaction that panicked would commit it, and panic again.
        let mut txn = ManuallyDrop::new(doc.transact_mut());
        let applied = txn.apply_update(update);
        drop(ManuallyDrop::into_inner(txn));
        applied.map_err(|error| error.to_string())?;
    }
    Ok(doc)
}

fn version_of(doc: &Doc) -> BTreeMap<u64, u32> {
    let version = doc.transact().state_vector();
    let clocks = version.iter();
    clocks
        .map(|(client, clock)| (client.get(), *clock))
        .collect()
}

fn show(doc: &Doc) -> String {
    let mut txn = ManuallyDrop::new(doc.transact_mut());
    let text = txn.get_or_insert_text("text");
    let map = txn.get_or_insert_map("map");
    let array = txn.get_or_insert_array("array");
    let xml = txn.get_or_insert_xml_fragment("xml");
    let runs: Vec<String> = text
        .diff(&*txn, YChange::identity)
        .into_iter()
        .map(|run| {
            let attributes: BTreeMap<String, String> = run
                .attributes
                .iter()
                .flat_map(|attributes| attributes.iter())
                .map(|(key, value)| (key.to_string(), canonical(value)))
                .collect();
            format!("{} {attributes:?}", canonical(&run.insert.to_json(&*txn)))
        })
        .collect();
    let shown = format!(
        "{runs:?}\n{}\n{}\n{}",
        canonical(&map.to_json(&*txn)),
        canonical(&array.to_json(&*txn)),
        children(&xml, &*txn)
    );
    drop(ManuallyDrop::into_inner(txn));
    shown
}

/// The nodes of an XML fragment or element, with their attributes in order.
fn children(xml: &impl XmlFragment, txn: &impl ReadTxn) -> String {
    let nodes = (0..xml.len(txn)).filter_map(|at| xml.get(txn, at));
    let nodes = nodes.map(|node| match node {
        XmlOut::Element(element) => {
            let attributes: BTreeMap<String, String> = element
                .attributes(txn)
                .map(|(key, value)| (key.to_owned(), canonical(&value.to_json(txn))))
                .collect();
            let inside = children(&element, txn);
            format!("<{:?} {attributes:?}>{inside}</>", element.tag())
        }
        XmlOut::Fragment(fragment) => children(&fragment, txn),
        XmlOut::Text(text) => text.get_string(txn),
    });
    nodes.collect()
}

/// A value with its keys in order.
fn canonical(value: &Any) -> String {
    match value {
        Any::Array(values) => {
            let values: Vec<String> = values.iter().map(canonical).collect();
            format!("[{}]", values.join(", "))
        }
        Any::Map(entries) => {
            let entries: BTreeMap<&String, String> = entries
                .iter()
                .map(|(key, value)| (key, canonical(value)))
                .collect();
            let entries: Vec<String> = entries
                .into_iter()
                .map(|(key, value)| format!("{key:?}: {value}"))
                .collect();
            format!("{{{}}}", entries.join(", "))
        }
        other => format!("{other:?}"),
    }
}
