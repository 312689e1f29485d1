//! What the view knows, and that its fall breaks nothing.

use super::*;

/// Two clients that set the same key at once: neither has deleted what the other wrote.
fn rivals() -> YjsDocument {
    let set = |client| Bytes::from(vec![1, 1, client, 0, 0x28, 1, 1, b'm', 1, b'k', 1, 126, 0]);
    let mut document = YjsDocument::new();
    for answer in document.integrate(&[set(1), set(2)]) {
        assert!(answer.unwrap().adds);
    }
    document
}

/// A deletion of the one item of a client.
fn delete(client: u8) -> Bytes {
    vec![0, 1, client, 1, 0, 1].into()
}

#[test]
fn adds_nothing_agrees_with_reality() {
    let document = rivals();
    // The one with the higher client stays, as Yjs has it.
    assert!(document.adds_nothing(&delete(1)).unwrap());
    assert!(!document.adds_nothing(&delete(2)).unwrap());
    // An item of a list is deleted by nobody's silence.
    let mut list = YjsDocument::new();
    let item = Bytes::from_static(&[1, 1, 1, 0, 8, 1, 1, b'l', 1, 126, 0]);
    list.integrate(std::slice::from_ref(&item));
    assert!(list.adds_nothing(&item).unwrap());
    assert!(!list.adds_nothing(&delete(1)).unwrap());
    list.integrate(&[delete(1)]);
    assert!(list.adds_nothing(&delete(1)).unwrap());
}

#[test]
fn a_panic_of_yrs_leaves_no_trace() {
    let mut document = rivals();
    let before = document.encode();
    view::tests::PLANT.set(true);
    assert!(!document.adds_nothing(&delete(1)).unwrap());
    assert!(!view::tests::PLANT.get(), "the view was asked");
    assert_eq!(document.encode(), before);
    // It is not asked again for the same document, and is for the next one.
    assert!(!document.adds_nothing(&delete(1)).unwrap());
    let other = Bytes::from_static(&[1, 1, 3, 0, 8, 1, 1, b'l', 1, 126, 0]);
    assert!(document.integrate(&[other]).remove(0).unwrap().adds);
    assert!(document.adds_nothing(&delete(1)).unwrap());
}

#[test]
fn what_yrs_reads_wrong_is_not_shown_to_it() {
    for content in [
        &[9, 1, b'g', 118, 0][..],
        &[2, 1, 4, b'n', b'u', b'l', b'l'],
        &[7, 5, 1, b'h'],
    ] {
        let (kind, content) = content.split_first().unwrap();
        let set = [&[1, 1, 9, 0, *kind, 1, 1, b'l'], content, &[0]].concat();
        let mut document = rivals();
        document.integrate(&[set.into()]).remove(0).unwrap();
        assert!(document.is_foreign());
        assert!(!document.adds_nothing(&delete(1)).unwrap());
    }
}

#[test]
fn memory_is_bounded_by_what_is_counted() {
    // One key over and over: the content of what was replaced is given back.
    let mut document = YjsDocument::new();
    for n in 0..20_000_u32 {
        let clock = |n: u32| [n as u8 | 0x80, (n >> 7) as u8 | 0x80, (n >> 14) as u8];
        let mut update = vec![1, 1, 5];
        update.extend(clock(n));
        if n == 0 {
            update.extend([0x28, 1, 1, b'm', 1, b'k']);
        } else {
            update.extend([0xa8, 5]);
            update.extend(clock(n - 1));
        }
        update.extend([1, 119, 50]);
        update.extend([b'x'; 50]);
        if n == 0 {
            update.push(0);
        } else {
            update.extend([1, 5, 1]);
            update.extend(clock(n - 1));
            update.push(1);
        }
        assert!(document.integrate(&[update.into()]).remove(0).unwrap().adds);
    }
    let encoding = document.encode();
    assert!(encoding.len() < 200, "{}", encoding.len());
    assert!(
        document.memory_bytes() < 2 << 20,
        "{}",
        document.memory_bytes()
    );
}

/// The roots of a document; they are not to be had while it is being changed.
struct Roots {
    list: yrs::ArrayRef,
    map: yrs::MapRef,
    text: yrs::TextRef,
}

/// Where binary content would stand that `change` puts into a document.
fn binary(change: impl Fn(&Roots, &mut yrs::TransactionMut<'_>)) -> Option<String> {
    use yrs::{Array, ReadTxn, Text, Transact};
    let doc = yrs::Doc::with_client_id(7);
    let roots = Roots {
        list: doc.get_or_insert_array("list"),
        map: doc.get_or_insert_map("map"),
        text: doc.get_or_insert_text("text"),
    };
    let mut document = YjsDocument::new();
    let mut take = |change: &dyn Fn(&mut yrs::TransactionMut<'_>)| {
        let before = doc.transact().state_vector();
        change(&mut doc.transact_mut());
        let update = Bytes::from(doc.transact().encode_diff_v1(&before));
        let found = document.binary(&update);
        document.integrate(&[update]).remove(0).unwrap();
        found
    };
    let there = take(&|txn| {
        for nth in 0..5 {
            roots.list.push_back(txn, nth);
        }
        roots.list.remove(txn, 1);
        roots.text.push(txn, "data:image/png;base64,AAAA");
    });
    assert_eq!(there, None, "characters are no values");
    take(&|txn| change(&roots, txn))
}

#[test]
fn binary_content_is_found_and_its_place_named() {
    use yrs::{Any, Array, ArrayPrelim, Map, MapPrelim, Text};
    let blob = || Any::from(vec![1_u8, 2, 3]);
    let image = || Any::from("data:image/png;base64,AAAA");
    let object = |key: &str, value: Any| Any::from(HashMap::from([(key.to_owned(), value)]));
    // (what is put in, where it stands)
    let found = |path: &str, change: &dyn Fn(&Roots, &mut yrs::TransactionMut<'_>)| {
        assert_eq!(binary(change).as_deref(), Some(path));
    };
    found("list[2]", &|roots, txn| {
        roots.list.insert(txn, 2, blob());
    });
    found("list[4].a[1]", &|roots, txn| {
        roots
            .list
            .push_back(txn, object("a", vec![Any::Null, image()].into()));
    });
    found("list[1][\"ä b\"]", &|roots, txn| {
        roots
            .list
            .insert_range(txn, 0, [Any::Null, object("ä b", blob())]);
    });
    found("list[0][1].x", &|roots, txn| {
        let inner = ArrayPrelim::from([Any::Null]);
        let inner = roots.list.insert(txn, 0, inner);
        inner.push_back(txn, MapPrelim::from([("x", image())]));
    });
    found("map.image", &|roots, txn| {
        roots.map.insert(txn, "image", blob());
    });
    found("text[4]", &|roots, txn| {
        roots.text.insert_embed(txn, 4, object("image", image()));
    });
    // What has none, or has had it.
    let none = binary(|roots, txn| {
        roots.map.insert(
            txn,
            "a",
            object("b", vec![Any::from("text/plain"), 1.5.into()].into()),
        );
        roots.list.push_back(txn, "https://example.org/a.png");
    });
    assert_eq!(none, None);
}

/// Whatever holds it, and however deep among values of every length.
#[test]
fn binary_content_is_found_in_every_kind_of_content() {
    const URL: &str = "\"data:image/png,x\"";
    const BLOB: &[u8] = &[116, 2, 0, 1];
    let run = |bytes: &[u8]| [&[bytes.len() as u8], bytes].concat();
    let json = |text: &str| run(text.as_bytes());
    let object = |members: &[(&str, &[u8])]| {
        let members = members
            .iter()
            .map(|(key, value)| [&json(key)[..], value].concat());
        [
            &[118, members.len() as u8][..],
            &members.collect::<Vec<_>>().concat(),
        ]
        .concat()
    };
    let list = |values: &[&[u8]]| [&[117, values.len() as u8][..], &values.concat()].concat();
    let long = [&[122_u8][..], &[116; 8]].concat();
    let double = [&[123_u8][..], &[116; 8]].concat();
    let float = [&[124_u8][..], &[116; 4]].concat();
    let numbers = list(&[&[125, 0x80, 0x01], &float, &double, &long, &[126], &[120]]);
    let deep = object(&[
        ("a", &numbers),
        (
            "b",
            &list(&[&numbers, &object(&[("c", BLOB), ("d", &long)])]),
        ),
    ]);
    let subdocument = object(&[
        ("gc", &[120]),
        ("meta", &list(&[&object(&[("icon", BLOB)])])),
    ]);
    for (kind, content, place) in [
        (kind::BINARY, run(&[1, 2]), "l[0]"),
        (
            kind::ANY,
            [&[2][..], &numbers, &deep].concat(),
            "l[1].b[1].c",
        ),
        (
            kind::JSON,
            [&[2][..], &json("[1]"), &json(URL)].concat(),
            "l[1]",
        ),
        (kind::EMBED, json(&format!("{{\"image\":{URL}}}")), "l[0]"),
        (kind::FORMAT, [json("image"), json(URL)].concat(), "l[0]"),
        (
            kind::DOC,
            [json("guid"), subdocument].concat(),
            "l[0].meta[0].icon",
        ),
    ] {
        let update = [&[1, 1, 9, 0, kind, 1, 1, b'l'][..], &content, &[0]].concat();
        let update = Bytes::from(update);
        let mut document = YjsDocument::new();
        assert_eq!(document.binary(&update).as_deref(), Some(place), "{kind}");
        document
            .integrate(std::slice::from_ref(&update))
            .remove(0)
            .unwrap();
        assert_eq!(document.binary(&update), None, "{kind}: it is there");
    }
    let numbers = [&[1, 1, 9, 0, kind::ANY, 1, 1, b'l', 1][..], &numbers, &[0]].concat();
    assert_eq!(YjsDocument::new().binary(&numbers.into()), None);
}

#[test]
fn binary_content_that_waits_or_is_behind_other_values_is_found_too() {
    let mut document = YjsDocument::new();
    // Two values and bytes after clock 4 of client 9, which has not come.
    let waits = Bytes::from_static(&[
        1, 1, 9, 5, 0x88, 9, 4, 3, 126, 118, 1, 1, b'a', 125, 1, 116, 1, 0, 0,
    ]);
    let found = document.binary(&waits).unwrap();
    assert_eq!(found, "a part of an update of client 9");
    // The same where its first clocks are known: the bytes are new all the same.
    let begun = Bytes::from_static(&[1, 1, 9, 0, 8, 1, 1, b'l', 2, 126, 126, 0]);
    document.integrate(&[begun]);
    let more = Bytes::from_static(&[1, 1, 9, 0, 8, 1, 1, b'l', 3, 126, 126, 116, 1, 0, 0]);
    assert_eq!(document.binary(&more).as_deref(), Some("l[2]"));
    document.integrate(std::slice::from_ref(&more));
    assert_eq!(document.binary(&more), None, "it is there");
    assert_eq!(
        document.binary(&Bytes::from_static(&[1, 2])),
        None,
        "no update"
    );
}

/// Three authors write into one text and one map, in the middle of one another's runs, and delete.
#[test]
fn an_encoding_grows_by_no_more_than_is_said() {
    use rand::{Rng, SeedableRng, rngs::StdRng};
    use yrs::updates::decoder::Decode;
    use yrs::{Map, ReadTxn, Text, Transact};
    for seed in 0..20 {
        let mut random = StdRng::seed_from_u64(seed);
        // Short identities cut for the fewest bytes.
        let clients = if seed % 2 == 0 {
            [1, 2, 3]
        } else {
            [1 << 31, 2 << 40, 3 << 50]
        };
        let authors = clients.map(yrs::Doc::with_client_id);
        let mut document = YjsDocument::new();
        for _ in 0..400 {
            let nth = random.random_range(0..authors.len());
            let author = &authors[nth];
            let (text, map) = (
                author.get_or_insert_text("t"),
                author.get_or_insert_map("m"),
            );
            let before = author.transact().state_vector();
            let mut txn = author.transact_mut();
            let length = text.len(&txn);
            match random.random_range(0..6) {
                0 if length > 0 => text.remove_range(&mut txn, random.random_range(0..length), 1),
                1 => drop(map.insert(&mut txn, ["a", "b"][nth % 2], random.random::<bool>())),
                2 => text.push(&mut txn, &"long ".repeat(random.random_range(1..20))),
                _ => text.insert(&mut txn, random.random_range(0..=length), "x"),
            }
            drop(txn);
            let update = Bytes::from(author.transact().encode_diff_v1(&before));
            let size = document.encode().len();
            let checked = document
                .integrate(std::slice::from_ref(&update))
                .remove(0)
                .unwrap();
            let grown = document.encode().len().saturating_sub(size);
            assert!(
                grown <= checked.growth,
                "{seed}: {grown} > {}",
                checked.growth
            );
            for other in &authors {
                let update = yrs::Update::decode_v1(&update).unwrap();
                other.transact_mut().apply_update(update).unwrap();
            }
        }
    }
}
