//! Durable acks over WebTransport beside WebSocket, and both through a network that loses packets.
//!
//! One client, `well-client`, on one server in one run; only the address differs. The client is the
//! same Rust code for both, so what is left is the transports' own: QUIC in this process and in the
//! server's, or TCP in the kernel.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use bytes::Bytes;
use tokio::time::{sleep_until, timeout};
use well_client::{Client, Event, Join, Options, Room};

use super::{Bench, JOIN_TIMEOUT, P50, P95, P99, UPDATES};
use crate::{
    link::Link,
    load::Latency,
    report::{Bound, Goal, Metric, Sample},
    server::Peer,
    update,
};

/// What carries a connection.
#[derive(Debug, Clone, Copy)]
enum Transport {
    WebTransport,
    WebSocket,
}

impl Transport {
    const ALL: [Self; 2] = [Self::WebTransport, Self::WebSocket];

    const fn name(self) -> &'static str {
        match self {
            Self::WebTransport => "WebTransport",
            Self::WebSocket => "WebSocket",
        }
    }

    fn connect(self, server: SocketAddr) -> Client {
        Client::connect(match self {
            Self::WebTransport => Options::new(format!("https://{server}/well"))
                .published_certificates(format!("http://{server}/webtransport.json")),
            Self::WebSocket => Options::new(format!("ws://{server}/well")),
        })
    }
}

/// Runs the scenario in fair weather.
pub(crate) fn run(bench: &mut Bench) -> anyhow::Result<()> {
    let runtime = runtime()?;
    for _ in 0..bench.pace.rounds {
        let dir = bench.launcher.data_dir()?;
        let server = bench.launcher.start(&Peer::WellOpaque, dir.path())?;
        for in_flight in [1, 32] {
            for transport in Transport::ALL {
                let case = format!("1 room, {in_flight} in flight");
                let load = Load {
                    rooms: 1,
                    named: in_flight,
                    drive: Drive::InFlight(in_flight),
                };
                let figures = runtime.block_on(load.measure(bench, transport, server.address()))?;
                bench.report.add(Sample {
                    case,
                    server: transport.name().to_owned(),
                    figures,
                });
            }
        }
        server.stop()?;
    }
    bench.report.finish(
        "transports",
        "From handing an operation to the client until its durable ack. The server, the client's code and the\n\
         disk are the same for both.",
        &[Goal {
            case: "1 room, 1 in flight",
            server: "WebTransport",
            metric: &P50,
            over: Some("WebSocket"),
            bound: Bound::AtMost(1.3),
        }],
    )
}

/// Runs the scenario over a link that delays and loses.
pub(crate) fn through_loss(bench: &mut Bench) -> anyhow::Result<()> {
    let runtime = runtime()?;
    let mut link = match Link::open(&bench.launcher.peers) {
        Ok(link) => link,
        Err(why) => {
            eprintln!("without loss: {why:#}");
            return Ok(());
        }
    };
    for _ in 0..bench.pace.rounds {
        let dir = bench.launcher.data_dir()?;
        let server = bench
            .launcher
            .start_behind(&link, &Peer::WellOpaque, dir.path())?;
        for percent in [0, LOSS_PERCENT] {
            link.set(DELAY, percent)?;
            for transport in Transport::ALL {
                let load = Load {
                    rooms: 2,
                    named: percent.into(),
                    drive: Drive::Every(EVERY),
                };
                let figures = runtime.block_on(load.measure(bench, transport, server.address()))?;
                bench.report.add(Sample {
                    case: format!(
                        "2 rooms on one connection, 50 operations/s each, {percent} % lost"
                    ),
                    server: transport.name().to_owned(),
                    figures,
                });
            }
        }
        server.stop()?;
    }
    bench.report.finish(
        "loss",
        "Durable acks through a link of two network interfaces that this tool carries packets between: each is\n\
         delayed by 20 ms in each direction, and the share named is lost. TCP is the kernel's own.",
        &[],
    )
}

/// How many packets of a hundred the link loses, in each direction.
const LOSS_PERCENT: u32 = 2;
/// What a packet takes, in each direction.
const DELAY: Duration = Duration::from_millis(20);
/// How often a room is written to.
const EVERY: Duration = Duration::from_millis(20);

/// What one client does.
struct Load {
    /// Rooms on its connection, all of which are written to.
    rooms: usize,
    /// What tells its rooms from those of other loads on the same server.
    named: u64,
    drive: Drive,
}

/// When the next operation is handed in.
#[derive(Clone, Copy)]
enum Drive {
    /// When one of so many was acked.
    InFlight(u64),
    /// At a steady pace, from which latency counts.
    Every(Duration),
}

/// When what counts begins, and when writing ends.
#[derive(Clone, Copy)]
struct Span {
    from: Instant,
    until: Instant,
}

impl Load {
    async fn measure(
        &self,
        bench: &Bench,
        transport: Transport,
        server: SocketAddr,
    ) -> anyhow::Result<Vec<(&'static Metric, f64)>> {
        let client = transport.connect(server);
        let payload = Bytes::from(update::sample_text(bench.bytes));
        let mut rooms = Vec::new();
        for number in 0..self.rooms {
            let name = format!("blob/{}-{}-{number}", transport.name(), self.named);
            let mut room = client.join(Join::new(name)).await?;
            joined(&mut room).await?;
            rooms.push(room);
        }
        let now = Instant::now();
        let span = Span {
            from: now + bench.pace.warm_up,
            until: now + bench.pace.warm_up + bench.pace.measure,
        };
        let writers: Vec<_> = rooms
            .into_iter()
            .map(|room| tokio::spawn(write(room, self.drive, span, payload.clone())))
            .collect();
        let mut acked = Latency::new();
        for writer in writers {
            acked.merge(&writer.await.context("a writer")??)?;
        }
        let seconds = bench.pace.measure.as_secs_f64();
        Ok(vec![
            (&P50, acked.micros(0.5)),
            (&P95, acked.micros(0.95)),
            (&P99, acked.micros(0.99)),
            (&UPDATES, acked.count() as f64 / seconds),
        ])
    }
}

async fn joined(room: &mut Room) -> anyhow::Result<()> {
    let joining = async {
        loop {
            match room.next().await {
                Some(Event::Joined { .. }) => return Ok(()),
                Some(_) => {}
                None => bail!("the room could not be joined"),
            }
        }
    };
    let joined = timeout(JOIN_TIMEOUT, joining).await;
    joined.context("joining took too long")?
}

/// Writes to a room, and times each operation that was due within the span.
async fn write(
    mut room: Room,
    drive: Drive,
    span: Span,
    payload: Bytes,
) -> anyhow::Result<Latency> {
    let mut acked = Latency::new();
    // When those without an ack were due, oldest first.
    let mut sent = VecDeque::new();
    let (in_flight, every) = match drive {
        Drive::InFlight(count) => (count, None),
        Drive::Every(every) => (0, Some(every)),
    };
    for _ in 0..in_flight {
        sent.push_back(Instant::now());
        room.submit(payload.clone()).await?;
    }
    let mut due = Instant::now();
    let deadline = (span.until + DRAIN_TIMEOUT).into();
    while Instant::now() < span.until || !sent.is_empty() {
        let event = tokio::select! {
            () = sleep_until(due.into()), if every.is_some() && due < span.until => None,
            event = room.next() => Some(event.context("the room has ended")?),
            () = sleep_until(deadline) => bail!("{} acks did not come", sent.len()),
        };
        let now = Instant::now();
        match event {
            None => {
                sent.push_back(due);
                room.submit(payload.clone()).await?;
                due += every.unwrap_or_default();
            }
            Some(Event::Acked { .. }) => {
                let Some(was_due) = sent.pop_front() else {
                    bail!("an ack for what was not written");
                };
                if was_due >= span.from {
                    acked.record((now - was_due).as_nanos() as u64);
                }
                if in_flight > 0 && now < span.until {
                    sent.push_back(now);
                    room.submit(payload.clone()).await?;
                }
            }
            Some(Event::Disconnected { reason }) => bail!("the connection broke: {reason}"),
            Some(Event::Closed { code, reason }) => bail!("closed with {code}: {reason}"),
            Some(_) => {}
        }
    }
    Ok(acked)
}

/// How long acks may be late at the end.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(20);

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start an async runtime")
}
