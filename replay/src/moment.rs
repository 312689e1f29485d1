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
        let number = text.parse().map(|n| Self::Seq(Seq::new(n)));
        number.map_err(|_| MomentError::Seq(text.to_owned()))
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
        // In a query a "+" that was not escaped has become a space.
        let text = text.replace(' ', "+");
        let time: jiff::Timestamp = text.parse().map_err(|_| wrong())?;
        let micros = u64::try_from(time.as_nanosecond().div_euclid(1000)).unwrap_or(0);
        Ok(Self::At(Timestamp::from_micros(micros)))
    }
}

impl FromStr for Moment {
    type Err = MomentError;

    /// A Seq, or a time as [`Moment::at`] reads it.
    fn from_str(text: &str) -> Result<Self, MomentError> {
        match text.parse::<u64>() {
            Ok(number) if number < FIRST_MILLISECONDS => Ok(Self::Seq(Seq::new(number))),
            _ => Self::at(text),
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
            "99999999999999999999",
            "9223372036854775807",
        ] {
            assert!(Moment::at(text).is_err(), "{text}");
        }
        assert!(Moment::seq("-1").is_err());
        assert!(Moment::seq("1.0").is_err());
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
