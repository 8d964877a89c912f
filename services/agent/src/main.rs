//! `agent`: starts one from the command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    match agent::run(&agent::Args::from_command_line()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {}", agent::one_line(&error));
            ExitCode::FAILURE
        }
    }
}
