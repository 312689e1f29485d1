//! The y-websocket messages and the Yjs updates that the tests send, written and read by hand.

use std::collections::BTreeSet;

use yrs::updates::decoder::Decode;
use yrs::{Doc, Map, ReadTxn, Transact, Update};

/// A message from the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// What the server has.
    Step1(Vec<u8>),
    /// What the client lacks.
    Step2(Vec<u8>),
    /// An update of someone else's.
    Update(Vec<u8>),
    /// Who is here.
    Awareness(Vec<u8>),
    /// Something was refused, and why.
    Denied(String),
    /// Everything before the request with this number is durable.
    Ack(u64),
}

/// Reads a message.
///
/// # Panics
/// If it is none that a server may send.
#[must_use]
pub fn parse(bytes: &[u8]) -> Message {
    read(bytes).unwrap_or_else(|| panic!("the server sent {bytes:02x?}"))
}

fn read(bytes: &[u8]) -> Option<Message> {
    let mut rest = bytes;
    let message = match take_uint(&mut rest)? {
        0 => {
            let kind = take_uint(&mut rest)?;
            let body = take_bytes(&mut rest)?.to_vec();
            match kind {
                0 => Message::Step1(body),
                1 => Message::Step2(body),
                2 => Message::Update(body),
                _ => return None,
            }
        }
        1 => Message::Awareness(take_bytes(&mut rest)?.to_vec()),
        2 => {
            let kind = take_uint(&mut rest)?;
            let reason = String::from_utf8(take_bytes(&mut rest)?.to_vec()).ok()?;
            (kind == 0).then_some(Message::Denied(reason))?
        }
        102 => Message::Ack(take_uint(&mut take_bytes(&mut rest)?)?),
        _ => return None,
    };
    rest.is_empty().then_some(message)
}

/// Asks for everything.
pub const STEP_1: &[u8] = &[0, 0, 1, 0];

/// A message that carries an update.
#[must_use]
pub fn update_message(update: &[u8]) -> Vec<u8> {
    let mut out = vec![0, 2];
    put_bytes(&mut out, update);
    out
}

/// Asks to be told when everything before is durable.
#[must_use]
pub fn ack_request(n: u64) -> Vec<u8> {
    let mut number = Vec::new();
    put_uint(&mut number, n);
    let mut out = vec![102];
    put_bytes(&mut out, &number);
    out
}

/// Says that a replica is here.
#[must_use]
pub fn awareness(client: u64, clock: u64, state: &str) -> Vec<u8> {
    let mut body = vec![1];
    put_uint(&mut body, client);
    put_uint(&mut body, clock);
    put_bytes(&mut body, state.as_bytes());
    let mut out = vec![1];
    put_bytes(&mut out, &body);
    out
}

/// An update of one struct: client `client` sets the key `client:clock` of the map `map` to a
/// string of `bytes` bytes. No two are alike, and none undoes another.
#[must_use]
pub fn update(client: u64, clock: u64, bytes: usize) -> Vec<u8> {
    update_of_key(client, clock, &format!("{client}:{clock}"), bytes)
}

/// The same with a key of one's own.
#[must_use]
pub fn update_of_key(client: u64, clock: u64, key: &str, bytes: usize) -> Vec<u8> {
    const ANY: u8 = 8;
    const HAS_KEY: u8 = 0x20;
    const IN_ROOT: u8 = 1;
    const STRING: u8 = 119;
    let mut out = vec![1, 1];
    put_uint(&mut out, client);
    put_uint(&mut out, clock);
    out.extend([ANY | HAS_KEY, IN_ROOT]);
    put_bytes(&mut out, b"map");
    put_bytes(&mut out, key.as_bytes());
    out.extend([1, STRING]);
    put_bytes(&mut out, &vec![b'x'; bytes]);
    out.push(0);
    out
}

/// The client and the clock of an update that [`update`] has made.
#[must_use]
pub fn author_of(update: &[u8]) -> Option<(u64, u64)> {
    let mut rest = update.strip_prefix(&[1, 1])?;
    Some((take_uint(&mut rest)?, take_uint(&mut rest)?))
}

/// The keys in the map `map` of a document that is given as updates.
///
/// # Panics
/// If yrs does not take one of them, or something is missing that another builds on.
#[must_use]
pub fn keys<'a>(updates: impl IntoIterator<Item = &'a [u8]>) -> BTreeSet<String> {
    let (keys, missing) = keys_so_far(updates);
    assert!(!missing, "nothing is missing");
    keys
}

/// The same, and whether something waits for what has not come.
///
/// # Panics
/// If yrs does not take one of the updates.
#[must_use]
pub fn keys_so_far<'a>(updates: impl IntoIterator<Item = &'a [u8]>) -> (BTreeSet<String>, bool) {
    let doc = Doc::new();
    let map = doc.get_or_insert_map("map");
    let mut transaction = doc.transact_mut();
    for update in updates {
        let update = Update::decode_v1(update).expect("the server gives valid updates");
        transaction
            .apply_update(update)
            .expect("and they can be applied");
    }
    let keys = map.keys(&transaction).map(str::to_owned).collect();
    (keys, transaction.has_missing_updates())
}

/// Appends a number, seven bits at a time, least significant first.
pub fn put_uint(out: &mut Vec<u8>, mut n: u64) {
    while n > 0x7f {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// Appends bytes with their length before them.
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_uint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn take_uint(rest: &mut &[u8]) -> Option<u64> {
    let mut n = 0;
    for shift in (0..63).step_by(7) {
        let (&byte, after) = rest.split_first()?;
        *rest = after;
        n |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(n);
        }
    }
    None
}

fn take_bytes<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = usize::try_from(take_uint(rest)?).ok()?;
    let (bytes, after) = rest.split_at_checked(len)?;
    *rest = after;
    Some(bytes)
}
