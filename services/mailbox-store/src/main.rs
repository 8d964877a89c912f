//! `mailbox-store`: everything durable of one stack.

use clap::Parser;
use mailbox_store::Args;
use std::process::ExitCode;

fn main() -> ExitCode {
    Args::parse().run()
}
