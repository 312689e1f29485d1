//! Tells whether text is JSON (RFC 8259), without building anything.
//!
//! Presence passes through the server as text, and every browser parses everybody's: one session's
//! text that is no JSON would throw in all the others. Nesting is bounded too, because clients
//! compare states recursively.

use crate::limits::MAX_PRESENCE_DEPTH;

/// Checks that `text` is one JSON value.
pub(super) fn check(text: &str) -> Result<(), NotJson> {
    let mut scan = Scan {
        rest: text.as_bytes(),
    };
    // One bit for each open bracket, the innermost lowest: 1 is an object.
    let mut objects: u64 = 0;
    let mut depth = 0;
    loop {
        // Here a value must come.
        scan.skip_space();
        let mut opened = false;
        match scan.next()? {
            open @ (b'{' | b'[') => {
                depth += 1;
                if depth > MAX_PRESENCE_DEPTH {
                    return Err(NotJson::Depth);
                }
                objects = objects << 1 | u64::from(open == b'{');
                opened = true;
            }
            b'"' => scan.string()?,
            b't' => scan.word(b"rue")?,
            b'f' => scan.word(b"alse")?,
            b'n' => scan.word(b"ull")?,
            b'-' => {
                let first = scan.next()?;
                scan.number(first)?;
            }
            first => scan.number(first)?,
        }
        // Here a value has ended, or a bracket has just opened.
        loop {
            scan.skip_space();
            if depth == 0 {
                return scan.rest.is_empty().then_some(()).ok_or(NotJson::Syntax);
            }
            let in_object = objects & 1 == 1;
            match (scan.peek()?, opened) {
                (b'}', _) if in_object => {}
                (b']', _) if !in_object => {}
                (b',', false) => {
                    scan.next()?;
                    if in_object {
                        scan.key()?;
                    }
                    break;
                }
                (_, true) => {
                    if in_object {
                        scan.key()?;
                    }
                    break;
                }
                _ => return Err(NotJson::Syntax),
            }
            scan.next()?;
            depth -= 1;
            objects >>= 1;
            opened = false;
        }
    }
}

// One bit of a u64 remembers each open bracket.
const _: () = assert!(MAX_PRESENCE_DEPTH <= 64);

/// Why text is not JSON that we pass on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotJson {
    /// Not the grammar of RFC 8259.
    #[error("a state is not JSON")]
    Syntax,
    /// Too many brackets in one another.
    #[error("a state nests deeper than {MAX_PRESENCE_DEPTH}")]
    Depth,
}

struct Scan<'a> {
    rest: &'a [u8],
}

impl Scan<'_> {
    fn peek(&self) -> Result<u8, NotJson> {
        self.rest.first().copied().ok_or(NotJson::Syntax)
    }

    fn next(&mut self) -> Result<u8, NotJson> {
        let (&first, rest) = self.rest.split_first().ok_or(NotJson::Syntax)?;
        self.rest = rest;
        Ok(first)
    }

    fn skip_space(&mut self) {
        while let [b' ' | b'\t' | b'\n' | b'\r', rest @ ..] = self.rest {
            self.rest = rest;
        }
    }

    fn word(&mut self, word: &[u8]) -> Result<(), NotJson> {
        self.rest = self.rest.strip_prefix(word).ok_or(NotJson::Syntax)?;
        Ok(())
    }

    /// A member's name and the colon after it.
    fn key(&mut self) -> Result<(), NotJson> {
        self.skip_space();
        self.word(b"\"")?;
        self.string()?;
        self.skip_space();
        self.word(b":")
    }

    /// A string after its first quotation mark.
    fn string(&mut self) -> Result<(), NotJson> {
        loop {
            match self.next()? {
                b'"' => return Ok(()),
                b'\\' => match self.next()? {
                    b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => {}
                    b'u' => {
                        let (hex, rest) = self.rest.split_at_checked(4).ok_or(NotJson::Syntax)?;
                        if !hex.iter().all(u8::is_ascii_hexdigit) {
                            return Err(NotJson::Syntax);
                        }
                        self.rest = rest;
                    }
                    _ => return Err(NotJson::Syntax),
                },
                0..0x20 => return Err(NotJson::Syntax),
                _ => {}
            }
        }
    }

    /// A number after its first digit.
    fn number(&mut self, first: u8) -> Result<(), NotJson> {
        match first {
            b'0' => {}
            b'1'..=b'9' => self.skip_digits(),
            _ => return Err(NotJson::Syntax),
        }
        if let [b'.', rest @ ..] = self.rest {
            self.rest = rest;
            self.digits()?;
        }
        if let [b'e' | b'E', rest @ ..] = self.rest {
            self.rest = match rest {
                [b'+' | b'-', rest @ ..] => rest,
                rest => rest,
            };
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), NotJson> {
        if !self.next()?.is_ascii_digit() {
            return Err(NotJson::Syntax);
        }
        self.skip_digits();
        Ok(())
    }

    fn skip_digits(&mut self) {
        while let [b'0'..=b'9', rest @ ..] = self.rest {
            self.rest = rest;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn json_passes() {
        for text in [
            "null",
            " {\"a\" : [1, -0.5e+10, {}, [ ], \"\\u00e4\\n\\\"\"], \"\": true}\r\n",
            "0",
            "[[],[]]",
            "\"\\ud800\"",
        ] {
            assert_eq!(check(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn what_is_no_json_does_not() {
        for text in [
            "",
            " ",
            "{",
            "[1,]",
            "{\"a\":1,}",
            "{,}",
            "[,]",
            "{a:1}",
            "{\"a\"}",
            "01",
            "1.",
            "-",
            "1e",
            "nul",
            "nullx",
            "1 2",
            "\"\n\"",
            "\"\\x\"",
            "\"\\u12g4\"",
            "\"",
            "]",
            "[}",
            "{]",
            "[1 2]",
            "NaN",
            "'a'",
            "+1",
            ".5",
        ] {
            assert_eq!(check(text), Err(NotJson::Syntax), "{text}");
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |n: usize| "[".repeat(n) + &"]".repeat(n);
        assert_eq!(check(&nested(MAX_PRESENCE_DEPTH)), Ok(()));
        assert_eq!(check(&nested(MAX_PRESENCE_DEPTH + 1)), Err(NotJson::Depth));
        assert_eq!(check(&"[".repeat(10_000)), Err(NotJson::Depth));
    }

    fn agrees_with_serde_json(text: &str) {
        let ours = check(text);
        if ours != Err(NotJson::Depth) {
            let theirs = serde_json::from_str::<serde::de::IgnoredAny>(text);
            assert_eq!(ours.is_ok(), theirs.is_ok(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_judged_as_serde_json_judges_it(text: String) {
            agrees_with_serde_json(&text);
        }

        #[test]
        fn text_like_json_is_judged_as_serde_json_judges_it(
            text in r#"([\[\]{},: ]|"[a\\u0"]{0,3}"|"a":|-?[0-9.eE+-]{1,4}|true|null|\\u00e){0,12}"#
        ) {
            agrees_with_serde_json(&text);
        }
    }
}
