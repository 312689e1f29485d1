//! The woven document against yrs, on histories of real Yjs and random ones of yrs.

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use replay::Document;
use replay::yjs::tree::{Tree, restore};

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
    for seed in seed..seed + mutants {
        let mut random = StdRng::seed_from_u64(seed);
        let updates = corpus.choose(&mut random).unwrap();
        let mutant = crate::hostile::mutant(&mut random, &corpus, updates);
        if let Ok(tree) = Tree::read(&mutant) {
            read += 1;
            assert!(tree.len() <= 5 * mutant.len(), "seed {seed}");
            let json = tree.json().to_string();
            assert!(json.len() <= 64 * mutant.len() + (1 << 20), "seed {seed}");
            assert!(tree.text().len() <= 3 * mutant.len() + 1000, "seed {seed}");
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
