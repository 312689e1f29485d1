//! The update of a keystroke: one operation of one author that goes on where its last one ended.
//!
//! It is by far the most frequent one, and needs no table of operations. Whatever is unusual about
//! the bytes or about what they build on is left to [`super::apply`], which decides.

use super::Text;
use super::apply::Listener;
use super::error::FormatError;
use super::id::Client;
use super::leaf::NONE;
use super::log::Void;
use super::varint::Reader;
use super::wire;

/// The most foreign clients that are looked up here.
const MAX_CLIENTS: usize = 2;

/// Applies an update if it is such a one; nothing has happened otherwise.
#[inline]
pub(super) fn apply(text: &mut Text, bytes: &[u8], listener: &mut Listener<'_>) -> bool {
    try_apply(text, bytes, listener).unwrap_or(false)
}

#[inline]
fn try_apply(
    text: &mut Text,
    bytes: &[u8],
    listener: &mut Listener<'_>,
) -> Result<bool, FormatError> {
    let mut reader = Reader::new(bytes);
    if reader.byte()? != wire::EDIT {
        return Ok(false);
    }
    let client = Client::new(reader.u64()?);
    let Some(author) = text.log.place(client) else {
        return Ok(false);
    };
    let clock = reader.u32()?;
    let entry = &text.log.authors[author as usize];
    let last = entry.last;
    if entry.clock != clock {
        return Ok(false);
    }
    let foreign = reader.u64()?;
    if foreign > MAX_CLIENTS as u64 {
        return Ok(false);
    }
    let mut places = [author, NONE, NONE];
    let mut before = None;
    for slot in places.iter_mut().skip(1).take(foreign as usize) {
        let other = Client::new(reader.u64()?);
        let ascends = before < Some(other) && other != client;
        let (true, Some(place)) = (ascends, text.log.place(other)) else {
            return Ok(false);
        };
        *slot = place;
        before = Some(other);
    }
    let places = &places[..foreign as usize + 1];
    let head = reader.u64()?;
    let len = head >> 2;
    if len == 0 || len > bytes.len() as u64 {
        // Nothing, or more than a keystroke's deletion.
        return Ok(false);
    }
    match head & 3 {
        0 => {
            if last == NONE {
                return Ok(false);
            }
            let right = text.right_of(last);
            insert(text, &mut reader, author, last, right, len, listener)
        }
        1 => {
            let (Some(left), Some(right)) = (
                origin(text, &mut reader, clock, places)?,
                origin(text, &mut reader, clock, places)?,
            ) else {
                return Ok(false);
            };
            insert(text, &mut reader, author, left, right, len, listener)
        }
        kind => {
            let Some((place, tick)) = reference(&mut reader, clock, places)? else {
                return Ok(false);
            };
            let back = kind == 3;
            erase(
                text, &reader, author, place, tick, len as u32, back, listener,
            )
        }
    }
}

/// Inserts all that is left of the bytes.
#[inline]
fn insert(
    text: &mut Text,
    reader: &mut Reader<'_>,
    author: u32,
    left: u32,
    right: u32,
    len: u64,
    listener: &mut Listener<'_>,
) -> Result<bool, FormatError> {
    let new = reader.take(len)?;
    if !reader.is_empty() || text.admit_growth(new.len()).is_err() {
        return Ok(false);
    }
    let Ok(new) = str::from_utf8(new) else {
        return Ok(false);
    };
    text.log.expect(author);
    text.integrate(author, left, right, new, listener);
    Ok(true)
}

/// Deletes ticks of one run.
#[inline]
#[allow(clippy::too_many_arguments)] // What the bytes said, one by one.
fn erase(
    text: &mut Text,
    reader: &Reader<'_>,
    author: u32,
    place: u32,
    tick: u32,
    len: u32,
    back: bool,
    listener: &mut Listener<'_>,
) -> Result<bool, FormatError> {
    if !reader.is_empty() || text.admit_ticks(u64::from(len)).is_err() {
        return Ok(false);
    }
    let first = if back {
        tick.wrapping_sub(len - 1)
    } else {
        tick
    };
    let end = u64::from(text.log.authors[author as usize].clock) + u64::from(len);
    if first > tick
        || tick >= text.log.authors[place as usize].clock
        || end > 2 * u64::from(text.log.chars)
    {
        return Ok(false);
    }
    let Some((n, follow)) = text.log.char_of(place, first) else {
        return Ok(false);
    };
    if len > follow {
        return Ok(false);
    }
    let what = Void {
        author: place,
        clock: tick,
        back,
    };
    text.log.expect(author);
    text.erase(author, n, len, what, listener);
    Ok(true)
}

/// A reference to a tick, as a client's place here and the tick; none if it is none or unusual.
#[inline]
fn reference(
    reader: &mut Reader<'_>,
    clock: u32,
    places: &[u32],
) -> Result<Option<(u32, u32)>, FormatError> {
    let value = reader.u64()?;
    let number = value >> 1;
    if value & 1 == 0 {
        let back = u32::try_from(number).map_err(|_| FormatError::Reference)?;
        let tick = clock.checked_sub(back).filter(|_| back > 0);
        return Ok(tick.map(|tick| (places[0], tick)));
    }
    let tick = reader.u32()?;
    let place = usize::try_from(number + 1)
        .ok()
        .and_then(|slot| places.get(slot));
    Ok(place.map(|place| (*place, tick)))
}

/// The character of an origin, or `NONE` for none; nothing if it is not here.
#[inline]
fn origin(
    text: &mut Text,
    reader: &mut Reader<'_>,
    clock: u32,
    places: &[u32],
) -> Result<Option<u32>, FormatError> {
    let mut ahead = *reader;
    if ahead.u64()? == 0 {
        *reader = ahead;
        return Ok(Some(NONE));
    }
    let Some((place, tick)) = reference(reader, clock, places)? else {
        return Ok(None);
    };
    if tick >= text.log.authors[place as usize].clock {
        return Ok(None);
    }
    Ok(text.log.char_of(place, tick).map(|(n, _)| n))
}
