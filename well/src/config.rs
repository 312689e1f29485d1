//! Configuration: defaults, then `well.toml`, then `WELL_*` variables, then flags.
//!
//! clap reads flags and variables; what neither says is taken from the file, and what the file does
//! not say is the default here. Unknown keys in the file are errors: a misspelt limit must not be
//! silently none.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use broker::{Lifetime, Limits, Monthly, SnapshotRule, SpaceRule};
use bytesize::ByteSize;
use clap::{Args, ValueEnum};
use gateway::access::networks::Networks;
use gateway::access::origin::Origins;
use gateway::access::rule::Access;
use gateway::limits::ConnectionLimits;
use gateway::quota::SpaceLimits;
use ipnet::IpNet;
use observatory::trace::Settings;
use protocol::limits::{MAX_PAYLOAD_BYTES, MAX_ROOMS_PER_CONNECTION};
use schemars::JsonSchema;
use serde::Deserialize;
use storage::archive::Retention;
use tokio::runtime::Handle;

use crate::stores::Caches;
use crate::traces::Traces;

use schema::{Kept, Size, Time};

pub(crate) mod schema;
mod tls;

pub(crate) use tls::Tls;

/// How `well serve` is told what to do.
#[derive(Debug, Clone, Args)]
pub(crate) struct ServeArgs {
    /// The address to listen on; port 0 picks a free one [default: 127.0.0.1:4000]
    #[arg(long, env = "WELL_LISTEN", value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// The folder that holds the log; created if it is not there [default: ./well-data]
    #[arg(long, env = "WELL_DATA", value_name = "DIR")]
    data: Option<PathBuf>,
    /// Where records are kept [default: sled]
    #[arg(long, env = "WELL_STORE", value_name = "STORE")]
    store: Option<Store>,
    /// Where history is archived: `file:///…`, `s3://bucket/prefix`, `gs://…` or `az://…`
    #[arg(long, env = "WELL_ARCHIVE", value_name = "URL")]
    archive: Option<String>,
    /// Keep snapshots beside the log, so that rooms load and the past is read quickly [default: true]
    #[arg(
        long,
        env = "WELL_SNAPSHOTS",
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_parser = clap::builder::BoolishValueParser::new()
    )]
    snapshots: Option<bool>,
    /// Serve WebTransport too, on the same port over UDP [default: true]
    #[arg(
        long,
        env = "WELL_WEBTRANSPORT",
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_parser = clap::builder::BoolishValueParser::new()
    )]
    webtransport: Option<bool>,
    /// Measure what it does, for /metrics and the page /observatory; without, nobody can tell whether it is well
    /// [default: true]
    #[arg(
        long,
        env = "WELL_OBSERVE",
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_parser = clap::builder::BoolishValueParser::new()
    )]
    observe: Option<bool>,
    /// A configuration file; without one, well.toml is read if it is there
    #[arg(long, env = "WELL_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// The secret that tokens are signed with (HS256), as `[auth] secret`: 32 bytes or more
    #[arg(
        long,
        env = "WELL_AUTH_SECRET",
        value_name = "SECRET",
        hide_env_values = true
    )]
    auth_secret: Option<String>,
    /// Serve open spaces on a listener that is not on loopback: anyone who reaches it is let in
    #[arg(
        long,
        env = "WELL_ALLOW_OPEN",
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_parser = clap::builder::BoolishValueParser::new()
    )]
    allow_open: Option<bool>,
    /// What is logged, like `RUST_LOG`: a level, or levels by target; a reload changes it where the
    /// file says it [default: info]
    #[arg(long, env = "WELL_LOG", value_name = "FILTER")]
    log: Option<String>,
    /// Where traces are sent, in OTLP over HTTP, like `http://localhost:4318`; also
    /// `OTEL_EXPORTER_OTLP_ENDPOINT` [default: nowhere]
    #[arg(long, env = "WELL_TRACE_ENDPOINT", value_name = "URL")]
    trace_endpoint: Option<String>,
    /// How logs look [default: text]
    #[arg(long, env = "WELL_LOG_FORMAT", value_name = "FORMAT")]
    log_format: Option<LogFormat>,
    #[command(flatten)]
    pits: PitArgs,
}

/// Limits of the space `pit` by the names they had first; they win over the file.
#[derive(Debug, Clone, Copy, Default, Args)]
#[command(next_help_heading = "Limits of pits; 0 for none")]
struct PitArgs {
    /// As `[spaces.pit] new_rooms_per_ip_per_hour`
    #[arg(long, env = "MAX_NEW_PITS_PER_IP_PER_HOUR", value_name = "N")]
    max_new_pits_per_ip_per_hour: Option<u32>,
    /// As `[spaces.pit] connections_per_ip`
    #[arg(long, env = "MAX_CONNECTIONS_PER_IP", value_name = "N")]
    max_connections_per_ip: Option<u32>,
    /// As `[spaces.pit] bytes_per_minute`
    #[arg(long, env = "MAX_UPDATE_BYTES_PER_MIN", value_name = "BYTES")]
    max_update_bytes_per_min: Option<u32>,
    /// As `[spaces.pit] max_document`
    #[arg(long, env = "MAX_PIT_SIZE_BYTES", value_name = "BYTES")]
    max_pit_size_bytes: Option<u64>,
    /// As `[spaces.pit] idle`, in minutes; 0 unloads at once
    #[arg(long, env = "IDLE_PIT_TIMEOUT_MIN", value_name = "MINUTES")]
    idle_pit_timeout_min: Option<u32>,
    /// As `[spaces.pit] max_rooms`
    #[arg(long, env = "TOTAL_PIT_CAP", value_name = "N")]
    total_pit_cap: Option<u32>,
}

impl PitArgs {
    fn over(self, pit: &mut Space) -> anyhow::Result<()> {
        if let Some(bytes) = self.max_pit_size_bytes {
            let bytes = usize::try_from(bytes).context("MAX_PIT_SIZE_BYTES")?;
            pit.room.max_document = (bytes > 0).then_some(bytes);
        }
        if let Some(minutes) = self.idle_pit_timeout_min {
            pit.room.idle = Some(Duration::from_secs(60 * u64::from(minutes)));
        }
        if let Some(rooms) = self.total_pit_cap {
            pit.room.max_rooms = (rooms > 0).then_some(rooms as usize);
        }
        let limits = &mut pit.limits;
        let set = |limit: &mut Option<NonZeroU32>, said: Option<u32>| {
            if let Some(said) = said {
                *limit = NonZeroU32::new(said);
            }
        };
        set(
            &mut limits.new_rooms_per_ip_per_hour,
            self.max_new_pits_per_ip_per_hour,
        );
        set(&mut limits.connections_per_ip, self.max_connections_per_ip);
        set(&mut limits.bytes_per_minute, self.max_update_bytes_per_min);
        check_limits(limits)
    }
}

/// Where records are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Store {
    /// On disk, in an embedded store: survives a power cut.
    Sled,
    /// In memory: gone when the process ends.
    Memory,
}

/// How logs look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Everything `well serve` needs to know.
#[derive(Debug, PartialEq)]
pub(crate) struct Config {
    pub(crate) listen: SocketAddr,
    pub(crate) data: PathBuf,
    pub(crate) store: Store,
    pub(crate) log: String,
    pub(crate) log_format: LogFormat,
    pub(crate) trace: Tracing,
    /// `memory` is what is left of it beside the caches.
    pub(crate) limits: Limits,
    pub(crate) caches: Caches,
    pub(crate) per_connection: ConnectionLimits,
    /// The most bytes of records of ephemeral rooms, in memory.
    pub(crate) ephemeral_bytes: u64,
    pub(crate) snapshots: bool,
    pub(crate) webtransport: bool,
    /// Whether anything is measured.
    pub(crate) observe: bool,
    pub(crate) tls: Option<Tls>,
    pub(crate) archive: Archive,
    pub(crate) auth: AuthSettings,
    /// Where the audit log goes; there is none without.
    pub(crate) audit: Option<PathBuf>,
    /// Networks whose requests say for whom they ask.
    pub(crate) trusted_proxies: Vec<IpNet>,
    /// Whether they begin connections with a PROXY header.
    pub(crate) proxy_protocol: bool,
    pub(crate) networks: NetworkFiles,
    pub(crate) spaces: BTreeMap<String, Space>,
}

impl Config {
    /// The spaces whose rooms are in memory only.
    pub(crate) fn ephemeral_spaces(&self) -> BTreeSet<String> {
        let spaces = self.spaces.iter();
        let ephemeral = spaces.filter(|(_, space)| space.room.lifetime == Lifetime::Ephemeral);
        ephemeral.map(|(name, _)| name.clone()).collect()
    }

    /// What the spaces ask of their rooms.
    pub(crate) fn room_rules(&self) -> BTreeMap<String, SpaceRule> {
        let spaces = self.spaces.iter();
        let rules = spaces.map(|(name, space)| (name.clone(), space.room));
        rules.collect()
    }

    /// The spaces, as the gateway knows them.
    pub(crate) fn gateway_spaces(&self) -> gateway::Spaces {
        let spaces = self.spaces.iter().map(|(name, space)| {
            let space = gateway::Space {
                kind: space.kind,
                access: space.access,
                limits: space.limits,
                origins: space.origins.clone(),
            };
            (name.clone(), space)
        });
        spaces.collect()
    }
}

/// Files of networks from which somebody comes in without a token, or does not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct NetworkFiles {
    pub(crate) allow: Vec<PathBuf>,
    pub(crate) deny: Vec<PathBuf>,
}

impl NetworkFiles {
    /// Reads them.
    pub(crate) fn open(&self) -> anyhow::Result<Networks> {
        Networks::open(&self.allow, &self.deny).context("[networks]")
    }
}

/// The keys that tokens are checked with, and who tokens must be for.
#[derive(Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct AuthSettings {
    /// HS256. Whoever has it can make tokens.
    pub(crate) secret: Option<String>,
    /// PEM files with a public key each: EdDSA or ES256.
    pub(crate) public_keys: Vec<PathBuf>,
    /// A JSON Web Key Set: a file, or an `https://` address.
    pub(crate) jwks: Option<String>,
    /// The private key in PEM that the server signs with; without one it signs with the secret.
    pub(crate) signing_key: Option<PathBuf>,
    /// Whom tokens must be for.
    pub(crate) audience: Option<String>,
}

impl std::fmt::Debug for AuthSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AuthSettings")
            .field("secret", &self.secret.as_ref().map(|_| "…"))
            .field("public_keys", &self.public_keys)
            .field("jwks", &self.jwks)
            .field("signing_key", &self.signing_key)
            .field("audience", &self.audience)
            .finish()
    }
}

/// What is traced, and where traces are sent; nothing without an endpoint.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tracing {
    pub(crate) endpoint: Option<String>,
    pub(crate) settings: Settings,
}

impl Tracing {
    /// Traces from here on, if there is somewhere to send them.
    pub(crate) fn start(&self, background: &Handle) -> anyhow::Result<Option<Traces>> {
        let endpoint = self.endpoint.as_ref();
        let start = |endpoint: &String| Traces::start(endpoint, self.settings, background);
        endpoint.map(start).transpose()
    }
}

/// Where history goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Archive {
    pub(crate) url: Option<String>,
    /// How long archived records stay in the log as well; for ever without.
    pub(crate) keep_local: Option<Duration>,
}

/// What a space's rooms are like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Space {
    pub(crate) kind: replay::Kind,
    pub(crate) access: Access,
    pub(crate) limits: SpaceLimits,
    pub(crate) room: SpaceRule,
    pub(crate) origins: Origins,
    pub(crate) snapshots: SnapshotRule,
    pub(crate) retention: Retention,
}

impl Space {
    /// A whiteboard that anyone may begin: small, and with little for each address.
    const fn pit() -> Self {
        let mut pit = Self::of_kind(replay::Kind::Yjs);
        pit.limits = SpaceLimits::PIT;
        pit.room = SpaceRule {
            max_document: Some(5_000_000),
            room_memory: None,
            sessions_per_room: None,
            monthly: pit.room.monthly,
            denies_binary: true,
            lifetime: Lifetime::Persistent,
            idle: None,
            max_rooms: Some(100),
            max_total: Some(500_000_000),
        };
        pit
    }

    const fn of_kind(kind: replay::Kind) -> Self {
        Self {
            kind,
            access: Access::Open,
            limits: SpaceLimits::NONE,
            room: SpaceRule {
                max_document: None,
                room_memory: None,
                sessions_per_room: None,
                monthly: Monthly {
                    records: None,
                    bytes: None,
                },
                denies_binary: false,
                lifetime: Lifetime::Persistent,
                idle: None,
                max_rooms: None,
                max_total: None,
            },
            origins: Origins::Own,
            snapshots: SnapshotRule {
                records: None,
                after: None,
            },
            retention: Retention::All,
        }
    }
}

/// `well.toml`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct File {
    /// The address to listen on; port 0 picks a free one.
    listen: Option<SocketAddr>,
    /// The folder that holds the log; created if it is not there.
    data: Option<PathBuf>,
    /// Where records are kept.
    store: Option<Store>,
    /// Serve open spaces on a listener that is not on loopback, without TLS.
    allow_open: Option<bool>,
    /// What is logged: a level, or levels by target.
    log: Option<String>,
    /// How logs look.
    log_format: Option<LogFormat>,
    /// Where traces go, and which.
    #[serde(default)]
    trace: FileTracing,
    /// Bounds of the whole server.
    #[serde(default)]
    limits: FileLimits,
    /// Keep snapshots beside the log.
    snapshots: Option<bool>,
    /// Serve WebTransport too, on the same port over UDP.
    webtransport: Option<bool>,
    /// Measure what it does, for /metrics and the page /observatory.
    observe: Option<bool>,
    /// The certificate that HTTP, WebSocket and WebTransport serve.
    tls: Option<tls::FileTls>,
    /// Where history goes, beside the log.
    #[serde(default)]
    archive: FileArchive,
    /// Keys of tokens.
    #[serde(default)]
    auth: AuthSettings,
    /// Who came and went, and what became of rooms.
    #[serde(default)]
    audit: FileAudit,
    /// Networks of proxies that say for whom they ask.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    trusted_proxies: Vec<IpNet>,
    /// Trusted proxies begin each connection over TCP with a PROXY header, of version 1 or 2.
    proxy_protocol: Option<bool>,
    /// From where somebody comes in without a token.
    #[serde(default)]
    networks: FileNetworks,
    /// Spaces by name; pit, doc and text are there without being named.
    #[serde(default)]
    spaces: BTreeMap<String, FileSpace>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct FileTracing {
    /// The base URL of an OTLP collector (http/protobuf); nothing is traced without one.
    endpoint: Option<String>,
    /// How many of all updates are traced, from 0 (none) to 1 (each).
    sample: Option<f64>,
    /// An update that takes longer is traced in any case.
    #[serde(default, with = "humantime_serde")]
    #[schemars(with = "Option<Time>")]
    slow: Option<Duration>,
    /// How many are traced a second at most, of those that callers ask for and of the others.
    per_second: Option<u32>,
}

impl FileTracing {
    fn over(self, endpoint: Option<String>) -> anyhow::Result<Tracing> {
        let sample = self.sample.unwrap_or(TRACE_SAMPLE);
        if !(0.0..=1.0).contains(&sample) {
            bail!("[trace] sample is a part of all, from 0 (none) to 1 (each), not {sample}");
        }
        // None for 0: what no u64 counts to never comes.
        let one_in = (sample > 0.0).then(|| (1.0 / sample).round() as u64);
        let settings = Settings {
            one_in: one_in.and_then(NonZeroU64::new),
            slow: self.slow.unwrap_or(TRACE_SLOW),
            per_second: self.per_second.unwrap_or(TRACES_PER_SECOND),
        };
        let endpoint = endpoint.or(self.endpoint).filter(|it| !it.is_empty());
        Ok(Tracing { endpoint, settings })
    }
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct FileLimits {
    /// Rooms in memory; past it the longest idle one makes way.
    rooms_loaded: Option<usize>,
    /// Sessions in one room.
    sessions_per_room: Option<usize>,
    /// How long a room stays in memory after its last member has left, unless its space says.
    idle_unload_seconds: Option<u64>,
    /// A room's document in memory, in bytes; past it writes are refused.
    document_bytes: Option<usize>,
    /// All loaded documents together.
    #[schemars(with = "Option<Size>")]
    memory: Option<ByteSize>,
    /// How long a client of the well protocol may take to say Hello: at most a minute.
    #[serde(default, with = "humantime_serde")]
    #[schemars(with = "Option<Time>")]
    handshake: Option<Duration>,
    /// How many rooms a connection of the well protocol may be in.
    rooms_per_connection: Option<usize>,
    /// Records of ephemeral rooms, in memory, in bytes.
    ephemeral_bytes: Option<u64>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct FileAudit {
    /// The file that JSON lines are added to.
    file: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct FileNetworks {
    /// Files of networks, one a line; nobody else is let in, if there is one.
    allow: Vec<PathBuf>,
    /// Files of networks that are not let in, even if they are allowed.
    deny: Vec<PathBuf>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct FileArchive {
    /// `file:///…`, `s3://bucket/prefix`, `gs://…` or `az://…`
    url: Option<String>,
    /// Trim archived records from the log when they are older; never without.
    #[serde(default, with = "humantime_serde")]
    #[schemars(with = "Option<Time>")]
    keep_local: Option<Duration>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct FileSpace {
    /// What its rooms hold: as it was, or `yjs`.
    kind: Option<FileKind>,
    /// Who gets in without a token.
    access: Option<Access>,
    /// Pages of other servers that may speak to it.
    origins: Option<Origins>,
    /// Updates of one connection, by strokes.
    updates_per_minute: Option<Limit<u32>>,
    /// Bytes of updates of one connection.
    #[schemars(with = "Option<Limit<Size>>")]
    bytes_per_minute: Option<Limit<ByteSize>>,
    /// The largest update.
    #[schemars(with = "Option<Size>")]
    max_update: Option<ByteSize>,
    /// Connections of one address.
    connections_per_ip: Option<Limit<u32>>,
    /// Joins of rooms and downloads of documents by one address.
    joins_per_ip_per_minute: Option<Limit<u32>>,
    /// Rooms that one address begins.
    new_rooms_per_ip_per_hour: Option<Limit<u32>>,
    /// A document as it is encoded; past it writes are refused, reads go on.
    #[schemars(with = "Option<Limit<Size>>")]
    max_document: Option<Limit<ByteSize>>,
    /// What becomes of a room once nobody has been in it for `idle`.
    lifetime: Option<FileLifetime>,
    /// How long nobody may be in a room.
    #[serde(default, with = "humantime_serde")]
    #[schemars(with = "Option<Time>")]
    idle: Option<Duration>,
    /// How many rooms there may be.
    max_rooms: Option<Limit<u32>>,
    /// How much records of all rooms may take.
    #[schemars(with = "Option<Limit<Size>>")]
    max_total: Option<Limit<ByteSize>>,
    /// Whether bytes and images may stand in a document.
    binary: Option<FileBinary>,
    /// Sessions in one room; as in `limits` unless it is said.
    sessions_per_room: Option<NonZeroUsize>,
    /// A room's document in memory; `document_bytes` in `limits` unless it is said.
    #[schemars(with = "Option<Size>")]
    room_memory: Option<ByteSize>,
    /// Updates that each tenant, and everybody else together, may write in a calendar month.
    records_per_month: Option<Limit<u64>>,
    /// Their bytes.
    #[schemars(with = "Option<Limit<Size>>")]
    bytes_per_month: Option<Limit<ByteSize>>,
    /// A snapshot after so many records, beside the amortised rule.
    snapshot_records: Option<u64>,
    /// A snapshot so long after the first record that none holds.
    #[serde(default, with = "humantime_serde")]
    #[schemars(with = "Option<Time>")]
    snapshot_after: Option<Duration>,
    /// How long records stay in the archive.
    #[schemars(with = "Option<Kept>")]
    retention: Option<FileRetention>,
}

/// What becomes of binary content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum FileBinary {
    Allow,
    Deny,
}

/// A limit, or `"off"`.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(untagged)]
enum Limit<T> {
    Most(T),
    Off(Off),
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Off {
    Off,
}

impl<T> Limit<T> {
    fn most(self) -> Option<T> {
        match self {
            Self::Most(most) => Some(most),
            Self::Off(Off::Off) => None,
        }
    }
}

impl Limit<u32> {
    fn read(self, name: &str) -> anyhow::Result<Option<NonZeroU32>> {
        match self {
            Self::Off(Off::Off) => Ok(None),
            Self::Most(most) => match NonZeroU32::new(most) {
                Some(most) => Ok(Some(most)),
                None => bail!("{name} is 1 or more, or \"off\""),
            },
        }
    }
}

impl FileLimits {
    /// What is said of every connection over the defaults.
    fn per_connection(&self) -> anyhow::Result<ConnectionLimits> {
        let defaults = ConnectionLimits::default();
        let limits = ConnectionLimits {
            handshake: self.handshake.unwrap_or(defaults.handshake),
            rooms: self.rooms_per_connection.unwrap_or(defaults.rooms),
        };
        if limits.handshake.is_zero() || limits.handshake > MAX_HANDSHAKE {
            bail!("[limits] handshake is at most a minute, and more than nothing");
        }
        if !(1..=MAX_ROOMS_PER_CONNECTION).contains(&limits.rooms) {
            bail!("[limits] rooms_per_connection is 1 to {MAX_ROOMS_PER_CONNECTION}");
        }
        Ok(limits)
    }
}

/// Whether limits agree with each other, and with what a record can hold.
fn check_limits(limits: &SpaceLimits) -> anyhow::Result<()> {
    let largest = MAX_PAYLOAD_BYTES;
    if !(1..=largest).contains(&limits.max_update) {
        bail!("max_update is 1 to {largest} bytes");
    }
    if let Some(bytes) = limits.bytes_per_minute
        && limits.max_update > bytes.get() as usize
    {
        bail!(
            "max_update is {} bytes, and bytes_per_minute {bytes}: the largest update would \
             never be taken",
            limits.max_update
        );
    }
    Ok(())
}

impl FileSpace {
    /// What is said here of rooms over what is known.
    fn room(&self, known: SpaceRule) -> anyhow::Result<SpaceRule> {
        let max_document = self.max_document.map(|said| said.read("max_document"));
        let max_rooms = self.max_rooms.map(|said| said.read("max_rooms"));
        let max_total = self.max_total.map(|said| said.read("max_total"));
        let rooms = |most: Option<NonZeroU32>| most.map(|most| most.get() as usize);
        let bytes = |most: Option<usize>| most.map(|most| most as u64);
        let room_memory = self.room_memory.map(|said| usize::try_from(said.as_u64()));
        let room_memory = room_memory.transpose().context("room_memory")?;
        let rule = SpaceRule {
            max_document: max_document.transpose()?.unwrap_or(known.max_document),
            sessions_per_room: (self.sessions_per_room.map(NonZeroUsize::get))
                .or(known.sessions_per_room),
            room_memory: room_memory.or(known.room_memory),
            monthly: Monthly {
                records: self
                    .records_per_month
                    .map_or(known.monthly.records, Limit::most),
                bytes: (self.bytes_per_month)
                    .map_or(known.monthly.bytes, |said| Some(said.most()?.as_u64())),
            },
            denies_binary: (self.binary).map_or(known.denies_binary, |it| it == FileBinary::Deny),
            lifetime: self.lifetime.map_or(known.lifetime, Into::into),
            idle: self.idle.or(known.idle),
            max_rooms: max_rooms.transpose()?.map_or(known.max_rooms, rooms),
            max_total: max_total.transpose()?.map_or(known.max_total, bytes),
        };
        if rule.idle.is_some_and(|idle| idle > MAX_IDLE_UNLOAD) {
            bail!("idle is at most a year");
        }
        Ok(rule)
    }

    /// What is said here of limits over what is known.
    fn limits(&self, known: SpaceLimits) -> anyhow::Result<SpaceLimits> {
        let rate = |said: Option<Limit<u32>>, name, known| {
            said.map_or(Ok(known), |limit| limit.read(name))
        };
        let bytes = self.bytes_per_minute.map(|said| match said {
            Limit::Off(off) => Ok(Limit::Off(off)),
            Limit::Most(most) => {
                let most = u32::try_from(most.as_u64());
                most.map(Limit::Most)
                    .context("bytes_per_minute is less than 4 GiB")
            }
        });
        let limits = SpaceLimits {
            updates_per_minute: rate(
                self.updates_per_minute,
                "updates_per_minute",
                known.updates_per_minute,
            )?,
            bytes_per_minute: rate(
                bytes.transpose()?,
                "bytes_per_minute",
                known.bytes_per_minute,
            )?,
            max_update: self
                .max_update
                .map_or(known.max_update, |most| most.as_u64() as usize),
            connections_per_ip: rate(
                self.connections_per_ip,
                "connections_per_ip",
                known.connections_per_ip,
            )?,
            joins_per_ip_per_minute: rate(
                self.joins_per_ip_per_minute,
                "joins_per_ip_per_minute",
                known.joins_per_ip_per_minute,
            )?,
            new_rooms_per_ip_per_hour: rate(
                self.new_rooms_per_ip_per_hour,
                "new_rooms_per_ip_per_hour",
                known.new_rooms_per_ip_per_hour,
            )?,
        };
        check_limits(&limits)?;
        Ok(limits)
    }
}

impl Limit<ByteSize> {
    fn read(self, name: &str) -> anyhow::Result<Option<usize>> {
        match self {
            Self::Off(Off::Off) => Ok(None),
            Self::Most(ByteSize(0)) => bail!("{name} is 1 byte or more, or \"off\""),
            Self::Most(most) => {
                let most = usize::try_from(most.as_u64());
                most.map(Some).with_context(|| name.to_owned())
            }
        }
    }
}

/// `"all"`, a duration, or a number of records.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum FileRetention {
    Last(u64),
    Words(String),
    Other(toml::Value),
}

impl FileRetention {
    fn read(&self) -> anyhow::Result<Retention> {
        let wanted = "retention is \"all\", a duration like \"30d\", or a number of records";
        Ok(match self {
            Self::Last(records) => Retention::Last(*records),
            Self::Words(words) if words == "all" => Retention::All,
            Self::Words(words) => {
                let duration = humantime::parse_duration(words);
                Retention::For(duration.with_context(|| format!("{wanted}, not {words:?}"))?)
            }
            Self::Other(other) => bail!("{wanted}, not {other}"),
        })
    }
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum FileLifetime {
    Persistent,
    Expiring,
    Ephemeral,
}

impl From<FileLifetime> for Lifetime {
    fn from(lifetime: FileLifetime) -> Self {
        match lifetime {
            FileLifetime::Persistent => Self::Persistent,
            FileLifetime::Expiring => Self::Expiring,
            FileLifetime::Ephemeral => Self::Ephemeral,
        }
    }
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum FileKind {
    Yjs,
    Opaque,
    Text,
}

impl From<FileKind> for replay::Kind {
    fn from(kind: FileKind) -> Self {
        match kind {
            FileKind::Yjs => Self::Yjs,
            FileKind::Opaque => Self::Opaque,
            FileKind::Text => Self::Text,
        }
    }
}

/// The longest that a room may stay loaded without members.
const MAX_IDLE_UNLOAD: Duration = Duration::from_secs(365 * 86_400);

/// The longest that a client may take to say who it is.
const MAX_HANDSHAKE: Duration = Duration::from_secs(60);
/// The part of updates and requests that is traced whatever becomes of them.
const TRACE_SAMPLE: f64 = 0.001;
/// What takes this long is traced.
const TRACE_SLOW: Duration = Duration::from_millis(250);
/// The most traces in a second.
const TRACES_PER_SECOND: u32 = 20;

/// How long a pit stays loaded without members, unless `[limits] idle_unload_seconds` is said.
const PIT_IDLE: Duration = Duration::from_secs(30 * 60);
/// The most bytes of records of ephemeral rooms, in memory.
const EPHEMERAL_BYTES: u64 = 256 << 20;

const DEFAULT_FILE: &str = "well.toml";
const DEFAULT_DATA: &str = "./well-data";

/// Where rooms are: what every command but `serve` reads of the configuration, by the same rule.
#[derive(Debug)]
pub(crate) struct Places {
    pub(crate) data: PathBuf,
    pub(crate) archive: Option<String>,
    pub(crate) spaces: BTreeMap<String, Space>,
}

impl Places {
    /// What flags and variables say, else the file, else the default. An archive that is said to be
    /// `""` is none.
    pub(crate) fn find(
        file: Option<&Path>,
        data: Option<&PathBuf>,
        archive: Option<&String>,
    ) -> anyhow::Result<Self> {
        let file = File::find(file)?;
        Ok(Self {
            data: data_of(data.cloned(), file.data),
            archive: archive_of(archive.cloned(), file.archive.url),
            spaces: read_spaces(file.spaces)?,
        })
    }
}

fn data_of(said: Option<PathBuf>, file: Option<PathBuf>) -> PathBuf {
    said.or(file).unwrap_or_else(|| PathBuf::from(DEFAULT_DATA))
}

fn archive_of(said: Option<String>, file: Option<String>) -> Option<String> {
    said.or(file).filter(|url| !url.is_empty())
}

impl ServeArgs {
    /// For who asks a server that is there: whether it may serve so is not the question.
    pub(crate) fn of_a_server_that_runs(self) -> Self {
        let allow_open = Some(true);
        Self { allow_open, ..self }
    }

    /// Flags and variables over the file over the defaults.
    pub(crate) fn resolve(mut self) -> anyhow::Result<Config> {
        let everywhere = || std::env::var("OTEL_EXPORTER_OTLP_ENDPOINT").ok();
        self.trace_endpoint = self.trace_endpoint.or_else(everywhere);
        let file = File::find(self.config.as_deref())?;
        self.over(file)
    }

    fn over(self, file: File) -> anyhow::Result<Config> {
        let listen = self
            .listen
            .or(file.listen)
            .unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 4000)));
        let mut spaces = read_spaces(file.spaces)?;
        if let Some(pit) = spaces.get_mut("pit") {
            if file.limits.idle_unload_seconds.is_none() {
                pit.room.idle.get_or_insert(PIT_IDLE);
            }
            self.pits.over(pit).context("limits of pits")?;
        }
        let told = self.allow_open.or(file.allow_open).unwrap_or(false);
        let encrypted = file.tls.as_ref().is_some_and(|tls| tls.http);
        if !listen.ip().is_loopback() && !encrypted && !told {
            refuse_open(listen, &spaces)?;
        }
        let defaults = Limits::default();
        let memory = match file.limits.memory {
            Some(memory) => usize::try_from(memory.as_u64()).context("[limits] memory")?,
            None => defaults.memory,
        };
        let caches = Caches::of(memory);
        let limits = Limits {
            rooms_loaded: file.limits.rooms_loaded.unwrap_or(defaults.rooms_loaded),
            sessions_per_room: file
                .limits
                .sessions_per_room
                .unwrap_or(defaults.sessions_per_room),
            idle_unload: file
                .limits
                .idle_unload_seconds
                .map_or(defaults.idle_unload, Duration::from_secs),
            document_bytes: file
                .limits
                .document_bytes
                .unwrap_or(defaults.document_bytes),
            memory: memory - caches.bytes(),
        };
        let per_connection = file.limits.per_connection()?;
        if limits.idle_unload > MAX_IDLE_UNLOAD {
            bail!(
                "idle_unload_seconds is at most {}, a year",
                MAX_IDLE_UNLOAD.as_secs()
            );
        }
        let proxy_protocol = file.proxy_protocol.unwrap_or(false);
        if proxy_protocol && file.trusted_proxies.is_empty() {
            bail!("proxy_protocol is spoken by trusted_proxies, and there are none");
        }
        let mut auth = file.auth;
        auth.secret = self.auth_secret.or(auth.secret);
        let data = data_of(self.data, file.data);
        let tls = file.tls.map(|tls| tls.over(&data)).transpose()?;
        Ok(Config {
            listen,
            data,
            store: self.store.or(file.store).unwrap_or(Store::Sled),
            log: self.log.or(file.log).unwrap_or_else(|| "info".into()),
            log_format: self
                .log_format
                .or(file.log_format)
                .unwrap_or(LogFormat::Text),
            trace: file.trace.over(self.trace_endpoint)?,
            limits,
            caches,
            per_connection,
            ephemeral_bytes: file.limits.ephemeral_bytes.unwrap_or(EPHEMERAL_BYTES),
            snapshots: self.snapshots.or(file.snapshots).unwrap_or(true),
            webtransport: self.webtransport.or(file.webtransport).unwrap_or(true),
            observe: self.observe.or(file.observe).unwrap_or(true),
            tls,
            archive: Archive {
                url: archive_of(self.archive, file.archive.url),
                keep_local: file.archive.keep_local,
            },
            auth,
            audit: file.audit.file,
            trusted_proxies: file.trusted_proxies,
            proxy_protocol,
            networks: NetworkFiles {
                allow: file.networks.allow,
                deny: file.networks.deny,
            },
            spaces,
        })
    }
}

/// An open space on a listener that others reach is a mistake more often than it is meant.
fn refuse_open(listen: SocketAddr, spaces: &BTreeMap<String, Space>) -> anyhow::Result<()> {
    let open = spaces
        .iter()
        .filter(|(_, space)| space.access == Access::Open);
    let open: Vec<&str> = open.map(|(name, _)| name.as_str()).collect();
    if open.is_empty() {
        return Ok(());
    }
    bail!(
        "{listen} can be reached from other machines, and anyone who reaches it may read and write \
         the rooms of these spaces, unencrypted: {}. Say access = \"token\" or \
         \"create-with-token\" in each, serve TLS ([tls]), listen on a loopback address, or say \
         --allow-open",
        open.join(", ")
    )
}

fn read_spaces(file: BTreeMap<String, FileSpace>) -> anyhow::Result<BTreeMap<String, Space>> {
    let mut spaces = BTreeMap::from([
        ("pit".to_owned(), Space::pit()),
        ("doc".to_owned(), Space::of_kind(replay::Kind::Yjs)),
        ("text".to_owned(), Space::of_kind(replay::Kind::Text)),
    ]);
    for (space, settings) in file {
        protocol::RoomName::new(&space, "name")
            .with_context(|| format!("[spaces.{space}] in the configuration"))?;
        let retention = settings.retention.as_ref().map(FileRetention::read);
        let known = spaces.get(&space).cloned();
        let known = known.unwrap_or_else(|| Space::of_kind(replay::Kind::Yjs));
        let limits = settings.limits(known.limits);
        let limits = limits.with_context(|| format!("[spaces.{space}] in the configuration"))?;
        let room = settings.room(known.room);
        let room = room.with_context(|| format!("[spaces.{space}] in the configuration"))?;
        let kind = settings.kind.map_or(known.kind, Into::into);
        if settings.binary == Some(FileBinary::Deny) && kind == replay::Kind::Opaque {
            bail!(
                "[spaces.{space}] is opaque: what its payloads hold is not looked at, and binary is \"allow\""
            );
        }
        let read = Space {
            kind,
            access: settings.access.unwrap_or(known.access),
            limits,
            room,
            origins: settings.origins.unwrap_or(known.origins),
            snapshots: SnapshotRule {
                records: settings.snapshot_records,
                after: settings.snapshot_after,
            },
            retention: retention
                .transpose()
                .with_context(|| format!("[spaces.{space}] in the configuration"))?
                .unwrap_or_default(),
        };
        spaces.insert(space, read);
    }
    Ok(spaces)
}

impl File {
    /// The file that is named, or the default one if it is there.
    fn find(path: Option<&Path>) -> anyhow::Result<Self> {
        match path {
            Some(path) => Self::read(path),
            None if Path::new(DEFAULT_FILE).is_file() => Self::read(Path::new(DEFAULT_FILE)),
            None => Ok(Self::default()),
        }
    }

    fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("the configuration {} cannot be read", path.display()))?;
        toml::from_str(&text)
            .with_context(|| format!("the configuration {} is not valid", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args() -> ServeArgs {
        ServeArgs {
            listen: None,
            data: None,
            store: None,
            archive: None,
            snapshots: None,
            webtransport: None,
            observe: None,
            config: None,
            auth_secret: None,
            allow_open: None,
            pits: PitArgs::default(),
            log: None,
            trace_endpoint: None,
            log_format: None,
        }
    }

    fn resolve(args: ServeArgs, file: &str) -> anyhow::Result<Config> {
        args.over(toml::from_str(file)?)
    }

    #[test]
    fn without_anything_it_serves_open_spaces_on_loopback_from_sled() {
        let config = resolve(args(), "").unwrap();
        assert_eq!(config.listen.to_string(), "127.0.0.1:4000");
        assert_eq!(config.data, Path::new("./well-data"));
        assert_eq!(config.store, Store::Sled);
        assert_eq!(
            config.spaces.keys().collect::<Vec<_>>(),
            ["doc", "pit", "text"]
        );
    }

    #[test]
    fn flags_win_over_the_file() {
        let args = ServeArgs {
            data: Some("/flag".into()),
            ..args()
        };
        let file = "data = '/file'\nstore = 'memory'\n[limits]\nsessions_per_room = 7\n\
                    [spaces.blob]\nkind = 'opaque'\n";
        let config = resolve(args, file).unwrap();
        assert_eq!(config.data, Path::new("/flag"));
        assert_eq!(config.store, Store::Memory);
        assert_eq!(config.limits.sessions_per_room, 7);
        assert_eq!(config.spaces["blob"].kind, replay::Kind::Opaque);
        assert_eq!(config.spaces["pit"].kind, replay::Kind::Yjs);
    }

    #[test]
    fn every_command_finds_rooms_where_serve_does() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("well.toml");
        std::fs::write(
            &path,
            "data = '/file'\n[archive]\nurl = 'file:///archive'\n[spaces.blob]\nkind = 'opaque'",
        )
        .unwrap();
        let (data, archive) = (PathBuf::from("/flag"), "file:///flag".to_owned());
        let none = String::new();
        for (data, archive) in [
            (None, None),
            (Some(&data), None),
            (None, Some(&archive)),
            (Some(&data), Some(&archive)),
            (None, Some(&none)),
        ] {
            let places = Places::find(Some(&path), data, archive).unwrap();
            let served = ServeArgs {
                config: Some(path.clone()),
                data: data.cloned(),
                archive: archive.cloned(),
                ..args()
            };
            let served = served.resolve().unwrap();
            assert_eq!(places.data, served.data);
            assert_eq!(places.archive, served.archive.url);
            let kinds = |spaces: BTreeMap<String, Space>| -> Vec<_> {
                let spaces = spaces.into_iter();
                spaces.map(|(name, space)| (name, space.kind)).collect()
            };
            assert_eq!(kinds(places.spaces), kinds(served.spaces));
            assert_eq!(places.data, *data.unwrap_or(&PathBuf::from("/file")));
            let url = archive.map_or("file:///archive", String::as_str);
            let said = Some(url).filter(|url| !url.is_empty());
            assert_eq!(places.archive.as_deref(), said);
        }
    }

    #[test]
    fn the_example_says_what_the_defaults_are() {
        let example = include_str!("../../deploy/well.toml");
        assert_eq!(
            resolve(args(), example).unwrap(),
            resolve(args(), "").unwrap()
        );
    }

    #[test]
    fn nothing_is_traced_unless_it_is_sent_somewhere() {
        let trace = |file: &str| resolve(args(), file).map(|it| it.trace);
        let untouched = trace("").unwrap();
        assert_eq!(untouched.endpoint, None);
        assert_eq!(untouched.settings.one_in, NonZeroU64::new(1000));
        assert_eq!(trace("[trace]\nendpoint = ''").unwrap().endpoint, None);
        let file = "[trace]\nendpoint = 'http://a:1'\nsample = 0.5\nslow = '2s'\nper_second = 3";
        let said = trace(file).unwrap();
        let settings = Settings {
            one_in: NonZeroU64::new(2),
            slow: Duration::from_secs(2),
            per_second: 3,
        };
        assert_eq!(said.settings, settings);
        let flag = ServeArgs {
            trace_endpoint: Some("http://b:2".into()),
            ..args()
        };
        let won = resolve(flag, file).unwrap().trace.endpoint;
        assert_eq!(won.as_deref(), Some("http://b:2"));
        let never = trace("[trace]\nsample = 0").unwrap();
        assert_eq!(never.settings.one_in, None);
        for wrong in [
            "sample = -0.1",
            "sample = 1.5",
            "sample = nan",
            "slow = 3",
            "sampel = 1.0",
        ] {
            assert!(trace(&format!("[trace]\n{wrong}")).is_err(), "{wrong}");
        }
    }

    #[test]
    fn limits_are_said_as_people_say_them() {
        let limits = |file: &str| resolve(args(), file).map(|it| it.spaces["pit"].limits);
        assert_eq!(limits("").unwrap(), SpaceLimits::PIT);
        let file = "[spaces.pit]\nbytes_per_minute = '1 MiB'\nmax_update = '10KB'\n\
                    updates_per_minute = 'off'\nconnections_per_ip = 3";
        let read = limits(file).unwrap();
        assert_eq!(read.bytes_per_minute, NonZeroU32::new(1 << 20));
        assert_eq!(read.max_update, 10_000);
        assert_eq!(read.updates_per_minute, None);
        assert_eq!(read.connections_per_ip, NonZeroU32::new(3));
        let document = |file: &str| {
            resolve(args(), file).unwrap().spaces["pit"]
                .room
                .max_document
        };
        assert_eq!(document(""), Some(5_000_000));
        assert_eq!(
            document("[spaces.pit]\nmax_document = '1MiB'"),
            Some(1 << 20)
        );
        assert_eq!(document("[spaces.pit]\nmax_document = 'off'"), None);
        let denies = |file: &str, space: &str| {
            resolve(args(), file).unwrap().spaces[space]
                .room
                .denies_binary
        };
        assert!(denies("", "pit") && !denies("", "doc"));
        let other = "[spaces.pit]\nbinary = 'allow'\n[spaces.doc]\nbinary = 'deny'";
        assert!(!denies(other, "pit") && denies(other, "doc"));
        let rest = SpaceLimits::PIT.joins_per_ip_per_minute;
        assert_eq!(read.joins_per_ip_per_minute, rest);
        assert_eq!(
            resolve(args(), file).unwrap().spaces["doc"].limits,
            SpaceLimits::NONE
        );
        for wrong in [
            "connections_per_ip = 0",
            "updates_per_minute = -1",
            "updates_per_minute = 'none'",
            "bytes_per_minute = 'much'",
            "bytes_per_minute = '10KB'",
            "bytes_per_minute = '5GB'",
            "max_update = '17MiB'",
            "max_update = 0",
            "max_document = 0",
            "max_document = '-1MB'",
            "binary = 'no'",
            "sessions_per_room = 0",
            "room_memory = 'some'",
            "max_rooms = 0",
            "max_total = 'all'",
            "lifetime = 'short'",
            "idle = '2years'",
        ] {
            let error = limits(&format!("[spaces.pit]\n{wrong}")).unwrap_err();
            let said = format!("{error:#}");
            assert!(
                said.contains("pit") || said.contains("TOML"),
                "{wrong}: {said}"
            );
        }
    }

    #[test]
    fn limits_of_pits_have_the_names_they_had_first() {
        let command = ServeArgs::augment_args(clap::Command::new("serve"));
        let said = [
            "serve",
            "--max-connections-per-ip",
            "7",
            "--max-new-pits-per-ip-per-hour=0",
            "--max-pit-size-bytes=123456",
            "--idle-pit-timeout-min=5",
            "--total-pit-cap=0",
        ];
        let matches = command.get_matches_from(said);
        let args = <ServeArgs as clap::FromArgMatches>::from_arg_matches(&matches).unwrap();
        let config = resolve(args, "[spaces.pit]\nconnections_per_ip = 3").unwrap();
        let pit = &config.spaces["pit"];
        assert_eq!(pit.room.max_document, Some(123_456));
        assert_eq!(pit.room.idle, Some(Duration::from_secs(300)));
        assert_eq!(pit.room.max_rooms, None);
        let limits = &pit.limits;
        assert_eq!(limits.connections_per_ip, NonZeroU32::new(7));
        assert_eq!(limits.new_rooms_per_ip_per_hour, None);
    }

    #[test]
    fn rooms_have_their_spaces_lifetime() {
        let pit = |file: &str| resolve(args(), file).unwrap().spaces["pit"].room;
        assert_eq!(pit("").idle, Some(PIT_IDLE));
        assert_eq!(pit("[limits]\nidle_unload_seconds = 5").idle, None);
        assert_eq!(pit("").max_rooms, Some(100));
        assert_eq!(pit("").max_total, Some(500_000_000));
        let file = "[limits]\nidle_unload_seconds = 5\n[spaces.pit]\nlifetime = 'ephemeral'\n\
                    idle = '90s'\nmax_rooms = 7\nmax_total = 'off'";
        let read = pit(file);
        assert_eq!(read.lifetime, Lifetime::Ephemeral);
        assert_eq!(read.idle, Some(Duration::from_secs(90)));
        assert_eq!((read.max_rooms, read.max_total), (Some(7), None));
        let ephemeral = resolve(args(), file).unwrap().ephemeral_spaces();
        assert_eq!(ephemeral, BTreeSet::from(["pit".to_owned()]));
    }

    #[test]
    fn what_a_server_takes_is_bounded_as_its_file_says() {
        let file = "[limits]\nmemory = '1GiB'\nhandshake = '3s'\nrooms_per_connection = 7\n\
                    [spaces.pit]\nsessions_per_room = 9\nroom_memory = '1MB'";
        let config = resolve(args(), file).unwrap();
        assert_eq!(config.limits.memory + config.caches.bytes(), 1 << 30);
        let (handshake, rooms) = (Duration::from_secs(3), 7);
        assert_eq!(config.per_connection, ConnectionLimits { handshake, rooms });
        let pit = config.spaces["pit"].room;
        assert_eq!(pit.sessions_per_room, Some(9));
        assert_eq!(pit.room_memory, Some(1_000_000));
        let most = |file: &str| resolve(args(), file).unwrap().spaces["pit"].room.monthly;
        assert_eq!(most(""), Monthly::default());
        let read = most("[spaces.pit]\nrecords_per_month = 1000000\nbytes_per_month = '10GB'");
        assert_eq!(
            read.records.zip(read.bytes),
            Some((1_000_000, 10_000_000_000))
        );
        assert_eq!(
            most("[spaces.pit]\nrecords_per_month = 'off'"),
            Monthly::default()
        );
        for wrong in [
            "handshake = '0s'",
            "handshake = '2m'",
            "rooms_per_connection = 0",
            "rooms_per_connection = 101",
            "memory = 'all'",
        ] {
            assert!(
                resolve(args(), &format!("[limits]\n{wrong}")).is_err(),
                "{wrong}"
            );
        }
    }

    #[test]
    fn whoever_speaks_the_proxy_protocol_is_trusted() {
        let error = resolve(args(), "proxy_protocol = true").unwrap_err();
        assert!(error.to_string().contains("trusted_proxies"), "{error}");
        let file = "proxy_protocol = true\ntrusted_proxies = ['10.0.0.0/8']\n\
                    [networks]\ndeny = ['/no/such/file']";
        let config = resolve(args(), file).unwrap();
        assert!(config.proxy_protocol);
        let error = format!("{:#}", config.networks.open().unwrap_err());
        assert!(error.contains("/no/such/file"), "{error}");
    }

    #[test]
    fn a_misspelt_key_is_an_error() {
        for file in [
            "listne = '127.0.0.1:1'",
            "[limits]\nrooms = 1",
            "[limits]\nidle_unload_seconds = -1",
            "[spaces.X]\n",
        ] {
            assert!(resolve(args(), file).is_err(), "{file}");
        }
    }

    #[test]
    fn what_is_no_retention_says_what_would_be() {
        for said in ["-1", "1.5", "true", "'a while'", "[1]"] {
            let file = format!("[spaces.blob]\nretention = {said}");
            let error = format!("{:#}", resolve(args(), &file).unwrap_err());
            let says = error.contains("[spaces.blob]") && error.contains("a number of records");
            assert!(says, "{said}: {error}");
        }
    }

    #[test]
    fn a_room_is_not_kept_for_longer_than_time_goes() {
        let file = |seconds: u64| format!("[limits]\nidle_unload_seconds = {seconds}");
        assert!(resolve(args(), &file(31_536_000)).is_ok());
        for seconds in [31_536_001, i64::MAX as u64] {
            let error = resolve(args(), &file(seconds)).unwrap_err().to_string();
            assert!(error.contains("a year"), "{error}");
        }
    }

    #[test]
    fn an_open_server_stays_on_loopback_unless_told() {
        let file = "listen = '0.0.0.0:4000'";
        let error = resolve(args(), file).unwrap_err().to_string();
        assert!(error.contains("--allow-open"), "{error}");
        let open = ServeArgs {
            allow_open: Some(true),
            ..args()
        };
        assert!(resolve(open, file).is_ok());
        let in_file = format!("{file}\nallow_open = true");
        assert!(resolve(args(), &in_file).is_ok());
        let closed = ServeArgs {
            allow_open: Some(false),
            ..args()
        };
        assert!(resolve(closed, &in_file).is_err(), "the file does not win");
    }

    #[test]
    fn each_setting_has_one_name() {
        let command = ServeArgs::augment_args(clap::Command::new("serve"));
        for arg in command.get_arguments() {
            let variable = format!("WELL_{}", arg.get_id().as_str().to_uppercase());
            let env = arg.get_env().and_then(|name| name.to_str());
            if arg.get_help_heading().is_some() {
                // Names that are older than the rule.
                assert_eq!(
                    env.map(str::to_lowercase).as_deref(),
                    Some(arg.get_id().as_str())
                );
                continue;
            }
            assert_eq!(env, Some(&*variable));
        }
        for (said, open) in [
            ("", Some(true)),
            ("=1", Some(true)),
            ("=yes", Some(true)),
            ("=true", Some(true)),
            ("=0", Some(false)),
            ("=no", Some(false)),
            ("=false", Some(false)),
        ] {
            let flag = format!("--allow-open{said}");
            let matches = command.clone().get_matches_from(["serve", &flag]);
            assert_eq!(matches.get_one::<bool>("allow_open").copied(), open);
        }
    }
}
