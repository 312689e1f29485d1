//! The doors of the Well: HTTP, WebSocket and WebTransport, and the pages.
//!
//! Only this crate knows wires: it turns sockets and requests into calls of the broker, and what
//! the broker says into frames, statuses and close codes.
//!
//! | module | holds |
//! | --- | --- |
//! | [`access`] | who comes in, and what they may do |
//! | [`connection`] | the connection: bytes between a transport, a framing and a talk |
//! | [`http`] | routes: rooms, pages, health, and where the dialects' sockets are mounted |
//! | [`limits`] | named bounds of connections |
//! | [`server`] | accepting connections, and ending |
//! | [`stream`] | messages on a stream of bytes |
//! | [`talk`] | dialects, each with the rooms that its client is in |
//! | [`websocket`] | handshake and frames |
//! | [`webtransport`] | sessions over QUIC, and their certificates |

pub mod access;
pub mod connection;
pub mod http;
pub mod limits;
mod resumes;
pub mod server;
pub mod stream;
pub mod talk;
pub mod websocket;
pub mod webtransport;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use broker::Broker;
use observatory::Exporter;
use protocol::dialect::yjs;
use protocol::{CloseCode, Role, RoomName, Timestamp};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use access::Keeper;
use access::caller::{Caller, Refusal};
use access::rule::{self, Access, Action};
use access::tickets::Ticket;
use access::token::{BadToken, Grant};
use http::problem::Problem;
use parking_lot::RwLock;
use resumes::Resumes;
use server::Places;
use talk::mount::Refused;
use webtransport::Door;

/// What every request and connection needs.
#[derive(Clone)]
pub struct Gateway {
    inner: Arc<Inner>,
}

struct Inner {
    broker: Broker,
    exporter: Exporter,
    keeper: Keeper,
    spaces: RwLock<Arc<Spaces>>,
    reload: OnceLock<Reload>,
    has_archive: bool,
    webtransport: Door,
    places: Places,
    started: Instant,
    connections: TaskTracker,
    draining: CancellationToken,
    resumes: Resumes,
}

impl Space {
    /// A space that anyone gets into.
    #[must_use]
    pub const fn open(kind: replay::Kind) -> Self {
        let access = Access::Open;
        Self { kind, access }
    }
}

type Reload = Box<dyn Fn() -> Result<(), String> + Send + Sync>;

/// The spaces there are.
pub type Spaces = BTreeMap<String, Space>;

/// What a space is to whoever comes to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// What its rooms hold.
    pub kind: replay::Kind,
    /// Who gets in without a token.
    pub access: Access,
}

/// A gateway, as long as it is there.
#[derive(Clone)]
pub struct WeakGateway(Weak<Inner>);

impl WeakGateway {
    /// The gateway, if it is there still.
    #[must_use]
    pub fn upgrade(&self) -> Option<Gateway> {
        self.0.upgrade().map(|inner| Gateway { inner })
    }
}

impl std::fmt::Debug for WeakGateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WeakGateway").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateway")
            .field("broker", &self.inner.broker)
            .field("connections", &self.inner.connections.len())
            .finish_non_exhaustive()
    }
}

impl Gateway {
    /// A gateway to the rooms of `broker` in `spaces`. Whether there `has_archive` is only for
    /// `/readyz`, while none has been reached.
    #[must_use]
    pub fn new(
        broker: Broker,
        exporter: Exporter,
        keeper: Keeper,
        spaces: Spaces,
        has_archive: bool,
        webtransport: Door,
    ) -> Self {
        let inner = Inner {
            broker,
            exporter,
            keeper,
            spaces: RwLock::new(Arc::new(spaces)),
            reload: OnceLock::new(),
            has_archive,
            webtransport,
            places: Places::new(),
            started: Instant::now(),
            connections: TaskTracker::new(),
            draining: CancellationToken::new(),
            resumes: Resumes::default(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    pub(crate) fn broker(&self) -> &Broker {
        &self.inner.broker
    }

    pub(crate) fn exporter(&self) -> &Exporter {
        &self.inner.exporter
    }

    pub(crate) fn has_archive(&self) -> bool {
        self.inner.has_archive
    }

    pub(crate) fn webtransport(&self) -> &Door {
        &self.inner.webtransport
    }

    /// The places of connections, of every transport.
    pub(crate) fn places(&self) -> &Places {
        &self.inner.places
    }

    /// For how long the server has been running.
    pub(crate) fn age(&self) -> Duration {
        self.inner.started.elapsed()
    }

    /// Tracks every connection that carries a dialect.
    pub(crate) fn connections(&self) -> &TaskTracker {
        &self.inner.connections
    }

    pub(crate) fn draining(&self) -> &CancellationToken {
        &self.inner.draining
    }

    /// Which connection has which client's key.
    pub(crate) fn resumes(&self) -> &Resumes {
        &self.inner.resumes
    }

    /// A space, if it is configured.
    pub(crate) fn space(&self, name: &str) -> Option<Space> {
        self.inner.spaces.read().get(name).copied()
    }

    /// The kind of the documents in a space; `None` if there is no such space.
    pub(crate) fn kind_of(&self, space: &str) -> Option<replay::Kind> {
        self.space(space).map(|space| space.kind)
    }

    /// The same gateway, for what it holds itself.
    #[must_use]
    pub fn downgrade(&self) -> WeakGateway {
        WeakGateway(Arc::downgrade(&self.inner))
    }

    /// Who comes in.
    #[must_use]
    pub fn keeper(&self) -> &Keeper {
        &self.inner.keeper
    }

    /// Goes on with other settings of the spaces that there are.
    pub fn set_spaces(&self, spaces: Spaces) {
        *self.inner.spaces.write() = Arc::new(spaces);
    }

    /// Whether every space is open to anyone.
    pub(crate) fn is_open(&self) -> bool {
        let spaces = self.inner.spaces.read();
        spaces.values().all(|space| space.access == Access::Open)
    }

    /// What reads the configuration again. Only the first that is said counts.
    pub fn on_reload(&self, reload: impl Fn() -> Result<(), String> + Send + Sync + 'static) {
        let _ = self.inner.reload.set(Box::new(reload));
    }

    /// Reads the configuration again. Waits for the disk.
    ///
    /// # Errors
    /// What is wrong with it; the one before stays.
    pub fn reload(&self) -> Result<(), String> {
        let reload = self.inner.reload.get();
        reload.map_or_else(
            || Err("there is no configuration".to_owned()),
            |reload| reload(),
        )
    }

    /// Seconds since the Unix epoch, as tokens count them; whole ones.
    pub(crate) fn wall_seconds(&self) -> u64 {
        self.wall_time().micros() / 1_000_000
    }

    /// Who comes with these tokens.
    pub(crate) fn identify<'a>(
        &self,
        tokens: impl IntoIterator<Item = std::borrow::Cow<'a, str>>,
    ) -> Caller {
        let now = self.wall_seconds();
        Caller::of(tokens, |token| self.keeper().believe(token, now))
    }

    /// Whether somebody may do something to a room: the one place where that is asked, for every
    /// dialect, transport and route.
    pub(crate) async fn authorize(
        &self,
        caller: &Caller,
        action: Action,
        room: &RoomName,
    ) -> Result<(), Refusal> {
        let (access, exists) = self.examine(caller, room).await?;
        let grant = caller.grant()?.map(AsRef::as_ref);
        Ok(rule::decide(grant, action, room, access, exists)?)
    }

    /// Whether a room stands in the list for the holder of `grant`.
    pub(crate) fn lists(&self, grant: Option<&Arc<Grant>>, room: &RoomName) -> bool {
        let Some(space) = self.space(room.space()) else {
            return false;
        };
        let revoked = grant.is_some_and(|grant| self.keeper().is_revoked(grant, room));
        !revoked && rule::lists(grant.map(AsRef::as_ref), room, space.access)
    }

    /// What a session is in a room that it comes to as `wanted`; and the ticket that ends it with its
    /// token.
    pub(crate) async fn admit(
        &self,
        caller: &Caller,
        wanted: Role,
        room: &RoomName,
    ) -> Result<(Role, Option<Ticket>), Refusal> {
        let (access, exists) = self.examine(caller, room).await?;
        let grant = caller.grant()?;
        let role = rule::session_role(grant.map(AsRef::as_ref), wanted, room, access, exists)?;
        let ticket = grant.map(|grant| self.keeper().issue(grant, Some(room.clone())));
        // It may have been revoked since it was believed; from here on the ticket hears of that.
        if grant.is_some_and(|grant| self.keeper().is_revoked(grant, room)) {
            return Err(BadToken::Revoked.into());
        }
        Ok((role, ticket))
    }

    /// What the rule wants to know of a room: who gets into its space, and whether it exists, where
    /// that matters.
    async fn examine(&self, caller: &Caller, room: &RoomName) -> Result<(Access, bool), Refusal> {
        let space = room.space();
        let known = self.space(space);
        let access = known
            .ok_or_else(|| Refusal::NoSpace(space.to_owned()))?
            .access;
        match caller.grant()? {
            Some(grant) if self.keeper().is_revoked(grant, room) => Err(BadToken::Revoked.into()),
            None if access == Access::CreateWithToken => {
                let span = self.broker().history().span(room).await;
                let in_use = self.broker().info(room).sessions > 0;
                let exists = span.map(|span| in_use || !span.is_empty());
                let unknown = |error: replay::FoldError| Refusal::Unknown {
                    room: room.clone(),
                    why: error.to_string(),
                };
                Ok((access, exists.map_err(unknown)?))
            }
            _ => Ok((access, true)),
        }
    }

    /// Microseconds since the Unix epoch, by this machine's clock.
    pub(crate) fn wall_time(&self) -> Timestamp {
        self.inner.broker.wall_time()
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.inner.draining.is_cancelled()
    }

    /// A room of a request whose path has been decoded.
    pub(crate) fn room(&self, space: &str, name: &str) -> Result<RoomName, Problem> {
        let room = RoomName::new(space, name)?;
        if self.space(space).is_some() {
            Ok(room)
        } else {
            Err(Problem::no_space(space))
        }
    }

    /// A room of a y-websocket, from its raw path.
    pub(crate) fn socket_room(&self, space: &str, raw_name: &str) -> Result<RoomName, Refused> {
        let room = yjs::room_from_path(space, raw_name).map_err(|error| {
            let reason = format!("no such room: {error}");
            (CloseCode::NoRoom, reason)
        })?;
        match self.kind_of(space) {
            Some(replay::Kind::Yjs) => Ok(room),
            Some(replay::Kind::Opaque) => {
                // Its state is no Yjs update: the client would throw while reading it.
                let reason = "this space holds opaque documents; y-websocket speaks only Yjs";
                Err((CloseCode::Conflict, reason.to_owned()))
            }
            Some(replay::Kind::Text) => {
                let reason =
                    "this space holds texts of the Well's own CRDT; y-websocket speaks only Yjs";
                Err((CloseCode::Conflict, reason.to_owned()))
            }
            None => {
                let reason = format!("the space {space:?} is not configured on this server");
                Err((CloseCode::NoRoom, reason))
            }
        }
    }
}

/// The process's one recorder, for all tests in it.
#[cfg(test)]
pub(crate) fn exporter_of_tests() -> Exporter {
    static EXPORTER: std::sync::OnceLock<Exporter> = std::sync::OnceLock::new();
    let install = || Exporter::install().unwrap_or_else(|error| panic!("{error}"));
    EXPORTER.get_or_init(install).clone()
}
