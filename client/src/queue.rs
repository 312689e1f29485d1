//! Where operations wait until the server has said that they are durable.
//!
//! A queue also knows who the client is: operations are numbered by client, so a queue that outlives
//! the program must keep both.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use bytes::Bytes;
use protocol::ClientId;

/// An operation that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// Its number.
    pub number: u64,
    /// The last Seq the client had seen when it was written.
    pub base: u64,
    /// The update.
    pub payload: Bytes,
}

/// Keeps operations until they are durable on the server.
pub trait Queue: Send {
    /// Who numbers the operations.
    fn client(&self) -> ClientId;

    /// What waits, oldest first, and the number of the last operation there ever was.
    ///
    /// # Errors
    /// If it cannot be read.
    fn load(&mut self) -> io::Result<(VecDeque<Operation>, u64)>;

    /// Keeps one more. It is kept when this returns.
    ///
    /// # Errors
    /// If it cannot be kept.
    fn push(&mut self, operation: &Operation) -> io::Result<()>;

    /// Every operation up to this number is dealt with.
    ///
    /// # Errors
    /// If that cannot be noted; the operations may be sent again then.
    fn acked(&mut self, number: u64) -> io::Result<()>;

    /// The operation with this number was refused for good.
    ///
    /// # Errors
    /// If that cannot be noted; the operation may be sent again then.
    fn rejected(&mut self, number: u64) -> io::Result<()>;
}

/// A client's id at random.
///
/// # Errors
/// If the system has no randomness.
pub fn random_client() -> io::Result<ClientId> {
    loop {
        let bits = getrandom::u64().map_err(io::Error::other)?;
        if let Some(client) = ClientId::new(bits & ClientId::MAX) {
            return Ok(client);
        }
    }
}

/// A queue that is lost with the program. The driver holds the operations already; this holds none.
#[derive(Debug)]
pub struct MemoryQueue {
    client: ClientId,
}

impl MemoryQueue {
    /// A queue of a new client.
    ///
    /// # Errors
    /// If the system has no randomness.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            client: random_client()?,
        })
    }

    /// A queue of this client, which must not be in use elsewhere.
    #[must_use]
    pub const fn of(client: ClientId) -> Self {
        Self { client }
    }
}

impl Queue for MemoryQueue {
    fn client(&self) -> ClientId {
        self.client
    }

    fn load(&mut self) -> io::Result<(VecDeque<Operation>, u64)> {
        Ok((VecDeque::new(), 0))
    }

    fn push(&mut self, _operation: &Operation) -> io::Result<()> {
        Ok(())
    }

    fn acked(&mut self, _number: u64) -> io::Result<()> {
        Ok(())
    }

    fn rejected(&mut self, _number: u64) -> io::Result<()> {
        Ok(())
    }
}

/// A queue in a file, which survives the program and a power cut.
///
/// ```text
/// file   magic "WELLQUE\n" | client u64 | last number u64 | CRC-32C of the 24 bytes before, u32 | entry*
/// entry  length u32 of what follows | CRC-32C of that, u32
///          | 0 u8, number u64, base u64, payload      an operation
///          | 1 u8, number u64                         everything up to it is dealt with
///          | 2 u8, number u64                         this one was refused
/// ```
/// Integers are little-endian. An end that was torn is cut off. When nothing waits any more the file
/// begins anew.
#[derive(Debug)]
pub struct FileQueue {
    file: File,
    client: ClientId,
    last: u64,
    waiting: u64,
    /// Bytes after the header; beyond a bound an empty queue begins anew.
    grown: u64,
}

const MAGIC: &[u8; 8] = b"WELLQUE\n";
const HEADER_BYTES: usize = 28;
/// A queue in which nothing waits is begun anew when its file has so many bytes.
const RENEW_BYTES: u64 = 1 << 20;

impl FileQueue {
    /// Opens a queue, or makes one with a new client. One program at a time may have it open.
    ///
    /// # Errors
    /// If the file cannot be read or written, is open elsewhere, or is no queue.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        file.try_lock().map_err(|error| match error {
            std::fs::TryLockError::WouldBlock => io::Error::new(
                io::ErrorKind::WouldBlock,
                "the queue is in use by another program",
            ),
            std::fs::TryLockError::Error(error) => error,
        })?;
        let mut queue = Self {
            file,
            client: random_client()?,
            last: 0,
            waiting: 0,
            grown: 0,
        };
        if queue.file.metadata()?.len() < HEADER_BYTES as u64 {
            // Nothing was ever acked to whoever wrote less than a header.
            queue.renew()?;
        } else {
            queue.read_header()?;
        }
        Ok(queue)
    }

    fn read_header(&mut self) -> io::Result<()> {
        let mut header = [0; HEADER_BYTES];
        self.file.seek(SeekFrom::Start(0))?;
        self.file.read_exact(&mut header)?;
        let client = ClientId::new(u64_at(&header, 8));
        let crc = u32::from_le_bytes([header[24], header[25], header[26], header[27]]);
        match client {
            Some(client) if header.starts_with(MAGIC) && crc == crc32c::crc32c(&header[..24]) => {
                self.client = client;
                self.last = u64_at(&header, 16);
                Ok(())
            }
            _ => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the file is no queue of operations, or is damaged at its start",
            )),
        }
    }

    /// Begins the file anew: nothing waits.
    fn renew(&mut self) -> io::Result<()> {
        let mut header = MAGIC.to_vec();
        header.extend_from_slice(&self.client.get().to_le_bytes());
        header.extend_from_slice(&self.last.to_le_bytes());
        header.extend_from_slice(&crc32c::crc32c(&header).to_le_bytes());
        // The header first: a crash in between leaves operations that are sent once more, where the
        // other way round their numbers would be given again.
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(&header)?;
        self.file.sync_data()?;
        self.file.set_len(HEADER_BYTES as u64)?;
        self.file.sync_all()?;
        self.grown = 0;
        Ok(())
    }

    fn write(&mut self, body: &[u8]) -> io::Result<()> {
        let mut entry = Vec::with_capacity(8 + body.len());
        entry.extend_from_slice(&(body.len() as u32).to_le_bytes());
        entry.extend_from_slice(&crc32c::crc32c(body).to_le_bytes());
        entry.extend_from_slice(body);
        self.file.write_all(&entry)?;
        self.grown += entry.len() as u64;
        Ok(())
    }
}

impl Queue for FileQueue {
    fn client(&self) -> ClientId {
        self.client
    }

    fn load(&mut self) -> io::Result<(VecDeque<Operation>, u64)> {
        let mut bytes = Vec::new();
        self.file.seek(SeekFrom::Start(HEADER_BYTES as u64))?;
        self.file.read_to_end(&mut bytes)?;
        let bytes = Bytes::from(bytes);
        let mut operations = VecDeque::new();
        let mut at = 0;
        while let Some((body, end)) = entry_at(&bytes, at) {
            match body.first() {
                Some(0) if body.len() >= 17 => {
                    let number = u64_at(&body, 1);
                    self.last = self.last.max(number);
                    operations.push_back(Operation {
                        number,
                        base: u64_at(&body, 9),
                        payload: body.slice(17..),
                    });
                }
                Some(1) if body.len() == 9 => {
                    let done = u64_at(&body, 1);
                    operations.retain(|operation: &Operation| operation.number > done);
                }
                Some(2) if body.len() == 9 => {
                    let refused = u64_at(&body, 1);
                    operations.retain(|operation: &Operation| operation.number != refused);
                }
                _ => break,
            }
            at = end;
        }
        // What lies behind was torn, and nobody was told that it is kept.
        self.file.set_len((HEADER_BYTES + at) as u64)?;
        self.file.seek(SeekFrom::End(0))?;
        self.grown = at as u64;
        self.waiting = operations.len() as u64;
        Ok((operations, self.last))
    }

    fn push(&mut self, operation: &Operation) -> io::Result<()> {
        let mut body = vec![0];
        body.extend_from_slice(&operation.number.to_le_bytes());
        body.extend_from_slice(&operation.base.to_le_bytes());
        body.extend_from_slice(&operation.payload);
        self.write(&body)?;
        self.file.sync_data()?;
        self.last = self.last.max(operation.number);
        self.waiting += 1;
        Ok(())
    }

    fn acked(&mut self, number: u64) -> io::Result<()> {
        let done = number.min(self.last);
        self.waiting = self.waiting.min(self.last - done);
        if self.waiting == 0 && self.grown > RENEW_BYTES {
            return self.renew();
        }
        // Not synced: an operation that is sent once more is told where it is.
        let mut body = vec![1];
        body.extend_from_slice(&number.to_le_bytes());
        self.write(&body)
    }

    fn rejected(&mut self, number: u64) -> io::Result<()> {
        self.waiting = self.waiting.saturating_sub(1);
        let mut body = vec![2];
        body.extend_from_slice(&number.to_le_bytes());
        self.write(&body)
    }
}

/// The entry at `at`, and where it ends; `None` if there is no whole one.
fn entry_at(bytes: &Bytes, at: usize) -> Option<(Bytes, usize)> {
    let head = bytes.get(at..at + 8)?;
    let len = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
    let crc = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
    let end = (at + 8)
        .checked_add(len)
        .filter(|end| *end <= bytes.len())?;
    let body = bytes.slice(at + 8..end);
    (crc32c::crc32c(&body) == crc).then_some((body, end))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operation(number: u64) -> Operation {
        Operation {
            number,
            base: number * 2,
            payload: Bytes::from(vec![number as u8; number as usize % 50]),
        }
    }

    #[test]
    fn a_file_keeps_what_is_not_acked_and_who_wrote_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("queue");
        let mut queue = FileQueue::open(&path).unwrap();
        let client = queue.client();
        assert_eq!(queue.load().unwrap(), (VecDeque::new(), 0));
        for number in 1..=100 {
            queue.push(&operation(number)).unwrap();
        }
        queue.acked(60).unwrap();
        queue.rejected(99).unwrap();
        assert!(FileQueue::open(&path).is_err(), "it is in use");
        drop(queue);

        // Torn in the middle of one more.
        let whole = std::fs::read(&path).unwrap();
        for torn in [&[][..], &[9], &[9, 0, 0, 0, 1, 2, 3, 4, 0, 0], &[0; 40]] {
            std::fs::write(&path, [&whole[..], torn].concat()).unwrap();
            let mut queue = FileQueue::open(&path).unwrap();
            let (waiting, last) = queue.load().unwrap();
            assert_eq!((queue.client(), last), (client, 100));
            let left = (61..=100).filter(|number| *number != 99);
            assert_eq!(waiting, left.map(operation).collect::<VecDeque<_>>());
            queue.push(&operation(101)).unwrap();
            drop(queue);
            let (waiting, last) = FileQueue::open(&path).unwrap().load().unwrap();
            assert_eq!((waiting.len(), last), (40, 101));
        }
    }

    #[test]
    fn an_empty_queue_does_not_grow_for_ever_and_keeps_counting() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("queue");
        let mut queue = FileQueue::open(&path).unwrap();
        queue.load().unwrap();
        let large = |number| Operation {
            number,
            base: 0,
            payload: vec![0; 100_000].into(),
        };
        for number in 1..=30 {
            queue.push(&large(number)).unwrap();
            queue.acked(number).unwrap();
        }
        assert!(queue.file.metadata().unwrap().len() < 2 * RENEW_BYTES);
        drop(queue);
        let (waiting, last) = FileQueue::open(&path).unwrap().load().unwrap();
        assert_eq!((waiting.len(), last), (0, 30));
    }

    #[test]
    fn another_file_is_refused_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("letter");
        std::fs::write(&path, "a letter that is long enough for a header").unwrap();
        assert_eq!(
            FileQueue::open(&path).unwrap_err().kind(),
            io::ErrorKind::InvalidData
        );
        assert!(
            std::fs::read_to_string(&path)
                .unwrap()
                .starts_with("a letter")
        );
    }
}
