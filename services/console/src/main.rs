//! `console`: the console of a town as a process of its own.

use clap::Parser;
use console::Args;
use std::process::ExitCode;

fn main() -> ExitCode {
    Args::parse().run()
}
