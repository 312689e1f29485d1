//! The woven document against yrs, on histories of real Yjs and random ones of yrs.

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use replay::yjs::tree::{Change, Content, Step, Tree, What, diff, restore};
use replay::{Document, Wanted};
use serde_json::{Value, json};

use crate::made::{self, Replicas};
use crate::{folded, histories};

fn number(name: &str, default: u64) -> u64 {
    let value = std::env::var(name).ok();
    value.map_or(default, |value| value.parse().unwrap())
}

#[test]
fn a_tree_shows_what_yrs_shows() {
    let (histories, seed) = (number("WELL_HISTORIES", 300), number("WELL_SEED", 1));
    for seed in seed..seed + histories {
        let mut random = StdRng::seed_from_u64(seed);
        let clients = random.random_range(1..6);
        let mut replicas = Replicas::new(&mut random, clients);
        for _ in 0..random.random_range(1..120) {
            replicas.step(&mut random);
        }
        let doc = made::doc_of(&replicas.log);
        let encoding = folded(&replicas.log).encode();
        let tree = Tree::read(&encoding).unwrap();
        assert_eq!(tree.json(), made::shown(&doc), "seed {seed}");
    }
}

#[test]
fn a_document_answers_what_its_tree_does() {
    let (_, updates) = histories().swap_remove(0);
    let (past, now) = (folded(&updates[..updates.len() / 2]), folded(&updates));
    let trees = [&past, &now].map(|document| Tree::read(&document.encode()).unwrap());
    assert_eq!(now.json().unwrap(), trees[1].json());
    assert_eq!(now.text().unwrap(), trees[1].text());
    let changes = serde_json::to_value(diff(&trees[0], &trees[1])).unwrap();
    assert_eq!(now.changes(&past.encode()).unwrap(), changes);
    let update = restore(&trees[0], &trees[1], 9).map(Bytes::from);
    let wanted = Wanted::Past(past.encode());
    let edit = now.restore(&wanted, 9).unwrap();
    assert_eq!(edit.map(|edit| edit.payload), update);
    assert!(now.changes(&Bytes::from_static(&[7])).is_err());
    for wanted in [Wanted::Past(Bytes::new()), Wanted::Text(String::new())] {
        assert!(now.restore(&wanted, 9).is_err());
    }
}

#[test]
fn trees_of_real_histories_are_read() {
    for (name, updates) in histories() {
        for part in [updates.len(), updates.len() / 2, updates.len() / 3] {
            let document = folded(&updates[..part]);
            let tree = Tree::read(&document.encode()).unwrap();
            assert!(!tree.is_empty(), "{name}");
            let json = tree.json();
            if document.waiting() > 0 || ["blocks", "subdocs", "halves", "values"].contains(&&*name)
            {
                continue;
            }
            let doc = made::doc_of(&updates[..part]);
            assert_eq!(json, made::shown(&doc), "{name} {part}");
        }
    }
}

#[test]
fn real_histories_are_restored() {
    let mut random = StdRng::seed_from_u64(1);
    for (name, updates) in histories() {
        for _ in 0..20 {
            let at = random.random_range(0..updates.len());
            let (past, mut document) = (folded(&updates[..at]), folded(&updates));
            if past.waiting() > 0 {
                continue;
            }
            let past = Tree::read(&past.encode()).unwrap();
            let now = Tree::read(&document.encode()).unwrap();
            if let Some(update) = restore(&past, &now, 77) {
                document.integrate(&[update.into()]).remove(0).unwrap();
            }
            let after = Tree::read(&document.encode()).unwrap();
            // A half of a character whose other half was deleted is U+FFFD for ever.
            if name == "halves" {
                continue;
            }
            assert_eq!(after.json(), past.json(), "{name} {at}");
            assert_eq!(restore(&past, &after, 78), None, "{name} {at}");
        }
    }
}

/// How many mutants of encodings are read; `WELL_MUTANTS` says otherwise, `WELL_SEED` where to begin.
const MUTANTS: u64 = 20_000;

#[test]
fn hostile_encodings_are_refused_or_read() {
    let (mutants, seed) = (number("WELL_MUTANTS", MUTANTS), number("WELL_SEED", 1));
    let mut corpus: Vec<Vec<Bytes>> = Vec::new();
    for (_, updates) in histories() {
        corpus.push(updates.clone());
        let parts = (1..=20).map(|n| folded(&updates[..updates.len() * n / 60]).encode());
        corpus.push(parts.collect());
    }
    let mut read = 0;
    let mut last = Tree::read(&[0, 0]).unwrap();
    for seed in seed..seed + mutants {
        let mut random = StdRng::seed_from_u64(seed);
        let updates = corpus.choose(&mut random).unwrap();
        let mutant = crate::hostile::mutant(&mut random, &corpus, updates);
        if let Ok(tree) = Tree::read(&mutant) {
            read += 1;
            // Whatever two encodings are, they can be compared.
            for (past, now) in [(&last, &tree), (&tree, &last)] {
                let _ = diff(past, now);
                if let Some(update) = restore(past, now, 1 << 50) {
                    let bound = 4 * (past.len() + now.len()) + 3 * mutant.len() + (1 << 20);
                    assert!(update.len() < bound, "seed {seed}");
                }
            }
            assert!(tree.len() <= 5 * mutant.len(), "seed {seed}");
            let json = tree.json().to_string();
            assert!(json.len() <= 64 * mutant.len() + (1 << 20), "seed {seed}");
            assert!(tree.text().len() <= 3 * mutant.len() + 1000, "seed {seed}");
            last = tree;
        }
    }
    println!("{read} of {mutants} read");
    assert!(read > mutants / 20);
}

#[test]
fn a_restored_moment_shows_what_it_showed() {
    let (histories, seed) = (number("WELL_HISTORIES", 300), number("WELL_SEED", 1));
    let mut restored = 0;
    for seed in seed..seed + histories {
        let mut random = StdRng::seed_from_u64(seed);
        let clients = random.random_range(1..5);
        let mut replicas = Replicas::new(&mut random, clients);
        for _ in 0..random.random_range(2..100) {
            replicas.step(&mut random);
        }
        let at = random.random_range(0..=replicas.log.len());
        let (before, log) = (replicas.log[..at].to_vec(), replicas.log.clone());
        let past = Tree::read(&folded(&before).encode()).unwrap();
        let mut document = folded(&log);
        let now = Tree::read(&document.encode()).unwrap();
        let expected = made::doc_of(&before);
        let client = 1 << 40 | seed;
        let Some(update) = restore(&past, &now, client) else {
            assert_eq!(now.json(), past.json(), "seed {seed}");
            continue;
        };
        restored += 1;
        let update = Bytes::from(update);
        let checked = document.integrate(std::slice::from_ref(&update)).remove(0);
        assert!(checked.unwrap().adds, "seed {seed}");
        assert_eq!(document.waiting(), 0, "seed {seed}");
        let after = Tree::read(&document.encode()).unwrap();
        assert_eq!(after.json(), past.json(), "seed {seed}");
        assert_eq!(after.text(), past.text(), "seed {seed}");
        let doc = made::doc_of(&log);
        made::apply(&doc, std::slice::from_ref(&update));
        assert_eq!(made::shown(&doc), made::shown(&expected), "seed {seed}");
        assert_eq!(made::formats(&doc), made::formats(&expected), "seed {seed}");
        // Restoring again changes nothing more.
        assert_eq!(restore(&past, &after, client + 1), None, "seed {seed}");

        // Others edit on before they hear of it.
        for _ in 0..random.random_range(0..20) {
            replicas.step(&mut random);
        }
        let more = replicas.log[log.len()..].to_vec();
        document.integrate(&more);
        let ours = Tree::read(&document.encode()).unwrap().json();
        let update = std::slice::from_ref(&update);
        let late = [&log[..], &more[..], update].concat();
        let early = [&log[..], update, &more[..]].concat();
        for order in [late, early, vec![document.encode()]] {
            assert_eq!(made::shown(&made::doc_of(&order)), ours, "seed {seed}");
        }
    }
    assert!(restored > histories / 2);
}

#[test]
fn changes_taken_back_are_the_past() {
    let (histories, seed) = (number("WELL_HISTORIES", 300), number("WELL_SEED", 1));
    for seed in seed..seed + histories {
        let mut random = StdRng::seed_from_u64(seed);
        let clients = random.random_range(1..5);
        let mut replicas = Replicas::new(&mut random, clients);
        for _ in 0..random.random_range(2..80) {
            replicas.step(&mut random);
        }
        let at = random.random_range(0..=replicas.log.len());
        let docs = [&replicas.log[..at], &replicas.log].map(made::doc_of);
        let [past, now] = [&replicas.log[..at], &replicas.log]
            .map(|log| Tree::read(&folded(log).encode()).unwrap());
        let changes = diff(&past, &now);
        assert!(!changes.truncated);
        assert!(serde_json::to_value(&changes).is_ok());
        let none = diff(&now, &now);
        assert!(none.changes.is_empty() && none.sites.is_empty());

        let [was, mut is] = docs.each_ref().map(made::shown);
        for (root, value) in [("array", json!([])), ("map", json!({}))] {
            is.as_object_mut().unwrap().entry(root).or_insert(value);
        }
        is["text"] = Value::Array(units(&docs[1]));
        // The deepest first: paths are those of the later document.
        let mut changes: Vec<&Change> = changes.changes.iter().collect();
        changes.sort_by_key(|change| (std::cmp::Reverse(change.path.len()), root_and_path(change)));
        let changes = changes.chunk_by(|a, b| root_and_path(a) == root_and_path(b));
        for changes in changes.filter(|changes| changes[0].root != "xml") {
            let mut place = &mut is[&changes[0].root];
            for step in &changes[0].path {
                place = match step {
                    Step::Key(key) => &mut place[key],
                    Step::Index(index) => &mut place[*index as usize],
                };
            }
            take_back(place, changes);
        }
        assert_eq!(is["text"], Value::Array(units(&docs[0])), "seed {seed}");
        for root in ["array", "map"] {
            let empty = if root == "array" {
                json!([])
            } else {
                json!({})
            };
            assert_eq!(&is[root], was.get(root).unwrap_or(&empty), "seed {seed}");
        }
    }
}

fn root_and_path(change: &Change) -> String {
    format!("{} {:?}", change.root, change.path)
}

/// The units and embeds of the text, one by one.
fn units(doc: &yrs::Doc) -> Vec<Value> {
    let mut units = Vec::new();
    for (run, _) in made::formats(doc) {
        match run {
            Value::String(run) => units.extend(run.encode_utf16().map(Value::from)),
            embed => units.push(embed),
        }
    }
    units
}

/// Undoes changes of one list, text or map.
fn take_back(place: &mut Value, changes: &[&Change]) {
    let is_text = place.is_string();
    let mut list: Vec<Value> = match place {
        Value::String(text) => text.encode_utf16().map(Value::from).collect(),
        Value::Array(values) => std::mem::take(values),
        Value::Object(entries) => {
            for change in changes {
                match &change.what {
                    What::Set {
                        key,
                        old: Some(old),
                        ..
                    }
                    | What::Remove { key, old } => {
                        entries.insert(key.clone(), old.clone());
                    }
                    What::Set { key, .. } => {
                        entries.remove(key);
                    }
                    other => panic!("{other:?}"),
                }
            }
            return;
        }
        other => panic!("{other:?}"),
    };
    let content = |content: &Content| match content {
        Content::Text(text) => text.encode_utf16().map(Value::from).collect(),
        Content::Values(values) => values.clone(),
    };
    let mut there: Vec<Option<Value>> = list.drain(..).map(Some).collect();
    let mut gone = vec![Vec::new(); there.len() + 1];
    for change in changes {
        match &change.what {
            What::Insert { at, content: new } => {
                for (n, value) in content(new).into_iter().enumerate() {
                    let there = there[*at as usize + n].take().unwrap();
                    assert!(there == value || !there.is_number());
                }
            }
            What::Delete { at, content: old } => gone[*at as usize].extend(content(old)),
            What::Format { .. } | What::Unformat { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    there.push(None);
    for (gone, there) in gone.into_iter().zip(there) {
        list.extend(gone);
        list.extend(there);
    }
    *place = if is_text {
        let text: Vec<u16> = list
            .iter()
            .map(|unit| unit.as_u64().unwrap() as u16)
            .collect();
        Value::String(String::from_utf16(&text).unwrap())
    } else {
        Value::Array(list)
    };
}

#[test]
fn changes_have_the_documented_shape() {
    // A text "abc" and a map with an entry by client 5; client 6 replaces "b" by "x" and the entry.
    let first = [
        1, 2, 5, 0, 4, 1, 1, b't', 3, b'a', b'b', b'c', 0x28, 1, 1, b'm', 1, b'k', 1, 125, 1, 0,
    ];
    let second = [
        1, 2, 6, 0, 0xc4, 5, 0, 5, 1, 1, b'x', 0xa8, 5, 3, 1, 125, 2, 1, 5, 2, 1, 1, 3, 1,
    ];
    let mut document = folded(&[Bytes::copy_from_slice(&first)]);
    let past = Tree::read(&document.encode()).unwrap();
    document
        .integrate(&[Bytes::copy_from_slice(&second)])
        .remove(0)
        .unwrap();
    let now = Tree::read(&document.encode()).unwrap();
    assert_eq!(now.json(), json!({"m": {"k": 2}, "t": "axc"}));
    assert_eq!(
        serde_json::to_value(diff(&past, &now)).unwrap(),
        json!({
            "changes": [
                {"root": "m", "path": [], "op": "set", "key": "k", "old": 1, "new": 2},
                {"root": "t", "path": [], "op": "delete", "at": 2, "text": "b"},
                {"root": "t", "path": [], "op": "insert", "at": 1, "text": "x"},
            ],
            "sites": [
                {"site": 5, "inserted": 0, "deleted": 2},
                {"site": 6, "inserted": 2, "deleted": 0},
            ],
            "truncated": false,
        })
    );
}

#[test]
fn crowds_at_one_place_are_read_in_time() {
    // A hundred thousand clients that each wrote a character at the front at the same time.
    let clients = 100_000_u32;
    let var = |bytes: &mut Vec<u8>, n: u32| {
        bytes.extend([n as u8 | 0x80, (n >> 7) as u8 | 0x80, (n >> 14) as u8]);
    };
    let mut bytes = Vec::new();
    var(&mut bytes, clients);
    for client in (0..clients).rev() {
        bytes.push(1);
        var(&mut bytes, client);
        bytes.extend([0, 4, 1, 1, b't', 1, b'a' + (client % 26) as u8]);
    }
    bytes.push(0);
    let start = std::time::Instant::now();
    let tree = Tree::read(&bytes).unwrap();
    assert_eq!(tree.text().len(), clients as usize);
    assert!(tree.text().starts_with("abcdef"), "the lowest client first");
    assert!(start.elapsed().as_secs() < 10);
}
