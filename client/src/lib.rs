//! A client of The Well.
//!
//! A [`Client`] keeps one connection to a server, and makes it again when it breaks. Each [`Room`] on
//! it takes operations and gives events. An operation is kept in a [`Queue`] until the server has
//! said that it is durable, and is sent again after every break, under the number it was given first:
//! so it is in the room's log once, however often it was sent.
//!
//! ```no_run
//! use well_client::{Client, Event, Join, Options};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::connect(Options::new("ws://127.0.0.1:4000/well"));
//! // A space of kind opaque.
//! let mut room = client.join(Join::new("blob/events")).await?;
//! let ticket = room.submit("anything".into()).await?;
//! println!("durable under seq {:?}", ticket.acked().await?.seq);
//! while let Some(event) = room.next().await {
//!     if let Event::Records(records) = event {
//!         println!("{} records", records.len());
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! | module | holds |
//! | --- | --- |
//! | [`driver`](mod@driver) | the task that keeps the connection |
//! | [`limits`] | named bounds and times |
//! | [`queue`] | where operations wait until they are durable: memory, or a file |
//! | [`room`] | what an application holds of a room |
//! | [`text`] | a text room and its document |
//! | [`transport`] | a connection that carries whole messages, over WebSocket or WebTransport |
//! | [`wire`] | the protocol's messages |

mod backoff;
mod driver;
pub mod limits;
pub mod queue;
pub mod room;
pub mod text;
mod transport;
mod wire;

pub use driver::{Client, Join, Options};
pub use queue::{FileQueue, MemoryQueue, Operation, Queue};
pub use room::{Acked, Event, Record, Rejected, Room, RoomError, State, Ticket};
pub use text::TextRoom;
