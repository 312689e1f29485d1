//! `well`: the binary. Command line, configuration and wiring; everything else lives in the crates.

mod auth;
mod background;
mod bases;
mod bench;
mod commands;
mod config;
mod doctor;
mod logs;
mod poisoned;
mod progress;
mod source;
mod stores;
mod top;
mod traces;

use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// An event-sourced log broker for shared state: every update is durable before anyone is told.
#[derive(Debug, Parser)]
#[command(version, about, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve rooms over WebSocket and HTTP.
    Serve(config::ServeArgs),
    /// Make keys, and tokens with them.
    Token(commands::token::TokenArgs),
    /// Look after the configuration.
    Config(commands::config::ConfigArgs),
    /// Write a room's document as it is, or was at any moment.
    State(commands::past::StateArgs),
    /// Write a room's records as JSON lines.
    Log(commands::past::LogArgs),
    /// Follow a running server's room: a JSON line for each record, once it is durable.
    Tail(commands::live::TailArgs),
    /// Write lines of standard input to a running server's room, and say the Seq of each.
    Send(commands::live::SendArgs),
    /// Export rooms: as JSON lines, Yjs updates or an archive.
    Export(commands::export::ExportArgs),
    /// Import rooms from an export.
    Import(commands::import::ImportArgs),
    /// Check every record, snapshot and archived byte; 1 when anything is wrong.
    Verify(commands::verify::VerifyArgs),
    /// Fill an empty data folder from an archive.
    Restore(commands::restore::RestoreArgs),
    /// Look after an archive.
    Archive(commands::archive::ArchiveArgs),
    /// Look at what a server stands on (disk, clock, limits, certificate, archive); 1 when it will not do.
    Doctor(Box<commands::doctor::DoctorArgs>),
    /// Ask a running server whether it is ready; 1 when it is not.
    Health(Box<commands::health::HealthArgs>),
    /// Watch a running server: rates, acks, lags, memory and disk, and its rooms.
    Top(Box<commands::top::TopArgs>),
    /// Measure what a server would do on this machine and disk; half a minute.
    Bench(Box<commands::bench::BenchArgs>),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match cli.command {
        Command::Serve(args) => commands::serve::run(args),
        Command::Token(args) => commands::token::run(args),
        Command::Config(args) => commands::config::run(args),
        Command::State(args) => run(commands::past::state(args)),
        Command::Log(args) => run(commands::past::log(args)),
        Command::Tail(args) => run(commands::live::tail(args)),
        Command::Send(args) => run(commands::live::send(args)),
        Command::Export(args) => run(commands::export::run(args)),
        Command::Import(args) => run(commands::import::run(args)),
        Command::Verify(args) => run(commands::verify::run(args)),
        Command::Restore(args) => run(commands::restore::run(args)),
        Command::Archive(args) => run(commands::archive::run(args)),
        Command::Doctor(args) => run(commands::doctor::run(*args)),
        Command::Health(args) => run(commands::health::run(*args)),
        Command::Top(args) => run(commands::top::run(*args)),
        Command::Bench(args) => run(commands::bench::run(*args)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The one place where the process says why it ends.
            eprintln!("well: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs a command to its end, with warnings on standard error.
fn run(command: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    logs::install("warn", config::LogFormat::Text)?;
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the async runtime could not be started")?
        .block_on(command)
}
