//! What an application holds of a room.

use bytes::Bytes;
use protocol::ClientId;
use tokio::sync::{mpsc, oneshot};

use crate::driver::Request;

/// A room that the application has joined. Dropping it leaves.
#[derive(Debug)]
pub struct Room {
    pub(crate) id: u64,
    pub(crate) client: ClientId,
    pub(crate) requests: mpsc::Sender<Request>,
    pub(crate) events: mpsc::Receiver<Event>,
    /// The application knows that it lags, and the driver does not know that yet.
    pub(crate) lags: bool,
    /// What was in the queue when the room was joined.
    pub(crate) waiting: Vec<Bytes>,
}

/// Something happened in a room.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The client is a member, again if the connection had broken.
    Joined {
        /// What brings its document up to `head`; of a log that began anew a [`Event::Reset`] does,
        /// which follows at once.
        state: State,
        /// The end of the log it stands at now.
        head: u64,
        /// Whether it may write.
        may_write: bool,
        /// The membership's id, which stands as author in what it writes.
        session: u64,
    },
    /// Others have written this, in order.
    Records(Vec<Record>),
    /// The application's document is to be replaced by this one.
    Reset {
        /// The document.
        snapshot: Bytes,
        /// The end of the log it stands at.
        head: u64,
        /// The log began anew, or was restored to an earlier point: what the application has is of
        /// another past, and the server may lack any of it. Otherwise the client only fell behind.
        began_anew: bool,
    },
    /// An operation of this client is durable whose [`Ticket`] has been dropped, or belongs to a former
    /// run of the program.
    Acked {
        /// Its number.
        operation: u64,
        /// Where it is.
        acked: Acked,
    },
    /// An operation of this client was refused for good.
    Rejected {
        /// Its number.
        operation: u64,
        /// Why.
        rejected: Rejected,
    },
    /// The application did not take its events for so long that later ones were dropped. When it asks
    /// for the next, it is given a [`Event::Joined`] and a [`Event::Reset`] with the document as it is
    /// by then.
    Lagged,
    /// Who is here has changed: each replica's latest state as JSON, `None` if it has left.
    Presence(Vec<(u64, Option<Bytes>)>),
    /// The connection broke or could not be made, or the server asks to come back later; it is tried
    /// again. Operations are kept. Until there is a [`Event::Joined`], the same reason is not told twice
    /// in succession.
    Disconnected {
        /// Why.
        reason: String,
    },
    /// The membership has ended for good, and nothing more comes.
    Closed {
        /// The close code, 4400 to 4499; 0 if there is no server at the client's address, and never was.
        code: u32,
        /// Why.
        reason: String,
    },
}

/// What a client that has joined lacked.
#[derive(Debug, Clone, PartialEq)]
pub enum State {
    /// The whole document, in its kind's encoding.
    Snapshot(Bytes),
    /// What is new since the version that [`Join`](crate::Join) named.
    Difference(Bytes),
    /// The records since it was here last.
    Records(Vec<Record>),
}

/// A record that somebody else wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its place in the room's log.
    pub seq: u64,
    /// When the server took it, microseconds since the Unix epoch.
    pub at: u64,
    /// The author's session.
    pub session: u64,
    /// The author's replica in the document; 0 if its update names none.
    pub site: u64,
    /// Who the author's token says it is; empty for nobody.
    pub user: String,
    /// The update.
    pub payload: Bytes,
}

/// An operation is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acked {
    /// Its place in the room's log; `None` if it added nothing to the document and is not there.
    pub seq: Option<u64>,
    /// When the server took it, microseconds since the Unix epoch; 0 if it was there before.
    pub at: u64,
    /// How many records stand between the last that its client had seen and it, own ones on their way
    /// among them.
    pub stale: u64,
}

/// An operation was refused for good, or its room is closed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the operation was not taken: {reason}")]
pub struct Rejected {
    /// The protocol's code of a Reject; 0 if the room was closed.
    pub code: i32,
    /// Why.
    pub reason: String,
}

/// Why a room does not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum RoomError {
    /// The client was dropped, or the room closed.
    #[error("the client has ended")]
    Ended,
    /// The server wants nothing of this client, or (0) there is none at its address.
    #[error("the server cannot be used: {reason}")]
    Closed {
        /// The close code, 4400 to 4499, or 0.
        code: u32,
        /// Why.
        reason: String,
    },
    /// As many operations wait as may.
    #[error("{0} operations wait for the server, as many as may")]
    Full(usize),
    /// The queue does not keep it.
    #[error("the operation cannot be kept: {0}")]
    Queue(#[from] std::io::Error),
    /// The operation was refused.
    #[error(transparent)]
    Rejected(#[from] Rejected),
}

/// Tells when an operation is durable.
#[derive(Debug)]
pub struct Ticket {
    number: u64,
    acked: oneshot::Receiver<Result<Acked, Rejected>>,
}

impl Ticket {
    pub(crate) const fn new(
        number: u64,
        acked: oneshot::Receiver<Result<Acked, Rejected>>,
    ) -> Self {
        Self { number, acked }
    }

    #[cfg(test)]
    pub(crate) fn is_told(&mut self) -> bool {
        self.acked.try_recv().is_ok()
    }

    /// The operation's number.
    #[must_use]
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// Waits until the server has said that the operation is durable, over as many connections as
    /// that takes.
    ///
    /// # Errors
    /// [`RoomError::Rejected`] if it was refused, [`RoomError::Ended`] if the client ends first; the
    /// operation is in the queue then.
    pub async fn acked(self) -> Result<Acked, RoomError> {
        Ok(self.acked.await.map_err(|_| RoomError::Ended)??)
    }
}

impl Room {
    /// Who numbers this client's operations.
    #[must_use]
    pub const fn client(&self) -> ClientId {
        self.client
    }

    /// The operations that a former run of the program left in the queue, oldest first: they are sent,
    /// and the application's document lacks them until it takes them from here. Empty the second time.
    pub fn take_waiting(&mut self) -> Vec<Bytes> {
        std::mem::take(&mut self.waiting)
    }

    /// Hands in an operation. When this returns it is in the queue and will be sent.
    ///
    /// # Errors
    /// [`RoomError`].
    pub async fn submit(&self, payload: Bytes) -> Result<Ticket, RoomError> {
        let (reply, kept) = oneshot::channel();
        let request = Request::Submit {
            room: self.id,
            payload,
            reply,
        };
        self.ask(request).await?;
        kept.await.map_err(|_| RoomError::Ended)?
    }

    /// How many operations wait for the server, those of a former run of the program among them.
    ///
    /// # Errors
    /// [`RoomError::Ended`].
    pub async fn waiting(&self) -> Result<usize, RoomError> {
        let (reply, counted) = oneshot::channel();
        let room = self.id;
        self.ask(Request::Waiting { room, reply }).await?;
        counted.await.map_err(|_| RoomError::Ended)
    }

    /// Says where this client is: JSON, or `None` to be gone. The last word counts.
    ///
    /// # Errors
    /// [`RoomError::Ended`].
    pub async fn set_presence(&self, state: Option<Bytes>) -> Result<(), RoomError> {
        let room = self.id;
        self.ask(Request::Presence { room, state }).await
    }

    /// The next event; `None` when the client has ended or the room was closed. Cancel-safe.
    ///
    /// A program that only writes need not ask: tickets tell what has become of operations. Of an
    /// application that does not take its events [`EVENTS`](crate::limits::EVENTS) wait, then
    /// [`Event::Lagged`].
    pub async fn next(&mut self) -> Option<Event> {
        if self.lags {
            let room = self.id;
            // That the driver has ended is known by the end of the events.
            drop(self.ask(Request::CatchUp { room }).await);
            self.lags = false;
        }
        let event = self.events.recv().await?;
        self.lags = event == Event::Lagged;
        Some(event)
    }

    async fn ask(&self, request: Request) -> Result<(), RoomError> {
        let sent = self.requests.send(request).await;
        sent.map_err(|_| RoomError::Ended)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let requests = self.requests.clone();
        let leave = Request::Leave { room: self.id };
        if let Err(mpsc::error::TrySendError::Full(leave)) = requests.try_send(leave)
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(async move { requests.send(leave).await });
        }
    }
}
