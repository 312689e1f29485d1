//! A text and its changes as JSON. Positions and lengths are UTF-16 units, as JavaScript counts.

use std::collections::BTreeMap;

use crdt::text::{Client, Fate, Piece};
use serde_json::{Value, json};

/// How many changes are listed.
pub const MAX_CHANGES: usize = 10_000;

/// `{"text", "length", "authors": [{"author", "length"}]}`: the authors of the text from its start to
/// its end, each with how much of it follows.
pub(super) fn text(pieces: &[Piece<'_>]) -> Value {
    let mut text = String::new();
    let mut authors: Vec<(Client, usize)> = Vec::new();
    let mut length = 0;
    for piece in pieces {
        text.push_str(piece.text);
        let units = units(piece.text);
        length += units;
        match authors.last_mut() {
            Some((client, length)) if *client == piece.client => *length += units,
            _ => authors.push((piece.client, units)),
        }
    }
    let authors = authors.iter();
    let authors: Vec<Value> = authors
        .map(|(client, length)| json!({ "author": author(*client), "length": length }))
        .collect();
    json!({ "text": text, "length": length, "authors": authors })
}

/// `{"changes": [{"op", "at", "text", "author"}], "sites": [{"site", "inserted", "deleted"}],
/// "truncated"}`. `at` is where the text came, or stood before it went, in the later text.
pub(super) fn changes(pieces: &[Piece<'_>]) -> Value {
    let mut sites: BTreeMap<Client, (usize, usize)> = BTreeMap::new();
    let mut changes: Vec<Change> = Vec::new();
    let (mut at, mut truncated) = (0, false);
    // What was kept since the last change keeps two changes apart.
    let mut apart = true;
    for piece in pieces {
        let units = units(piece.text);
        if piece.fate == Fate::Kept {
            at += units;
            apart = true;
            continue;
        }
        let site = sites.entry(piece.client).or_default();
        let inserted = piece.fate == Fate::Inserted;
        *(if inserted { &mut site.0 } else { &mut site.1 }) += units;
        let full = changes.len() >= MAX_CHANGES;
        match changes.last_mut() {
            Some(last) if !apart && last.inserted == inserted && last.client == piece.client => {
                last.text.push_str(piece.text);
            }
            _ if full => truncated = true,
            _ => changes.push(Change {
                inserted,
                at,
                text: piece.text.to_owned(),
                client: piece.client,
            }),
        }
        apart = false;
        if inserted {
            at += units;
        }
    }
    let changes: Vec<Value> = changes.iter().map(Change::json).collect();
    let sites: Vec<Value> = sites
        .iter()
        .map(|(client, (inserted, deleted))| {
            json!({ "site": client.get(), "inserted": inserted, "deleted": deleted })
        })
        .collect();
    json!({ "changes": changes, "sites": sites, "truncated": truncated })
}

struct Change {
    inserted: bool,
    at: usize,
    text: String,
    client: Client,
}

impl Change {
    fn json(&self) -> Value {
        let op = if self.inserted { "insert" } else { "delete" };
        json!({ "op": op, "at": self.at, "text": self.text, "author": author(self.client) })
    }
}

/// The author's name, as in timelines.
fn author(client: Client) -> String {
    format!("site:{}", client.get())
}

fn units(text: &str) -> usize {
    text.encode_utf16().count()
}
