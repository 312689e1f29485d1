//! How long it takes to get a whole document, and what a crowd of joiners costs.
//!
//! Documents of two sizes are written through the server in three ways: *typed* (one author, many
//! small updates, which an engine merges into one long item), *woven* (two authors by turns, so
//! that no two items can be merged: as bad as a shared text gets) and *pasted* (few large updates).
//! Then the server is stopped and started, and the first join is timed from the connect to the last
//! byte of the document (*cold*; the files may still be in the page cache), later joins likewise
//! (*warm*), and last a crowd that comes all at once, during which the server's highest memory is
//! taken. The crowd's own sockets keep no document.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::{Bench, JOIN_TIMEOUT};
use crate::{
    client::{ConnId, Crowd, Load, Outbox, Silence},
    load::Latency,
    meter::micros,
    report::{Bound, Goal, Metric, Sample, Unit},
    server::{Peer, Server},
    story::{Hand, Story},
    update,
    wire::Incoming,
};

/// Runs the scenario.
pub(crate) fn run(bench: &mut Bench) -> anyhow::Result<()> {
    let documents = bench.pick(&DOCUMENTS[..], &QUICK[..]);
    let servers: Vec<_> = bench
        .servers(&[Peer::Well, Peer::YjsLeveldb])
        .into_iter()
        .filter(Peer::has_documents)
        .collect();
    let mut failed = Vec::new();
    for peer in &servers {
        for document in documents {
            if let Err(error) = document.run(bench, peer) {
                eprintln!("  {} | {peer} | failed: {error:#}", document.name());
                // A reference that cannot do it is only missing from the table.
                if peer.acks() {
                    failed.push(document.name());
                }
            }
        }
    }
    bench.report.finish(
        "join",
        "From connect to the last byte of the document. cold: the first join after a restart. crowd: so many joiners at\n\
         once, until the last has it; growth: the server's highest resident memory meanwhile, less what it was before\n\
         (kernel socket buffers not counted).",
        GOALS,
    )?;
    if !failed.is_empty() {
        bail!("failed: {}", failed.join("; "));
    }
    Ok(())
}

fn restart(
    bench: &Bench,
    server: Server,
    peer: &Peer,
    dir: &std::path::Path,
) -> anyhow::Result<Server> {
    if !peer.keeps() {
        return Ok(server);
    }
    server.stop()?;
    bench.launcher.start(peer, dir)
}

struct Document {
    bytes: usize,
    how: How,
    crowd: usize,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum How {
    Typed,
    Woven,
    Pasted,
}

impl Document {
    fn name(&self) -> String {
        let how = match self.how {
            How::Typed => format!("typed, {} updates", self.updates()),
            How::Woven => format!("woven by two, {} updates", self.updates()),
            How::Pasted => format!("pasted, {} updates", self.updates()),
        };
        format!(
            "{} KB document ({how}); crowd of {}",
            self.bytes / 1000,
            self.crowd
        )
    }

    fn piece(&self) -> usize {
        match self.how {
            How::Typed | How::Woven => 100,
            How::Pasted => 50_000,
        }
    }

    fn updates(&self) -> usize {
        self.bytes / self.piece()
    }

    fn run(&self, bench: &mut Bench, peer: &Peer) -> anyhow::Result<()> {
        let dir = bench.launcher.data_dir()?;
        let server = bench.launcher.start(peer, dir.path())?;
        self.write(&server).context("write it")?;
        let mut server = restart(bench, server, peer, dir.path())?;
        for round in 0..bench.pick(bench.pace.rounds.max(3), 2) {
            if round > 0 {
                server = restart(bench, server, peer, dir.path())?;
            }
            let figures = self.measure(&server, round == 0)?;
            bench.report.add(Sample {
                case: self.name(),
                server: peer.to_string(),
                figures,
            });
        }
        server.stop()
    }

    /// Writes it through the server and waits until that has it all.
    fn write(&self, server: &Server) -> anyhow::Result<()> {
        let mut crowd = Crowd::new()?;
        let ids = crowd.join_all(&[server.target(ROOM)], 1, false, JOIN_TIMEOUT, &mut Silence)?;
        let mut writing = Writing {
            at: ids[0],
            acks: server.peer.acks(),
            story: Story::new(
                if self.how == How::Woven {
                    Hand::Woven
                } else {
                    Hand::Typed
                },
                0,
                self.piece(),
            ),
            finished: 0,
            total: self.updates() as u64,
            window: (WINDOW_BYTES / self.piece()).clamp(1, 256) as u64,
        };
        crowd.say(|out| writing.write(out));
        let whole = crowd.run_while(WRITE_TIMEOUT, &mut writing, |writing| {
            writing.finished < writing.total
        })?;
        crowd.check()?;
        if !whole {
            bail!(
                "only {} of {} updates were acked after {WRITE_TIMEOUT:?}",
                writing.finished,
                writing.total
            );
        }
        if !server.peer.acks() {
            settle(&mut crowd, server)?;
        }
        Ok(())
    }

    fn measure(
        &self,
        server: &Server,
        with_crowd: bool,
    ) -> anyhow::Result<Vec<(&'static Metric, f64)>> {
        let first = self.join(server)?;
        let mut figures = Vec::new();
        if server.peer.keeps() {
            figures.push((&COLD, first));
        }
        let mut warm = Latency::new();
        for _ in 0..WARM_JOINS {
            warm.record((self.join(server)? * 1e3) as u64);
        }
        figures.push((&WARM, warm.micros(0.5)));
        if with_crowd {
            figures.extend(self.crowd(server)?);
        }
        Ok(figures)
    }

    /// One join, checked to the last character; microseconds.
    fn join(&self, server: &Server) -> anyhow::Result<f64> {
        let mut crowd = Crowd::new()?;
        let mut joins = Joins::new(1, self.bytes as u64, true);
        let start = Instant::now();
        crowd.connect(&server.target(ROOM), false)?;
        crowd.run_while(JOIN_TIMEOUT, &mut joins, |joins| joins.done < 1)?;
        crowd.check()?;
        let done = joins.done_at[0].with_context(|| {
            format!(
                "the document did not come: {} of {} characters",
                joins.got[0], self.bytes
            )
        })?;
        Ok(micros(done - start))
    }

    fn crowd(&self, server: &Server) -> anyhow::Result<Vec<(&'static Metric, f64)>> {
        let mut crowd = Crowd::new()?;
        let mut joins = Joins::new(self.crowd, self.bytes as u64, false);
        let before = server.memory()?.rss;
        server.reset_peak()?;
        let start = Instant::now();
        let targets = vec![server.target(ROOM); self.crowd];
        crowd.join_all(&targets, self.crowd, true, JOIN_TIMEOUT, &mut joins)?;
        crowd.run_while(JOIN_TIMEOUT, &mut joins, |joins| joins.done < self.crowd)?;
        crowd.check()?;
        if joins.done < self.crowd {
            bail!(
                "only {} of {} joiners have the document after {JOIN_TIMEOUT:?}",
                joins.done,
                self.crowd
            );
        }
        let growth = server.peak_rss()?.saturating_sub(before) as f64;
        let mut latency = Latency::new();
        for done in joins.done_at.iter().flatten() {
            latency.record((*done - start).as_nanos() as u64);
        }
        Ok(vec![
            (&CROWD_P50, latency.micros(0.5)),
            (&CROWD_ALL, latency.micros(1.0)),
            (&GROWTH, growth),
            (&GROWTH_EACH, growth / self.crowd as f64),
        ])
    }
}

/// Waits until a server that acks nothing has stopped working on what it was sent.
fn settle(crowd: &mut Crowd, server: &Server) -> anyhow::Result<()> {
    let deadline = Instant::now() + WRITE_TIMEOUT;
    let used = || server.cpu().map(Option::unwrap_or_default);
    let mut cpu = used()?;
    while Instant::now() < deadline {
        crowd.run_until(Instant::now() + Duration::from_millis(500), &mut Silence)?;
        let now = used()?;
        if now - cpu < Duration::from_millis(20) {
            return Ok(());
        }
        cpu = now;
    }
    bail!(
        "{} was still busy {WRITE_TIMEOUT:?} after the last update",
        server.peer
    )
}

/// One connection that writes a document. An update is finished by its durable ack or, where there
/// is none, by its echo: servers without acks send an update to its writer, too.
struct Writing {
    at: ConnId,
    acks: bool,
    story: Story,
    finished: u64,
    total: u64,
    window: u64,
}

impl Writing {
    fn write(&mut self, out: &mut Outbox) {
        while self.story.pieces() < self.total && self.story.pieces() - self.finished < self.window
        {
            out.send(self.at, |bytes| {
                self.story.go_on(bytes);
                if self.acks {
                    update::write_ack_request(bytes, self.story.pieces());
                }
            });
        }
    }
}

impl Load for Writing {
    fn message(&mut self, _: ConnId, message: Incoming<'_>, _: Instant, out: &mut Outbox) {
        match message {
            Incoming::Ack(n) if n > self.story.pieces() => {
                out.fail("an ack for what was not written".to_owned());
            }
            Incoming::Ack(n) => self.finished = self.finished.max(n),
            Incoming::Update(_) if !self.acks => self.finished += 1,
            _ => {}
        }
    }

    fn read_done(&mut self, _: ConnId, _: Instant, out: &mut Outbox) {
        self.write(out);
    }
}

/// Joiners, and how much of the document each has.
struct Joins {
    expected: u64,
    /// Count characters exactly; else an update's length has to do.
    exact: bool,
    got: Vec<u64>,
    done_at: Vec<Option<Instant>>,
    done: usize,
}

impl Joins {
    fn new(joiners: usize, expected: u64, exact: bool) -> Self {
        Self {
            expected,
            exact,
            got: vec![0; joiners],
            done_at: vec![None; joiners],
            done: 0,
        }
    }

    fn more(&mut self, at: ConnId, len: u64) {
        self.got[at] += len;
        if self.got[at] >= self.expected && self.done_at[at].is_none() {
            // The last byte came with the read before this one; the moment is taken here so that
            // a document in several messages counts whole.
            self.done_at[at] = Some(Instant::now());
            self.done += 1;
        }
    }
}

impl Load for Joins {
    fn message(&mut self, at: ConnId, message: Incoming<'_>, _: Instant, out: &mut Outbox) {
        let (Incoming::Step2(update) | Incoming::Update(update)) = message else {
            return;
        };
        if !self.exact {
            return self.more(at, update.len() as u64);
        }
        let mut len = 0;
        if let Err(malformed) = update::scan(update, |run| len += run.len) {
            out.fail(malformed.to_string());
        }
        self.more(at, len);
    }

    fn skimmed(&mut self, at: ConnId, len: u64, _: Instant) {
        self.more(at, len);
    }
}

const ROOM: &str = "joined";
const WARM_JOINS: usize = 10;
const WINDOW_BYTES: usize = 256 * 1024;
const WRITE_TIMEOUT: Duration = Duration::from_secs(120);

const DOCUMENTS: [Document; 6] = [
    Document {
        bytes: 200_000,
        how: How::Typed,
        crowd: 1_000,
    },
    Document {
        bytes: 200_000,
        how: How::Woven,
        crowd: 1_000,
    },
    Document {
        bytes: 200_000,
        how: How::Pasted,
        crowd: 1_000,
    },
    Document {
        bytes: 5_000_000,
        how: How::Typed,
        crowd: 150,
    },
    Document {
        bytes: 5_000_000,
        how: How::Woven,
        crowd: 150,
    },
    Document {
        bytes: 5_000_000,
        how: How::Pasted,
        crowd: 150,
    },
];
const QUICK: [Document; 2] = [
    Document {
        bytes: 200_000,
        how: How::Woven,
        crowd: 200,
    },
    Document {
        bytes: 5_000_000,
        how: How::Pasted,
        crowd: 20,
    },
];

static COLD: Metric = Metric {
    key: "cold_us",
    title: "cold",
    unit: Unit::Micros,
};
static WARM: Metric = Metric {
    key: "warm_us",
    title: "warm",
    unit: Unit::Micros,
};
static CROWD_P50: Metric = Metric {
    key: "crowd_p50_us",
    title: "crowd p50",
    unit: Unit::Micros,
};
static CROWD_ALL: Metric = Metric {
    key: "crowd_all_us",
    title: "crowd, all",
    unit: Unit::Micros,
};
static GROWTH: Metric = Metric {
    key: "crowd_growth_bytes",
    title: "growth",
    unit: Unit::Bytes,
};
static GROWTH_EACH: Metric = Metric {
    key: "crowd_growth_bytes_per_joiner",
    title: "growth/joiner",
    unit: Unit::Bytes,
};

const GOALS: &[Goal] = &[
    Goal {
        case: "200 KB document (typed, 2000 updates); crowd of 1000",
        server: "well",
        metric: &COLD,
        over: None,
        bound: Bound::AtMost(25_000.0),
    },
    Goal {
        case: "200 KB document (woven by two, 2000 updates); crowd of 1000",
        server: "well",
        metric: &COLD,
        over: None,
        bound: Bound::AtMost(25_000.0),
    },
    Goal {
        case: "200 KB document (pasted, 4 updates); crowd of 1000",
        server: "well",
        metric: &COLD,
        over: None,
        bound: Bound::AtMost(25_000.0),
    },
    Goal {
        case: "5000 KB document (typed, 50000 updates); crowd of 150",
        server: "well",
        metric: &COLD,
        over: None,
        bound: Bound::AtMost(250_000.0),
    },
    Goal {
        case: "5000 KB document (woven by two, 50000 updates); crowd of 150",
        server: "well",
        metric: &COLD,
        over: None,
        bound: Bound::AtMost(250_000.0),
    },
    Goal {
        case: "5000 KB document (pasted, 100 updates); crowd of 150",
        server: "well",
        metric: &COLD,
        over: None,
        bound: Bound::AtMost(250_000.0),
    },
];
