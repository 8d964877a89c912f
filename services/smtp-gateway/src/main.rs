//! `smtp-gateway`: the SMTP gateway of one stack as a process of its own.

use clap::Parser;
use smtp_gateway::Args;
use std::process::ExitCode;

fn main() -> ExitCode {
    Args::parse().run()
}
