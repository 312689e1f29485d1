//! A document read back from its encoding goes on as the one that was encoded.

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};
use replay::document::load;
use replay::{Document, Kind, YjsDocument};

use crate::histories;

#[test]
fn a_loaded_document_goes_on_as_the_one_that_was_encoded() {
    let mut random = StdRng::seed_from_u64(11);
    let mut waited = 0;
    for (name, updates) in histories() {
        // Whether characters were cut before or after they were stored is told by no encoding.
        if name == "halves" {
            continue;
        }
        for round in 0..12 {
            let mut updates = updates.clone();
            if round % 3 > 0 {
                // Early updates wait for others; a few are yet to come when the rest is there.
                let from = random.random_range(0..updates.len());
                updates[from..].shuffle(&mut random);
            }
            let mut document = YjsDocument::new();
            let at = random.random_range(0..=updates.len());
            let (before, after) = updates.split_at(at);
            document.integrate(before);
            waited += document.waiting();
            let mut loaded = load(Kind::Yjs, &document.encode()).unwrap();
            assert_same(&document, &*loaded, &name);
            let bound = 4 * document.memory_bytes() + 4096;
            assert!(loaded.memory_bytes() <= bound, "{name}");
            for update in after {
                let stranger = updates.choose(&mut random).unwrap();
                for asked in [update, stranger] {
                    let expected = document.adds_nothing(asked);
                    assert_eq!(loaded.adds_nothing(asked), expected, "{name}");
                }
                let expected = document.integrate(std::slice::from_ref(update));
                assert_eq!(loaded.integrate(std::slice::from_ref(update)), expected);
                if random.random_range(0..4) == 0 {
                    assert_same(&document, &*loaded, &name);
                }
                if random.random_range(0..40) == 0 {
                    loaded = load(Kind::Yjs, &loaded.encode()).unwrap();
                }
            }
            assert_same(&document, &*loaded, &name);
            assert_eq!(document.waiting(), 0);
        }
    }
    assert!(waited > 100, "{waited}");
}

fn assert_same(document: &YjsDocument, loaded: &dyn Document, name: &str) {
    assert!(loaded.encode() == document.encode(), "{name}");
    assert_eq!(loaded.version(), document.version(), "{name}");
    let none = Bytes::from_static(&[1, 5, 1]);
    assert!(
        loaded.diff(&none).unwrap() == document.diff(&none).unwrap(),
        "{name}"
    );
}

#[test]
fn what_is_no_encoding_is_not_loaded() {
    assert!(load(Kind::Yjs, &Bytes::new()).is_err());
    let empty = YjsDocument::new().encode();
    let loaded = load(Kind::Yjs, &empty).unwrap();
    assert_eq!(loaded.encode(), empty);
    assert!(loaded.is_empty_version(&loaded.version()));
}

/// Why [`Document::is_whole`] is asked before a snapshot is taken: an encoding holds what waits as one
/// update, so where one of several that wait turns out to make no sense, a document that was loaded
/// drops all of them, and the one that was encoded only that one.
#[test]
fn what_waits_is_loaded_as_one_update() {
    let sound = Bytes::from_static(&[1, 1, 6, 0, 0x88, 9, 0, 1, 126, 0]);
    // Between an item of the list a and one of the list b.
    let senseless = Bytes::from_static(&[1, 1, 7, 0, 0xc8, 9, 0, 8, 0, 1, 126, 0]);
    let both = Bytes::from_static(&[
        2, 1, 9, 0, 8, 1, 1, b'a', 1, 126, 1, 8, 0, 8, 1, 1, b'b', 1, 126, 0,
    ]);
    let mut document = YjsDocument::new();
    for answer in document.integrate(&[sound, senseless]) {
        answer.unwrap();
    }
    assert_eq!(document.waiting(), 2);
    assert!(!document.is_whole(), "so no snapshot is taken of it");
    let mut loaded = YjsDocument::load(&document.encode()).unwrap();
    for document in [&mut document, &mut loaded] {
        document
            .integrate(std::slice::from_ref(&both))
            .remove(0)
            .unwrap();
        assert_eq!(document.waiting(), 0);
    }
    let shown = [&document, &loaded].map(|document| document.json().unwrap()["a"].clone());
    assert_eq!(
        shown,
        [serde_json::json!([null, null]), serde_json::json!([null]),]
    );
}
