//! `agent`: starts one from the command line.

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    match agent::run(&agent::Args::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {}", agent::one_line(&error));
            ExitCode::FAILURE
        }
    }
}
