//! Whatever a real client sends is taken, and means what Yjs means by it.

use std::collections::BTreeMap;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use replay::{Document, YjsDocument};

use crate::{folded, histories, oracle};

/// Histories that yrs reads wrong: it takes no name of a hook and drops options of subdocuments.
const FOREIGN: [&str; 2] = ["blocks", "subdocs"];

/// A history whose encoding depends on when a surrogate pair was taken apart, as it does in Yjs;
/// what it shows does not.
const HALVES: &str = "halves";

#[test]
fn what_real_clients_send_is_taken() {
    for (name, updates) in histories() {
        let mut document = YjsDocument::new();
        for (n, update) in updates.iter().enumerate() {
            let before = document.encode();
            let nothing = document.adds_nothing(update).unwrap();
            let checked = document.integrate(std::slice::from_ref(update)).remove(0);
            let checked = checked.unwrap_or_else(|error| panic!("{name} {n}: {error}"));
            assert_eq!(checked.adds, document.encode() != before, "{name} {n}");
            assert!(
                nothing != checked.adds || (nothing && implied(&before, update)),
                "{name} {n}"
            );
        }
        assert_eq!(document.waiting(), 0, "{name}");
        let site = |update: &Bytes| {
            YjsDocument::new()
                .integrate(std::slice::from_ref(update))
                .remove(0)
        };
        assert!(site(&updates[0]).unwrap().site.is_some(), "{name}");
    }
}

/// Whether an update only says what was so already: it changes nothing that yrs shows.
fn implied(before: &Bytes, update: &Bytes) -> bool {
    let without = oracle::seen(std::slice::from_ref(before));
    without.is_ok() && without == oracle::seen(&[before.clone(), update.clone()])
}

#[test]
fn fold_is_the_truth() {
    let mut random = StdRng::seed_from_u64(1);
    for (name, updates) in histories() {
        if name == HALVES {
            continue;
        }
        let whole = folded(&updates).encode();
        for _ in 0..20 {
            let mut document = YjsDocument::new();
            let mut rest = &updates[..];
            while !rest.is_empty() {
                let (part, after) = rest.split_at(random.random_range(1..=rest.len()));
                for answer in document.integrate(part) {
                    answer.unwrap();
                }
                if random.random() {
                    // A snapshot, and the records after it.
                    document = folded(&[document.encode()]);
                }
                rest = after;
            }
            assert_same(&document.encode(), &whole, format_args!("{name}"));
        }
    }
}

#[test]
fn updates_converge_in_any_order() {
    let mut random = StdRng::seed_from_u64(2);
    for (name, updates) in histories() {
        let whole = folded(&updates).encode();
        for round in 0..10 {
            let mut shuffled = updates.clone();
            shuffled.shuffle(&mut random);
            let document = folded(&shuffled);
            assert_eq!(document.waiting(), 0, "{name} {round}");
            if name == HALVES {
                let all = [document.encode(), whole.clone()].map(|one| oracle::seen(&[one]));
                assert_eq!(all[0], all[1], "{name} {round}");
                continue;
            }
            assert_same(&document.encode(), &whole, format_args!("{name} {round}"));
        }
    }
}

#[test]
fn what_waits_is_in_the_encoding_once() {
    let mut random = StdRng::seed_from_u64(3);
    let mut waited = 0;
    for (name, updates) in histories() {
        if name == HALVES {
            continue;
        }
        let whole = folded(&updates).encode();
        let mut shuffled = updates.clone();
        shuffled.shuffle(&mut random);
        let mut document = YjsDocument::new();
        for update in &shuffled {
            document
                .integrate(std::slice::from_ref(update))
                .remove(0)
                .unwrap();
            waited += document.waiting();
            let encoding = document.encode();
            let again = document.integrate(&[update.clone(), encoding.clone()]);
            assert!(
                again.iter().all(|again| !again.as_ref().unwrap().adds),
                "{name}"
            );
            assert!(document.adds_nothing(&encoding).unwrap(), "{name}");
            assert_same(&document.encode(), &encoding, format_args!("{name}"));
        }
        assert_same(&document.encode(), &whole, format_args!("{name}"));

        // A document that knows half of it only from an encoding, waiting parts and all.
        let (half, rest) = shuffled.split_at(shuffled.len() / 2);
        let mut document = folded(&[folded(half).encode()]);
        for answer in document.integrate(rest) {
            answer.unwrap();
        }
        assert_same(&document.encode(), &whole, format_args!("{name}"));
    }
    assert!(waited > 100, "{waited}");
}

#[test]
fn a_difference_is_what_a_peer_lacks() {
    let mut random = StdRng::seed_from_u64(4);
    for (name, updates) in histories() {
        if name == HALVES {
            continue;
        }
        let whole = folded(&updates);
        for _ in 0..20 {
            let have = random.random_range(0..updates.len());
            let mut peer = folded(&updates[..have]);
            let diff = whole.diff(&peer.version()).unwrap();
            assert!(
                !diff.is_empty() && diff.len() <= whole.encode().len() + 16,
                "{name}"
            );
            peer.integrate(&[diff]).remove(0).unwrap();
            assert_same(
                &peer.encode(),
                &whole.encode(),
                format_args!("{name} {have}"),
            );
        }
        let nothing = whole.diff(&whole.version()).unwrap();
        assert!(whole.adds_nothing(&nothing).unwrap(), "{name}");
        assert_eq!(
            whole.diff(&Bytes::from_static(&[0])).unwrap(),
            whole.encode()
        );
    }
}

#[test]
fn yrs_sees_the_same() {
    for (name, updates) in histories() {
        if FOREIGN.contains(&&*name) {
            continue;
        }
        for part in [updates.len(), updates.len() / 2, updates.len() / 3] {
            let document = folded(&updates[..part]);
            if document.waiting() > 0 {
                continue;
            }
            let expected = oracle::seen(&updates[..part]).unwrap();
            let actual = oracle::seen(&[document.encode()]).unwrap();
            assert_eq!(actual, expected, "{name} {part}");
            assert_eq!(version(&document), expected.1, "{name} {part}");
        }
    }
}

/// That two encodings are the same, said in a line.
fn assert_same(left: &Bytes, right: &Bytes, what: std::fmt::Arguments<'_>) {
    let same = left.iter().zip(right).take_while(|(l, r)| l == r).count();
    assert!(
        left == right,
        "{what}: {} and {} bytes differ from byte {same} on: {:?} {:?}",
        left.len(),
        right.len(),
        &left[same.saturating_sub(20)..left.len().min(same + 20)],
        &right[same.saturating_sub(20)..right.len().min(same + 20)],
    );
}

/// A document's version, read as what it is.
fn version(document: &YjsDocument) -> BTreeMap<u64, u32> {
    use yrs::updates::decoder::Decode;
    let version = yrs::StateVector::decode_v1(&document.version()).unwrap();
    version
        .iter()
        .map(|(client, clock)| (client.get(), *clock))
        .collect()
}

/// With `WELL_ENCODINGS=DIR`, writes what `tests/fixtures/make.mjs check DIR` compares in Yjs.
#[test]
fn yjs_can_compare() {
    let Some(dir) = std::env::var_os("WELL_ENCODINGS") else {
        return;
    };
    for (name, updates) in histories() {
        for part in (1..updates.len()).step_by(updates.len().div_ceil(40)) {
            let path = std::path::Path::new(&dir).join(format!("{name}@{part}.encoding"));
            std::fs::write(path, folded(&updates[..part]).encode()).unwrap();
        }
        let path = std::path::Path::new(&dir).join(format!("{name}.encoding"));
        std::fs::write(path, folded(&updates).encode()).unwrap();
    }
}
