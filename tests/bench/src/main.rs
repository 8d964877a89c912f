//! `town-bench`: measures mailtown beside Postfix, Dovecot and smtp-sink, on this machine and in the same minute.
#![allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]

mod args;
mod load;
mod machine;
mod measure;
mod peers;
mod pop3;
mod ports;
mod process;
mod progress;
mod report;
mod statistics;
mod target;
mod town;

use anyhow::Context;
use args::{Args, Scale};
use clap::Parser;
use measure::{Bench, Builds};
use std::process::ExitCode;

// One thread makes the load: it must not compete with itself for the few processors there are.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let args = Args::parse();
    let outcome = tokio::select! {
        outcome = run(&args) => outcome,
        // Dropping the run stops every process that it started.
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: &Args) -> anyhow::Result<()> {
    let binaries = process::Binaries::build()?;
    std::fs::create_dir_all(&args.out).with_context(|| format!("{} cannot be created", args.out.display()))?;
    let state = machine::state_directory(&args.state)?;
    let scale = Scale::new(args);
    let before = match args.before.as_deref() {
        Some(directory) => Some(process::Binaries::in_directory(directory)?),
        None => args.before_unrecorded.then(|| binaries.without_records()),
    };
    let now = if args.console { binaries.with_console() } else { binaries };
    let bench = Bench::new(args, Builds { now, before }, state.path(), scale)?;
    let results = bench.measure_all().await?;
    report::write(&results, &args.out)
}
