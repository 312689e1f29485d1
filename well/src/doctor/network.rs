//! What connects the server: its port, its certificate, its archive.

use std::fs;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::time::{Duration, SystemTime};

use gateway::tls;
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode};
use storage::archive::Archive;
use x509_parser::pem::Pem;

use super::Finding;
use crate::config::Tls;
use crate::stores;

/// Connections that come at once wait here.
const BACKLOG: u64 = 1_024;
/// What QUIC asks of the kernel for its sockets.
const UDP_BUFFER: u64 = 2 << 20;
/// A certificate that ends sooner is named.
const ENDS_SOON: Duration = Duration::from_secs(14 * 24 * 3600);
/// How long an archive may take to answer.
const ARCHIVE_TIME: Duration = Duration::from_secs(15);

pub(super) fn listener(address: SocketAddr) -> Finding {
    let what = "TCP port";
    taken(what, address, TcpListener::bind(address).map(|_| ()))
}

pub(super) fn udp(address: SocketAddr) -> Finding {
    taken("UDP port", address, UdpSocket::bind(address).map(|_| ()))
}

fn taken(what: &'static str, address: SocketAddr, bound: std::io::Result<()>) -> Finding {
    match bound {
        Ok(()) => Finding::good(what, format!("{address} is free")),
        Err(error) if error.kind() == ErrorKind::AddrInUse => Finding::poor(
            what,
            format!("{address} is in use"),
            "that is as it should be if the server runs; else see who listens with `ss -lntup`",
        ),
        Err(error) => Finding::bad(
            what,
            format!("{address} cannot be had: {error}"),
            "give --listen an address of this machine; ports below 1024 need a privilege",
        ),
    }
}

fn kernel_setting(path: &str) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

pub(super) fn backlog() -> Finding {
    let advice = "sysctl -w net.core.somaxconn=4096";
    match kernel_setting("/proc/sys/net/core/somaxconn") {
        Some(most) if most < BACKLOG => {
            let found = format!("{most} connections may wait to be accepted");
            Finding::poor("backlog", found, advice)
        }
        Some(most) => Finding::good("backlog", format!("{most} connections may wait")),
        None => Finding::poor("backlog", "net.core.somaxconn cannot be read", advice),
    }
}

pub(super) fn udp_buffers() -> Finding {
    let advice = "sysctl -w net.core.rmem_max=7500000 net.core.wmem_max=7500000";
    let most = |name| kernel_setting(&format!("/proc/sys/net/core/{name}"));
    let (read, write) = (most("rmem_max"), most("wmem_max"));
    match read.min(write) {
        Some(least) if least < UDP_BUFFER => {
            let found = format!("at most {least} bytes: bursts over WebTransport are dropped");
            Finding::poor("UDP buffers", found, advice)
        }
        Some(least) => Finding::good("UDP buffers", format!("up to {least} bytes")),
        None => Finding::poor("UDP buffers", "net.core.rmem_max cannot be read", advice),
    }
}

pub(super) fn certificate(files: &Tls) -> Finding {
    let what = "certificate";
    if let Some(order) = &files.acme
        && !files.cert.exists()
    {
        let ordered = format!(
            "the server orders one from {} when it starts",
            order.directory
        );
        return Finding::good(what, ordered);
    }
    if let Err(error) = tls::Tls::open(files.cert.clone(), files.key.clone()) {
        let advice = "give [tls] the chain and the key that belong together, as PEM";
        return Finding::bad(what, format!("it cannot be served: {error}"), advice);
    }
    let advice = "renew it; the server reads the files again by itself";
    match ends(files) {
        None => Finding::bad(what, "its end cannot be read", advice),
        Some(end) => {
            let told = humantime::format_rfc3339_seconds(end);
            match end.duration_since(SystemTime::now()) {
                Err(_) => Finding::bad(what, format!("it ended at {told}"), advice),
                Ok(left) if left < ENDS_SOON => {
                    Finding::poor(what, format!("it ends at {told}"), advice)
                }
                Ok(_) => Finding::good(what, format!("it holds until {told}")),
            }
        }
    }
}

fn ends(files: &Tls) -> Option<SystemTime> {
    let pem = fs::read(&files.cert).ok()?;
    let first = Pem::iter_from_buffer(&pem)
        .filter_map(Result::ok)
        .find(|part| part.label == "CERTIFICATE")?;
    let certificate = first.parse_x509().ok()?;
    let seconds = certificate.validity().not_after.timestamp();
    let seconds = Duration::from_secs(u64::try_from(seconds).ok()?);
    SystemTime::UNIX_EPOCH.checked_add(seconds)
}

pub(super) async fn archive(url: Option<&str>) -> Finding {
    let what = "archive";
    let Some(url) = url else {
        return Finding::poor(
            what,
            "there is none: what this disk loses is lost",
            "give --archive a bucket: `s3://…`, `gs://…`, `az://…` or `file:///…`",
        );
    };
    let advice =
        "check the address, the credentials in the environment, and that the bucket may be written";
    let trying = async {
        let archive = Archive::open(url, stores::archive_options()).await;
        let archive = archive.map_err(|error| error.to_string())?;
        probe(url).await?;
        Ok::<_, String>(archive.is_begun())
    };
    match tokio::time::timeout(ARCHIVE_TIME, trying).await {
        Ok(Ok(true)) => Finding::good(what, "it can be read and written"),
        Ok(Ok(false)) => Finding::good(what, "it can be written, and is empty"),
        Ok(Err(error)) => Finding::bad(what, error, advice),
        Err(_) => Finding::bad(
            what,
            format!("it does not answer within {ARCHIVE_TIME:?}"),
            advice,
        ),
    }
}

/// Makes an object, fails to make it again, and removes it: what the archive's manifests rely on.
async fn probe(url: &str) -> Result<(), String> {
    let (store, prefix) = storage::archive::open_store(url, &stores::archive_options())
        .map_err(|error| error.to_string())?;
    let name = format!("doctor-{}", std::process::id());
    let path = Path::from(format!("{prefix}/{name}"));
    let make = || store.put_opts(&path, "probe".into(), PutMode::Create.into());
    let made = make()
        .await
        .map_err(|error| format!("nothing can be written: {error}"));
    made?;
    let again = make().await;
    let removed = store.delete(&path).await;
    match again {
        Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => {}
        Ok(_) => return Err("it overwrites what must be made only once (If-None-Match)".into()),
        Err(error) => return Err(format!("it cannot make an object only once: {error}")),
    }
    removed.map_err(|error| format!("nothing can be removed: {error}"))
}
