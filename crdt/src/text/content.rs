//! Every character ever inserted, in order of arrival: append-only, never moved.
//!
//! The engine counts characters (code points) by `n`, their number in order of arrival. As long as
//! all are ASCII, `n` is also the byte offset. From the first character that is not, `marks` holds
//! the byte offset of every 64th character.

/// The highest bit of each of eight bytes, and the lowest.
const HIGH: u64 = 0x8080_8080_8080_8080;
const LOW: u64 = HIGH >> 7;

/// How many characters lie between two marks.
const STRIDE: u32 = 64;

/// Lengths that differ from the number of characters: what to add for bytes and for UTF-16 units,
/// and how many lines end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Extra {
    /// Bytes beyond one per character.
    pub bytes: u32,
    /// UTF-16 units beyond one per character.
    pub units: u32,
    /// Line feeds.
    pub lines: u32,
}

impl Extra {
    pub(super) fn of(text: &str) -> Self {
        let mut extra = Self::default();
        let (words, rest) = text.as_bytes().as_chunks::<8>();
        for word in words {
            // Eight bytes at a time, each judged by its highest bit: browsers have no wider registers.
            let word = u64::from_le_bytes(*word);
            let (second, third, fourth) = (word << 1, word << 2, word << 3);
            let feed = word ^ (LOW * u64::from(b'\n'));
            let others = ((feed & !HIGH) + !HIGH) | feed;
            extra.bytes += (word & !second & HIGH).count_ones();
            extra.units += (word & second & third & fourth & HIGH).count_ones();
            extra.lines += (!others & HIGH).count_ones();
        }
        for &byte in rest {
            extra.bytes += u32::from(byte & 0xC0 == 0x80);
            extra.units += u32::from(byte >= 0xF0);
            extra.lines += u32::from(byte == b'\n');
        }
        extra
    }

    pub(super) fn add(&mut self, other: Self) {
        self.bytes = self.bytes.wrapping_add(other.bytes);
        self.units = self.units.wrapping_add(other.units);
        self.lines = self.lines.wrapping_add(other.lines);
    }

    pub(super) fn sub(&mut self, other: Self) {
        self.bytes = self.bytes.wrapping_sub(other.bytes);
        self.units = self.units.wrapping_sub(other.units);
        self.lines = self.lines.wrapping_sub(other.lines);
    }
}

/// The characters.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    text: String,
    chars: u32,
    /// The byte offset of every 64th character; empty while all are ASCII.
    marks: Vec<u32>,
    /// Whether anyone wants to know of lines.
    lines: bool,
}

impl Content {
    pub(super) fn new(text: String) -> Self {
        let mut content = Self::default();
        if text.is_ascii() {
            content.chars = text.len() as u32;
            content.text = text;
        } else {
            content.push(&text);
        }
        content
    }

    pub(super) fn is_ascii(&self) -> bool {
        self.text.len() == self.chars as usize
    }

    pub(super) fn chars(&self) -> u32 {
        self.chars
    }

    pub(super) fn bytes(&self) -> usize {
        self.text.len()
    }

    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    /// Appends, and returns how many characters were appended.
    #[inline]
    pub(super) fn push(&mut self, text: &str) -> u32 {
        if let [byte] = *text.as_bytes()
            && self.marks.is_empty()
        {
            // One byte by itself is ASCII.
            self.text.push(char::from(byte));
            self.chars += 1;
            return 1;
        }
        if self.marks.is_empty() && text.is_ascii() {
            self.text.push_str(text);
            self.chars += text.len() as u32;
            return text.len() as u32;
        }
        self.push_wide(text)
    }

    fn push_wide(&mut self, text: &str) -> u32 {
        if self.marks.is_empty() {
            self.marks = (0..self.chars.div_ceil(STRIDE))
                .map(|mark| mark * STRIDE)
                .collect();
        }
        let before = self.chars;
        let mut at = self.text.len();
        self.text.push_str(text);
        while let Some(bytes) = self.text.as_bytes().get(at..)
            && !bytes.is_empty()
        {
            if self.chars.is_multiple_of(STRIDE) {
                self.marks.push(at as u32);
            }
            let (bytes, chars) = ahead(bytes, STRIDE - self.chars % STRIDE);
            at += bytes;
            self.chars += chars;
        }
        self.chars - before
    }

    /// The byte offset of the character `n`, or of the end.
    #[inline]
    pub(super) fn byte_of(&self, n: u32) -> usize {
        if self.is_ascii() {
            return n as usize;
        }
        self.byte_of_wide(n)
    }

    fn byte_of_wide(&self, n: u32) -> usize {
        if n >= self.chars {
            return self.text.len();
        }
        let mark = (n / STRIDE) as usize;
        let start = self.marks.get(mark).map_or(0, |mark| *mark as usize);
        let next = self.marks.get(mark + 1).map(|next| *next as usize);
        let (end, chars) = match next {
            Some(next) => (next, STRIDE),
            None => (self.text.len(), self.chars - mark as u32 * STRIDE),
        };
        if end - start == chars as usize {
            // All of this stretch is ASCII.
            return start + (n % STRIDE) as usize;
        }
        forward(&self.text.as_bytes()[start..], n % STRIDE) + start
    }

    /// The characters `n..n + len`.
    #[inline]
    pub(super) fn slice(&self, n: u32, len: u32) -> &str {
        let start = self.byte_of(n);
        let end = if self.is_ascii() {
            start + len as usize
        } else if len < STRIDE {
            start + forward(&self.text.as_bytes()[start..], len)
        } else {
            self.byte_of_wide(n + len)
        };
        // Always there; a slice that might panic would be a fiftieth of what browsers fetch.
        let text = self.text.get(start..end);
        debug_assert!(
            text.is_some(),
            "{n} and {len} more are not characters of it"
        );
        text.unwrap_or_default()
    }

    /// What these characters have beyond one each; lines only if they are counted.
    pub(super) fn extra(&self, n: u32, len: u32) -> Extra {
        let text = self.slice(n, len);
        if self.lines {
            return Extra::of(text);
        }
        if text.len() == len as usize {
            return Extra::default();
        }
        Extra {
            lines: 0,
            ..Extra::of(text)
        }
    }

    /// How many lines end in these characters.
    pub(super) fn line_feeds(&self, n: u32, len: u32) -> u32 {
        Extra::of(self.slice(n, len)).lines
    }

    pub(super) fn counts_lines(&self) -> bool {
        self.lines
    }

    pub(super) fn count_lines(&mut self) {
        self.lines = true;
    }

    pub(super) fn shrink(&mut self) {
        self.text.shrink_to_fit();
        self.marks.shrink_to_fit();
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.text.capacity() + self.marks.capacity() * 4
    }
}

/// What is left of a text after its first `count` characters.
pub(super) fn skip(text: &str, count: u32) -> &str {
    text.get(forward(text.as_bytes(), count)..)
        .unwrap_or_default()
}

/// How many characters a text has.
pub(super) fn count(text: &str) -> usize {
    text.bytes().filter(|byte| byte & 0xC0 != 0x80).count()
}

/// The byte offset of the character `count` characters after the start of `bytes`, which are UTF-8.
fn forward(bytes: &[u8], count: u32) -> usize {
    ahead(bytes, count).0
}

/// How many bytes the first `count` characters of `bytes`, which are UTF-8, have; and how many
/// characters these are, as there may be fewer.
fn ahead(bytes: &[u8], count: u32) -> (usize, u32) {
    let most = bytes.get(..count as usize).unwrap_or(bytes);
    if most.is_ascii() {
        return (most.len(), most.len() as u32);
    }
    let mut chars = 0;
    for (offset, &byte) in bytes.iter().enumerate() {
        if byte & 0xC0 != 0x80 {
            if chars == count {
                return (offset, chars);
            }
            chars += 1;
        }
    }
    (bytes.len(), chars)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_right_before_and_after_the_first_wide_character() {
        let mut content = Content::default();
        let mut model: Vec<char> = Vec::new();
        for piece in [
            "plain ",
            "é",
            "日本語",
            "😀x",
            "tail",
            "ß".repeat(200).as_str(),
            "z",
        ] {
            for _ in 0..17 {
                assert_eq!(content.push(piece) as usize, piece.chars().count());
                model.extend(piece.chars());
            }
            for n in (0..model.len()).step_by(13) {
                for len in [0, 1, 3, 80] {
                    let end = (n + len).min(model.len());
                    let expected: String = model[n..end].iter().collect();
                    assert_eq!(content.slice(n as u32, (end - n) as u32), expected);
                }
            }
        }
        for piece in [
            "",
            "\n",
            "plain\n\ntext\n",
            "naïve café\n日本語 😀😀 ß\n",
            "\u{b}\t\u{8a}\u{10ffff}",
        ] {
            for text in (0..=3).map(|times| piece.repeat(times)) {
                let chars = text.chars().count();
                let units = text.encode_utf16().count() - chars;
                let lines = text.matches('\n').count();
                let expected = [text.len() - chars, units, lines].map(|number| number as u32);
                let extra = Extra::of(&text);
                assert_eq!(
                    [extra.bytes, extra.units, extra.lines],
                    expected,
                    "{text:?}"
                );
            }
        }
        assert_eq!(
            Extra::of("é😀\n"),
            Extra {
                bytes: 4,
                units: 1,
                lines: 1
            }
        );
    }
}
