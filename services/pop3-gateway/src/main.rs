//! `pop3-gateway`: the POP3 gateway of one stack as a process of its own.

use clap::Parser;
use pop3_gateway::Args;
use std::process::ExitCode;

fn main() -> ExitCode {
    Args::parse().run()
}
