//! The command line.

use crate::{
    Config, Listeners,
    admin::{self, Command},
    run,
};
use anyhow::Context;
use clap::Parser;
use internal_api::InProcess;
use service_kit::cli::{self, ServiceArgs};
use std::{path::PathBuf, process::ExitCode};
use town_config::PortKey;

/// Keeps the accounts, messages, maildrops and outbound queue of one stack.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Examples:\n  mailbox-store --name gmail.com --config data/config.toml --data /var/lib/mailtown\n  mailbox-store --name gmail.com --http-socket /run/mailtown/store.sock"
)]
pub struct Args {
    #[command(flatten)]
    service: ServiceArgs<Command>,
    /// The directory to keep everything in [default: .mailtown/NAME]
    #[arg(long, env = "MAILTOWN_DATA", value_name = "DIR", global = true)]
    data: Option<PathBuf>,
    /// Keep everything in this PostgreSQL database instead, which other stores of the stack may share
    #[arg(long, env = "MAILTOWN_DATABASE", hide_env_values = true, value_name = "URL", global = true)]
    database: Option<String>,
}

impl Args {
    /// Does what it says: runs the store, or one of the subcommands.
    pub fn run(self) -> ExitCode {
        let Self { service, data, database } = self;
        let (service, command) = Command::split(service);
        let database = database.filter(|url| !url.is_empty()).map(|url| url.parse()).transpose();
        let database = database.context("--database (MAILTOWN_DATABASE)");
        if let Some(command) = command {
            let logs = service.log.start().map_err(Into::into);
            return cli::exit_code(logs.and(database).and_then(|database| command.run(&service, data, database)));
        }
        cli::run(&service, PortKey::Store, async |launch| {
            let listeners = Listeners { http: launch.listen_http(PortKey::Store).await? };
            let data = admin::directory(data, &launch.stack.current());
            let faults = service_kit::faults::of_stack(&launch.stack, crate::SERVICE, launch.clock.wall.clone());
            let config = Config {
                stack: launch.stack,
                data,
                database: database?,
                token: launch.token,
                in_process: InProcess::default(),
                faults,
                clock: launch.clock,
            };
            Ok(run(config, listeners, launch.shutdown).await?)
        })
    }
}
