//! Writing a part of a struct, as Yjs cuts them.
//!
//! A struct may be cut between any two of its clocks. The right part then has the clock before it
//! as its origin, keeps the right origin, and needs no parent: it belongs where its origin belongs.
//! A string cut inside a surrogate pair loses that character to U+FFFD on both sides.

use std::ops::Range;

use super::scan::{
    HAS_KEY, HAS_ORIGIN, HAS_RIGHT, Id, KIND_BITS, Parent, Reader, Struct, kind, write_var,
};

/// Appends everything of a part but its content: the part of `whole`, which stands at `id`, that
/// begins `from` clocks into it, as content of `kind`.
pub(super) fn write_head(out: &mut Vec<u8>, id: Id, whole: &Struct<'_>, from: u32, kind: u8) {
    let mut info = whole.info & !KIND_BITS | kind;
    if from > 0 {
        info |= HAS_ORIGIN;
    }
    info = plain(info);
    out.push(info);
    if let Some(origin) = origin(id, whole, from) {
        write_id(out, origin);
    }
    if let Some(right) = whole.right {
        write_id(out, right);
    }
    if info & (HAS_ORIGIN | HAS_RIGHT) == 0 {
        match whole.parent {
            Some(Parent::Root(name)) => {
                out.push(1);
                write_run(out, name);
            }
            Some(Parent::Item(parent)) => {
                out.push(0);
                write_id(out, parent);
            }
            None => {}
        }
        if let Some(key) = whole.key {
            write_run(out, key);
        }
    }
}

/// The info byte without the flag of a key that is not there: it says nothing in an item with
/// origins, and some peers set it and others do not.
pub(super) const fn plain(info: u8) -> u8 {
    if info & (HAS_ORIGIN | HAS_RIGHT) == 0 {
        info
    } else {
        info & !HAS_KEY
    }
}

/// The origin of a part.
pub(super) fn origin(id: Id, whole: &Struct<'_>, from: u32) -> Option<Id> {
    if from == 0 {
        return whole.origin;
    }
    Some(Id {
        client: id.client,
        clock: id.clock + from - 1,
    })
}

/// Appends the part `clocks` of `whole`, which stands at `id`.
pub(super) fn write(out: &mut Vec<u8>, id: Id, whole: &Struct<'_>, clocks: Range<u32>) {
    if clocks == (0..whole.len) {
        out.extend_from_slice(whole.raw);
        return;
    }
    let kind = whole.kind();
    let len = clocks.end - clocks.start;
    if kind == kind::GC || kind == kind::SKIP {
        write_flat(out, kind, len);
        return;
    }
    write_head(out, id, whole, clocks.start, kind);
    match kind {
        kind::STRING => {
            let mut text = Vec::new();
            write_content(&mut text, whole, clocks);
            write_run(out, &text);
        }
        kind::DELETED => write_var(out, len.into()),
        _ => {
            write_var(out, len.into());
            write_content(out, whole, clocks);
        }
    }
}

/// Appends a struct that is nothing but its length.
pub(super) fn write_flat(out: &mut Vec<u8>, kind: u8, len: u32) {
    out.push(kind);
    write_var(out, len.into());
}

/// Appends a part's content without the length or count before it: characters or values.
pub(super) fn write_content(out: &mut Vec<u8>, whole: &Struct<'_>, clocks: Range<u32>) {
    let mut reader = Reader::new(whole.content, 0);
    if whole.kind() == kind::STRING {
        let text = reader.run().unwrap_or_default();
        write_text(out, text, whole.len, clocks);
    } else {
        // The content has been checked, so nothing in it can fail to be read.
        let _ = reader.count();
        let end = if clocks.end == whole.len {
            whole.content.len()
        } else {
            let mut ahead = reader;
            ahead.skip_values(whole.kind(), clocks.end);
            ahead.at
        };
        reader.skip_values(whole.kind(), clocks.start);
        out.extend_from_slice(&whole.content[reader.at..end]);
    }
}

fn write_text(out: &mut Vec<u8>, text: &[u8], units: u32, clocks: Range<u32>) {
    const REPLACEMENT: &[u8] = "\u{fffd}".as_bytes();
    let (mut start, split) = cut(text, units, clocks.start);
    if split {
        out.extend_from_slice(REPLACEMENT);
        start += 4;
    }
    let (end, split) = cut(text, units, clocks.end);
    if start < end {
        out.extend_from_slice(&text[start..end]);
    }
    if split {
        out.extend_from_slice(REPLACEMENT);
    }
}

/// Where in `text`, which has `units` UTF-16 units, unit `at` begins; with `true`, where the
/// character begins of which it is the second half.
fn cut(text: &[u8], units: u32, at: u32) -> (usize, bool) {
    if at >= units {
        return (text.len(), false);
    }
    if text.len() == units as usize {
        return (at as usize, false);
    }
    let mut unit = 0;
    let mut byte = 0;
    while unit < at {
        let (bytes, wide) = match text[byte] {
            0..0x80 => (1, 1),
            0x80..0xe0 => (2, 1),
            0xe0..0xf0 => (3, 1),
            0xf0.. => (4, 2),
        };
        if unit + wide > at {
            return (byte, true);
        }
        unit += wide;
        byte += bytes;
    }
    (byte, false)
}

fn write_id(out: &mut Vec<u8>, id: Id) {
    write_var(out, id.client);
    write_var(out, id.clock.into());
}

pub(super) fn write_run(out: &mut Vec<u8>, bytes: &[u8]) {
    write_var(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn string(text: &str) -> Vec<u8> {
        let mut bytes = vec![kind::STRING, 1, 1, b'r'];
        write_run(&mut bytes, text.as_bytes());
        bytes
    }

    #[test]
    fn the_parts_of_a_string_are_the_string() {
        let text = "aü女😀b";
        let bytes = string(text);
        let whole = Reader::new(&bytes, 0).structure::<true>().unwrap();
        let id = Id {
            client: 5,
            clock: 10,
        };
        for at in 1..whole.len {
            let mut parts = Vec::new();
            for clocks in [0..at, at..whole.len] {
                let mut part = Vec::new();
                write(&mut part, id, &whole, clocks.clone());
                let read = Reader::new(&part, 0).structure::<true>().unwrap();
                assert_eq!(read.len, clocks.end - clocks.start, "{at}");
                assert_eq!(read.raw.len(), part.len());
                if clocks.start > 0 {
                    let origin = Id {
                        client: 5,
                        clock: 9 + at,
                    };
                    assert_eq!((read.origin, read.parent), (Some(origin), None));
                }
                parts.extend_from_slice(Reader::new(read.content, 0).run().unwrap());
            }
            let expected = if at == 4 {
                "aü女\u{fffd}\u{fffd}b"
            } else {
                text
            };
            assert_eq!(String::from_utf8(parts).unwrap(), expected, "{at}");
        }
    }

    #[test]
    fn the_parts_of_values_are_the_values() {
        let values = [&[125, 1][..], &[119, 1, b'x'], &[117, 2, 126, 127], &[120]];
        let bytes = [&[kind::ANY | HAS_ORIGIN, 7, 3, 4], &values.concat()[..]].concat();
        let whole = Reader::new(&bytes, 0).structure::<true>().unwrap();
        assert_eq!(whole.len, 4);
        let id = Id {
            client: 5,
            clock: 0,
        };
        for from in 0..4 {
            for to in from + 1..=4 {
                let mut part = Vec::new();
                write(&mut part, id, &whole, from..to);
                let read = Reader::new(&part, 0).structure::<true>().unwrap();
                assert_eq!(read.len, to - from);
                let mut content = Vec::new();
                write_content(&mut content, &read, 0..read.len);
                assert_eq!(content, values[from as usize..to as usize].concat());
            }
        }
    }
}
