//! `well top`: a running server, looked at again and again.

use std::time::Duration;

use anyhow::bail;
use clap::Args;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, MissedTickBehavior};

use super::asking::{Asking, Server, worded};
use super::say;
use crate::top::terminal::Terminal;
use crate::top::{By, Picture, Rooms, Sample};

/// The most rooms that are asked for.
const ROOMS: usize = 200;
/// Wide enough for everything, where there is no terminal.
const PLAIN_WIDTH: usize = 200;

/// `well top`
#[derive(Debug, Args)]
#[command(
    after_help = "Keys: u, b, s and l order the rooms by updates, bytes, sessions and lag; q ends it."
)]
#[command(mut_args(worded))]
pub(crate) struct TopArgs {
    /// Say it once, as plain text, and end; 1 if the server does not answer
    #[arg(long)]
    once: bool,
    /// One JSON object a line instead: `{at, values, stages, not_ready, rooms, loaded}`, or `{error}`
    #[arg(long)]
    json: bool,
    /// What rooms are ordered by
    #[arg(long, value_enum, default_value_t)]
    by: By,
    /// How often it looks; the server has something new each second
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = humantime::parse_duration)]
    every: Duration,
    /// The token of an observer or admin, where not every space is open
    #[arg(long, env = "WELL_TOKEN", hide_env_values = true)]
    token: Option<String>,
    #[command(flatten)]
    asking: Asking,
}

pub(crate) async fn run(args: TopArgs) -> anyhow::Result<()> {
    if args.every.is_zero() {
        bail!("--every takes some time, like 1s");
    }
    let mut server = args.asking.server()?;
    server.token = args.token;
    let watch = Watch {
        picture: Picture {
            server: server.url.clone(),
            by: args.by,
            seen: None,
            trouble: None,
        },
        answered: Instant::now(),
        server,
    };
    match (args.json, args.once) {
        (true, once) => watch.in_json(args.every, once).await,
        (false, true) => watch.once().await,
        (false, false) => watch.on_the_terminal(args.every).await,
    }
}

/// Somebody who looks at a server.
struct Watch {
    server: Server,
    picture: Picture,
    /// When it answered last, or when it was asked first.
    answered: Instant,
}

impl Watch {
    async fn once(mut self) -> anyhow::Result<()> {
        let found = ask(&self.server, self.picture.by).await?;
        self.picture.seen = Some(found);
        for line in self.picture.lines(PLAIN_WIDTH, usize::MAX) {
            say(line.text.trim_end())?;
        }
        Ok(())
    }

    async fn in_json(self, every: Duration, once: bool) -> anyhow::Result<()> {
        let mut looks = looks(every);
        loop {
            looks.tick().await;
            match ask(&self.server, self.picture.by).await {
                Ok((sample, rooms)) => say(&json!({
                    "at": sample.at, "values": sample.values, "stages": sample.stages, "not_ready": sample.not_ready,
                    "rooms": rooms.rooms, "loaded": rooms.loaded,
                })
                .to_string())?,
                Err(error) => {
                    say(&json!({ "error": format!("{error:#}") }).to_string())?;
                    if once {
                        return Err(error);
                    }
                }
            }
            if once {
                return Ok(());
            }
        }
    }

    async fn on_the_terminal(mut self, every: Duration) -> anyhow::Result<()> {
        let mut terminal = Terminal::open()?;
        let mut looks = looks(every);
        let mut resized = signal(SignalKind::window_change())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        loop {
            let ordered = tokio::select! {
                _ = looks.tick() => true,
                _ = resized.recv() => false,
                _ = terminate.recv() => return Ok(()),
                _ = interrupt.recv() => return Ok(()),
                key = terminal.key() => match key {
                    b'q' => return Ok(()),
                    key => match By::of_key(key) {
                        Some(by) => {
                            self.picture.by = by;
                            true
                        }
                        None => false,
                    },
                },
            };
            if ordered {
                // A server that hangs does not keep who has had enough.
                tokio::select! {
                    () = self.look() => {}
                    () = enough(&mut terminal) => return Ok(()),
                    _ = terminate.recv() => return Ok(()),
                    _ = interrupt.recv() => return Ok(()),
                }
            }
            let (columns, rows) = Terminal::size();
            terminal.draw(&self.picture.lines(columns, rows))?;
        }
    }

    /// Asks, and remembers what was said, or for how long nothing has been.
    async fn look(&mut self) {
        match ask(&self.server, self.picture.by).await {
            Ok(found) => {
                self.picture.seen = Some(found);
                self.picture.trouble = None;
                self.answered = Instant::now();
            }
            Err(error) => {
                let why = format!("{error:#}");
                self.picture.trouble = Some((why, self.answered.elapsed()));
            }
        }
    }
}

/// Until somebody has had enough.
async fn enough(terminal: &mut Terminal) {
    while terminal.key().await != b'q' {}
}

fn looks(every: Duration) -> tokio::time::Interval {
    let mut looks = tokio::time::interval(every);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    looks
}

async fn ask(server: &Server, by: By) -> anyhow::Result<(Sample, Rooms)> {
    let sample = get(server, "/api/v1/observatory/now").await?;
    let by = by.name();
    let path = format!("/api/v1/observatory/rooms?by={by}&limit={ROOMS}");
    Ok((sample, get(server, &path).await?))
}

async fn get<T: serde::de::DeserializeOwned>(server: &Server, path: &str) -> anyhow::Result<T> {
    let (status, body) = server.get(path).await?;
    match status.as_u16() {
        200 => {}
        401 | 403 => bail!(
            "{status}: it takes a token of role observer or admin for */* (--token, WELL_TOKEN; `well token mint \
             --role observer --room '*/*'` makes one)"
        ),
        _ => {
            let problem: Option<serde_json::Value> = serde_json::from_str(&body).ok();
            let detail = problem
                .as_ref()
                .and_then(|problem| problem["detail"].as_str());
            let why = detail
                .map(|detail| format!(": {detail}"))
                .unwrap_or_default();
            bail!("{}{path} answers {status}{why}", server.url);
        }
    }
    serde_json::from_str(&body)
        .map_err(|error| anyhow::anyhow!("{}{path} is not a Well's: {error}", server.url))
}
