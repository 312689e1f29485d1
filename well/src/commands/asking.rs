//! A running server, asked over HTTP.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Arg, Args, Command};
use reqwest::StatusCode;

use crate::config::{Config, ServeArgs};

/// An answer of more bytes is none of a Well.
const MOST_BYTES: usize = 1 << 20;

/// Which server is asked: takes what `well serve` takes, and so finds the server that was started with the same.
#[derive(Debug, Args)]
pub(crate) struct Asking {
    /// Ask this server instead, as `http://host:port`
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// How long an answer may take
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = humantime::parse_duration)]
    timeout: Duration,
    #[command(flatten)]
    serve: ServeArgs,
}

impl Asking {
    /// The server that is meant. Nothing is asked yet.
    pub(crate) fn server(self) -> anyhow::Result<Server> {
        let (url, its_own) = match self.url {
            Some(url) => (url, false),
            None => (
                address(&self.serve.of_a_server_that_runs().resolve()?),
                true,
            ),
        };
        // An error says that there is one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // This machine's own server has a certificate for the name that others know it by.
        let client = reqwest::Client::builder()
            .timeout(self.timeout)
            .tls_danger_accept_invalid_certs(its_own)
            .build()?;
        Ok(Server {
            client,
            url: url.trim_end_matches('/').to_owned(),
            token: None,
        })
    }
}

/// What a flag of `well serve` is to a command that only asks: where the server is found, or nothing.
pub(super) fn worded(arg: Arg) -> Arg {
    let served = ServeArgs::augment_args(Command::new("serve"));
    match arg.get_id().as_str() {
        "listen" => arg.help(
            "The address that the server listens on; one on all interfaces is asked on loopback \
             [default: 127.0.0.1:4000]",
        ),
        "config" => arg.help(
            "The server's configuration file, for its address and whether it speaks TLS; without one, \
             well.toml if it is there",
        ),
        id if served.get_arguments().any(|it| it.get_id() == id) => arg.hide(true),
        _ => arg,
    }
}

/// A server.
#[derive(Debug)]
pub(crate) struct Server {
    client: reqwest::Client,
    pub(crate) url: String,
    /// What is shown to it, if anything.
    pub(crate) token: Option<String>,
}

impl Server {
    /// `GET path`: the status, and the body as text.
    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<(StatusCode, String)> {
        let url = format!("{}{path}", self.url);
        let mut request = self.client.get(&url);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let asked = || format!("{url} does not answer");
        let mut answer = request.send().await.with_context(asked)?;
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.with_context(asked)? {
            body.extend_from_slice(&chunk);
            if body.len() > MOST_BYTES {
                bail!("{url} answers with more than {MOST_BYTES} bytes: is that a Well?");
            }
        }
        let body = String::from_utf8_lossy(&body).into_owned();
        Ok((answer.status(), body))
    }
}

/// Where a server of this configuration is reached on its own machine.
fn address(config: &Config) -> String {
    let host = match config.listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let encrypted = config.tls.as_ref().is_some_and(|tls| tls.http);
    let scheme = if encrypted { "https" } else { "http" };
    format!("{scheme}://{}", SocketAddr::new(host, config.listen.port()))
}
