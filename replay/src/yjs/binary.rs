//! Binary content in an update: bytes, or `data:` URLs that stand for bytes, where values stand.
//!
//! One walk over the contents of an update that has been checked. It keeps nothing while there is none,
//! and asks the document for nothing: where the content would stand is found out only once there is some.
//! Characters of a text are no values: they come one by one, and whoever writes about such a URL may.

use std::fmt::Write as _;

use super::kind;
use super::scan::{Id, Parent, Reader, Section, Struct};

/// The first binary content in an update.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Its clock.
    pub(super) id: Id,
    /// Where the update itself says that it stands; empty if it does not.
    pub(super) outside: String,
    /// Where in the value that has this clock.
    pub(super) inside: String,
}

/// Finds binary content whose clock is not `there` yet.
pub(super) fn find(
    update: &[u8],
    sections: &[Section],
    there: impl Fn(u64) -> u32,
) -> Option<Found> {
    for section in sections {
        let known = there(section.client);
        let mut reader = Reader::new(update, section.at);
        let mut clock = section.clock;
        for _ in 0..section.structs {
            let item = reader.structure::<false>().ok()?;
            let end = clock + item.len;
            if end > known
                && let Some((nth, inside)) = in_struct(&item, known.saturating_sub(clock))
            {
                let id = Id {
                    client: section.client,
                    clock: clock + nth,
                };
                let outside = outside(&item);
                return Some(Found {
                    id,
                    outside,
                    inside,
                });
            }
            clock = end;
        }
    }
    None
}

/// Which of a struct's clocks, the first `known` aside, holds binary content, and where in its value.
fn in_struct(item: &Struct<'_>, known: u32) -> Option<(u32, String)> {
    let mut reader = Reader::new(item.content, 0);
    let in_json = |json: &[u8]| json_has_data(json).then(|| (0, String::new()));
    match item.kind() {
        kind::BINARY => Some((0, String::new())),
        kind::ANY => {
            let values = reader.count().ok()? as u32;
            (0..values).find_map(|nth| Some((nth, any(&mut reader)?)).filter(|_| nth >= known))
        }
        kind::EMBED => in_json(reader.run().ok()?),
        kind::FORMAT => {
            reader.run().ok()?;
            in_json(reader.run().ok()?)
        }
        kind::JSON => {
            let values = reader.count().ok()? as u32;
            (0..values).find_map(|nth| {
                let found = json_has_data(reader.run().ok()?) && nth >= known;
                found.then(|| (nth, String::new()))
            })
        }
        kind::DOC => {
            reader.run().ok()?;
            Some((0, any(&mut reader)?))
        }
        _ => None,
    }
}

/// A step into a value.
enum Step<'a> {
    Key(&'a [u8]),
    Index(usize),
}

/// Reads a value to its end, and gives where in it binary content stands.
fn any(reader: &mut Reader<'_>) -> Option<String> {
    let mut steps = Vec::new();
    if !descend(reader, &mut steps)? {
        return None;
    }
    let mut path = String::new();
    for step in steps.iter().rev() {
        match step {
            Step::Key(key) => push_key(&mut path, key),
            Step::Index(index) => push_index(&mut path, *index),
        }
    }
    Some(path)
}

/// Reads a value of lib0's "any" encoding to its end. Whether there is binary content in it; then `steps`
/// are those that lead there, the last one first.
fn descend<'a>(reader: &mut Reader<'a>, steps: &mut Vec<Step<'a>>) -> Option<bool> {
    let mut found = false;
    let mut inner = |reader: &mut Reader<'a>, step| {
        if found {
            return descend(reader, &mut Vec::new()).map(|_| ());
        }
        found = descend(reader, steps)?;
        if found {
            steps.push(step);
        }
        Some(())
    };
    match reader.byte().ok()? {
        125 => drop(reader.signed().ok()?),
        124 => drop(reader.array::<4>().ok()?),
        123 | 122 => drop(reader.array::<8>().ok()?),
        119 => return Some(is_data(reader.run().ok()?)),
        118 => {
            for _ in 0..reader.count().ok()? {
                let key = reader.run().ok()?;
                inner(reader, Step::Key(key))?;
            }
        }
        117 => {
            for index in 0..reader.count().ok()? {
                inner(reader, Step::Index(index))?;
            }
        }
        116 => {
            reader.run().ok()?;
            return Some(true);
        }
        _ => {}
    }
    Some(found)
}

/// Where a struct says that it stands.
fn outside(item: &Struct<'_>) -> String {
    let mut path = String::new();
    if let Some(Parent::Root(name)) = item.parent {
        path.push_str(&String::from_utf8_lossy(name));
    }
    if let Some(key) = item.key {
        push_key(&mut path, key);
    }
    path
}

/// Appends a key to a path, as JavaScript would write it.
pub(super) fn push_key(path: &mut String, key: &[u8]) {
    let key = String::from_utf8_lossy(key);
    let plain = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
    if key.is_empty() || !key.chars().all(plain) {
        let _ = write!(path, "[{key:?}]");
    } else {
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(&key);
    }
}

/// Appends an index to a path.
pub(super) fn push_index(path: &mut String, index: usize) {
    let _ = write!(path, "[{index}]");
}

/// Whether any string of a JSON text that has been checked is a data URL of bytes.
fn json_has_data(json: &[u8]) -> bool {
    let mut rest = json;
    while let Some(open) = rest.iter().position(|byte| *byte == b'"') {
        rest = &rest[open + 1..];
        let mut end = 0;
        while end < rest.len() && rest[end] != b'"' {
            end += 1 + usize::from(rest[end] == b'\\');
        }
        let string = &rest[..end.min(rest.len())];
        let begins = matches!(string.first(), Some(b'd' | b'D' | b'\\' | b' '));
        if begins && is_data(&unescaped(string)) {
            return true;
        }
        rest = rest.get(end + 1..).unwrap_or_default();
    }
    false
}

/// The characters of a JSON string, as far as they are ASCII; others as they stand, or as `?`.
fn unescaped(string: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(string.len());
    let mut bytes = string.iter().copied();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        out.push(match bytes.next() {
            Some(b'u') => {
                let digits = bytes.by_ref().take(4);
                let unit = digits.fold(0, |unit, digit| {
                    unit << 4 | char::from(digit).to_digit(16).unwrap_or_default()
                });
                u8::try_from(unit).unwrap_or(b'?')
            }
            Some(b't') => b'\t',
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b'b' | b'f') => b' ',
            Some(other) => other,
            None => break,
        });
    }
    out
}

/// Whether a string is a `data:` URL of an image, a sound, a film, or anything in base64, as a browser
/// reads it (URL Standard): blanks around it and line ends within are nothing.
fn is_data(string: &[u8]) -> bool {
    let string = string.trim_ascii_start();
    // Most strings end here.
    if !matches!(string.first(), Some(b'd' | b'D')) {
        return false;
    }
    let head = string
        .split(|byte| *byte == b',')
        .next()
        .unwrap_or_default();
    let visible = head.iter().filter(|byte| !b"\t\n\r".contains(byte));
    let head: Vec<u8> = visible.map(u8::to_ascii_lowercase).collect();
    let Some(media) = head.strip_prefix(b"data:") else {
        return false;
    };
    let media = media.trim_ascii();
    let blob = [&b"image/"[..], b"audio/", b"video/"];
    blob.iter().any(|kind| media.starts_with(kind)) || media.ends_with(b"base64")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_urls_are_known_however_they_are_written() {
        for url in [
            "data:image/png;base64,AAAA",
            "DATA:Image/SVG+XML,%3Csvg",
            "  da\nta:video/mp4,x",
            "data: application/zip ; base64,UEs",
            "data:;base64,AA",
        ] {
            assert!(is_data(url.as_bytes()), "{url}");
            let json = serde_json::json!({ "a": [1, { "image": url }] });
            assert!(json_has_data(json.to_string().as_bytes()), "{url}");
        }
        assert!(json_has_data(br#"["\ud800","\u0064ata:image\/png,x"]"#));
        for other in [
            "",
            "data",
            "data:text/plain,hello",
            "see data:image/png;base64,AAAA",
            "database64",
            "https://example.org/data:image/png",
        ] {
            assert!(!is_data(other.as_bytes()), "{other}");
            let json = serde_json::json!([other, "\\", "\""]);
            assert!(!json_has_data(json.to_string().as_bytes()), "{other}");
        }
    }
}
