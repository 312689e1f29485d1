//! The doors of the Well: HTTP, WebSocket and WebTransport, and the pages.
//!
//! Only this crate knows wires: it turns sockets and requests into calls of the broker, and what
//! the broker says into frames, statuses and close codes.
//!
//! | module | holds |
//! | --- | --- |
//! | [`acme`] | a certificate from an authority |
//! | [`access`] | who comes in, and what they may do |
//! | [`audit`] | who came and went, and what became of rooms |
//! | `budget` | how much memory reading the past may take |
//! | [`connection`] | the connection: bytes between a transport, a framing and a talk |
//! | [`http`] | routes: rooms, pages, health, and where the dialects' sockets are mounted |
//! | [`limits`] | named bounds of connections |
//! | `observation` | what the Observatory shows, looked at each second |
//! | `proxy` | what a proxy says before a connection's first byte |
//! | [`quota`] | how much one connection and one address may do |
//! | [`server`] | accepting connections, and ending |
//! | [`stream`] | messages on a stream of bytes |
//! | [`talk`] | dialects, each with the rooms that its client is in |
//! | [`tls`] | TLS over TCP |
//! | [`websocket`] | handshake and frames |
//! | [`usage`] | what has been written this month, in a file |
//! | [`webtransport`] | sessions over QUIC, and their certificates |

pub mod access;
pub mod acme;
mod admission;
pub mod audit;
mod budget;
pub mod connection;
pub mod http;
pub mod limits;
mod observation;
mod proxy;
pub mod quota;
mod resumes;
pub mod server;
pub mod stream;
pub mod talk;
pub mod tls;
pub mod usage;
pub mod websocket;
pub mod webtransport;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant, SystemTime};

use broker::Broker;
use observatory::{EventKind, Exporter, Severity};
use protocol::dialect::yjs;
use protocol::{CloseCode, RoomName, Timestamp};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use access::Keeper;
use access::networks::Networks;
use access::origin::Origins;
use access::rule::Access;
use audit::Audit;
use budget::Budget;
use http::problem::Problem;
use ipnet::IpNet;
use limits::ConnectionLimits;
use observation::Observation;
pub use observation::observe;
use parking_lot::RwLock;
use quota::SpaceLimits;
use quota::visitors::Visitors;
use resumes::Resumes;
use server::Places;
use talk::mount::Refused;
use usage::UsageFile;
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
    log: OnceLock<SetLog>,
    visitors: Arc<Visitors>,
    audit: OnceLock<Audit>,
    usage: OnceLock<UsageFile>,
    proxies: RwLock<Arc<[IpNet]>>,
    networks: RwLock<Arc<Networks>>,
    proxy_protocol: AtomicBool,
    per_connection: RwLock<ConnectionLimits>,
    local: AtomicBool,
    has_archive: bool,
    webtransport: Door,
    acme: OnceLock<acme::Status>,
    places: Places,
    started: Instant,
    connections: TaskTracker,
    draining: CancellationToken,
    resumes: Resumes,
    past_memory: Budget,
    observation: Observation,
}

impl Space {
    /// A space that anyone gets into.
    #[must_use]
    pub const fn open(kind: replay::Kind) -> Self {
        Self {
            kind,
            access: Access::Open,
            limits: SpaceLimits::NONE,
            origins: Origins::Own,
        }
    }
}

type Reload = Box<dyn Fn() -> Result<(), String> + Send + Sync>;
type SetLog = Box<dyn Fn(&str) -> Result<(), String> + Send + Sync>;

/// The spaces there are.
pub type Spaces = BTreeMap<String, Space>;

/// What a space is to whoever comes to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Space {
    /// What its rooms hold.
    pub kind: replay::Kind,
    /// Who gets in without a token.
    pub access: Access,
    /// How much there may be of what.
    pub limits: SpaceLimits,
    /// Which pages may speak to it, beside the server's own.
    pub origins: Origins,
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
            past_memory: Budget::of(broker.memory()),
            broker,
            exporter,
            keeper,
            spaces: RwLock::new(Arc::new(spaces)),
            reload: OnceLock::new(),
            log: OnceLock::new(),
            visitors: Arc::default(),
            audit: OnceLock::new(),
            usage: OnceLock::new(),
            proxies: RwLock::new([].into()),
            networks: RwLock::default(),
            proxy_protocol: AtomicBool::new(false),
            per_connection: RwLock::default(),
            local: AtomicBool::new(false),
            has_archive,
            webtransport,
            acme: OnceLock::new(),
            places: Places::new(),
            started: Instant::now(),
            connections: TaskTracker::new(),
            draining: CancellationToken::new(),
            resumes: Resumes::default(),
            observation: Observation::new(),
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

    /// Looks whether WebTransport is to serve another certificate.
    pub fn refresh_webtransport(&self) {
        if let Door::Open(door) = self.webtransport() {
            door.refresh(SystemTime::now());
        }
    }

    /// How ordering the certificate goes is told from here on.
    pub fn set_acme(&self, status: acme::Status) {
        // It is set once, at the start.
        let _ = self.inner.acme.set(status);
    }

    pub(crate) fn acme(&self) -> Option<&acme::Status> {
        self.inner.acme.get()
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
        self.inner.spaces.read().get(name).cloned()
    }

    /// How much memory reading the past may take.
    pub(crate) fn past_memory(&self) -> &Budget {
        &self.inner.past_memory
    }

    /// What the Observatory shows.
    pub(crate) fn observation(&self) -> &Observation {
        &self.inner.observation
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

    /// Goes on with other proxies that are trusted to say for whom they ask.
    pub fn set_trusted_proxies(&self, proxies: Vec<IpNet>) {
        *self.inner.proxies.write() = proxies.into();
    }

    /// Whether trusted proxies begin each connection over TCP with a PROXY header, from here on.
    pub fn set_proxy_protocol(&self, spoken: bool) {
        self.inner.proxy_protocol.store(spoken, Ordering::Relaxed);
    }

    /// Whether a connection from there begins with a PROXY header.
    pub(crate) fn expects_proxy_header(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.inner.proxy_protocol.load(Ordering::Relaxed)
            && self.trusted_proxies().iter().any(|net| net.contains(&peer))
    }

    /// Lets those without a token in from these networks, from here on.
    pub fn set_networks(&self, networks: Networks) {
        *self.inner.networks.write() = Arc::new(networks);
    }

    pub(crate) fn networks(&self) -> Arc<Networks> {
        Arc::clone(&self.inner.networks.read())
    }

    /// Bounds connections that begin from here on so.
    pub fn set_connection_limits(&self, limits: ConnectionLimits) {
        *self.inner.per_connection.write() = limits;
    }

    pub(crate) fn connection_limits(&self) -> ConnectionLimits {
        *self.inner.per_connection.read()
    }

    /// Says that only this machine reaches the server: pages of this machine may then speak to it.
    pub fn set_local(&self) {
        self.inner.local.store(true, Ordering::Relaxed);
    }

    /// Whether only this machine reaches the server.
    pub(crate) fn is_local(&self) -> bool {
        self.inner.local.load(Ordering::Relaxed)
    }

    /// The proxies that are trusted.
    pub(crate) fn trusted_proxies(&self) -> Arc<[IpNet]> {
        Arc::clone(&self.inner.proxies.read())
    }

    /// Writes an audit log from here on. Only the first that is said counts.
    pub fn set_audit(&self, audit: Audit) {
        let _ = self.inner.audit.set(audit);
    }

    pub(crate) fn audit(&self) -> Option<&Audit> {
        self.inner.audit.get()
    }

    /// Keeps what has been written this month in this file. Only the first that is said counts.
    pub fn set_usage_file(&self, file: UsageFile) {
        let _ = self.inner.usage.set(file);
    }

    pub(crate) fn usage_file(&self) -> Option<&UsageFile> {
        self.inner.usage.get()
    }

    /// What the addresses do.
    pub(crate) fn visitors(&self) -> &Arc<Visitors> {
        &self.inner.visitors
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
        let reloaded = reload.map_or_else(
            || Err("there is no configuration".to_owned()),
            |reload| reload(),
        );
        let (severity, text) = match &reloaded {
            Ok(()) => (
                Severity::Info,
                "the configuration has been read again".to_owned(),
            ),
            Err(why) => (
                Severity::Warn,
                format!("the configuration stays as it was: {why}"),
            ),
        };
        observatory::happened(EventKind::ConfigReload, severity, text);
        reloaded
    }

    /// What changes what is logged. Only the first that is said counts.
    pub fn on_log(&self, set: impl Fn(&str) -> Result<(), String> + Send + Sync + 'static) {
        let _ = self.inner.log.set(Box::new(set));
    }

    /// Logs this from here on: a level, or levels by target.
    ///
    /// # Errors
    /// What is wrong with it; what was logged before is.
    pub(crate) fn set_log(&self, filter: &str) -> Result<(), String> {
        let set = self.inner.log.get();
        set.map_or_else(|| Err("there are no logs".to_owned()), |set| set(filter))
    }

    /// Seconds since the Unix epoch, as tokens count them; whole ones.
    pub(crate) fn wall_seconds(&self) -> u64 {
        self.wall_time().micros() / 1_000_000
    }

    /// Microseconds since the Unix epoch, by this machine's clock.
    pub(crate) fn wall_time(&self) -> Timestamp {
        self.inner.broker.wall_time()
    }

    /// Why it takes no updates, if it does not.
    pub(crate) fn not_ready(&self) -> Option<String> {
        let refused = self.broker().log().refuses_writes();
        let draining = || {
            self.is_draining()
                .then(|| "the server is shutting down".to_owned())
        };
        refused
            .map(|why| format!("the log takes no writes: {why}"))
            .or_else(draining)
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
            Some(kind) => match not_yjs(kind) {
                None => Ok(room),
                Some(why) => Err((CloseCode::Conflict, why.to_owned())),
            },
            None => {
                let reason = format!("the space {space:?} is not configured on this server");
                Err((CloseCode::NoRoom, reason))
            }
        }
    }
}

/// Why y-websocket cannot speak of documents of a kind; `None` for those that it can. The state of
/// any other is no Yjs update, and a client would throw while reading it.
pub(crate) const fn not_yjs(kind: replay::Kind) -> Option<&'static str> {
    match kind {
        replay::Kind::Yjs => None,
        replay::Kind::Opaque => {
            Some("this space holds opaque documents; y-websocket speaks only Yjs")
        }
        replay::Kind::Text => {
            Some("this space holds texts of the Well's own CRDT; y-websocket speaks only Yjs")
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
