//! Naming a moment of a room's past: a Seq, a time, or now.
//!
//! "As of T" is the record with the greatest Seq whose time is at or before T; before the first
//! record that is nothing, and after the last it is the tail. A number names a Seq, unless it is so
//! large that only a time in Unix milliseconds can be meant.

use std::fmt;
use std::str::FromStr;

use protocol::{Seq, Timestamp};

/// A moment of a room's past.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// After the record with this Seq.
    Seq(Seq),
    /// After the last record at or before this time.
    At(Timestamp),
    /// The end of the log.
    Now,
}

/// Why a text names no moment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MomentError {
    /// Neither a time nor "now".
    #[error(
        "{0:?} is not a time; give RFC 3339 (2026-11-24T10:45:00Z), Unix milliseconds, or \"now\""
    )]
    Time(String),
    /// Not a Seq.
    #[error("{0:?} is not a Seq; give a whole number, 0 for the time before the first record")]
    Seq(String),
}

/// From here on a number is a time in Unix milliseconds (it is a moment in 1973), not a Seq.
pub const FIRST_MILLISECONDS: u64 = 100_000_000_000;

impl Moment {
    /// A moment by its Seq.
    ///
    /// # Errors
    /// [`MomentError::Seq`].
    pub fn seq(text: &str) -> Result<Self, MomentError> {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok().filter(|_| digits);
        let seq = number.map(|n| Self::Seq(Seq::new(n)));
        seq.ok_or_else(|| MomentError::Seq(text.to_owned()))
    }

    /// A moment by its time: RFC 3339, Unix milliseconds, or `now`. What is more exact than a
    /// microsecond is cut off; what lies before 1970 is the beginning of 1970.
    ///
    /// # Errors
    /// [`MomentError::Time`].
    pub fn at(text: &str) -> Result<Self, MomentError> {
        if text == "now" {
            return Ok(Self::Now);
        }
        let wrong = || MomentError::Time(text.to_owned());
        let digits = text.strip_prefix('-').unwrap_or(text);
        if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
            let milliseconds: i64 = text.parse().map_err(|_| wrong())?;
            let micros = u64::try_from(milliseconds).unwrap_or(0);
            let micros = micros.checked_mul(1000).ok_or_else(wrong)?;
            return Ok(Self::At(Timestamp::from_micros(micros)));
        }
        let micros = rfc_3339(text.as_bytes()).ok_or_else(wrong)?;
        let micros = u64::try_from(micros).unwrap_or(0);
        Ok(Self::At(Timestamp::from_micros(micros)))
    }
}

/// Microseconds since 1970 of a time as RFC 3339 §5.6 writes it; finer digits are cut off. Between
/// date and time a space will do, and so it will for a "+", which is what a query makes of one.
fn rfc_3339(text: &[u8]) -> Option<i64> {
    let number = |range: std::ops::Range<usize>| {
        let digits = text.get(range)?;
        let all = digits.iter().all(u8::is_ascii_digit);
        all.then(|| {
            digits
                .iter()
                .fold(0, |n, digit| n * 10 + i64::from(digit - b'0'))
        })
    };
    let stands = |at: usize, any: &[u8]| text.get(at).is_some_and(|byte| any.contains(byte));
    let marks = stands(4, b"-") && stands(7, b"-") && stands(10, b"Tt ");
    if !marks || !stands(13, b":") || !stands(16, b":") {
        return None;
    }
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    let mut at = 19;
    let mut micros = 0;
    if stands(at, b".") {
        let digits = text[at + 1..]
            .iter()
            .take_while(|byte| byte.is_ascii_digit());
        let count = digits.clone().count();
        let six = digits.copied().chain(std::iter::repeat(b'0')).take(6);
        micros = six.fold(0, |n, digit| n * 10 + i64::from(digit - b'0'));
        at += 1 + count;
        if count == 0 {
            return None;
        }
    }
    let east = if stands(at, b"Zz") && text.len() == at + 1 {
        0
    } else {
        let (hours, minutes) = (number(at + 1..at + 3)?, number(at + 4..at + 6)?);
        let sound = stands(at, b"+- ") && stands(at + 3, b":") && text.len() == at + 6;
        if !sound || hours > 23 || minutes > 59 {
            return None;
        }
        let east = hours * 60 + minutes;
        if stands(at, b"-") { -east } else { east }
    };
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 => 28 + i64::from(leap),
        _ => return None,
    };
    // A leap second is the moment after the second before it.
    if day < 1 || day > days || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    // Civil date to days since 1970: Howard Hinnant's `days_from_civil`.
    let shifted = if month <= 2 { year - 1 } else { year };
    let of_era = shifted.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let of_days = of_era * 365 + of_era / 4 - of_era / 100 + of_year;
    let days = shifted.div_euclid(400) * 146_097 + of_days - 719_468;
    let seconds = days * 86_400 + (hour * 60 + minute - east) * 60 + second;
    Some(seconds * 1_000_000 + micros)
}

impl FromStr for Moment {
    type Err = MomentError;

    /// A Seq, or a time as [`Moment::at`] reads it.
    fn from_str(text: &str) -> Result<Self, MomentError> {
        match text.parse::<u64>() {
            Ok(number) if number < FIRST_MILLISECONDS => Self::seq(text),
            Ok(_) => Self::at(text),
            Err(_) if text.parse::<i64>().is_ok() => Self::seq(text),
            Err(_) => Self::at(text),
        }
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Seq(seq) => write!(f, "seq {seq}"),
            Self::At(at) => write!(f, "{at}"),
            Self::Now => f.write_str("now"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(micros: u64) -> Moment {
        Moment::At(Timestamp::from_micros(micros))
    }

    #[test]
    fn a_time_is_rfc_3339_or_unix_milliseconds_or_now() {
        for (text, moment) in [
            ("2026-11-24T11:47:59.123456Z", at(1_795_520_879_123_456)),
            (
                "2026-11-24T12:47:59.123456+01:00",
                at(1_795_520_879_123_456),
            ),
            (
                "2026-11-24T12:47:59.123456 01:00",
                at(1_795_520_879_123_456),
            ),
            ("2026-11-24T11:47:59.123456999Z", at(1_795_520_879_123_456)),
            (
                "2026-11-24t11:47:59.1234569999999Z",
                at(1_795_520_879_123_456),
            ),
            ("2026-11-24 11:47:59.1z", at(1_795_520_879_100_000)),
            ("2024-02-29T00:00:00-23:59", at(1_709_251_140_000_000)),
            ("9999-12-31T23:59:59Z", at(253_402_300_799_000_000)),
            ("1970-01-01T00:00:60Z", at(60_000_000)),
            ("0000-01-01T00:00:00Z", at(0)),
            ("1795520879123", at(1_795_520_879_123_000)),
            ("0", at(0)),
            ("-1", at(0)),
            ("1969-12-31T23:59:59Z", at(0)),
            ("now", Moment::Now),
        ] {
            assert_eq!(Moment::at(text), Ok(moment), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "-",
            "yesterday",
            "2026-11-24",
            "2026-11-24T11:47:59",
            "2026-13-24T11:47:59Z",
            "12.5",
            "2023-02-29T00:00:00Z",
            "2026-11-24T24:00:00Z",
            "2026-11-24T11:47:59.Z",
            "2026-11-24T11:47:59Z ",
            "2026-11-24T11:47:59+1:00",
            "2026-11-24T11:47:59+01:00x",
            "2026\u{661}11-24T11:47:59Z",
            "99999999999999999999",
            "9223372036854775807",
        ] {
            assert!(Moment::at(text).is_err(), "{text}");
        }
        assert!(Moment::seq("-1").is_err());
        assert!(Moment::seq("1.0").is_err());
        assert!(Moment::seq("+1").is_err());
        assert!("-1".parse::<Moment>().is_err());
    }

    #[test]
    fn what_a_record_prints_as_its_time_names_that_record() {
        for micros in [1, 999_999, 1_795_520_879_123_456, 4_102_444_800_000_001] {
            let printed = Timestamp::from_micros(micros).to_string();
            assert_eq!(Moment::at(&printed), Ok(at(micros)));
        }
    }

    #[test]
    fn a_bare_number_is_a_seq_unless_it_is_as_large_as_a_time() {
        assert_eq!("41".parse(), Ok(Moment::Seq(Seq::new(41))));
        assert_eq!("1795520879123".parse(), Ok(at(1_795_520_879_123_000)));
        assert_eq!("now".parse(), Ok(Moment::Now));
    }
}
