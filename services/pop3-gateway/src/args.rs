//! The command line.

use crate::{Config, Listeners, run};
use clap::Parser;
use service_kit::cli::{self, ServiceArgs};
use std::process::ExitCode;
use town_config::PortKey;

/// POP3 in front of the stack's mailbox store: lets users read and delete their mail.
#[derive(Debug, Parser)]
#[command(version, after_help = "Example:\n  pop3-gateway --name gmail.com --store http://127.0.0.1:2080")]
pub struct Args {
    #[command(flatten)]
    service: ServiceArgs,
    /// The stack's mailbox store; without it, on this machine at the port of the configuration
    #[arg(long, env = "MAILTOWN_STORE", value_name = "URL", global = true)]
    store: Option<String>,
}

impl Args {
    /// Runs the gateway until a signal ends it.
    pub fn run(self) -> ExitCode {
        cli::run(&self.service, PortKey::PopHttp, async |launch| {
            let listeners =
                Listeners { pop3: launch.listen(PortKey::Pop).await?, http: launch.listen(PortKey::PopHttp).await? };
            let store = launch.store(self.store.as_deref())?;
            let config = Config { stack: launch.stack, store, token: launch.token, clock: launch.clock };
            Ok(run(config, listeners, launch.shutdown).await?)
        })
    }
}
