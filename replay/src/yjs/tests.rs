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
