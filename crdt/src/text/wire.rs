//! The bytes of updates: one author's ticks (an **edit**), many authors' (a **batch**), or many updates in one
//! (**merged**).
//!
//! [docs/formats.md](../../../docs/formats.md) has both byte by byte. Decoding gives operations and
//! checks everything that bytes alone can show; [`super::apply`] checks what depends on the text.
//! Each operation costs at least one byte, so what decoding holds is bounded by the input's length.

use super::error::FormatError;
use super::id::Client;
use super::leaf::NONE;
use super::varint::{Reader, write, write_part};

/// The version byte of an edit.
pub(super) const EDIT: u8 = 1;
/// The version byte of a batch.
pub(super) const BATCH: u8 = 2;
/// The version byte of merged updates: a batch whose operations need not be applied together.
pub(super) const MERGED: u8 = 5;

/// More operations of one author than this are written as a batch: columns cost less then.
pub(super) const MAX_EDIT_OPS: usize = 4;

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Inserts after the author's last character, with its right origin.
    GoOn,
    /// Inserts between two origins.
    Insert,
    /// Deletes ticks from a first one upwards.
    Delete,
    /// Deletes ticks from a first one downwards.
    DeleteBack,
}

/// A tick of a client in the update's table; `client` is `NONE` for the text's start or end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ref {
    pub client: u32,
    pub clock: u32,
}

impl Ref {
    pub(super) const NONE: Self = Self {
        client: NONE,
        clock: 0,
    };
}

/// One operation: `len` ticks of an author from `clock` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Op {
    pub author: u32,
    pub clock: u32,
    pub len: u32,
    pub kind: Kind,
    /// The left origin, or what is deleted first.
    pub left: Ref,
    pub right: Ref,
    /// The inserted text: from where in the bytes, and how many of them.
    pub text: (u32, u32),
}

/// A decoded update; reused from one to the next.
#[derive(Clone, Debug, Default)]
pub(super) struct Ops {
    /// The clients that operations name by their place here.
    pub clients: Vec<Client>,
    pub ops: Vec<Op>,
    /// Whether these are many updates in one, so that some of them may be applied without the others.
    pub apart: bool,
}

impl Ops {
    pub(super) fn clear(&mut self) {
        self.clients.clear();
        self.ops.clear();
    }

    /// Replaces what is here by the update in `bytes`.
    pub(super) fn decode(&mut self, bytes: &[u8]) -> Result<(), FormatError> {
        self.clear();
        if u32::try_from(bytes.len()).is_err() {
            return Err(FormatError::Number);
        }
        let mut reader = Reader::new(bytes);
        let version = reader.byte()?;
        self.apart = version == MERGED;
        match version {
            EDIT => self.decode_edit(reader),
            BATCH | MERGED => self.decode_batch(reader),
            version => Err(FormatError::Version(version)),
        }
    }

    fn decode_edit(&mut self, reader: Reader<'_>) -> Result<(), FormatError> {
        let mut reader = reader;
        self.clients.push(Client::new(reader.u64()?));
        let mut clock = reader.u32()?;
        for _ in 0..reader.u64()? {
            let client = Client::new(reader.u64()?);
            let ascends = self.clients.len() == 1 || self.clients.last() < Some(&client);
            if !ascends || client == self.clients[0] {
                return Err(FormatError::Reference);
            }
            self.clients.push(client);
        }
        while !reader.is_empty() {
            let head = reader.u64()?;
            let len = head >> 2;
            let kind = kind_of(head);
            let (mut left, mut right) = (Ref::NONE, Ref::NONE);
            if kind != Kind::GoOn {
                left = self.reference(&mut reader, clock)?;
            }
            if kind == Kind::Insert {
                right = self.reference(&mut reader, clock)?;
            }
            let op = self.op(0, clock, kind, len, left, right, &mut reader)?;
            clock = next_clock(&op)?;
            self.ops.push(op);
        }
        Ok(())
    }

    /// Checks an operation and takes its text.
    #[allow(clippy::too_many_arguments)] // One call in each format.
    fn op(
        &self,
        author: u32,
        clock: u32,
        kind: Kind,
        len: u64,
        left: Ref,
        right: Ref,
        text: &mut Reader<'_>,
    ) -> Result<Op, FormatError> {
        if len == 0 {
            return Err(FormatError::Empty);
        }
        // It builds on ticks of its author only if they are older. There is no last tick: what counts
        // them could not say how many there are up to it.
        let never = |to: &Ref| {
            (to.client == author && to.clock >= clock)
                || (to.client != NONE && to.clock == u32::MAX)
        };
        if [left, right].iter().any(never) {
            return Err(FormatError::Reference);
        }
        let mut op = Op {
            author,
            clock,
            len: 0,
            kind,
            left,
            right,
            text: (0, 0),
        };
        if matches!(kind, Kind::GoOn | Kind::Insert) {
            let start = text.position();
            let part = text.take(len)?;
            let part = str::from_utf8(part).map_err(|_| FormatError::Utf8)?;
            op.text = (start as u32, part.len() as u32);
            op.len = if part.is_ascii() {
                part.len()
            } else {
                super::content::count(part)
            } as u32;
        } else {
            op.len = u32::try_from(len).map_err(|_| FormatError::Number)?;
            // Deleting upwards and downwards from the first, it stays within a client's ticks.
            let stays = if kind == Kind::DeleteBack {
                left.clock >= op.len - 1
            } else {
                left.clock.checked_add(op.len).is_some()
            };
            if left.client == NONE || !stays {
                return Err(FormatError::Reference);
            }
        }
        Ok(op)
    }

    /// A reference: an own tick as a distance back, a foreign one by client and tick.
    fn reference(&self, reader: &mut Reader<'_>, clock: u32) -> Result<Ref, FormatError> {
        let value = reader.u64()?;
        if value == 0 {
            return Ok(Ref::NONE);
        }
        let number = value >> 1;
        if value & 1 == 0 {
            let back = u32::try_from(number).map_err(|_| FormatError::Reference)?;
            let clock = clock.checked_sub(back).ok_or(FormatError::Reference)?;
            return Ok(Ref { client: 0, clock });
        }
        // The author stands at 0, and the foreign ones after it.
        if number + 1 >= self.clients.len() as u64 {
            return Err(FormatError::Reference);
        }
        Ok(Ref {
            client: number as u32 + 1,
            clock: reader.u32()?,
        })
    }

    fn decode_batch(&mut self, reader: Reader<'_>) -> Result<(), FormatError> {
        let mut reader = reader;
        let clients = reader.u64()?;
        let mut clocks: Vec<u32> = Vec::new();
        for _ in 0..clients {
            let client = Client::new(reader.u64()?);
            if self.clients.last() >= Some(&client) {
                return Err(FormatError::Reference);
            }
            self.clients.push(client);
            clocks.push(reader.u32()?);
        }
        let mut authors = reader.part()?;
        let mut heads = reader.part()?;
        let mut refs = reader.part()?;
        let mut text = reader.part()?;
        reader.end()?;
        let mut seen = vec![0u32; self.clients.len()];
        while !authors.is_empty() {
            let author = authors.u64()?;
            let count = authors.u64()?;
            if author >= clients || count == 0 {
                return Err(FormatError::Reference);
            }
            let author = author as u32;
            for _ in 0..count {
                let head = heads.u64()?;
                let kind = kind_of(head);
                let clock = clocks[author as usize];
                let (mut left, mut right) = (Ref::NONE, Ref::NONE);
                if kind != Kind::GoOn {
                    left = column_ref(&mut refs, &mut seen, author)?;
                }
                if kind == Kind::Insert {
                    right = column_ref(&mut refs, &mut seen, author)?;
                }
                let op = self.op(author, clock, kind, head >> 2, left, right, &mut text)?;
                clocks[author as usize] = next_clock(&op)?;
                self.ops.push(op);
            }
        }
        heads.end()?;
        refs.end()?;
        text.end()
    }
}

fn kind_of(head: u64) -> Kind {
    match head & 3 {
        0 => Kind::GoOn,
        1 => Kind::Insert,
        2 => Kind::Delete,
        _ => Kind::DeleteBack,
    }
}

fn next_clock(op: &Op) -> Result<u32, FormatError> {
    op.clock.checked_add(op.len).ok_or(FormatError::Number)
}

/// A reference in a batch: 0 is none, 1 the author, and from 2 on a client's place; then the tick, as
/// the difference to the last one of that client that the column named.
fn column_ref(refs: &mut Reader<'_>, seen: &mut [u32], author: u32) -> Result<Ref, FormatError> {
    let value = refs.u64()?;
    let client = match value {
        0 => return Ok(Ref::NONE),
        1 => author,
        other => u32::try_from(other - 2).map_err(|_| FormatError::Reference)?,
    };
    let last = seen
        .get_mut(client as usize)
        .ok_or(FormatError::Reference)?;
    let clock = i64::from(*last)
        .checked_add(refs.i64()?)
        .and_then(|clock| u32::try_from(clock).ok())
        .ok_or(FormatError::Reference)?;
    *last = clock;
    Ok(Ref { client, clock })
}

/// Writes operations, with what each inserts, as the bytes of an edit or a batch, whichever fits.
pub(super) fn encode(clients: &[Client], ops: &[Op], texts: &[&str], out: &mut Vec<u8>) {
    if ops.len() <= MAX_EDIT_OPS && ops.iter().all(|op| op.author == 0) {
        encode_edit(clients, ops, texts, out);
    } else {
        encode_batch(BATCH, clients, ops, texts, out);
    }
}

/// Writes the operations of many updates, with what each inserts.
pub(super) fn encode_merged(clients: &[Client], ops: &[Op], texts: &[&str], out: &mut Vec<u8>) {
    if ops.len() <= 1 {
        encode(clients, ops, texts, out);
    } else {
        encode_batch(MERGED, clients, ops, texts, out);
    }
}

fn encode_edit(clients: &[Client], ops: &[Op], texts: &[&str], out: &mut Vec<u8>) {
    out.push(EDIT);
    write(out, clients[0].get());
    write(out, ops.first().map_or(0, |op| u64::from(op.clock)));
    write(out, clients.len() as u64 - 1);
    for client in &clients[1..] {
        write(out, client.get());
    }
    for (op, text) in ops.iter().zip(texts) {
        let reference = |out: &mut Vec<u8>, to: Ref| match to.client {
            NONE => write(out, 0),
            0 => write(out, u64::from(op.clock - to.clock) << 1),
            client => {
                write(out, (u64::from(client - 1) << 1) | 1);
                write(out, u64::from(to.clock));
            }
        };
        write(out, head(op, text));
        if op.kind != Kind::GoOn {
            reference(out, op.left);
        }
        if op.kind == Kind::Insert {
            reference(out, op.right);
        }
        out.extend_from_slice(text.as_bytes());
    }
}

fn encode_batch(version: u8, clients: &[Client], ops: &[Op], texts: &[&str], out: &mut Vec<u8>) {
    let mut first = vec![None; clients.len()];
    let (mut authors, mut heads) = (Vec::new(), Vec::new());
    let (mut refs, mut text_column) = (Vec::new(), Vec::new());
    let mut seen = vec![0u32; clients.len()];
    let mut at = 0;
    while at < ops.len() {
        let author = ops[at].author;
        let count = ops[at..]
            .iter()
            .take_while(|op| op.author == author)
            .count();
        write(&mut authors, u64::from(author));
        write(&mut authors, count as u64);
        for (op, text) in ops[at..at + count].iter().zip(&texts[at..]) {
            first[author as usize].get_or_insert(op.clock);
            let mut reference = |to: Ref| {
                if to.client == NONE {
                    return write(&mut refs, 0);
                }
                let mark = if to.client == author {
                    1
                } else {
                    u64::from(to.client) + 2
                };
                write(&mut refs, mark);
                let last = &mut seen[to.client as usize];
                super::varint::write_signed(&mut refs, i64::from(to.clock) - i64::from(*last));
                *last = to.clock;
            };
            if op.kind != Kind::GoOn {
                reference(op.left);
            }
            if op.kind == Kind::Insert {
                reference(op.right);
            }
            write(&mut heads, head(op, text));
            text_column.extend_from_slice(text.as_bytes());
        }
        at += count;
    }
    out.push(version);
    write(out, clients.len() as u64);
    for (client, clock) in clients.iter().zip(first) {
        write(out, client.get());
        write(out, u64::from(clock.unwrap_or(0)));
    }
    write_part(out, &authors);
    write_part(out, &heads);
    write_part(out, &refs);
    write_part(out, &text_column);
}

fn head(op: &Op, text: &str) -> u64 {
    let len = match op.kind {
        Kind::GoOn | Kind::Insert => text.len() as u64,
        Kind::Delete | Kind::DeleteBack => u64::from(op.len),
    };
    let kind = match op.kind {
        Kind::GoOn => 0,
        Kind::Insert => 1,
        Kind::Delete => 2,
        Kind::DeleteBack => 3,
    };
    (len << 2) | kind
}
