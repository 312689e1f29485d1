//! A terminal that is drawn on: the alternate screen, without a cursor, keys at once and unseen. It is given back
//! as it was when this is dropped.

use std::io::{IsTerminal, Read, Write, stdin, stdout};

use anyhow::{Context, bail};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::sync::mpsc;

use super::{Line, Tone};

const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
const HOME: &str = "\x1b[H";
const REST_OF_LINE: &str = "\x1b[K";
const REST_OF_SCREEN: &str = "\x1b[J";
const USUAL: &str = "\x1b[0m";
/// Where a terminal does not say how large it is.
const USUAL_SIZE: (usize, usize) = (80, 24);
/// Keys that may wait.
const KEYS: usize = 16;

/// The terminal of this process.
#[derive(Debug)]
pub(crate) struct Terminal {
    before: Termios,
    keys: mpsc::Receiver<u8>,
}

impl Terminal {
    pub(crate) fn open() -> anyhow::Result<Self> {
        if !stdin().is_terminal() || !stdout().is_terminal() {
            bail!("there is no terminal to draw on: say --once or --json");
        }
        let before = tcgetattr(stdin()).context("the terminal")?;
        let mut ours = before.clone();
        // Ctrl-C stays a signal.
        ours.local_modes -= LocalModes::ICANON | LocalModes::ECHO;
        tcsetattr(stdin(), OptionalActions::Now, &ours).context("the terminal")?;
        let (key, keys) = mpsc::channel(KEYS);
        // It waits for a key until the process ends, so nothing waits for it.
        std::thread::spawn(move || {
            let mut byte = [0];
            while let Ok(1) = stdin().read(&mut byte) {
                if key.blocking_send(byte[0]).is_err() {
                    break;
                }
            }
        });
        let terminal = Self { before, keys };
        put(ENTER)?;
        Ok(terminal)
    }

    /// Columns and rows.
    pub(crate) fn size() -> (usize, usize) {
        match tcgetwinsize(stdout()) {
            Ok(size) if size.ws_col > 0 && size.ws_row > 0 => {
                (size.ws_col.into(), size.ws_row.into())
            }
            _ => USUAL_SIZE,
        }
    }

    /// The next key. Cancel-safe; never comes once standard input has ended.
    pub(crate) async fn key(&mut self) -> u8 {
        match self.keys.recv().await {
            Some(key) => key,
            None => std::future::pending().await,
        }
    }

    /// Draws these lines and nothing else. There are at most as many as there are rows.
    pub(crate) fn draw(&self, lines: &[Line]) -> std::io::Result<()> {
        let lines: Vec<String> = lines
            .iter()
            .map(|Line { tone, text }| {
                let tone = match tone {
                    Tone::Plain => USUAL,
                    Tone::Strong => "\x1b[1m",
                    Tone::Bad => "\x1b[1;31m",
                };
                format!("{tone}{text}{USUAL}{REST_OF_LINE}")
            })
            .collect();
        put(&format!("{HOME}{}{REST_OF_SCREEN}", lines.join("\r\n")))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // There is nobody left to tell of a failure.
        let _ = put(LEAVE);
        let _ = tcsetattr(stdin(), OptionalActions::Now, &self.before);
    }
}

fn put(text: &str) -> std::io::Result<()> {
    let mut out = stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush())
}
