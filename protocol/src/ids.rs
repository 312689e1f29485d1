//! Names, numbers and times as types of their own, so that no two of them can be mixed up.
//!
//! Every constructor that takes outside input checks it and says what is wrong; the fields are
//! private, so a value that exists is valid.

use std::fmt;
use std::sync::Arc;

use crate::limits::{MAX_ROOM_NAME_BYTES, MAX_SPACE_BYTES, MAX_USER_BYTES};

/// A room's full name, `space/name`.
///
/// The space is 1–32 characters of `a-z 0-9 _ -`. The name is 1–255 bytes of UTF-8 without
/// control characters; it may hold `/`. Names are compared byte by byte. Cloning is cheap.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoomName {
    full: Arc<str>,
    space_len: u8,
}

impl RoomName {
    /// Joins a space and a name that have already been decoded.
    ///
    /// # Errors
    /// Says which part is empty, too long or holds a character it may not.
    pub fn new(space: &str, name: &str) -> Result<Self, NameError> {
        check_space(space)?;
        check_name(name)?;
        let space_len = u8::try_from(space.len()).map_err(|_| NameError::SpaceLength)?;
        Ok(Self {
            full: format!("{space}/{name}").into(),
            space_len,
        })
    }

    /// Parses `space/name`; everything after the first `/` is the name.
    ///
    /// # Errors
    /// As [`RoomName::new`], and [`NameError::NoSpace`] without a `/`.
    pub fn parse(full: &str) -> Result<Self, NameError> {
        let (space, name) = full.split_once('/').ok_or(NameError::NoSpace)?;
        Self::new(space, name)
    }

    /// The whole name, `space/name`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.full
    }

    /// The part before the first `/`.
    #[must_use]
    pub fn space(&self) -> &str {
        &self.full[..usize::from(self.space_len)]
    }

    /// The part after the first `/`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.full[usize::from(self.space_len) + 1..]
    }
}

impl fmt::Display for RoomName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.full)
    }
}

impl fmt::Debug for RoomName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.full)
    }
}

/// Why a room's name is not one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// There is no `/` between a space and a name.
    #[error("a room is named space/name, and there is no '/'")]
    NoSpace,
    /// The space is empty or longer than [`MAX_SPACE_BYTES`].
    #[error("a space has 1 to {MAX_SPACE_BYTES} characters")]
    SpaceLength,
    /// The space holds something other than `a-z 0-9 _ -`.
    #[error("a space is made of a-z, 0-9, '_' and '-'")]
    SpaceCharacter,
    /// The name is empty or longer than [`MAX_ROOM_NAME_BYTES`].
    #[error("a room's name has 1 to {MAX_ROOM_NAME_BYTES} bytes")]
    NameLength,
    /// The name holds a control character.
    #[error("a room's name may not hold control characters")]
    NameCharacter,
    /// A percent escape does not decode to UTF-8.
    #[error("a room's name must decode to UTF-8")]
    NotUtf8,
}

fn check_space(space: &str) -> Result<(), NameError> {
    if space.is_empty() || space.len() > MAX_SPACE_BYTES {
        return Err(NameError::SpaceLength);
    }
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-';
    if !space.bytes().all(allowed) {
        return Err(NameError::SpaceCharacter);
    }
    Ok(())
}

fn check_name(name: &str) -> Result<(), NameError> {
    if name.is_empty() || name.len() > MAX_ROOM_NAME_BYTES {
        return Err(NameError::NameLength);
    }
    if name.chars().any(char::is_control) {
        return Err(NameError::NameCharacter);
    }
    Ok(())
}

/// A record's position in its room: 1, 2, 3 … with no gap. [`Seq::ZERO`] stands before the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Seq(u64);

impl Seq {
    /// The position before the first record.
    pub const ZERO: Self = Self(0);
    /// The position of the first record.
    pub const FIRST: Self = Self(1);
    /// The last position there can be.
    pub const MAX: Self = Self(u64::MAX);

    /// A position from its number.
    #[must_use]
    pub const fn new(n: u64) -> Self {
        Self(n)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The position after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The position before this one; [`Seq::ZERO`] stays where it is.
    #[must_use]
    pub const fn previous(self) -> Self {
        Self(self.0.saturating_sub(1))
    }

    /// How many records lie in `(earlier, self]`.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Microseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Timestamp(u64);

impl Timestamp {
    /// A time from microseconds since the Unix epoch.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since the Unix epoch.
    #[must_use]
    pub const fn micros(self) -> u64 {
        self.0
    }

    /// When the calendar month of this moment ends in UTC: the first moment of the next one.
    #[must_use]
    pub const fn month_end(self) -> Self {
        let today = self.0 / DAY_MICROS;
        let (year, month, day) = civil(today);
        let leap =
            year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        let length = match month {
            2 if leap => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        Self((today + length - day + 1).saturating_mul(DAY_MICROS))
    }

    /// The day of this moment in UTC, `2026-11-24`.
    #[must_use]
    pub fn date(self) -> String {
        let (year, month, day) = civil(self.0 / DAY_MICROS);
        format!("{year:04}-{month:02}-{day:02}")
    }
}

const DAY_MICROS: u64 = 86_400_000_000;

/// Days since 1970 to year, month and day: Howard Hinnant's `civil_from_days`.
const fn civil(days: u64) -> (u64, u64, u64) {
    let z = days + 719_468;
    let era = z / 146_097;
    let doe = z % 146_097;
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + (month <= 2) as u64;
    (year, month, day)
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC with microseconds, `2026-11-24T11:47:59.123456Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (secs, micros) = (self.0 / 1_000_000, self.0 % 1_000_000);
        let of_day = secs % 86_400;
        let (year, month, day) = civil(secs / 86_400);
        let (h, m, s) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}.{micros:06}Z"
        )
    }
}

/// One client's membership of one room, unique for the life of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(u64);

impl SessionId {
    /// An id from its number; the caller draws it so that ids do not repeat.
    #[must_use]
    pub const fn new(n: u64) -> Self {
        Self(n)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A replica's id inside a document, as its CRDT has it (a Yjs `clientID`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Site(u64);

impl Site {
    /// A site from its number.
    #[must_use]
    pub const fn new(n: u64) -> Self {
        Self(n)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// Who a token says the user is: 1–128 bytes without control characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserId(Arc<str>);

impl UserId {
    /// Checks and keeps a user's id.
    ///
    /// # Errors
    /// [`UserError`] when it is empty, too long or holds a control character.
    pub fn new(id: &str) -> Result<Self, UserError> {
        if id.is_empty() || id.len() > MAX_USER_BYTES || id.chars().any(char::is_control) {
            return Err(UserError);
        }
        Ok(Self(id.into()))
    }

    /// The id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A user's id is empty, too long or holds a control character.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a user id has 1 to {MAX_USER_BYTES} bytes and no control characters")]
pub struct UserError;

/// Who numbers its operations: one instance of a client program, for as long as it keeps its queue.
///
/// Below 2⁵³ and not zero, so that it is a number in every language and may also be the client's
/// [`Site`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId(u64);

impl ClientId {
    /// The greatest id.
    pub const MAX: u64 = (1 << 53) - 1;

    /// An id from its number, if it may be one.
    #[must_use]
    pub const fn new(n: u64) -> Option<Self> {
        if n == 0 || n > Self::MAX {
            None
        } else {
            Some(Self(n))
        }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An operation's id: the same id is the same operation, however often sent.
///
/// Dialects with ids of their own number a client's operations 1, 2, 3 …, and these reach the log in
/// that order: see [`OpId::of_client`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OpId([u8; 16]);

impl OpId {
    /// An id from its bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The id of a client's `number`th operation: both big-endian, the client first.
    #[must_use]
    pub const fn of_client(client: ClientId, number: u64) -> Self {
        let id = (client.get() as u128) << 64 | number as u128;
        Self(id.to_be_bytes())
    }

    /// The bytes.
    #[must_use]
    pub const fn bytes(self) -> [u8; 16] {
        self.0
    }

    /// The first half: whose operation it is.
    #[must_use]
    pub const fn client(self) -> u64 {
        (u128::from_be_bytes(self.0) >> 64) as u64
    }

    /// The second half: which of the client's operations it is.
    #[must_use]
    pub const fn number(self) -> u64 {
        u128::from_be_bytes(self.0) as u64
    }
}

impl fmt::Display for OpId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

/// A pit's short name: six characters that cannot be mistaken for one another when read aloud.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Slug([u8; Slug::LEN]);

impl Slug {
    /// How many characters a slug has.
    pub const LEN: usize = 6;
    /// Digits and lower-case letters without `0 1 i l o`.
    pub const ALPHABET: &'static [u8; 31] = b"23456789abcdefghjkmnpqrstuvwxyz";

    /// A slug from random bits; 31⁶ ≈ 887 million of them, evenly spread.
    #[must_use]
    pub fn from_random(bits: u64) -> Self {
        // The bias of a remainder over 64 bits is below 2⁻³⁴.
        let mut rest = bits;
        Self(std::array::from_fn(|_| {
            let n = Self::ALPHABET.len() as u64;
            let c = Self::ALPHABET[(rest % n) as usize];
            rest /= n;
            c
        }))
    }

    /// Whether `/pit/{name}` is the page of the pit of this name. A page takes a slug as people type
    /// it, in any case and with dashes, so that a name which only reads like one leads to another
    /// pit; and beside slugs plain names: up to 128 letters, digits and `_ . -`, the first of them a
    /// letter or a digit.
    #[must_use]
    pub fn has_page(name: &str) -> bool {
        let plain = |c: u8| c.is_ascii_alphanumeric() || b"_.-".contains(&c);
        let is_plain = name.len() <= 128
            && name.bytes().all(plain)
            && name.starts_with(|c: char| c.is_ascii_alphanumeric());
        let typed: Vec<u8> = (name.bytes().filter(|c| *c != b'-'))
            .map(|c| c.to_ascii_lowercase())
            .collect();
        let reads_as_slug =
            typed.len() == Self::LEN && typed.iter().all(|c| Self::ALPHABET.contains(c));
        is_plain && (!reads_as_slug || typed == name.as_bytes())
    }

    /// The characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Only ASCII from the alphabet is ever stored.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pit_has_a_page_under_its_slug_or_a_plain_name() {
        for name in ["k3x9qa", "k3x9qa7", "Load-Test_1", "a", "v1.2", "k3x-9q"] {
            assert!(Slug::has_page(name), "{name}");
        }
        let long = "x".repeat(129);
        for name in [
            "", "K3X9QA", "k3x-9qa", "-abc", "a b", "a/b", "../etc", "\u{fc}", &long,
        ] {
            assert!(!Slug::has_page(name), "{name}");
        }
    }

    #[test]
    fn a_room_name_splits_at_the_first_slash() {
        let room = RoomName::parse("doc/a/b c/ü").unwrap();
        assert_eq!(
            (room.space(), room.name(), room.as_str()),
            ("doc", "a/b c/ü", "doc/a/b c/ü")
        );
        assert_eq!(room, RoomName::new("doc", "a/b c/ü").unwrap());
    }

    #[test]
    fn bad_names_say_what_is_wrong() {
        let long = "x".repeat(256);
        for (full, error) in [
            ("pit", NameError::NoSpace),
            ("/x", NameError::SpaceLength),
            (&format!("{}/x", &long[..33]), NameError::SpaceLength),
            ("Pit/x", NameError::SpaceCharacter),
            ("pit/", NameError::NameLength),
            (&format!("pit/{long}"), NameError::NameLength),
            ("pit/a\0b", NameError::NameCharacter),
            ("pit/a\u{85}", NameError::NameCharacter),
        ] {
            assert_eq!(RoomName::parse(full), Err(error), "{full:?}");
        }
    }

    #[test]
    fn times_print_as_rfc_3339() {
        for (micros, text) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (951_782_400_000_001, "2000-02-29T00:00:00.000001Z"),
            (1_795_520_879_123_456, "2026-11-24T11:47:59.123456Z"),
            (4_102_444_799_999_999, "2099-12-31T23:59:59.999999Z"),
        ] {
            assert_eq!(Timestamp::from_micros(micros).to_string(), text);
        }
    }

    #[test]
    fn slugs_stay_in_their_alphabet() {
        for bits in [0, 1, u64::MAX, 0x0123_4567_89ab_cdef] {
            let slug = Slug::from_random(bits);
            assert_eq!(slug.as_str().len(), Slug::LEN);
            assert!(slug.as_str().bytes().all(|c| Slug::ALPHABET.contains(&c)));
        }
        assert_ne!(Slug::from_random(1), Slug::from_random(2));
    }

    #[test]
    fn seqs_count_from_one() {
        assert_eq!(Seq::ZERO.next(), Seq::FIRST);
        assert_eq!(Seq::ZERO.previous(), Seq::ZERO);
        assert_eq!(Seq::new(7).since(Seq::new(4)), 3);
    }
}
