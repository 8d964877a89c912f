//! `mailtown`: every stack of the configuration in one process.

use anyhow::Context;
use clap::{Parser, Subcommand};
use mailtown::{Options, Town, check, table};
use service_kit::{cli, config::Config, http::Token, shutdown, telemetry, zone::Zone};
use std::{path::PathBuf, process::ExitCode};

/// Runs a whole town of mail servers, each with SMTP, POP3, a mailbox store and DNS, on this machine.
#[derive(Debug, Parser)]
#[command(version, after_help = "Examples:\n  mailtown\n  mailtown --state /tmp/town\n  mailtown check")]
struct Args {
    /// The configuration file
    #[arg(long, env = "MAILTOWN_CONFIG", default_value = "data/config.toml", global = true)]
    config: PathBuf,
    /// The zone file
    #[arg(long, env = "MAILTOWN_ZONE", default_value = "data/fdns.toml", global = true)]
    zone: PathBuf,
    /// The directory to keep all mail in
    #[arg(long, env = "MAILTOWN_STATE", default_value = ".mailtown", value_name = "DIR")]
    state: PathBuf,
    /// The bearer token of the HTTP APIs; without one, anybody on this machine may call (better set in the environment)
    #[arg(long, env = "MAILTOWN_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Instead of running the town:
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Clone, Copy, Subcommand)]
enum Command {
    /// Check configuration and zone without starting anything
    Check,
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    telemetry::start();
    cli::exit_code(match args.command {
        Some(Command::Check) => checked(&args),
        None => run(args).await,
    })
}

async fn run(args: Args) -> anyhow::Result<()> {
    let config = Config::load(&args.config)?;
    let token = args.token.as_deref().filter(|token| !token.is_empty()).map(Token::from);
    let shutdown = shutdown::on_signal()?;
    let options = Options { config, zone: args.zone, state: args.state, token };
    let mut town = Town::start(options).await?;
    table::write(town.stacks(), &mut anstream::stdout()).context("cannot write to standard output")?;
    let failure = tokio::select! {
        () = shutdown.cancelled() => None,
        error = town.failed() => Some(error),
    };
    let stopped = town.stop().await;
    failure.map_or(stopped, Err)
}

fn checked(args: &Args) -> anyhow::Result<()> {
    let config = Config::load(&args.config)?;
    let findings = check::findings(&config, &Zone::load(&args.zone)?);
    anyhow::ensure!(findings.is_empty(), "{}", findings.join("\nerror: "));
    println!("{} and {} are valid and fit together", args.config.display(), args.zone.display());
    Ok(())
}
