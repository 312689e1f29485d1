//! `well health`: whether a running server is ready, for containers and scripts.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;

use super::say;
use crate::config::{Config, ServeArgs};

/// `well health`: takes what `well serve` takes, and so finds the server that was started with the same.
#[derive(Debug, Args)]
pub(crate) struct HealthArgs {
    /// Ask this server instead, as `http://host:port`
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// How long it may take
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = humantime::parse_duration)]
    timeout: Duration,
    #[command(flatten)]
    serve: ServeArgs,
}

/// More is no answer of `/readyz`.
const MOST_BYTES: usize = 64 << 10;

pub(crate) async fn run(args: HealthArgs) -> anyhow::Result<()> {
    let (server, its_own) = match args.url {
        Some(url) => (url, false),
        None => (
            address(&args.serve.of_a_server_that_runs().resolve()?),
            true,
        ),
    };
    let url = format!("{}/readyz", server.trim_end_matches('/'));
    // An error says that there is one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // This machine's own server has a certificate for the name that others know it by.
    let client = reqwest::Client::builder()
        .timeout(args.timeout)
        .tls_danger_accept_invalid_certs(its_own)
        .build()?;
    let asked = || format!("{url} does not answer");
    let mut answer = client.get(&url).send().await.with_context(asked)?;
    let status = answer.status();
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.with_context(asked)? {
        body.extend_from_slice(&chunk);
        if body.len() > MOST_BYTES {
            bail!("{url} answers with more than {MOST_BYTES} bytes: is that a Well?");
        }
    }
    let body = String::from_utf8_lossy(&body);
    say(body.trim_end())?;
    if !status.is_success() {
        bail!("it is not ready: {status}");
    }
    Ok(())
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
