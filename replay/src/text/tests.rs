use serde_json::json;

use super::*;

/// Two clients write and erase; the document is told of each record, and an event in between.
fn world() -> TextDocument {
    let mut document = TextDocument::new();
    let mut ada = Text::new(Client::new(7));
    let hello = ada.insert(Measure::Units, 0, "héllo\r\n").unwrap();
    let mut bob = Text::new(Client::new(9));
    let hello = Bytes::from(ada.encode(&hello));
    bob.apply(&hello, None).unwrap();
    let gone = bob.replace(Measure::Units, 0, 1, "J").unwrap();
    for (seq, payload) in [(2, hello), (4, Bytes::from(bob.encode(&gone)))] {
        let taken = document.integrate(&[payload]).remove(0).unwrap();
        assert!(taken.adds && taken.site.is_some());
        document.recorded(Seq::new(seq));
    }
    document
}

#[test]
fn it_answers_for_all_its_moments() {
    let document = world();
    for document in [
        document.clone(),
        TextDocument::load(&document.encode()).unwrap(),
    ] {
        let texts = (0..7).map(|seq| document.text_at(Seq::new(seq)).unwrap());
        let texts: Vec<_> = texts.collect();
        let (old, new) = ("héllo\r\n", "Jéllo\r\n");
        assert_eq!(texts, ["", "", old, old, new, new, new]);
        assert_eq!(document.text().unwrap(), new);
        let authors = json!([{"author": "site:9", "length": 1}, {"author": "site:7", "length": 6}]);
        let shown = json!({"text": new, "length": 7, "authors": authors});
        assert_eq!(document.json().unwrap(), shown);
        assert_eq!(document.json_at(Seq::new(4)).unwrap(), shown);
        let changes = document.changes_between(Seq::new(3), Seq::new(9)).unwrap();
        let (mut listed, sites) = (changes["changes"].clone(), changes["sites"].clone());
        listed
            .as_array_mut()
            .unwrap()
            .sort_by_key(|change| change["op"].to_string());
        assert_eq!(listed[0]["op"], "delete");
        assert_eq!(listed[0]["text"], "h");
        assert_eq!(
            listed[1],
            json!({"op": "insert", "at": 0, "text": "J", "author": "site:9"})
        );
        assert_eq!(sites, json!([{"site": 9, "inserted": 1, "deleted": 1}]));
    }
}

#[test]
fn changes_since_an_encoding_are_those_since_its_moment() {
    let document = world();
    let mut early = TextDocument::new();
    let whole = document.diff(&early.version()).unwrap();
    early.integrate(&[whole]);
    assert_eq!(early.text(), document.text());
    let nothing = TextDocument::new().encode();
    let all = document.changes(&nothing).unwrap();
    assert_eq!(
        all,
        document.changes_between(Seq::ZERO, Seq::new(4)).unwrap()
    );
}

#[test]
fn what_builds_on_what_has_not_come_is_refused_by_name() {
    let mut ada = Text::new(Client::new(7));
    let first = ada.insert(Measure::Units, 0, "a").unwrap();
    let second = ada.insert(Measure::Units, 1, "b").unwrap();
    let (first, second) = (ada.encode(&first).into(), ada.encode(&second).into());
    let mut document = TextDocument::new();
    let error = document
        .integrate(std::slice::from_ref(&second))
        .remove(0)
        .unwrap_err();
    assert!(
        matches!(&error, DocumentError::Missing(what) if what.contains("client 7")),
        "{error}"
    );
    assert!(document.adds_nothing(&second).is_err());
    assert_eq!(document.version()[..], [0]);
    for answer in document.integrate(&[first, second]) {
        assert!(answer.unwrap().adds);
    }
    for bytes in [&b""[..], &[9], &[3, 0], b"not an update"] {
        let answer = document
            .integrate(&[Bytes::copy_from_slice(bytes)])
            .remove(0);
        assert!(
            matches!(answer, Err(DocumentError::Malformed(_))),
            "{bytes:?}"
        );
        assert!(TextDocument::load(&Bytes::copy_from_slice(bytes)).is_err());
    }
    assert_eq!(document.text().unwrap(), "ab");
}

#[test]
fn a_restore_merges_with_what_others_do_meanwhile() {
    let mut document = world();
    let wanted = Wanted::Text("héllo\r\nworld".to_owned());
    let edit = document.restore(&wanted, 1 << 50).unwrap().unwrap();
    let size = EditSize {
        edits: 2,
        inserted: 6,
        deleted: 1,
    };
    assert_eq!(edit.size, Some(size));
    // Carol types in the middle before she hears of it.
    let mut carol = Text::new(Client::new(3));
    let whole = document.diff(&Bytes::from_static(&[0])).unwrap();
    carol.apply(&whole, None).unwrap();
    let typed = carol.insert(Measure::Units, 3, "XX").unwrap();
    let typed = Bytes::from(carol.encode(&typed));
    for payload in [typed, edit.payload] {
        assert!(document.integrate(&[payload]).remove(0).unwrap().adds);
    }
    assert_eq!(document.text().unwrap(), "hélXXlo\r\nworld");
    let same = Wanted::Text(document.text().unwrap());
    assert_eq!(document.restore(&same, 5), Ok(None));
    // Back to an encoding; a client that has edited is no fresh one.
    let past = Wanted::Past(world().encode());
    assert!(document.restore(&past, 3).is_err());
    let edit = document.restore(&past, 4).unwrap().unwrap();
    document.integrate(&[edit.payload]);
    assert_eq!(document.text().unwrap(), "Jéllo\r\n");
}

#[test]
fn a_sticky_position_has_a_line_and_a_column() {
    let document = world();
    // Before the second l, which ada's tick 3 inserted.
    let anchor = [3, 7, 3];
    let before = |seq| document.position_at(&anchor, Seq::new(seq)).unwrap();
    assert_eq!(before(1), None);
    assert_eq!(
        before(9),
        Some(Position {
            index: 3,
            line: 0,
            column: 3
        })
    );
    let end = document.position_at(&[1], Seq::new(4)).unwrap();
    assert_eq!(
        end,
        Some(Position {
            index: 7,
            line: 1,
            column: 0
        })
    );
    assert!(document.position_at(&[7], Seq::new(4)).is_err());
}

#[test]
fn memory_is_counted() {
    let mut document = TextDocument::new();
    let wanted = Wanted::Text("0123456789".repeat(1_000));
    let edit = document.restore(&wanted, 1).unwrap().unwrap();
    document.integrate(&[edit.payload]);
    // A byte each, and a leaf for sixteen of them.
    let bytes = document.memory_bytes();
    assert!((12_500..60_000).contains(&bytes), "{bytes}");
}
