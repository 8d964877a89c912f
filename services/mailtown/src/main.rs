//! `mailtown`: every stack of the configuration in one process.

use mailtown::Args;
use std::process::ExitCode;

fn main() -> ExitCode {
    Args::from_command_line().run()
}
