//! What observing costs those who write: acks of a server that is watched by everybody who may, beside those of
//! the same binary with `observe = false`.
//!
//! Watching are a Prometheus (each second; deploy/prometheus asks every 15), the page (an open stream of
//! samples), and a collector, which gets the traces that are made by default.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context, bail};

use super::{Bench, P99, UPDATES, throughput::Load};
use crate::{
    load::{Ack, InFlight},
    report::{Bound, Goal, Sample},
    server::Peer,
};

/// Rooms that are written to.
const ROOMS: usize = 50;
/// Between scrapes.
const SCRAPE_EVERY: Duration = Duration::from_secs(1);
/// How long a read may wait before it is asked whether it is over.
const READ_TIME: Duration = Duration::from_millis(200);

/// Runs the scenario.
pub(crate) fn run(bench: &mut Bench) -> anyhow::Result<()> {
    let cases = bench.pick(&[64, 1_000][..], &[64][..]);
    let servers = bench.servers(&[Peer::Well, Peer::WellUnobserved]);
    let collector = Collector::start()?;
    bench.launcher.collector = Some(collector.url.clone());
    for _ in 0..bench.pace.rounds {
        for &in_flight in cases {
            for peer in &servers {
                let dir = bench.launcher.data_dir()?;
                let server = bench.launcher.start(peer, dir.path())?;
                let load = Load {
                    rooms: ROOMS,
                    readers: false,
                    ack: Ack::Durable,
                    in_flight: InFlight::InAll(in_flight),
                };
                let watchers = (*peer == Peer::Well).then(|| Watchers::of(server.address()));
                let figures = load.measure(bench, &server)?;
                if let Some(watchers) = watchers {
                    watchers.end()?;
                }
                server.stop()?;
                bench.report.add(Sample {
                    case: format!("{in_flight} in flight over {ROOMS} rooms"),
                    server: peer.to_string(),
                    figures,
                });
            }
        }
    }
    bench.launcher.collector = None;
    if servers.contains(&Peer::Well) && collector.taken() == 0 {
        bail!("the collector was sent no traces");
    }
    let goal = |case, metric, bound| Goal {
        case,
        server: "well",
        metric,
        over: Some("well-unobserved"),
        bound,
    };
    let small = "64 in flight over 50 rooms";
    let large = "1000 in flight over 50 rooms";
    bench.report.finish(
        "observation",
        "Durable acks, writers only. well is scraped each second, streams its samples and sends its\n\
         traces; well-unobserved is the same binary with `observe = false`.",
        &[
            goal(small, &UPDATES, Bound::AtLeast(0.97)),
            goal(small, &P99, Bound::AtMost(1.05)),
            goal(large, &UPDATES, Bound::AtLeast(0.97)),
            goal(large, &P99, Bound::AtMost(1.05)),
        ],
    )
}

/// A Prometheus and a page.
struct Watchers {
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<anyhow::Result<()>>>,
}

impl Watchers {
    fn of(server: SocketAddr) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let (until, also_until) = (Arc::clone(&over), Arc::clone(&over));
        let threads = vec![
            std::thread::spawn(move || scrape(server, &until)),
            std::thread::spawn(move || look_on(server, &also_until)),
        ];
        Self { over, threads }
    }

    /// # Errors
    /// If the server was not watched: then nothing was measured.
    fn end(self) -> anyhow::Result<()> {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.thread().unpark();
            let watched = thread.join();
            watched.map_err(|_| anyhow::anyhow!("a watcher panicked"))??;
        }
        Ok(())
    }
}

/// Asks for the metrics again and again.
fn scrape(server: SocketAddr, over: &AtomicBool) -> anyhow::Result<()> {
    while !over.load(Ordering::Relaxed) {
        let mut stream = request(server, "/metrics")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).context("a scrape")?;
        if !answer.contains("well_updates_received_total") {
            bail!("/metrics answers with no metrics");
        }
        std::thread::park_timeout(SCRAPE_EVERY);
    }
    Ok(())
}

/// Reads the stream of samples.
fn look_on(server: SocketAddr, over: &AtomicBool) -> anyhow::Result<()> {
    let mut stream = request(server, "/api/v1/observatory/live")?;
    stream.set_read_timeout(Some(READ_TIME))?;
    let (mut bytes, mut buffer) = (0, [0; 16 << 10]);
    while !over.load(Ordering::Relaxed) {
        match stream.read(&mut buffer) {
            Ok(0) => bail!("the stream of samples ended"),
            Ok(read) => bytes += read,
            Err(error) if waits(&error) => {}
            Err(error) => return Err(error).context("the stream of samples"),
        }
    }
    if bytes == 0 {
        bail!("the stream of samples was silent");
    }
    Ok(())
}

fn request(server: SocketAddr, path: &str) -> anyhow::Result<TcpStream> {
    let mut stream = TcpStream::connect(server).context("a watcher does not get in")?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: {server}\r\nconnection: close\r\n\r\n"
    )?;
    Ok(stream)
}

fn waits(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{TimedOut, WouldBlock};
    matches!(error.kind(), TimedOut | WouldBlock)
}

/// Takes traces and forgets them.
struct Collector {
    url: String,
    taken: Arc<AtomicU64>,
}

impl Collector {
    fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("the collector")?;
        let url = format!("http://{}", listener.local_addr()?);
        let taken = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&taken);
        // Both kinds of threads end with the program; a server has one connection.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let counted = Arc::clone(&counted);
                std::thread::spawn(move || take(stream, &counted));
            }
        });
        Ok(Self { url, taken })
    }

    fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }
}

/// Answers every request of a connection with 200, and counts them.
fn take(mut stream: TcpStream, counted: &AtomicU64) -> std::io::Result<()> {
    let (mut held, mut buffer) = (Vec::new(), [0; 16 << 10]);
    loop {
        let read = stream.read(&mut buffer)?;
        if read == 0 {
            return Ok(());
        }
        held.extend_from_slice(&buffer[..read]);
        while let Some(length) = whole(&held) {
            held.drain(..length);
            counted.fetch_add(1, Ordering::Relaxed);
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")?;
        }
    }
}

/// The length of the request that `held` begins with, if all of it is there.
fn whole(held: &[u8]) -> Option<usize> {
    let head = held.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&held[..head]).to_ascii_lowercase();
    let body = text
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"));
    let body: usize = body.and_then(|body| body.trim().parse().ok()).unwrap_or(0);
    (held.len() >= head + body).then_some(head + body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_whole_with_its_body() {
        let request = b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcGET";
        assert_eq!(whole(request), Some(request.len() - 3));
        assert_eq!(whole(&request[..request.len() - 4]), None);
        assert_eq!(whole(b"POST"), None);
    }
}
