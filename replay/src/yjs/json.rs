//! Checking that a string is a JSON text (RFC 8259), without building anything from it.
//!
//! Clients hand such strings to `JSON.parse` and fail as a whole if it throws, so the grammar is
//! checked to the letter. Escaped lone surrogates are let through: `JSON.stringify` writes them.

use super::limits::MAX_NESTING;

/// Checks that `text`, which is UTF-8, is one JSON text; else says what is wrong with it.
pub(super) fn check(text: &[u8]) -> Result<(), &'static str> {
    let mut parser = Parser { text, at: 0 };
    parser.value(1)?;
    parser.space();
    if parser.at == text.len() {
        Ok(())
    } else {
        Err(BAD)
    }
}

const BAD: &str = "a string that should be JSON is not";

struct Parser<'a> {
    text: &'a [u8],
    at: usize,
}

impl Parser<'_> {
    fn value(&mut self, depth: usize) -> Result<(), &'static str> {
        if depth > MAX_NESTING {
            return Err("values are nested too deep");
        }
        self.space();
        match self.peek() {
            Some(b'"') => self.string(),
            Some(b'{') => self.list(b'}', |parser| {
                parser.space();
                parser.string()?;
                parser.space();
                parser.expect(b":")?;
                parser.value(depth + 1)
            }),
            Some(b'[') => self.list(b']', |parser| parser.value(depth + 1)),
            Some(b't') => self.expect(b"true"),
            Some(b'f') => self.expect(b"false"),
            Some(b'n') => self.expect(b"null"),
            _ => self.number(),
        }
    }

    /// What stands between an opening bracket, at which the parser is, and `close`.
    fn list(
        &mut self,
        close: u8,
        mut element: impl FnMut(&mut Self) -> Result<(), &'static str>,
    ) -> Result<(), &'static str> {
        self.at += 1;
        self.space();
        if self.eat(close) {
            return Ok(());
        }
        loop {
            element(self)?;
            self.space();
            if self.eat(close) {
                return Ok(());
            }
            self.expect(b",")?;
        }
    }

    fn string(&mut self) -> Result<(), &'static str> {
        self.expect(b"\"")?;
        loop {
            match self.peek().ok_or(BAD)? {
                b'"' => {
                    self.at += 1;
                    return Ok(());
                }
                b'\\' => {
                    self.at += 1;
                    let escape = self.peek().ok_or(BAD)?;
                    self.at += 1;
                    if escape == b'u' {
                        let digits = self.text.get(self.at..self.at + 4).ok_or(BAD)?;
                        if !digits.iter().all(u8::is_ascii_hexdigit) {
                            return Err(BAD);
                        }
                        self.at += 4;
                    } else if !b"\"\\/bfnrt".contains(&escape) {
                        return Err(BAD);
                    }
                }
                0..0x20 => return Err(BAD),
                _ => self.at += 1,
            }
        }
    }

    fn number(&mut self) -> Result<(), &'static str> {
        let start = self.at;
        self.eat(b'-');
        if !self.eat(b'0') {
            self.digits()?;
        }
        if self.eat(b'.') {
            self.digits()?;
        }
        if self.eat(b'e') || self.eat(b'E') {
            let _ = self.eat(b'+') || self.eat(b'-');
            self.digits()?;
        }
        let number = std::str::from_utf8(&self.text[start..self.at]);
        match number.ok().and_then(|number| number.parse::<f64>().ok()) {
            Some(number) if number.is_finite() => Ok(()),
            _ => Err("a number in JSON is out of range"),
        }
    }

    fn digits(&mut self) -> Result<(), &'static str> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at > start { Ok(()) } else { Err(BAD) }
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn expect(&mut self, word: &[u8]) -> Result<(), &'static str> {
        if self.text[self.at..].starts_with(word) {
            self.at += word.len();
            Ok(())
        } else {
            Err(BAD)
        }
    }

    fn eat(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_passes() {
        for text in [
            "null",
            " true ",
            "-0",
            "1.5e+3",
            "[]",
            "{}",
            r#"{"a":[1,{"b":"\u00e9\ud800\n"}],"":false}"#,
            "\"ü女😀\"",
        ] {
            assert_eq!(check(text.as_bytes()), Ok(()), "{text}");
        }
    }

    #[test]
    fn what_is_not_json_does_not() {
        for text in [
            "",
            "nul",
            "undefined",
            "01",
            "1.",
            ".5",
            "+1",
            "1e",
            "[1,]",
            "[1 2]",
            "{a:1}",
            "{\"a\"}",
            "{\"a\":1,}",
            "\"",
            "\"\\x\"",
            "\"\\u12g4\"",
            "\"\n\"",
            "1 2",
            "NaN",
            "1e999",
            "[",
            "{",
            "-",
        ] {
            assert!(check(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn nesting_ends_before_the_stack_does() {
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            let nested = |depth| [&open.repeat(depth), "1", &close.repeat(depth)].concat();
            assert!(check(nested(MAX_NESTING - 1).as_bytes()).is_ok());
            assert!(check(nested(100_000).as_bytes()).is_err());
        }
    }
}
