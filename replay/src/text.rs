//! Text documents: our own CRDT, which remembers everything.
//!
//! A payload is an update of [`crdt::text`]; `docs/formats.md` has its bytes. Nothing waits in a text
//! document: an update that builds on what has not come is refused with the name of what is missing,
//! so that the log folds as it stands. The encoding is a snapshot with its history, so one document
//! answers for all of its moments: see [`Remembers`].
//!
//! | module | holds |
//! | --- | --- |
//! | `edit` | the smallest edit that makes one text of another |
//! | [`shown`] | a text and its changes as JSON |

use bytes::Bytes;
use crdt::text::{
    Anchor, ApplyError, Client, FormatError, History, Measure, PastError, Seq as TextSeq, Text,
    Update, Version,
};
use protocol::{Seq, Site};
use serde_json::Value;

use crate::document::{
    Checked, Document, DocumentError, Edit, EditSize, Position, Remembers, Wanted,
};

mod edit;
pub mod shown;

/// A text, as a server keeps it.
#[derive(Debug, Clone)]
pub struct TextDocument {
    text: Text,
}

/// The client of a server's own replica, which never edits.
const NOBODY: Client = Client::new(0);

impl Default for TextDocument {
    fn default() -> Self {
        Self::new()
    }
}

impl TextDocument {
    /// An empty text.
    #[must_use]
    pub fn new() -> Self {
        Self {
            text: Text::new(NOBODY),
        }
    }

    /// The text whose encoding this is.
    ///
    /// # Errors
    /// [`DocumentError::Malformed`] if it is none.
    pub fn load(encoding: &Bytes) -> Result<Self, DocumentError> {
        let text = Text::load(NOBODY, encoding).map_err(malformed)?;
        Ok(Self { text })
    }

    /// A Seq that is later than all updates means the last of them: events change no text.
    fn known(&self, seq: Seq) -> TextSeq {
        TextSeq::new(seq.get()).min(self.text.known_until())
    }
}

impl Document for TextDocument {
    fn integrate(&mut self, payloads: &[Bytes]) -> Vec<Result<Checked, DocumentError>> {
        let answers = payloads.iter().map(|payload| {
            let admitted = self.text.admit(payload)?;
            Ok(Checked {
                adds: admitted.adds,
                site: admitted.author.map(|client| Site::new(client.get())),
                // Two bytes that delete from the middle of a run leave a run on each side of it.
                growth: payload.len().saturating_mul(16),
            })
        });
        answers.collect()
    }

    fn recorded(&mut self, seq: Seq) {
        self.text.stamp(TextSeq::new(seq.get()));
    }

    fn adds_nothing(&self, payload: &Bytes) -> Result<bool, DocumentError> {
        Ok(!self.text.adds(payload)?)
    }

    fn version(&self) -> Bytes {
        self.text.version().encode().into()
    }

    fn diff(&self, version: &Bytes) -> Result<Bytes, DocumentError> {
        let version = Version::decode(version).map_err(malformed)?;
        Ok(self.text.diff(&version).into())
    }

    fn is_empty_version(&self, version: &Bytes) -> bool {
        version[..] == [0]
    }

    fn encode(&self) -> Bytes {
        self.text.snapshot(History::With).into()
    }

    fn json(&self) -> Result<Value, DocumentError> {
        Ok(shown::text(&self.text.pieces()))
    }

    fn text(&self) -> Result<String, DocumentError> {
        Ok(self.text.to_string())
    }

    fn changes(&self, past: &Bytes) -> Result<Value, DocumentError> {
        let past = Self::load(past)?.text.known_until();
        let now = self.text.known_until();
        Ok(shown::changes(&self.text.compare(past.min(now), now)?))
    }

    fn restore(&self, wanted: &Wanted, client: u64) -> Result<Option<Edit>, DocumentError> {
        let now = self.text.to_string();
        let splices = match wanted {
            Wanted::Past(past) => edit::splices(&now, &Self::load(past)?.text.to_string()),
            Wanted::Text(text) => edit::splices(&now, text),
        };
        if splices.is_empty() {
            return Ok(None);
        }
        let client = Client::new(client);
        if self.text.version().get(client) > 0 {
            return Err(malformed("that client has edited the text already"));
        }
        let mut writer = self.text.clone().edited_by(client);
        let mut size = EditSize::default();
        let mut ticks = 0;
        for splice in &splices {
            let deleted = &now[splice.old.clone()];
            size.edits += 1;
            size.deleted += deleted.encode_utf16().count();
            size.inserted += splice.new.encode_utf16().count();
            let update = writer
                .replace(Measure::Bytes, splice.at, deleted.len(), &splice.new)
                .map_err(malformed)?;
            ticks = update.to;
        }
        let payload = writer.encode(&Update {
            client,
            from: 0,
            to: ticks,
        });
        Ok(Some(Edit {
            payload: payload.into(),
            size: Some(size),
        }))
    }

    fn fork(&self) -> Box<dyn Document> {
        Box::new(self.clone())
    }

    /// Always: what builds on what has not come is refused.
    fn is_whole(&self) -> bool {
        true
    }

    fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.text.heap_bytes()
    }

    fn remembers(&self) -> Option<&dyn Remembers> {
        Some(self)
    }
}

impl Remembers for TextDocument {
    fn json_at(&self, seq: Seq) -> Result<Value, DocumentError> {
        let seq = self.known(seq);
        Ok(shown::text(&self.text.compare(seq, seq)?))
    }

    fn text_at(&self, seq: Seq) -> Result<String, DocumentError> {
        Ok(self.text.at(self.known(seq))?)
    }

    fn changes_between(&self, from: Seq, to: Seq) -> Result<Value, DocumentError> {
        let pieces = self.text.compare(self.known(from), self.known(to))?;
        Ok(shown::changes(&pieces))
    }

    fn position_at(&self, anchor: &[u8], seq: Seq) -> Result<Option<Position>, DocumentError> {
        let anchor = Anchor::decode(anchor).map_err(malformed)?;
        let found = self.text.place_at(&anchor, Measure::Units, self.known(seq));
        Ok(found?.map(|(index, place)| Position {
            index,
            line: place.line,
            column: place.column,
        }))
    }
}

impl From<ApplyError> for DocumentError {
    fn from(error: ApplyError) -> Self {
        match error {
            ApplyError::Missing { .. } => Self::Missing(error.to_string()),
            ApplyError::Format(_)
            | ApplyError::Full
            | ApplyError::TooMuch
            | ApplyError::TooManyParked => malformed(error),
        }
    }
}

impl From<PastError> for DocumentError {
    fn from(error: PastError) -> Self {
        Self::Unsupported(error.to_string())
    }
}

impl From<FormatError> for DocumentError {
    fn from(error: FormatError) -> Self {
        malformed(error)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "made where it is passed")]
fn malformed(what: impl ToString) -> DocumentError {
    DocumentError::Malformed(what.to_string())
}

#[cfg(test)]
mod tests;
