//! `crdt::text` as JavaScript sees it through wasm-bindgen.
//!
//! This only turns values into what crosses cheaply; `sdk/text/src/text.ts` is the API, checks its
//! arguments and gives errors their words. Positions are UTF-16 units unless a measure is asked for;
//! Seqs are whole numbers below 2⁵³. An error is thrown as one bigint, see `error`.

mod error;

use crdt::text::{
    Anchor, Applied, Bias, Change, Client, Deed, History, Id, Measure, Place, Seq, Text, Version,
};
use wasm_bindgen::prelude::*;

use error::Failure;

/// Half the size of the standard library's, and as quick.
#[cfg(target_family = "wasm")]
#[global_allocator]
static ALLOCATOR: talc::wasm::WasmDynamicTalc = talc::wasm::new_wasm_dynamic_allocator();

/// One replica, and what its last call has to say besides its result.
#[wasm_bindgen]
#[derive(Debug)]
pub struct Engine {
    text: Text,
    changes: Vec<Change>,
    /// The text that the last call gave in pieces, end to end.
    said: String,
}

#[wasm_bindgen]
impl Engine {
    /// An empty text.
    #[wasm_bindgen(constructor)]
    pub fn new(client: u64) -> Self {
        Self::of(Text::new(Client::new(client)))
    }

    /// A text from a snapshot.
    pub fn load(client: u64, bytes: &[u8]) -> Result<Self, Failure> {
        Ok(Self::of(Text::load(Client::new(client), bytes)?))
    }

    fn of(text: Text) -> Self {
        let mut text = text;
        text.track_undo();
        Self {
            text,
            changes: Vec::new(),
            said: String::new(),
        }
    }

    /// Replaces, and gives the update's bytes.
    pub fn replace(
        &mut self,
        measure: u8,
        at: u32,
        len: u32,
        text: &str,
    ) -> Result<Vec<u8>, Failure> {
        let update = self
            .text
            .replace(measure_of(measure), at as usize, len as usize, text)?;
        Ok(self.text.encode(&update))
    }

    /// Ends a group of own edits that are taken back together.
    pub fn checkpoint(&mut self) {
        self.text.checkpoint();
    }

    /// Whether there is something to take back.
    pub fn can_undo(&self) -> bool {
        self.text.can_undo()
    }

    /// Whether there is something to do again.
    pub fn can_redo(&self) -> bool {
        self.text.can_redo()
    }

    /// Takes back, or with `again` does again; gives the update's bytes if there was something.
    /// [`Engine::changes`] has the visible edits.
    pub fn take_back(&mut self, again: bool) -> Result<Option<Vec<u8>>, Failure> {
        self.changes.clear();
        let update = if again {
            self.text.redo_seen(Measure::Units, &mut self.changes)?
        } else {
            self.text.undo_seen(Measure::Units, &mut self.changes)?
        };
        Ok(update.map(|update| self.text.encode(&update)))
    }

    /// Applies an update; a negative Seq is none. Gives what became of it: 0 new, 1 known, 2 waits.
    /// [`Engine::changes`] has the visible edits.
    pub fn apply(&mut self, update: &[u8], seq: f64) -> Result<u8, Failure> {
        self.changes.clear();
        let seq = (seq >= 0.0).then(|| Seq::new(seq as u64));
        let applied = self
            .text
            .apply_seen(update, seq, Measure::Units, &mut self.changes)?;
        Ok(match applied {
            Applied::New => 0,
            Applied::Known => 1,
            Applied::Parked => 2,
        })
    }

    /// The visible edits of the last call. For each: its position, what goes, and the length of what
    /// comes, which [`Engine::said`] has end to end.
    pub fn changes(&mut self) -> Vec<u32> {
        let mut out = Vec::with_capacity(3 * self.changes.len());
        self.said.clear();
        for change in &self.changes {
            let new = self.text.inserted(change);
            out.extend([change.at as u32, change.deleted as u32, units(new)]);
            self.said.push_str(new);
        }
        out
    }

    /// The text that the last call gave in pieces.
    pub fn said(&mut self) -> String {
        std::mem::take(&mut self.said)
    }

    /// Says which Seq an own update got, also one in which there is nothing.
    pub fn acknowledge(&mut self, update: &[u8], seq: f64) -> Result<(), Failure> {
        let ticks = crdt::text::ticks(update)?;
        if ticks.is_empty() {
            self.pass(seq);
        }
        for update in ticks {
            self.text.acknowledge(&update, Seq::new(seq as u64));
        }
        Ok(())
    }

    /// Says that a Seq held no update of this text.
    pub fn pass(&mut self, seq: f64) {
        self.text.pass(Seq::new(seq as u64));
    }

    /// The length of the visible text.
    pub fn len(&self, measure: u8) -> u32 {
        self.text.len(measure_of(measure)) as u32
    }

    /// The visible text.
    pub fn text(&self) -> String {
        let mut out = String::with_capacity(self.text.len(Measure::Bytes));
        self.text.chunks().for_each(|chunk| out.push_str(chunk));
        out
    }

    /// A range of the visible text, in UTF-16 units; none if it is not within it.
    pub fn slice(&self, from: u32, to: u32) -> Option<String> {
        self.text.slice(Measure::Units, from as usize..to as usize)
    }

    /// The UTF-16 lengths of the pieces that the text stands in.
    pub fn chunks(&self) -> Vec<u32> {
        self.text.chunks().map(units).collect()
    }

    /// Clients and their ticks, in turn.
    pub fn version(&self) -> Vec<u64> {
        self.text
            .version()
            .iter()
            .flat_map(|(client, ticks)| [client.get(), u64::from(ticks)])
            .collect()
    }

    /// Clients, first missing tick and one after the last, in turn.
    pub fn missing(&self) -> Vec<u64> {
        self.text
            .missing()
            .iter()
            .flat_map(|update| {
                [
                    update.client.get(),
                    u64::from(update.from),
                    u64::from(update.to),
                ]
            })
            .collect()
    }

    /// How many updates wait.
    pub fn waiting(&self) -> u32 {
        self.text.waiting() as u32
    }

    /// What a replica of this version lacks.
    pub fn diff(&self, since: &[u64]) -> Vec<u8> {
        let mut version = Version::new();
        for pair in since.chunks_exact(2) {
            version.set(Client::new(pair[0]), pair[1] as u32);
        }
        self.text.diff(&version)
    }

    /// The whole text's bytes. Archives are left to servers: reading them would be a fifth of the file.
    pub fn snapshot(&self, with_history: bool) -> Vec<u8> {
        self.text.snapshot(if with_history {
            History::With
        } else {
            History::Without
        })
    }

    /// The last Seq up to which the past is known.
    pub fn known_until(&self) -> f64 {
        self.text.known_until().get() as f64
    }

    /// A former text.
    pub fn at(&self, seq: f64) -> Result<String, Failure> {
        Ok(self.text.at(Seq::new(seq as u64))?)
    }

    /// What happened between two Seqs. For each event: client, first Seq, last Seq, 1 if it deleted,
    /// and the length of its text, which [`Engine::said`] has end to end.
    pub fn between(&mut self, after: f64, until: f64) -> Result<Vec<u64>, Failure> {
        self.said.clear();
        let mut out = Vec::new();
        for event in self
            .text
            .between(Seq::new(after as u64), Seq::new(until as u64))?
        {
            out.extend([
                event.client.get(),
                event.first.get(),
                event.last.get(),
                u64::from(event.deed == Deed::Delete),
                u64::from(units(event.text)),
            ]);
            self.said.push_str(event.text);
        }
        Ok(out)
    }

    /// A sticky position: client and tick, or nothing for the text's start or end.
    pub fn anchor(&self, at: u32, right: bool) -> Result<Vec<u64>, Failure> {
        let anchor = self.text.anchor(Measure::Units, at as usize, bias(right))?;
        Ok(anchor
            .id
            .map_or_else(Vec::new, |id| vec![id.client.get(), u64::from(id.clock)]))
    }

    /// Where a sticky position is; `id` as [`Engine::anchor`] gives it.
    pub fn position_of(&self, id: &[u64], right: bool) -> Option<u32> {
        let id = match id {
            [client, clock] => Some(Id {
                client: Client::new(*client),
                clock: u32::try_from(*clock).ok()?,
            }),
            _ => None,
        };
        let anchor = Anchor {
            id,
            bias: bias(right),
        };
        self.text
            .position_of(&anchor, Measure::Units)
            .map(|at| at as u32)
    }

    /// Counts lines from now on.
    pub fn count_lines(&mut self) {
        self.text.count_lines();
    }

    /// Line and column of a position.
    pub fn place_of(&self, at: u32) -> Result<Vec<u32>, Failure> {
        let place = self.text.place_of(Measure::Units, at as usize)?;
        Ok(vec![place.line as u32, place.column as u32])
    }

    /// The position of a line and column.
    pub fn offset_of(&self, line: u32, column: u32) -> Option<u32> {
        let place = Place {
            line: line as usize,
            column: column as usize,
        };
        self.text
            .offset_of(Measure::Units, place)
            .map(|at| at as u32)
    }
}

/// Makes one update of many, which stand end to end in `bytes`.
#[wasm_bindgen]
pub fn merge(bytes: &[u8], lengths: &[u32]) -> Result<Vec<u8>, Failure> {
    let mut rest = bytes;
    let mut updates = Vec::with_capacity(lengths.len());
    for len in lengths {
        let (update, after) = rest.split_at((*len as usize).min(rest.len()));
        updates.push(update);
        rest = after;
    }
    Ok(crdt::text::merge(&updates)?)
}

fn measure_of(number: u8) -> Measure {
    match number {
        1 => Measure::Bytes,
        2 => Measure::Chars,
        _ => Measure::Units,
    }
}

fn bias(right: bool) -> Bias {
    if right { Bias::Right } else { Bias::Left }
}

fn units(text: &str) -> u32 {
    text.chars()
        .map(|character| character.len_utf16() as u32)
        .sum()
}
