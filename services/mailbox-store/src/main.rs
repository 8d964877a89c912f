//! `mailbox-store`: everything durable of one stack.

use clap::Parser;
use mailbox_store::{Config, run};
use service_kit::{
    cli::{self, ServiceArgs},
    config::PortKey,
};
use std::{path::PathBuf, process::ExitCode};

/// Keeps the accounts, messages, maildrops and outbound queue of one stack.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Example:\n  mailbox-store --name gmail.com --config data/config.toml --data /var/lib/mailtown"
)]
struct Args {
    #[command(flatten)]
    service: ServiceArgs,
    /// The directory to keep everything in [default: .mailtown/<NAME>]
    #[arg(long, env = "MAILTOWN_DATA", value_name = "DIR")]
    data: Option<PathBuf>,
}

fn main() -> ExitCode {
    let Args { service, data } = Args::parse();
    cli::run(&service, PortKey::Store, async |launch| {
        let listener = launch.listen(PortKey::Store).await?;
        let data = data.unwrap_or_else(|| PathBuf::from(".mailtown").join(launch.stack.name.as_str()));
        let config = Config { stack: launch.stack, data, token: launch.token };
        Ok(run(config, listener, launch.shutdown).await?)
    })
}
