//! `well serve`: open the log, load nothing, listen, and drain when told to stop.

use std::os::unix::process::CommandExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use broker::Broker;
use gateway::Gateway;
use gateway::acme::Acme;
use gateway::audit::Audit;
use gateway::tls::Tls;
use gateway::usage::UsageFile;
use gateway::webtransport::{Door, OpenError, Source, WebTransport};
use observatory::{EventKind, Exporter, Severity};
use storage::memory::MemoryLog;
use storage::{Log, SledOptions};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};

use super::say;
use crate::config::{Config, ServeArgs, Store};
use crate::logs::{self, Logs};
use crate::{auth, background, poisoned, stores};

/// How long a stop may take in all; a supervisor that kills after 30 s never has to.
const DRAIN_TIME: Duration = Duration::from_secs(25);
/// Where it is kept what has been written this month.
const USAGE: &str = "usage.json";
/// How often it is said how many log lines were left out.
const LEFT_OUT_EVERY: Duration = Duration::from_secs(5);
/// How often a free port is picked before one without UDP is taken.
const PORT_TRIES: usize = 8;

/// How many blocking jobs, as reading the log, are done at once. Any of these threads may come to carry
/// connections, and each keeps some of what it has let go of.
const BLOCKING: usize = 16;
/// What the allocator reads when a process begins: after how many milliseconds it gives memory back that
/// is not used.
const PURGE_DELAY: (&str, &str) = ("MIMALLOC_PURGE_DELAY", "10");
/// Who grants less than this would rather have memory back soon than save a fifth of the processor time.
const LITTLE_MEMORY: usize = 1 << 30;

/// Runs until a signal or a poisoned log.
pub(crate) fn run(args: ServeArgs) -> anyhow::Result<()> {
    let config = args.clone().resolve()?;
    if config.limits.memory + config.caches.bytes() < LITTLE_MEMORY {
        give_memory_back();
    }
    let logs = logs::install(&config.log, config.log_format)?;
    raise_file_limit();
    let failed = "the async runtime could not be started";
    let background = background::runtime().context(failed)?;
    let outcome = tokio::runtime::Builder::new_multi_thread()
        .max_blocking_threads(BLOCKING)
        .enable_all()
        .build()
        .context(failed)?
        .block_on(serve(config, args, logs, background.handle()));
    // The tail was archived by the drain; what is left is tidied at the next start.
    background.shutdown_background();
    outcome
}

/// Begins this process anew with [`PURGE_DELAY`], unless it was begun with one. By itself the allocator
/// keeps for a second what is not used, which under attack is several times what is.
fn give_memory_back() {
    let (name, milliseconds) = PURGE_DELAY;
    if std::env::var_os(name).is_some() {
        return;
    }
    let Ok(program) = std::env::current_exe() else {
        return;
    };
    let mut arguments = std::env::args_os();
    let mut anew = std::process::Command::new(program);
    if let Some(called) = arguments.next() {
        anew.arg0(called);
    }
    // It comes back only if it fails; then memory is kept for longer.
    let _ = anew.args(arguments).env(name, milliseconds).exec();
}

async fn serve(
    config: Config,
    args: ServeArgs,
    logs: Logs,
    background: &Handle,
) -> anyhow::Result<()> {
    let exporter = if config.observe {
        Exporter::install()?
    } else {
        tracing::warn!("nothing is measured, as `observe` says: no alert can be raised");
        Exporter::off()
    };
    observatory::build(
        env!("CARGO_PKG_VERSION"),
        env!("WELL_COMMIT"),
        env!("WELL_RUSTC"),
    );
    if config.store == Store::Sled {
        exporter.set_folder(config.data.clone());
    }
    let log = open_log(&config)?;
    let data = (config.store == Store::Sled).then(|| config.data.clone());
    if let Some(data) = &data {
        poisoned::tell(data, unix_time());
    }
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        data = data
            .as_ref()
            .map(|data| tracing::field::display(data.display())),
        durability = log.durability(),
        "starting"
    );
    let traces = if config.observe {
        config.trace.start(background)?
    } else {
        None
    };
    let observer = Arc::new(Observer);
    let kept = stores::open(&config, Arc::clone(&log), observer, background).await?;
    let acme = open_acme(&config)?;
    let tls = open_tls(&config, acme.as_ref())?;
    let (listener, door) = open_doors(&config)?;
    let address = listener.local_addr()?;
    let keeper = auth::keeper(&config)?;
    let networks = config.networks.open()?;
    let broker = Broker::new(kept.history, kept.snapshots, config.limits.clone());
    broker.set_rules(config.room_rules());
    let has_archive = config.archive.url.is_some();
    let spaces = config.gateway_spaces();
    let gateway = Gateway::new(
        broker.clone(),
        exporter.clone(),
        keeper,
        spaces,
        has_archive,
        door,
    );
    gateway.set_trusted_proxies(config.trusted_proxies.clone());
    gateway.set_proxy_protocol(config.proxy_protocol);
    gateway.set_networks(networks);
    gateway.set_connection_limits(config.per_connection);
    if let Some(path) = &config.audit {
        let audit = Audit::open(path);
        gateway.set_audit(audit.with_context(|| format!("the audit log {}", path.display()))?);
    }
    if config.store == Store::Sled {
        let path = config.data.join(USAGE);
        let file = UsageFile::open(&path, broker.usage(), broker.wall_time());
        gateway.set_usage_file(file.with_context(|| format!("{}", path.display()))?);
    }
    if address.ip().is_loopback() {
        gateway.set_local();
    }
    let encrypting = tls.clone();
    let reloaded = gateway.downgrade();
    let ruled = broker.clone();
    let levels = logs.clone();
    gateway.on_log(move |filter| levels.set(filter).map_err(|error| format!("{error:#}")));
    let levels = logs.clone();
    gateway.on_reload(move || {
        let gateway = reloaded.upgrade().ok_or("the server has ended")?;
        let reloaded = reload(&gateway, &ruled, &levels, &config, args.clone());
        let reloaded = reloaded.and_then(|()| match &encrypting {
            Some(tls) => tls
                .refresh()
                .context("the certificate before is served still"),
            None => Ok(()),
        });
        reloaded.map_err(|error| format!("{error:#}"))
    });
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let ordering = acme.map(|acme| {
        gateway.set_acme(acme.status());
        tokio::spawn(acme.run(serve_anew(&gateway, tls.clone())))
    });
    let scheme = if tls.is_some() { "https" } else { "http" };
    let serving = gateway::server::serve(gateway.clone(), listener, tls.clone());
    let serving = tokio::spawn(serving);
    let watching = tls.map(|tls| tokio::spawn(async move { tls.watch().await }));
    let sessions = tokio::spawn(gateway::webtransport::serve(gateway.clone()));
    let keeping = tokio::spawn(gateway::server::watch(gateway.clone()));
    let observing = exporter
        .is_on()
        .then(|| tokio::spawn(gateway::observe(gateway.clone())));
    let counting = tokio::spawn(gateway::usage::keep(gateway.clone()));
    let tidying = tokio::spawn(gateway::server::tidy(gateway.clone()));
    // The one line on standard output: printed when connections are taken, not before.
    let text = concat!("version ", env!("CARGO_PKG_VERSION"), " started");
    observatory::happened(EventKind::Start, Severity::Info, text);
    say(&format!("listening on {scheme}://{address}"))?;

    let mut left_out = tokio::time::interval(LEFT_OUT_EVERY);
    let stopped_by = loop {
        tokio::select! {
            _ = terminate.recv() => break "SIGTERM",
            _ = interrupt.recv() => break "SIGINT",
            _ = hangup.recv() => match gateway.reload() {
                Ok(()) => tracing::info!("the configuration has been read again"),
                Err(error) => tracing::error!(error, "the configuration stays as it was"),
            },
            _ = left_out.tick() => logs.tell_left_out(),
            why = log.until_poisoned() => {
                observatory::happened(EventKind::LogPoisoned, Severity::Error, why.as_str());
                if let Some(data) = &data {
                    poisoned::leave(data, unix_time(), &why);
                }
                // Nothing more is acked; what is on disk is found by recovery at the next start.
                bail!("the log is poisoned and nothing more can be stored: {why}");
            }
        }
    };
    tracing::info!(stopped_by, "draining");
    let draining = gateway::server::drain(&gateway, DRAIN_TIME);
    let late = tokio::select! {
        late = draining => late,
        // Asked twice, it does not wait.
        _ = terminate.recv() => bail!("stopped by a second signal before all rooms had ended"),
        _ = interrupt.recv() => bail!("stopped by a second signal before all rooms had ended"),
    };
    serving.abort();
    sessions.abort();
    keeping.abort();
    tidying.abort();
    counting.abort();
    gateway::usage::save(&gateway).await;
    if let Some(observing) = observing {
        observing.abort();
    }
    for task in [watching, ordering].into_iter().flatten() {
        task.abort();
    }
    if let Some(why) = log.poisoned() {
        bail!("the log was poisoned while stopping: {why}");
    }
    if !late.is_empty() {
        let rooms: Vec<&str> = late.iter().map(protocol::RoomName::as_str).collect();
        bail!("these rooms did not end in time: {}", rooms.join(", "));
    }
    if let Some(traces) = traces {
        traces.stop().await;
    }
    logs.tell_left_out();
    tracing::info!("stopped");
    Ok(())
}

/// Reads the configuration again, and goes on with what it says of tokens, of the spaces there are, and of
/// what is logged.
fn reload(
    gateway: &Gateway,
    broker: &Broker,
    logs: &Logs,
    running: &Config,
    args: ServeArgs,
) -> anyhow::Result<()> {
    let config = args.resolve()?;
    let kinds = |config: &Config| {
        let spaces = config.spaces.iter();
        let kinds = spaces.map(|(name, space)| (name.clone(), space.kind));
        kinds.collect::<Vec<_>>()
    };
    if kinds(&config) != kinds(running) {
        bail!("spaces are added, removed and given another kind at a start only");
    }
    if config.ephemeral_spaces() != running.ephemeral_spaces() {
        bail!("spaces become ephemeral, and stop being it, at a start only");
    }
    let auth = auth::open(&config)?;
    let networks = config.networks.open()?;
    logs.set(&config.log)?;
    gateway.keeper().reload(auth);
    broker.set_rules(config.room_rules());
    gateway.set_spaces(config.gateway_spaces());
    gateway.set_trusted_proxies(config.trusted_proxies);
    gateway.set_proxy_protocol(config.proxy_protocol);
    gateway.set_networks(networks);
    gateway.set_connection_limits(config.per_connection);
    Ok(())
}

/// Listens for HTTP, and on the same port over UDP for WebTransport. The server goes on without the
/// latter: its clients have web sockets.
fn open_doors(config: &Config) -> anyhow::Result<(TcpListener, Door)> {
    let source = match &config.tls {
        Some(tls) => Source::Files {
            cert: tls.cert.clone(),
            key: tls.key.clone(),
        },
        None => {
            let kept = config.store == Store::Sled;
            Source::SelfSigned(kept.then(|| config.data.join("webtransport")))
        }
    };
    let mut tries = 0;
    loop {
        let listener = gateway::server::listen(config.listen)
            .with_context(|| format!("{} cannot be listened on", config.listen))?;
        if !config.webtransport {
            tracing::info!("WebTransport is off");
            return Ok((listener, Door::Off));
        }
        let address = listener.local_addr()?;
        match WebTransport::open(address, source.clone(), SystemTime::now()) {
            Ok(door) => {
                let certificate = door.certificate();
                tracing::info!(udp = %door.address(), certificate, "WebTransport is served");
                return Ok((listener, Door::Open(door)));
            }
            // A port that was only picked may be picked again.
            Err(OpenError::Bind { .. }) if config.listen.port() == 0 && tries < PORT_TRIES => {
                tries += 1;
            }
            Err(error) => {
                tracing::warn!(%error, "WebTransport is not served; WebSockets are");
                return Ok((listener, Door::Shut(error.to_string())));
            }
        }
    }
}

/// What orders the certificate, where an authority gives it. Before anything is served: it makes the file
/// that is served meanwhile.
fn open_acme(config: &Config) -> anyhow::Result<Option<Acme>> {
    let order = config.tls.as_ref().and_then(|tls| tls.acme.as_ref());
    let acme = order.map(Acme::open).transpose();
    acme.context("[tls.acme]")
}

/// Serves what the certificate's file holds by then, over TCP and QUIC.
fn serve_anew(gateway: &Gateway, tls: Option<Arc<Tls>>) -> impl Fn() + use<> {
    let gateway = gateway.downgrade();
    move || {
        if let Some(Err(error)) = tls.as_ref().map(|tls| tls.refresh()) {
            tracing::warn!(%error, "the certificate before is served over TLS still");
        }
        if let Some(gateway) = gateway.upgrade() {
            gateway.refresh_webtransport();
        }
    }
}

/// TLS for TCP, if that is to be encrypted.
fn open_tls(config: &Config, acme: Option<&Acme>) -> anyhow::Result<Option<Arc<Tls>>> {
    let wanted = config.tls.as_ref().filter(|tls| tls.http);
    let challenges = acme.map(Acme::challenges);
    let tls = wanted.map(|tls| Tls::challenged(tls.cert.clone(), tls.key.clone(), challenges));
    Ok(tls.transpose()?.map(Arc::new))
}

fn open_log(config: &Config) -> anyhow::Result<Arc<dyn Log>> {
    Ok(match config.store {
        Store::Memory => Arc::new(MemoryLog::new()),
        Store::Sled => {
            let data = config.data.display();
            if let Some(archive) = stores::restores_from(&config.data) {
                bail!(
                    "{data} is filled from an archive, and that was interrupted or found damage: \
                     finish it with `well restore --archive {archive} --data {data}`"
                );
            }
            let options = SledOptions {
                cache_bytes: config.caches.log as u64,
                observer: Some(Arc::new(Observer)),
                ..SledOptions::default()
            };
            stores::open_log(&config.data, options)?
        }
    })
}

/// Ten thousand connections need as many files; the soft limit is often 1,024.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let wanted = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, wanted) {
        tracing::warn!(%error, ?limit, "the limit of open files could not be raised");
    }
}

fn unix_time() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

/// Whether the last attempt at the archive failed.
static ARCHIVE_FAILS: AtomicBool = AtomicBool::new(false);

/// Passes on to the metrics what the log says of itself.
struct Observer;

impl storage::sled::Observer for Observer {
    fn committed(&self, commit: &storage::sled::Committed) {
        observatory::log_written(commit.write, commit.sync);
    }

    fn moved(&self, moved: &storage::sled::Moved) {
        observatory::log_moved(moved.records);
    }
}

impl storage::archive::Observer for Observer {
    fn published(&self, published: &storage::archive::Published) {
        if ARCHIVE_FAILS.swap(false, Ordering::Relaxed) {
            let text = "the archive takes segments again";
            observatory::happened(EventKind::ArchiveRecovered, Severity::Info, text);
        }
        observatory::archive_published(
            published.records,
            published.raw_bytes,
            published.stored_bytes,
            published.took,
        );
    }

    fn trimmed(&self, trimmed: &storage::archive::Trimmed) {
        observatory::log_trimmed(trimmed.records);
    }

    fn failed(&self, error: &storage::archive::ArchiveError) {
        observatory::archive_failed();
        // The first in a row: it is tried again and again.
        if !ARCHIVE_FAILS.swap(true, Ordering::Relaxed) {
            observatory::happened(EventKind::ArchiveError, Severity::Warn, error.to_string());
        }
        tracing::warn!(%error, "archiving failed; it is tried again");
    }
}
