//! The edit that makes one text of another: small, so that it merges with what others type.
//!
//! Lines are compared first, then the words of lines that differ, then the ends of words. Time is
//! bounded: what has not been compared by then is replaced as a whole.

use std::ops::Range;
use std::time::{Duration, Instant};

use similar::{Algorithm, DiffTag, capture_diff_slices_deadline};

/// How long texts are compared; a room's owner does nothing else meanwhile.
const MAX_TIME: Duration = Duration::from_millis(200);

/// A stretch of the old text, and what stands for it in the new one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Splice {
    /// The bytes of the old text that go.
    pub(super) old: Range<usize>,
    /// What comes instead.
    pub(super) new: String,
    /// Where: the byte of the new text. All earlier splices have been made when this one is.
    pub(super) at: usize,
}

/// A stretch that differs, in bytes of both texts.
type Stretch = (Range<usize>, Range<usize>);

/// What makes `new` of `old`, from the front to the back.
pub(super) fn splices(old: &str, new: &str) -> Vec<Splice> {
    let mut found = Vec::new();
    if old != new {
        let deadline = Instant::now() + MAX_TIME;
        let whole = (0..old.len(), 0..new.len());
        for stretch in compared(old, new, &whole, deadline, lines) {
            for part in compared(old, new, &stretch, deadline, words) {
                found.extend(trimmed(old, new, part));
            }
        }
    }
    let splices = found.into_iter().map(|(before, after)| Splice {
        old: before,
        new: new[after.clone()].to_owned(),
        at: after.start,
    });
    splices.collect()
}

/// The stretches that differ within one, token by token. Past the deadline what is left is one.
fn compared<'a, I: Iterator<Item = &'a str>>(
    old: &'a str,
    new: &'a str,
    (before, after): &Stretch,
    deadline: Instant,
    tokens: impl Fn(&'a str) -> I,
) -> Vec<Stretch> {
    let old: Vec<&str> = tokens(&old[before.clone()]).collect();
    let new: Vec<&str> = tokens(&new[after.clone()]).collect();
    let ops = capture_diff_slices_deadline(Algorithm::Myers, &old, &new, Some(deadline));
    let (mut at, mut to) = (before.start, after.start);
    let bytes = |tokens: &[&str]| tokens.iter().map(|token| token.len()).sum::<usize>();
    let mut found = Vec::new();
    for op in ops {
        let (before, after) = (at, to);
        at += bytes(&old[op.old_range()]);
        to += bytes(&new[op.new_range()]);
        if op.tag() != DiffTag::Equal {
            found.push((before..at, after..to));
        }
    }
    found
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive('\n')
}

/// Runs of letters and digits, runs of spaces, and all else one by one.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let first = rest.chars().next()?;
        let same: fn(char) -> bool = match first {
            c if c.is_alphanumeric() => char::is_alphanumeric,
            ' ' => |c| c == ' ',
            _ => |_| false,
        };
        let end = first.len_utf8();
        let end = rest[end..]
            .find(|c| !same(c))
            .map_or(rest.len(), |more| end + more);
        let (word, after) = rest.split_at(end);
        rest = after;
        Some(word)
    })
}

/// A stretch without what both sides have at its start and end; `None` if that is all.
fn trimmed(old: &str, new: &str, (before, after): Stretch) -> Option<Stretch> {
    let (a, b) = (&old[before.clone()], &new[after.clone()]);
    let pairs = a.chars().zip(b.chars());
    let start: usize = pairs
        .take_while(|(a, b)| a == b)
        .map(|(a, _)| a.len_utf8())
        .sum();
    let (a, b) = (&a[start..], &b[start..]);
    let pairs = a.chars().rev().zip(b.chars().rev());
    let end: usize = pairs
        .take_while(|(a, b)| a == b)
        .map(|(a, _)| a.len_utf8())
        .sum();
    let before = before.start + start..before.end - end;
    let after = after.start + start..after.end - end;
    (!before.is_empty() || !after.is_empty()).then_some((before, after))
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    fn made(old: &str, new: &str) -> Vec<Splice> {
        let splices = splices(old, new);
        let mut text = old.to_owned();
        for splice in &splices {
            let end = splice.at + splice.old.len();
            text.replace_range(splice.at..end, &splice.new);
        }
        assert_eq!(text, new);
        splices
    }

    #[test]
    fn an_edit_is_as_small_as_a_person_would_make_it() {
        let old = "first line\r\nthe quick brown fox\r\nlast\r\n";
        let new = "first line\r\nthe slow brown foxes\r\nlast\r\nmore\r\n";
        let splices = made(old, new);
        let told: Vec<_> = splices
            .iter()
            .map(|s| (&old[s.old.clone()], &s.new[..]))
            .collect();
        assert_eq!(told, [("quick", "slow"), ("", "es"), ("", "more\r\n")]);
        assert!(made(old, old).is_empty() && made("", "").is_empty());
        assert_eq!(made("", "\u{feff}x").len(), 1);
        assert_eq!(made("ééé", "éé").len(), 1);
    }

    #[test]
    fn whatever_the_texts_are_one_becomes_the_other() {
        for seed in 0..2_000 {
            let mut random = StdRng::seed_from_u64(seed);
            let mut text = |len: usize| -> String {
                let letters = ["a", "b", "é", "😀", " ", "\n", "\r\n", ".", "word"];
                (0..len)
                    .map(|_| letters[random.random_range(0..letters.len())])
                    .collect()
            };
            let (old, new) = (text(seed as usize % 60), text(seed as usize % 47));
            made(&old, &new);
            let half = old
                .chars()
                .take(old.chars().count() / 2)
                .collect::<String>();
            made(&old, &format!("{half}{new}"));
        }
    }

    /// Texts with nothing in common, of few words and of many, as long as a body may be.
    #[test]
    fn time_is_bounded() {
        for (words, end) in [(2, '\n'), (2, ' '), (50_000, '\n'), (1 << 30, ' ')] {
            let text = |seed| {
                let mut random = StdRng::seed_from_u64(seed);
                let mut text = String::new();
                while text.len() < 2 << 20 {
                    text.push_str(&random.random_range(0..words).to_string());
                    text.push(end);
                }
                text
            };
            let (old, new) = (text(1), text(2));
            let began = Instant::now();
            made(&old, &new);
            let took = began.elapsed();
            assert!(took.as_secs() < 5, "{words} words: {took:?}");
        }
    }
}
