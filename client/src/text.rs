//! A text room and its document.

use bytes::Bytes;
use crdt::text::{Anchor, Bias, Client as Author, EditError, FormatError, Measure, Seq, Text};
use protocol::dialect::well::wire::DocumentKind;

use crate::driver::{Client, Join};
use crate::queue::random_client;
use crate::room::{Event, Record, Room, RoomError, State, Ticket};

/// A text that many edit at once.
#[derive(Debug)]
pub struct TextRoom {
    room: Room,
    text: Text,
    /// Edits of a former run that are on their way, until there is a text to apply them to.
    waiting: Vec<Bytes>,
    may_write: bool,
    /// What the document has and the server has lost, until it is handed in.
    lost: Option<Bytes>,
}

/// Why a text room does not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum TextError {
    /// The room.
    #[error(transparent)]
    Room(#[from] RoomError),
    /// The edit is outside of the text.
    #[error(transparent)]
    Edit(#[from] EditError),
    /// The server sent something that is no text.
    #[error("the server's text cannot be read: {0}")]
    Format(#[from] FormatError),
    /// The server sent an update that the text does not take.
    #[error("an update cannot be applied: {0}")]
    Apply(String),
}

impl TextRoom {
    /// Joins the text room `space/name`.
    ///
    /// # Errors
    /// [`TextError::Room`].
    pub async fn join(client: &Client, join: Join) -> Result<Self, TextError> {
        let mut room = client.join(join.kind(DocumentKind::Text)).await?;
        // Not the queue's client: what that one has written is not here yet, and its ticks are taken.
        let author = random_client().map_err(RoomError::Queue)?;
        let waiting = room.take_waiting();
        let text = Text::new(Author::new(author.get()));
        Ok(Self {
            room,
            text,
            waiting,
            may_write: false,
            lost: None,
        })
    }

    /// The document as it is here.
    #[must_use]
    pub const fn text(&self) -> &Text {
        &self.text
    }

    /// The room beneath.
    #[must_use]
    pub const fn room(&self) -> &Room {
        &self.room
    }

    /// Replaces `len` characters at `at` by `with`, both counted in code points.
    ///
    /// # Errors
    /// [`TextError`]; the text is as it was then.
    pub async fn replace(
        &mut self,
        at: usize,
        len: usize,
        with: &str,
    ) -> Result<Ticket, TextError> {
        let update = self.text.replace(Measure::Chars, at, len, with)?;
        let payload = Bytes::from(self.text.encode(&update));
        Ok(self.room.submit(payload).await?)
    }

    /// Says where this client's cursor is, as a position that moves with the text.
    ///
    /// # Errors
    /// [`TextError`].
    pub async fn set_cursor(&self, name: &str, at: usize) -> Result<(), TextError> {
        let anchor = self.text.anchor(Measure::Chars, at, Bias::Left)?;
        let state = format!(
            "{{\"user\":{{\"name\":{}}},\"cursor\":{{\"anchor\":\"{at}\",\"head\":\"{at}\"}}}}",
            quoted(name),
            at = hex(&anchor)
        );
        Ok(self.room.set_presence(Some(state.into())).await?)
    }

    /// Waits for the next event and lets the document follow it. If the room's log began anew, what
    /// the document has and the server lacks is handed in again, as one edit. Cancel-safe.
    ///
    /// # Errors
    /// [`TextError`] when the server sends what is no text.
    pub async fn next(&mut self) -> Result<Option<Event>, TextError> {
        self.give_back().await?;
        let Some(event) = self.room.next().await else {
            return Ok(None);
        };
        match &event {
            Event::Joined {
                state, may_write, ..
            } => {
                self.may_write = *may_write;
                match state {
                    State::Snapshot(snapshot) => drop(self.replace_by(snapshot, true)?),
                    State::Difference(update) => self.apply(update, None)?,
                    State::Records(records) => self.follow(records)?,
                }
                for update in std::mem::take(&mut self.waiting) {
                    self.apply(&update, None)?;
                }
            }
            Event::Reset {
                snapshot,
                began_anew,
                ..
            } => {
                // A viewer cannot give back what the server has lost.
                let rest = self.replace_by(snapshot, self.may_write || !began_anew)?;
                self.lost = rest.filter(|_| *began_anew);
            }
            Event::Records(records) => self.follow(records)?,
            _ => {}
        }
        Ok(Some(event))
    }

    /// Hands in what the server has lost.
    async fn give_back(&mut self) -> Result<(), RoomError> {
        if let Some(lost) = &self.lost {
            drop(self.room.submit(lost.clone()).await?);
            self.lost = None;
        }
        Ok(())
    }

    /// Takes the server's document, and if `keeps` what is here beyond it: edits on their way stay.
    /// Gives what that is.
    fn replace_by(&mut self, snapshot: &Bytes, keeps: bool) -> Result<Option<Bytes>, TextError> {
        let author = self.text.client();
        let mut theirs = if snapshot.is_empty() {
            Text::new(author)
        } else {
            Text::load(author, snapshot)?
        };
        let known = theirs.version();
        if !keeps {
            self.text = theirs;
            return Ok(None);
        }
        let rest = self.text.diff(&known);
        let applied = theirs.apply(&rest, None);
        applied.map_err(|error| TextError::Apply(error.to_string()))?;
        self.text = theirs;
        Ok((self.text.version() != known).then(|| rest.into()))
    }

    fn follow(&mut self, records: &[Record]) -> Result<(), TextError> {
        for record in records {
            self.apply(&record.payload, Some(record.seq))?;
        }
        Ok(())
    }

    fn apply(&mut self, update: &[u8], seq: Option<u64>) -> Result<(), TextError> {
        let applied = self.text.apply(update, seq.map(Seq::new));
        applied.map_err(|error| TextError::Apply(error.to_string()))?;
        Ok(())
    }
}

fn hex(anchor: &Anchor) -> String {
    use std::fmt::Write;
    anchor.encode().iter().fold(String::new(), |mut out, byte| {
        // Writing to a string cannot fail.
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// A string as JSON has it.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
