//! `well config`: what the configuration says, before a server is started with it.

use clap::{Args, Subcommand};

use super::say;
use crate::config::{ServeArgs, schema};
use crate::{auth, logs};

/// `well config`
#[derive(Debug, Args)]
pub(crate) struct ConfigArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Check a configuration as `serve` reads it, with the files it names; 1 when anything is wrong
    Check(Box<ServeArgs>),
    /// Print the JSON Schema of well.toml, for editors
    Schema,
}

/// Runs `well config`.
pub(crate) fn run(args: ConfigArgs) -> anyhow::Result<()> {
    match args.what {
        What::Check(args) => {
            let config = args.resolve()?;
            auth::check(&config)?;
            config.networks.open()?;
            logs::check(&config.log)?;
            let spaces: Vec<&str> = config.spaces.keys().map(String::as_str).collect();
            let spaces = spaces.join(", ");
            Ok(say(&format!(
                "the configuration is good; spaces: {spaces}"
            ))?)
        }
        What::Schema => Ok(say(schema::text()?.trim_end())?),
    }
}
