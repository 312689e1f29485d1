//! What a load client says and hears, in either protocol.
//!
//! In the `yjs` dialect an update is a message and the ack is asked for; in the Well's own, `well`,
//! operations are gathered into one Submit for each write, and acked without asking. The pieces are
//! Yjs updates, updates of the text CRDT, or bytes that nobody reads, by the room's kind; a reader of
//! the latter two compares them with what was written.

use std::{cell::RefCell, collections::VecDeque, rc::Rc};

use crdt::text::{Client, Measure, Text};

use crate::{
    frame,
    story::{Hand, Reader, Story},
    update,
    wire::{Cursor, Incoming, Malformed, write_var_uint},
};

/// The document kinds, and the numbers that the protocol has for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Yjs updates.
    Yjs = 1,
    /// Bytes.
    Opaque = 2,
    /// Updates of the text CRDT.
    Text = 3,
}

/// Which protocol a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speech {
    /// y-websocket's.
    Yjs,
    /// The Well's own, in rooms of a kind.
    Well(Kind),
}

/// The pieces that a room's writer writes.
pub(crate) enum Pieces {
    /// A story in Yjs updates.
    Story(Box<Story>),
    /// One text that grows at its end.
    Text(Box<Text>, String, Vec<Unread>),
    /// As many bytes, with their number in front.
    Bytes(u64, Vec<u8>, Vec<Unread>),
}

/// The pieces that a reader has not read.
pub(crate) type Unread = Rc<RefCell<VecDeque<Rc<[u8]>>>>;

/// What a room's reader expects.
pub(crate) enum Expected {
    /// A story.
    Story(Reader),
    /// The very pieces, in order; so many have come.
    Same(Unread, u64),
}

impl Pieces {
    /// The pieces of room `number`, each of `bytes` characters.
    pub(crate) fn new(speech: Speech, hand: Hand, number: u32, bytes: usize) -> Self {
        let text = update::sample_text(bytes);
        match speech {
            Speech::Yjs | Speech::Well(Kind::Yjs) => {
                Self::Story(Box::new(Story::new(hand, number, bytes)))
            }
            Speech::Well(Kind::Text) => Self::Text(
                Box::new(Text::new(Client::new(u64::from(number) + 1))),
                text,
                Vec::new(),
            ),
            Speech::Well(Kind::Opaque) => Self::Bytes(0, text.into_bytes(), Vec::new()),
        }
    }

    /// A reader who has read nothing of them; before the first piece is written.
    pub(crate) fn reader(&mut self) -> Expected {
        match self {
            Self::Story(story) => Expected::Story(story.reader()),
            Self::Text(_, _, readers) | Self::Bytes(_, _, readers) => {
                readers.push(Unread::default());
                Expected::Same(readers[readers.len() - 1].clone(), 0)
            }
        }
    }

    /// Keeps a piece that was written for the readers to compare.
    fn wrote(&mut self, piece: Vec<u8>) {
        if let Self::Text(_, _, readers) | Self::Bytes(_, _, readers) = self {
            let piece: Rc<[u8]> = piece.into();
            for unread in readers {
                unread.borrow_mut().push_back(Rc::clone(&piece));
            }
        }
    }

    /// The next piece.
    fn next(&mut self) -> Vec<u8> {
        match self {
            Self::Story(story) => {
                let mut framed = Vec::new();
                story.go_on(&mut framed);
                let message = frame::message_of(&framed).unwrap_or_default();
                match crate::wire::read(message) {
                    Ok(Incoming::Update(update)) => update.to_vec(),
                    _ => Vec::new(),
                }
            }
            Self::Text(text, piece, _) => {
                let end = text.len(Measure::Chars);
                let edit = text.insert(Measure::Chars, end, piece);
                edit.map(|edit| text.encode(&edit)).unwrap_or_default()
            }
            Self::Bytes(n, piece, _) => {
                *n += 1;
                let mut bytes = n.to_be_bytes().to_vec();
                bytes.extend_from_slice(piece);
                bytes
            }
        }
    }

    /// Appends frames with the next `n` pieces, of which the first has the number `first`, and with
    /// requests for acks where they must be asked for.
    pub(crate) fn write(
        &mut self,
        speech: Speech,
        first: u64,
        n: u64,
        asks: Option<crate::load::AckEvery>,
        out: &mut Vec<u8>,
    ) {
        use crate::load::AckEvery;
        match (speech, self) {
            (Speech::Yjs, Self::Story(story)) => {
                for number in first..first + n {
                    story.go_on(out);
                    if asks == Some(AckEvery::Update) {
                        update::write_ack_request(out, number + 1);
                    }
                }
                if asks == Some(AckEvery::Write) {
                    update::write_ack_request(out, first + n);
                }
            }
            (_, pieces) => {
                let mut submit = vec![0x08, 1, 0x10];
                write_var_uint(&mut submit, first + 1);
                // The base: as if everything before had been acked.
                submit.push(0x18);
                write_var_uint(&mut submit, first);
                for _ in 0..n {
                    let piece = pieces.next();
                    submit.push(0x22);
                    write_var_uint(&mut submit, piece.len() as u64);
                    submit.extend_from_slice(&piece);
                    pieces.wrote(piece);
                }
                write_message(out, 4, &submit);
            }
        }
    }
}

impl Expected {
    /// Takes an update and says how many pieces are read now.
    pub(crate) fn read(&mut self, update: &[u8]) -> Result<u64, Malformed> {
        match self {
            Self::Story(reader) => reader.read(update),
            Self::Same(unread, count) => {
                if unread.borrow_mut().pop_front().as_deref() != Some(update) {
                    return Err(Malformed("an update was left out, or is by somebody else"));
                }
                *count += 1;
                Ok(*count)
            }
        }
    }
}

/// Appends a frame with one message: the field of a `ClientMessage` and what it holds.
fn write_message(out: &mut Vec<u8>, field: u8, body: &[u8]) {
    let mut message = vec![field << 3 | 2];
    write_var_uint(&mut message, body.len() as u64);
    message.extend_from_slice(body);
    frame::write_header(out, 4 + message.len());
    out.extend_from_slice(&(message.len() as u32).to_be_bytes());
    out.extend_from_slice(&message);
}

/// Appends what a client says first: Hello, and a Join of one room.
pub(crate) fn write_hello(out: &mut Vec<u8>, room: &str, kind: Kind, client: u64) {
    write_message(out, 1, &[0x08, 1]);
    let mut join = vec![0x08, 1, 0x12, room.len() as u8];
    join.extend_from_slice(room.as_bytes());
    join.extend_from_slice(&[0x18, kind as u8, 0x28]);
    write_var_uint(&mut join, client);
    write_message(out, 2, &join);
}

/// Appends the state of the replica `site` in the room of the connection. Clocks grow from 1.
pub(crate) fn write_presence(out: &mut Vec<u8>, site: u64, clock: u64, state: &[u8]) {
    let mut entry = vec![0x08];
    write_var_uint(&mut entry, site);
    entry.push(0x10);
    write_var_uint(&mut entry, clock);
    entry.push(0x1a);
    write_var_uint(&mut entry, state.len() as u64);
    entry.extend_from_slice(state);
    let mut presence = vec![0x08, 1, 0x12];
    write_var_uint(&mut presence, entry.len() as u64);
    presence.extend_from_slice(&entry);
    write_message(out, 5, &presence);
}

/// Appends the answer to a Ping.
pub(crate) fn write_pong(out: &mut Vec<u8>, sent: u64) {
    let mut pong = vec![0x08];
    write_var_uint(&mut pong, sent);
    write_message(out, 7, &pong);
}

/// Calls `on` with each state in a `Presence`.
pub(crate) fn states<'a>(
    presence: &'a [u8],
    on: &mut impl FnMut(&'a [u8]),
) -> Result<(), Malformed> {
    fields(presence, &mut |field, entry| match field {
        2 => fields(entry, &mut |field, state| {
            if field == 3 {
                on(state);
            }
            Ok(())
        }),
        _ => Ok(()),
    })
}

/// Reads a frame of the well protocol, and calls `on` for each thing that matters to a load; a Joined
/// is a Step2.
pub(crate) fn read<'a>(
    mut frame: &'a [u8],
    on: &mut impl FnMut(Incoming<'a>),
) -> Result<(), Malformed> {
    while let Some((len, rest)) = frame.split_first_chunk::<4>() {
        let len = u32::from_be_bytes(*len) as usize;
        let (message, rest) = rest
            .split_at_checked(len)
            .ok_or(Malformed("it ends early"))?;
        frame = rest;
        fields(message, &mut |field, body| match field {
            2 => {
                on(Incoming::Step2(&[0, 0]));
                Ok(())
            }
            4 => {
                on(Incoming::Ack(number(body, 2)?));
                Ok(())
            }
            6 => fields(body, &mut |field, span| match field {
                4 => fields(span, &mut |field, payload| {
                    if field == 6 {
                        on(Incoming::Update(payload));
                    }
                    Ok(())
                }),
                _ => Ok(()),
            }),
            8 => {
                on(Incoming::Presence(body));
                Ok(())
            }
            9 => {
                on(Incoming::Ping(number(body, 1)?));
                Ok(())
            }
            3 | 5 | 11 | 12 => Err(Malformed("the server refused something")),
            _ => Ok(()),
        })?;
    }
    Ok(())
}

/// Calls `on` for each field that holds bytes.
fn fields<'a>(
    message: &'a [u8],
    on: &mut dyn FnMut(u64, &'a [u8]) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    let mut cursor = Cursor(message);
    while !cursor.0.is_empty() {
        let key = cursor.var_uint()?;
        match key & 7 {
            0 => drop(cursor.var_uint()?),
            1 => cursor.0 = cursor.0.get(8..).ok_or(Malformed("it ends early"))?,
            2 => on(key >> 3, cursor.var_bytes()?)?,
            _ => return Err(Malformed("a field of no kind that is sent")),
        }
    }
    Ok(())
}

/// A field that holds a number; 0 if it is not there.
fn number(message: &[u8], wanted: u64) -> Result<u64, Malformed> {
    let mut cursor = Cursor(message);
    while !cursor.0.is_empty() {
        let key = cursor.var_uint()?;
        match key & 7 {
            0 => {
                let n = cursor.var_uint()?;
                if key >> 3 == wanted {
                    return Ok(n);
                }
            }
            1 => cursor.0 = cursor.0.get(8..).ok_or(Malformed("it ends early"))?,
            2 => drop(cursor.var_bytes()?),
            _ => return Err(Malformed("a field of no kind that is sent")),
        }
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_heard_is_what_counts() {
        // Joined; an Ack of operation 5; Records with one span of two payloads.
        let frame = [
            &[0, 0, 0, 4, 0x12, 2, 0x08, 1][..],
            &[0, 0, 0, 6, 0x22, 4, 0x08, 1, 0x10, 5],
            &[
                0, 0, 0, 14, 0x32, 12, 0x08, 1, 0x22, 8, 0x08, 9, 0x32, 1, 7, 0x32, 1, 8,
            ],
        ]
        .concat();
        let mut heard = Vec::new();
        read(&frame, &mut |it| heard.push(format!("{it:?}"))).unwrap();
        assert_eq!(
            heard,
            ["Step2([0, 0])", "Ack(5)", "Update([7])", "Update([8])"]
        );
        assert!(
            read(&[0, 0, 0, 2, 0x2a, 0], &mut |_| {}).is_err(),
            "a Reject"
        );
        assert!(read(&[0, 0, 0, 9, 1], &mut |_| {}).is_err());
    }

    #[test]
    fn a_state_is_heard_as_it_was_said() {
        let mut framed = Vec::new();
        write_presence(&mut framed, 300, 7, b"{}");
        let message = frame::message_of(&framed).unwrap();
        // Both sides have the same body, in fields of their own.
        let mut presence = None;
        fields(&message[4..], &mut |field, body| {
            presence = Some((field, body));
            Ok(())
        })
        .unwrap();
        let (field, body) = presence.unwrap();
        let mut heard = Vec::new();
        states(body, &mut |state| heard.push(state)).unwrap();
        assert_eq!((field, heard), (5, vec![&b"{}"[..]]));
    }

    #[test]
    fn a_reader_expects_the_writers_pieces() {
        for kind in [Kind::Yjs, Kind::Opaque, Kind::Text] {
            let mut pieces = Pieces::new(Speech::Well(kind), Hand::Woven, 3, 20);
            let mut reader = pieces.reader();
            let all: Vec<_> = (0..5).map(|_| pieces.next()).collect();
            for piece in &all {
                pieces.wrote(piece.clone());
            }
            assert_eq!(reader.read(&all[0]), Ok(1));
            assert_eq!(reader.read(&all[1]), Ok(2));
            assert!(reader.read(&all[4]).is_err(), "{kind:?}");
        }
    }
}
