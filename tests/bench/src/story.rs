//! What a room's writer writes, piece by piece, and how far a reader has come in it.
//!
//! A story is one text. *Typed*, one author puts each piece after the last. Engines merge
//! such pieces into one item that grows, which is cheap to store but, in JavaScript, makes
//! every update cost as much as the text is long. *Woven*, two authors take turns, each going
//! on where the other stopped, so that every piece stays an item of its own: what a shared document
//! looks like, and the same work at its end as at its start.

use std::fmt;

use crate::{
    update::{self, Author},
    wire::Malformed,
};

/// How the pieces follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Hand {
    /// By one author.
    Typed,
    /// By two authors in turn.
    Woven,
}

impl fmt::Display for Hand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Typed => "typed",
            Self::Woven => "woven",
        })
    }
}

/// The writer's side.
pub(crate) struct Story {
    hand: Hand,
    authors: [Author; 2],
    piece: String,
    pieces: u64,
}

impl Story {
    /// An empty story with pieces of `bytes` characters. Stories in different rooms may share
    /// `number`.
    pub(crate) fn new(hand: Hand, number: u32, bytes: usize) -> Self {
        let first = FIRST_CLIENT + 2 * number;
        Self {
            hand,
            authors: [Author::new(first), Author::new(first + 1)],
            piece: update::sample_text(bytes),
            pieces: 0,
        }
    }

    /// Appends a frame with the next piece.
    pub(crate) fn go_on(&mut self, out: &mut Vec<u8>) {
        let (author, after) = match self.hand {
            Hand::Typed => (0, self.authors[0].last()),
            Hand::Woven => {
                let author = (self.pieces % 2) as usize;
                (author, self.authors[1 - author].last())
            }
        };
        self.authors[author].type_after(out, &self.piece, after);
        self.pieces += 1;
    }

    /// How many pieces have been written.
    pub(crate) fn pieces(&self) -> u64 {
        self.pieces
    }

    /// Somebody who has read nothing of it.
    pub(crate) fn reader(&self) -> Reader {
        let clients = self.authors.each_ref().map(Author::client);
        Reader {
            hand: self.hand,
            clients,
            ends: [0; 2],
            piece: self.piece.len() as u64,
        }
    }
}

/// A reader's side. It tells how many pieces from the start have been read, however they
/// were packed.
#[derive(Debug, Clone)]
pub(crate) struct Reader {
    hand: Hand,
    clients: [u64; 2],
    /// How much of each author has been read.
    ends: [u64; 2],
    piece: u64,
}

impl Reader {
    /// Takes an update and says how many pieces are read now. An update that leaves
    /// something out, or is by somebody else, is an error.
    pub(crate) fn read(&mut self, update: &[u8]) -> Result<u64, Malformed> {
        let mut wrong = None;
        update::scan(update, |run| {
            match self.clients.iter().position(|&client| client == run.client) {
                Some(author) if run.clock <= self.ends[author] => {
                    self.ends[author] = self.ends[author].max(run.end());
                }
                Some(_) => wrong = Some("an update was left out"),
                None => wrong = Some("an update by nobody in this room"),
            }
        })?;
        match wrong {
            Some(why) => Err(Malformed(why)),
            None => Ok(self.pieces()),
        }
    }

    fn pieces(&self) -> u64 {
        let [first, second] = self.ends.map(|end| end / self.piece);
        match self.hand {
            Hand::Typed => first,
            Hand::Woven if first > second => 2 * second + 1,
            Hand::Woven => 2 * first,
        }
    }
}

const FIRST_CLIENT: u32 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use yrs::{Doc, GetString, ReadTxn, StateVector, Transact, Update, updates::decoder::Decode};

    use super::*;
    use crate::{
        frame::Header,
        wire::{self, Incoming},
    };

    fn next(story: &mut Story) -> Vec<u8> {
        let mut frame = Vec::new();
        story.go_on(&mut frame);
        let header = Header::read_any(&frame).unwrap().unwrap();
        match wire::read(&frame[header.size..]).unwrap() {
            Incoming::Update(update) => update.to_vec(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_engine_and_a_reader_agree_on_a_story() {
        for hand in [Hand::Typed, Hand::Woven] {
            let mut story = Story::new(hand, 7, 30);
            let mut reader = story.reader();
            let doc = Doc::new();
            let text = doc.get_or_insert_text("text");
            for count in 1..=101 {
                let update = next(&mut story);
                assert_eq!(reader.read(&update), Ok(count));
                doc.transact_mut()
                    .apply_update(Update::decode_v1(&update).unwrap())
                    .unwrap();
            }
            assert_eq!(
                reader.read(&next(&mut Story::new(hand, 7, 30))),
                Ok(101),
                "old news"
            );
            let txn = doc.transact();
            assert_eq!(text.get_string(&txn), update::sample_text(30).repeat(101));
            let whole = txn.encode_state_as_update_v1(&StateVector::default());
            assert_eq!(
                story.reader().read(&whole),
                Ok(101),
                "all at once is the same"
            );
        }
    }

    #[test]
    fn a_reader_notices_what_is_left_out_or_foreign() {
        for hand in [Hand::Typed, Hand::Woven] {
            let mut story = Story::new(hand, 0, 5);
            let updates: Vec<_> = (0..6).map(|_| next(&mut story)).collect();
            let mut reader = story.reader();
            reader.read(&updates[0]).unwrap();
            assert!(reader.read(&updates[5]).is_err());
            assert!(Story::new(hand, 1, 5).reader().read(&updates[0]).is_err());
        }
    }
}
