//! `mailtown`: every stack of the configuration in one process.

use clap::Parser;
use mailtown::Args;
use std::process::ExitCode;

fn main() -> ExitCode {
    Args::parse().run()
}
