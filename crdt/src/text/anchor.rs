//! Positions that stay where they are while the text changes, and lines and columns.

use super::Text;
use super::error::{EditError, FormatError};
use super::id::{Client, Id, Measure};
use super::leaf::NONE;
use super::tree::Spot;
use super::varint::{Reader, write};

/// To which neighbour a position sticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bias {
    /// To the character before it: what is inserted at the position stands after it.
    Left,
    /// To the character after it: what is inserted at the position stands before it.
    Right,
}

/// A sticky position: it means the same in every replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Anchor {
    /// The character it sticks to; none is the text's start (left) or end (right).
    pub id: Option<Id>,
    /// Whether that is the one before or after.
    pub bias: Bias,
}

impl Anchor {
    /// Its bytes: a varint (0 sticks left, 1 right, and 2 more with a character), and the character's
    /// client and tick as varints.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let right = u64::from(self.bias == Bias::Right);
        match self.id {
            None => write(&mut out, right),
            Some(id) => {
                write(&mut out, 2 + right);
                write(&mut out, id.client.get());
                write(&mut out, u64::from(id.clock));
            }
        }
        out
    }

    /// The sticky position of these bytes.
    ///
    /// # Errors
    ///
    /// [`FormatError`] if they are not those of one.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut reader = Reader::new(bytes);
        let head = reader.u64()?;
        let bias = if head & 1 == 0 {
            Bias::Left
        } else {
            Bias::Right
        };
        let id = match head {
            0 | 1 => None,
            2 | 3 => Some(Id {
                client: Client::new(reader.u64()?),
                clock: reader.u32()?,
            }),
            _ => return Err(FormatError::Number),
        };
        reader.end()?;
        Ok(Self { id, bias })
    }
}

/// A line and a column, both from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// How many line feeds stand before.
    pub line: usize,
    /// How much of the line stands before.
    pub column: usize,
}

impl Text {
    /// The sticky position at `at`.
    ///
    /// # Errors
    ///
    /// [`EditError`] if that is past the end or inside a character.
    pub fn anchor(&self, measure: Measure, at: usize, bias: Bias) -> Result<Anchor, EditError> {
        let at = self.position(measure, at)?;
        let n = match bias {
            Bias::Left if at == 0 => NONE,
            Bias::Right if at == self.tree.live => NONE,
            Bias::Left => self.tree.item(self.tree.find(at - 1)),
            Bias::Right => self.tree.item(self.tree.find(at)),
        };
        let id = (n != NONE).then(|| {
            let (author, clock) = self.log.id_of(n);
            Id {
                client: self.log.authors[author as usize].client,
                clock,
            }
        });
        Ok(Anchor { id, bias })
    }

    /// Where a sticky position is now; none if its character is not here, or never was one.
    #[must_use]
    pub fn position_of(&self, anchor: &Anchor, measure: Measure) -> Option<usize> {
        let Some(id) = anchor.id else {
            return Some(match anchor.bias {
                Bias::Left => 0,
                Bias::Right => self.len(measure),
            });
        };
        let author = self.log.place(id.client)?;
        if id.clock >= self.log.authors[author as usize].clock {
            return None;
        }
        let (n, _) = self.log.char_of(author, id.clock)?;
        let mut spot = self.tree.locate(n);
        if anchor.bias == Bias::Left {
            spot.offset += 1;
        }
        Some(self.tree.rank(spot, measure, &self.content) as usize)
    }

    /// The line and column of a position; columns are counted in `measure` too.
    ///
    /// # Errors
    ///
    /// [`EditError`] if that is past the end or inside a character.
    pub fn place_of(&self, measure: Measure, at: usize) -> Result<Place, EditError> {
        let chars = self.position(measure, at)?;
        let line = self.tree.lines_before(chars, &self.content);
        let start = self.tree.line_start(line, &self.content).unwrap_or(0);
        Ok(Place {
            line: line as usize,
            column: at - self.measure_of(start, measure),
        })
    }

    /// The position of a line and column; none if there is no such line, the column is past its end,
    /// or it is inside a character.
    #[must_use]
    pub fn offset_of(&self, measure: Measure, place: Place) -> Option<usize> {
        let line = u32::try_from(place.line).ok()?;
        let start = self.tree.line_start(line, &self.content)?;
        let end = self
            .tree
            .line_start(line.checked_add(1)?, &self.content)
            .map_or(self.len(measure), |next| self.measure_of(next - 1, measure));
        let at = self.measure_of(start, measure).checked_add(place.column)?;
        (at <= end && self.position(measure, at).is_ok()).then_some(at)
    }

    /// How much of the visible text stands before the character number `chars`.
    fn measure_of(&self, chars: u32, measure: Measure) -> usize {
        if chars >= self.tree.live {
            return self.len(measure);
        }
        let spot: Spot = self.tree.find(chars);
        self.tree.rank(spot, measure, &self.content) as usize
    }
}
