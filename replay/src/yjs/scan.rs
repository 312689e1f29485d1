//! Reading the Yjs update encoding, version 1, from a hostile peer.
//!
//! ```text
//! update    varUint clients, section*, deletes
//! section   varUint structs, varUint client, varUint clock, struct*
//! struct    u8 info; the low five bits are its kind
//!   0       varUint len                       collected: was deleted with its parent
//!   10      varUint len                       skipped: nothing is said about these clocks
//!   1–9     [origin] [right origin] [parent [key]] content
//! deletes   varUint clients, (varUint client, varUint ranges, (varUint clock, varUint len)*)*
//! ```
//! An id is `varUint client, varUint clock`. A parent, and a key when info says so, stand only in
//! an item without origins; one with an origin belongs where that belongs.
//!
//! [`check`] walks a whole update once, keeps nothing but where its sections are, and refuses
//! whatever Yjs 13.6 would choke on or never writes. It recurses no deeper than [`MAX_NESTING`],
//! believes no length beyond the bytes that are there, and lets no clock pass [`MAX_CLOCK`]. Bytes
//! after the deletes are ignored, as Yjs ignores them.
//!
//! What a struct refers to, and whether that makes sense, is the ledger's to judge.

use std::cmp::Reverse;

use super::json;
use super::limits::{MAX_CLIENTS, MAX_CLOCK, MAX_NESTING};

/// Why bytes are not an update, and at which of them that shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fault {
    /// Offset in the update.
    pub(super) at: usize,
    /// What is wrong there.
    pub(super) what: &'static str,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "byte {}: {}", self.at, self.what)
    }
}

/// One client's structs in an update.
#[derive(Debug, Clone, Copy)]
pub(super) struct Section {
    /// The client.
    pub(super) client: u64,
    /// The clock of the first struct.
    pub(super) clock: u32,
    /// How many structs there are.
    pub(super) structs: u32,
    /// Where the first struct begins.
    pub(super) at: usize,
    /// Where the last one ends.
    pub(super) end: usize,
}

/// Checks an update byte by byte. Fills `sections`, by falling client and without empty
/// ones, and returns where the deletes begin.
pub(super) fn check(bytes: &[u8], sections: &mut Vec<Section>) -> Result<usize, Fault> {
    sections.clear();
    let mut reader = Reader::new(bytes, 0);
    let clients = reader.count()?;
    if clients > MAX_CLIENTS {
        return reader.fault("more clients than an update may name");
    }
    for _ in 0..clients {
        let structs = reader.count()?;
        let client = reader.var()?;
        let clock = reader.clock()?;
        let at = reader.at;
        let mut end = clock;
        for _ in 0..structs {
            let len = reader.structure::<true>()?.len;
            end = end.saturating_add(len);
            if end > MAX_CLOCK {
                return reader.fault("a clock is over the limit");
            }
        }
        if end > clock {
            sections.push(Section {
                client,
                clock,
                structs: structs as u32,
                at,
                end: reader.at,
            });
        }
    }
    // Yjs writes them so.
    if !sections.is_sorted_by(|a, b| a.client > b.client) {
        sections.sort_unstable_by_key(|section| Reverse(section.client));
        if !sections.is_sorted_by(|a, b| a.client > b.client) {
            return reader.fault("a client has two sections");
        }
    }
    let deletes = reader.at;
    for_each_delete(bytes, deletes, |_, _, _| ())?;
    Ok(deletes)
}

/// Calls `each(client, clock, len)` for the deletes that begin at `at`; empty ranges are left out.
pub(super) fn for_each_delete(
    bytes: &[u8],
    at: usize,
    mut each: impl FnMut(u64, u32, u32),
) -> Result<(), Fault> {
    let mut reader = Reader::new(bytes, at);
    for _ in 0..reader.count()? {
        let client = reader.var()?;
        for _ in 0..reader.count()? {
            let clock = reader.clock()?;
            let len = reader.clock()?;
            if u64::from(clock) + u64::from(len) > u64::from(MAX_CLOCK) {
                return reader.fault("a clock is over the limit");
            }
            if len > 0 {
                each(client, clock, len);
            }
        }
    }
    Ok(())
}

/// Where a struct stands: a client's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Id {
    /// The client.
    pub(super) client: u64,
    /// Its clock.
    pub(super) clock: u32,
}

/// What an item without origins belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Parent<'a> {
    /// A root type, by name.
    Root(&'a [u8]),
    /// A nested type, by the item that holds it.
    Item(Id),
}

/// One struct as it stands in an update.
#[derive(Debug, Clone, Copy)]
pub(super) struct Struct<'a> {
    /// How many clocks it takes.
    pub(super) len: u32,
    /// Its first byte: [`kind`](Self::kind) and which of the following there are.
    pub(super) info: u8,
    /// The clock it was written after.
    pub(super) origin: Option<Id>,
    /// The clock it was written before.
    pub(super) right: Option<Id>,
    /// Its parent, if it has no origins.
    pub(super) parent: Option<Parent<'a>>,
    /// Its key in its parent, if it has no origins and is an entry.
    pub(super) key: Option<&'a [u8]>,
    /// Its content.
    pub(super) content: &'a [u8],
    /// All of it.
    pub(super) raw: &'a [u8],
}

impl Struct<'_> {
    /// Which kind it is: one of the constants of [`kind`].
    pub(super) const fn kind(&self) -> u8 {
        self.info & KIND_BITS
    }
}

/// Kinds of structs.
pub(super) mod kind {
    pub(crate) const GC: u8 = 0;
    pub(crate) const DELETED: u8 = 1;
    pub(crate) const JSON: u8 = 2;
    pub(crate) const BINARY: u8 = 3;
    pub(crate) const STRING: u8 = 4;
    pub(crate) const EMBED: u8 = 5;
    pub(crate) const FORMAT: u8 = 6;
    pub(crate) const TYPE: u8 = 7;
    pub(crate) const ANY: u8 = 8;
    pub(crate) const DOC: u8 = 9;
    pub(crate) const SKIP: u8 = 10;
}

/// The bits of a struct's info that are its kind.
pub(super) const KIND_BITS: u8 = 0x1f;
/// Info: an origin follows.
pub(super) const HAS_ORIGIN: u8 = 0x80;
/// Info: a right origin follows.
pub(super) const HAS_RIGHT: u8 = 0x40;
/// Info: the item is an entry; its key follows if its parent does.
pub(super) const HAS_KEY: u8 = 0x20;

/// Types that Yjs 13.6 knows: array, map, text, XML element, XML fragment, XML hook, XML text.
const TYPES: u64 = 7;
/// Types that have a name.
const NAMED_TYPES: [u64; 2] = [3, 5];
/// The kind of an [object](Reader::any) among values.
const ANY_OBJECT: u8 = 118;

/// Reads bytes that may end anywhere.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    pub(super) at: usize,
}

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    pub(super) const fn fault<T>(&self, what: &'static str) -> Result<T, Fault> {
        Err(Fault { at: self.at, what })
    }

    /// One struct. What `CHECK` leaves out is only what does not decide where things end, for
    /// bytes that have been checked before.
    #[inline]
    pub(super) fn structure<const CHECK: bool>(&mut self) -> Result<Struct<'a>, Fault> {
        let start = self.at;
        let mut read = self.head::<CHECK>()?;
        let content = self.at;
        read.len = self.content::<CHECK>(read.kind())?;
        read.content = &self.bytes[content..self.at];
        read.raw = &self.bytes[start..self.at];
        Ok(read)
    }

    /// What stands before a struct's content; the length is not known yet.
    #[inline]
    pub(super) fn head<const CHECK: bool>(&mut self) -> Result<Struct<'a>, Fault> {
        let info = self.byte()?;
        let mut read = Struct {
            len: 0,
            info,
            origin: None,
            right: None,
            parent: None,
            key: None,
            content: &[],
            raw: &[],
        };
        let kind = info & KIND_BITS;
        if kind == kind::GC || kind == kind::SKIP {
            if info != kind {
                return self.fault("a struct without content has origins");
            }
        } else if info & (HAS_ORIGIN | HAS_RIGHT) == 0 {
            read.parent = Some(match self.var()? {
                1 => Parent::Root(self.text::<CHECK>()?),
                0 => Parent::Item(self.id()?),
                _ => return self.fault("a parent is neither a root nor an item"),
            });
            if info & HAS_KEY != 0 {
                read.key = Some(self.text::<CHECK>()?);
            }
        } else {
            if info & HAS_ORIGIN != 0 {
                read.origin = Some(self.id()?);
            }
            if info & HAS_RIGHT != 0 {
                read.right = Some(self.id()?);
            }
        }
        Ok(read)
    }

    /// A struct's content; returns how many clocks it takes.
    #[inline]
    fn content<const CHECK: bool>(&mut self, kind: u8) -> Result<u32, Fault> {
        Ok(match kind {
            kind::GC | kind::SKIP | kind::DELETED => self.clock()?,
            kind::STRING => utf16_len(self.text::<CHECK>()?),
            kind::ANY => {
                let values = self.count()?;
                for _ in 0..values {
                    self.any::<CHECK>(1)?;
                }
                values as u32
            }
            kind::TYPE => {
                let type_ref = self.var()?;
                if type_ref >= TYPES {
                    return self.fault("a type that Yjs does not know");
                }
                if NAMED_TYPES.contains(&type_ref) {
                    self.text::<CHECK>()?;
                }
                1
            }
            kind::FORMAT => {
                self.text::<CHECK>()?;
                self.json::<CHECK>()?;
                1
            }
            kind::EMBED => {
                self.json::<CHECK>()?;
                1
            }
            kind::BINARY => {
                self.run()?;
                1
            }
            kind::DOC => {
                self.text::<CHECK>()?;
                if self.bytes.get(self.at) != Some(&ANY_OBJECT) {
                    return self.fault("a subdocument's options are no object");
                }
                self.any::<CHECK>(1)?;
                1
            }
            kind::JSON => {
                let values = self.count()?;
                for _ in 0..values {
                    let before = self.at;
                    if self.run()? != b"undefined" {
                        self.at = before;
                        self.json::<CHECK>()?;
                    }
                }
                values as u32
            }
            _ => return self.fault("a kind of content that Yjs does not know"),
        })
    }

    /// Passes over `values` values of content that has been checked.
    pub(super) fn skip_values(&mut self, kind: u8, values: u32) {
        for _ in 0..values {
            let _ = match kind {
                kind::JSON => self.run().map(|_| ()),
                _ => self.any::<false>(1),
            };
        }
    }

    /// A value of lib0's "any" encoding.
    fn any<const CHECK: bool>(&mut self, depth: usize) -> Result<(), Fault> {
        if depth > MAX_NESTING {
            return self.fault("values are nested too deep");
        }
        match self.byte()? {
            // Undefined, null, true, false.
            127 | 126 | 121 | 120 => {}
            125 => {
                self.signed()?;
            }
            124 => self.skip(4)?,
            123 | 122 => self.skip(8)?,
            119 => {
                self.text::<CHECK>()?;
            }
            ANY_OBJECT => {
                for _ in 0..self.count()? {
                    self.text::<CHECK>()?;
                    self.any::<CHECK>(depth + 1)?;
                }
            }
            117 => {
                for _ in 0..self.count()? {
                    self.any::<CHECK>(depth + 1)?;
                }
            }
            116 => {
                self.run()?;
            }
            _ => return self.fault("a kind of value that lib0 does not know"),
        }
        Ok(())
    }

    /// A JSON text in a string.
    fn json<const CHECK: bool>(&mut self) -> Result<(), Fault> {
        let start = self.at;
        let text = self.text::<CHECK>()?;
        if CHECK {
            json::check(text).map_err(|what| Fault { at: start, what })?;
        }
        Ok(())
    }

    /// A string: UTF-8 behind its length.
    #[inline]
    fn text<const CHECK: bool>(&mut self) -> Result<&'a [u8], Fault> {
        let run = self.run()?;
        if CHECK && !run.is_ascii() && std::str::from_utf8(run).is_err() {
            return self.fault("a string is not UTF-8");
        }
        Ok(run)
    }

    fn id(&mut self) -> Result<Id, Fault> {
        let client = self.var()?;
        let clock = self.clock()?;
        Ok(Id { client, clock })
    }

    /// Bytes behind their length.
    #[inline]
    pub(super) fn run(&mut self) -> Result<&'a [u8], Fault> {
        let len = self.var()?;
        let rest = &self.bytes[self.at..];
        match usize::try_from(len) {
            Ok(len) if len <= rest.len() => {
                self.at += len;
                Ok(&rest[..len])
            }
            _ => self.fault("a length is over what follows"),
        }
    }

    /// How many things follow, of which each takes at least a byte.
    #[inline]
    pub(super) fn count(&mut self) -> Result<usize, Fault> {
        let count = self.var()?;
        match usize::try_from(count) {
            Ok(count) if count <= self.bytes.len() - self.at => Ok(count),
            _ => self.fault("a count is over what follows"),
        }
    }

    /// A clock or a number of clocks.
    #[inline]
    pub(super) fn clock(&mut self) -> Result<u32, Fault> {
        match u32::try_from(self.var()?) {
            Ok(clock) if clock <= MAX_CLOCK => Ok(clock),
            _ => self.fault("a clock is over the limit"),
        }
    }

    /// A varUint of at most 53 bits.
    #[inline]
    pub(super) fn var(&mut self) -> Result<u64, Fault> {
        let mut number = 0;
        for shift in (0..=49).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return if number >> 53 == 0 {
                    Ok(number)
                } else {
                    self.fault("a number is over 2^53")
                };
            }
        }
        self.fault("a number is over 2^53")
    }

    /// A varInt of at most 53 bits.
    pub(super) fn signed(&mut self) -> Result<i64, Fault> {
        let first = self.byte()?;
        let high = if first < 0x80 { 0 } else { self.var()? };
        if high >> (53 - 6) != 0 {
            return self.fault("a number is over 2^53");
        }
        let number = (high << 6 | u64::from(first & 0x3f)) as i64;
        Ok(if first & 0x40 == 0 { number } else { -number })
    }

    /// So many bytes.
    pub(super) fn array<const LEN: usize>(&mut self) -> Result<[u8; LEN], Fault> {
        let start = self.at;
        self.skip(LEN)?;
        let mut array = [0; LEN];
        array.copy_from_slice(&self.bytes[start..self.at]);
        Ok(array)
    }

    fn skip(&mut self, len: usize) -> Result<(), Fault> {
        if len > self.bytes.len() - self.at {
            return self.fault("the update ends early");
        }
        self.at += len;
        Ok(())
    }

    #[inline]
    pub(super) fn byte(&mut self) -> Result<u8, Fault> {
        match self.bytes.get(self.at) {
            Some(byte) => {
                self.at += 1;
                Ok(*byte)
            }
            None => self.fault("the update ends early"),
        }
    }
}

/// Appends a varUint.
pub(super) fn write_var(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// How many UTF-16 units a UTF-8 string has: the clocks that a string takes.
pub(super) fn utf16_len(text: &[u8]) -> u32 {
    let units = |byte: &u8| u32::from(*byte & 0xc0 != 0x80) + u32::from(*byte >= 0xf0);
    text.iter().map(units).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(bytes: &[u8]) -> &'static str {
        check(bytes, &mut Vec::new()).unwrap_err().what
    }

    fn any(value: &[u8]) -> Vec<u8> {
        let mut bytes = vec![1, 1, 5, 0, kind::ANY, 1, 1, b'r', 1];
        bytes.extend_from_slice(value);
        bytes.push(0);
        bytes
    }

    #[test]
    fn an_empty_update_and_bytes_after_it_pass() {
        let mut sections = Vec::new();
        assert_eq!(check(&[0, 0], &mut sections), Ok(1));
        assert_eq!(check(&[0, 0, 1, 2, 3], &mut sections), Ok(1));
        assert!(sections.is_empty());
    }

    #[test]
    fn claims_are_not_believed() {
        assert_eq!(fault(&[0xff; 3]), "the update ends early");
        assert_eq!(fault(&[0xff; 9]), "a number is over 2^53");
        // 2^53 - 1 clients, then 2^40 structs.
        let huge = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f];
        assert_eq!(fault(&huge), "a count is over what follows");
        assert_eq!(
            fault(&[1, 0x80, 0x80, 0x80, 0x80, 0x80, 0x20, 1, 0]),
            "a count is over what follows"
        );
        for kind in [117, 118, 119, 116] {
            let value = [&[kind][..], &huge].concat();
            assert!(fault(&any(&value)).ends_with("over what follows"));
        }
    }

    #[test]
    fn nesting_ends_before_the_stack_does() {
        for (open, close) in [(&[117, 1][..], 127), (&[118, 1, 0], 127)] {
            let nested = |depth: usize| {
                let mut value = open.repeat(depth);
                value.push(close);
                any(&value)
            };
            assert!(check(&nested(MAX_NESTING - 1), &mut Vec::new()).is_ok());
            assert_eq!(fault(&nested(MAX_NESTING)), "values are nested too deep");
            assert_eq!(fault(&nested(100_000)), "values are nested too deep");
        }
    }

    #[test]
    fn clocks_stay_below_the_limit() {
        let max = [0xff, 0xff, 0xff, 0xff, 0x07];
        let with_len =
            |clock: &[u8], len: &[u8]| [&[1, 1, 5][..], clock, &[kind::GC], len, &[0]].concat();
        assert!(check(&with_len(&[0], &max), &mut Vec::new()).is_ok());
        assert_eq!(fault(&with_len(&[1], &max)), "a clock is over the limit");
        let over = [0x80, 0x80, 0x80, 0x80, 0x08];
        assert_eq!(fault(&with_len(&[0], &over)), "a clock is over the limit");
        let delete = [&[0, 1, 5, 1, 1][..], &max].concat();
        assert_eq!(fault(&delete), "a clock is over the limit");
    }

    #[test]
    fn what_yjs_does_not_know_is_refused() {
        assert_eq!(
            fault(&[1, 1, 5, 0, 0x80, 1, 0]),
            "a struct without content has origins"
        );
        for unknown in [11, 12, 16, 31] {
            let bytes = [1, 1, 5, 0, unknown, 1, 1, b'r', 1, 0];
            assert_eq!(fault(&bytes), "a kind of content that Yjs does not know");
        }
        for unknown in [7, 9, 15] {
            let bytes = [1, 1, 5, 0, kind::TYPE, 1, 1, b'r', unknown, 0];
            assert_eq!(fault(&bytes), "a type that Yjs does not know");
        }
        assert_eq!(
            fault(&[1, 1, 5, 0, kind::STRING, 1, 1, b'r', 1, 0xff, 0]),
            "a string is not UTF-8"
        );
        assert_eq!(
            fault(&[2, 1, 5, 0, kind::GC, 1, 1, 5, 1, kind::GC, 1, 0]),
            "a client has two sections"
        );
    }

    #[test]
    fn units_are_counted_as_javascript_does() {
        for text in ["", "abc", "ü", "女", "😀", "a😀ü女"] {
            assert_eq!(
                utf16_len(text.as_bytes()) as usize,
                text.encode_utf16().count()
            );
        }
    }
}
