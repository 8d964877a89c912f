//! `mailtown capture`: sessions as pcapng, for Wireshark.

mod blocks;

use super::{ConsoleArgs, TownConsole, count};
use crate::output::NO_OUTPUT;
use anyhow::{Context, ensure};
use blocks::Blocks;
use internal_api::{MessageId, SessionId};
use std::{
    fs::File,
    io::{self, IsTerminal, Write},
    path::PathBuf,
};
use tokio::signal::unix::{SignalKind, signal};

const EXAMPLES: &str = "\
Examples:
  mailtown capture town.pcapng                    all recorded sessions
  mailtown capture mail.pcapng --message 06gk2w1s8n4qz
  mailtown capture --live town.pcapng             until Ctrl-C
  mailtown capture --live - | wireshark -k -i -

Wireshark decodes the file without any option. It has the dialogue within TLS in clear.";

/// Writes recorded sessions as a pcapng file; with --live, those that begin from now on.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Capture {
    /// The file; - is standard output
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Only this session, and the other end of it
    #[arg(long, value_name = "ID", conflicts_with = "message")]
    session: Option<SessionId>,
    /// Only the sessions that have handled this message, at all servers
    #[arg(long, value_name = "ID")]
    message: Option<MessageId>,
    /// Write the sessions that begin from now on, until Ctrl-C
    #[arg(long, conflicts_with_all = ["session", "message"])]
    live: bool,
    #[command(flatten)]
    pub(crate) console: ConsoleArgs,
}

impl Capture {
    /// Does it.
    ///
    /// # Errors
    /// One line that says why it cannot.
    pub(crate) async fn run(&self, console: TownConsole) -> anyhow::Result<()> {
        let file = self.file.as_ref().context("give a FILE to write to; - is standard output")?;
        let is_output = file.as_os_str() == "-";
        ensure!(
            !is_output || !io::stdout().is_terminal(),
            "a capture is not for a terminal; give a file, or pipe it to a program, as in | wireshark -k -i -"
        );
        let session = self.session.map(|id| ("session", id.to_string()));
        let message = self.message.map(|id| ("message", id.to_string()));
        let filter: Vec<_> = session.into_iter().chain(message).collect();
        let capture =
            if self.live { console.client.live_capture().await } else { console.client.capture(&filter).await };
        let mut capture = capture.map_err(|error| console.failed(error))?;
        let name = file.display().to_string();
        let cannot_write = || if is_output { NO_OUTPUT.to_owned() } else { format!("cannot write {name}") };
        let output: Box<dyn Write + Send> =
            if is_output { Box::new(io::stdout()) } else { Box::new(File::create(file).with_context(cannot_write)?) };
        let mut blocks = Blocks::new(output);
        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        loop {
            let chunk = tokio::select! {
                chunk = capture.chunk() => chunk.map_err(|error| console.failed(error))?,
                _ = interrupt.recv() => None,
                _ = terminate.recv() => None,
            };
            let Some(chunk) = chunk else { break };
            blocks.write(&chunk).with_context(cannot_write)?;
        }
        if !is_output {
            // Nobody reads what cannot be written there.
            let _ = writeln!(io::stderr(), "{name}: {}", count(blocks.packets(), "packet", "packets"));
        }
        Ok(())
    }
}
