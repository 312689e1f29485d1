//! A server of its own on loopback, and clients that write as fast as they are acked.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bytes::Bytes;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio::time::timeout;
use well_client::{Client, Join, Options};

use super::{PAYLOAD_BYTES, Patience, ServerRow, Times};

/// How long the server may take to listen, and everybody to get in.
const START_TIME: Duration = Duration::from_secs(30);
/// How long an ack may take before the bench gives up.
const ACK_PATIENCE: Duration = Duration::from_secs(30);
const CONFIG: &str = "store = \"sled\"\n[spaces.bench]\nkind = \"opaque\"\n";

/// A server that ends with this.
#[derive(Debug)]
pub(crate) struct Server {
    /// Killed when dropped: there is nothing to be kept.
    _process: Child,
    url: String,
}

impl Server {
    /// Starts this program as a server with a fresh folder in `folder`.
    pub(crate) async fn start(folder: &Path) -> anyhow::Result<Self> {
        let config = folder.join("well.toml");
        std::fs::write(&config, CONFIG).context("the server's configuration")?;
        let this = std::env::current_exe().context("this program's own path")?;
        let mut command = Command::new(this);
        command
            .args([
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--webtransport=false",
                "--log",
                "error",
            ])
            .arg("--config")
            .arg(&config)
            .arg("--data")
            .arg(folder.join("server"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        // What is meant for the real server is not for this one.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("WELL_") {
                command.env_remove(name);
            }
        }
        let mut process = command.spawn().context("the server of the bench")?;
        let stdout = process.stdout.take().context("the server's output")?;
        let mut line = String::new();
        let mut lines = BufReader::new(stdout);
        let said = timeout(START_TIME, lines.read_line(&mut line)).await;
        said.context("the server of the bench does not listen")??;
        let Some(address) = line.trim().strip_prefix("listening on http://") else {
            bail!("the server of the bench did not start");
        };
        Ok(Self {
            _process: process,
            url: format!("ws://{address}/well"),
        })
    }

    /// Lets so many sessions write, in so many rooms; each has one update on its way. Takes a part.
    pub(crate) async fn measure(
        &self,
        sessions: usize,
        rooms: usize,
        patience: &Patience,
    ) -> anyhow::Result<ServerRow> {
        let mut clients = Vec::with_capacity(sessions);
        for nth in 0..sessions {
            let client = Client::connect(Options::new(&self.url).name("well bench"));
            let room = format!("bench/{sessions}-{}", nth % rooms);
            let joined = timeout(START_TIME, client.join(Join::new(room))).await;
            let room = joined.context("a session does not get in")??;
            clients.push((client, room));
        }
        let mut writers = JoinSet::new();
        let (began, turn) = (Instant::now(), patience.turn(1));
        for (client, room) in clients {
            let turn = turn.clone();
            writers.spawn(async move {
                let _stays = client;
                let mut times = Vec::new();
                while turn.lasts() {
                    let sent = Instant::now();
                    let update = Bytes::from(vec![b'x'; PAYLOAD_BYTES]);
                    let acked = room.submit(update).await?.acked();
                    timeout(ACK_PATIENCE, acked)
                        .await
                        .context("an ack does not come")??;
                    times.push(sent.elapsed());
                }
                anyhow::Ok(times)
            });
        }
        let mut times = Vec::new();
        while let Some(written) = writers.join_next().await {
            times.extend(written??);
        }
        patience.check()?;
        let updates_per_second = times.len() as f64 / began.elapsed().as_secs_f64();
        Ok(ServerRow {
            sessions,
            rooms,
            updates_per_second,
            ack: Times::of(times)?,
        })
    }
}
