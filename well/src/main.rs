//! `well`: the binary. Command line, configuration and wiring; everything else lives in the crates.

mod commands;
mod config;
mod logs;
mod stores;

use std::process::ExitCode;

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
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match cli.command {
        Command::Serve(args) => commands::serve::run(args),
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
