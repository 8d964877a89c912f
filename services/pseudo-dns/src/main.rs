//! `pseudo-dns`: the name server of one stack as a process of its own.

use clap::Parser;
use pseudo_dns::Args;
use std::process::ExitCode;

fn main() -> ExitCode {
    Args::parse().run()
}
