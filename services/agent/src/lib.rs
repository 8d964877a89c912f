//! The command-line mail client: a dialogue for people, and two commands for scripts.
//!
//! One connection at a time and nothing to do meanwhile, so all of it blocks. Sockets and DNS are those of the gateways,
//! which do not block: each has a small runtime of its own.

mod args;
mod batch;
mod connection;
mod console;
mod directory;
mod maildrop;
mod mbox;
mod message;
mod repl;
mod repr;
mod submission;
mod transcript;

pub use args::{Action, Args, Hosts};

use console::{Console, Piped, Terminal};
use directory::Directory;
use mail_net::Clock;
use std::{io, process::ExitCode};

/// Carries out the command line: an action, or the dialogue until `exit` or the end of the input.
///
/// # Errors
/// Whatever made it impossible, for [`one_line`].
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let directory = Directory::open(args, Clock::system())?;
    match &args.action {
        Some(Action::Send(send)) => batch::send(args, &directory, send),
        Some(Action::Fetch(fetch)) => batch::fetch(args, &directory, fetch),
        None => {
            let mut console: Box<dyn Console> = match Terminal::open()? {
                Some(terminal) => Box::new(terminal),
                None => Box::new(Piped::new(io::stdin().lock(), io::stdout().lock())),
            };
            repl::run(args, &directory, console.as_mut())?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// An error with all its causes on one line, whatever a server put into it.
pub fn one_line(error: &anyhow::Error) -> String {
    printable(&format!("{error:#}"))
}

/// The text on one line, without anything that a terminal would obey.
fn printable(text: &str) -> String {
    text.trim().replace(char::is_control, " ")
}
