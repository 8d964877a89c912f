//! `pop3-gateway`: starts one from the command line.

use clap::Parser;
use pop3_gateway::{Config, Listeners};
use service_kit::cli::{self, Launch, ServiceArgs};
use std::process::ExitCode;
use town_config::PortKey;

/// POP3 in front of the stack's mailbox store: lets users read and delete their mail.
#[derive(Parser)]
#[command(version, after_help = "Example:\n  pop3-gateway --name gmail.com --store http://127.0.0.1:2080")]
struct Args {
    #[command(flatten)]
    service: ServiceArgs,
    /// The stack's mailbox store; without it, on this machine at the port of the configuration
    #[arg(long, env = "MAILTOWN_STORE", value_name = "URL", global = true)]
    store: Option<String>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    cli::run(&args.service, PortKey::PopHttp, |launch| start(launch, args.store.clone()))
}

async fn start(launch: Launch, store: Option<String>) -> anyhow::Result<()> {
    let listeners =
        Listeners { pop3: launch.listen(PortKey::Pop).await?, http: launch.listen(PortKey::PopHttp).await? };
    let store = launch.store(store.as_deref())?;
    let config = Config { stack: launch.stack, store, token: launch.token };
    Ok(pop3_gateway::run(config, listeners, launch.shutdown).await?)
}
