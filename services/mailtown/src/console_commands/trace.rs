//! `mailtown trace`: what happens in the town, and the journey of a message.

mod journey;

use super::{BOLD, CLIENT, ConsoleArgs, DIM, REFUSED, TownConsole, time_of_day};
use crate::output::{NO_OUTPUT, padded, printable};
use anstyle::Style;
use anyhow::Context;
use console::client::{Happening, HappeningKind};
use internal_api::MessageId;
use std::{
    io::{self, Write},
    time::Duration,
};

/// How long the console waits for something new, in one call.
const WAIT: Duration = Duration::from_secs(30);
/// How much the console gives at once.
const PAGE: u32 = 1000;
/// How much is shown of what was before, where it goes on.
const BEFORE: u32 = 10;
/// The width of an id of a message, and of that of a connection.
const ID_WIDTH: usize = 13;
const SERVICE_WIDTH: usize = 13;

const EXAMPLES: &str = "\
Examples:
  mailtown trace                                 what has happened lately
  mailtown trace --follow                        and what happens, until Ctrl-C
  mailtown trace --message 06gk2w1s8n4qz         the way of a message over both domains
  mailtown trace --follow --json | jq -r 'select(.refused).text'

Each line has the time (UTC), the server, the service, the connection as in the logs or the message, and what happened.
C: and S: are lines of a dialogue, -- is what a service did.";

/// What happens in the running town, a line each; or the journey of a message.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Trace {
    /// Go on with what happens, until Ctrl-C
    #[arg(short, long)]
    follow: bool,
    /// The journey of this message: each step at all servers
    #[arg(long, value_name = "ID")]
    message: Option<MessageId>,
    /// How many lines of what has happened [default: 100; with --follow: 10]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: Option<u32>,
    /// Print one JSON object in each line, for programs; of a journey, the whole each time that it has changed
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    pub(crate) console: ConsoleArgs,
}

impl Trace {
    /// Does it.
    ///
    /// # Errors
    /// One line that says why it cannot.
    pub(crate) async fn run(&self, console: TownConsole) -> anyhow::Result<()> {
        let mut output = anstream::stdout();
        if let Some(message) = self.message {
            return journey::show(&console, message, self.follow, self.json, &mut output).await;
        }
        let mut lines = Lines { output, is_json: self.json, server_width: 0 };
        let limit = self.limit.unwrap_or(if self.follow { BEFORE } else { 100 });
        let mut page = page(&console, &[("limit", limit.to_string())], Duration::ZERO).await?;
        loop {
            if page.missed > 0 {
                // Nobody reads what cannot be written there.
                let _ = writeln!(io::stderr(), "{} records are missing: the console has them no more", page.missed);
            }
            lines.write(&page.items).context(NO_OUTPUT)?;
            if !self.follow {
                return Ok(());
            }
            page = self::page(&console, &[("after", page.next), ("limit", PAGE.to_string())], WAIT).await?;
        }
    }
}

/// A page of what has happened.
async fn page(
    console: &TownConsole,
    filter: &[(&str, String)],
    wait: Duration,
) -> anyhow::Result<console::client::Trace> {
    console.client.trace(filter, wait).await.map_err(|error| console.failed(error))
}

/// Prints happenings.
struct Lines<W> {
    output: W,
    is_json: bool,
    /// That of the longest name so far, so that columns seldom move.
    server_width: usize,
}

impl<W: Write> Lines<W> {
    fn write(&mut self, happenings: &[Happening]) -> io::Result<()> {
        let widest = happenings.iter().map(|happening| happening.stack.len()).max().unwrap_or_default();
        self.server_width = self.server_width.max(widest);
        for happening in happenings {
            if self.is_json {
                serde_json::to_writer(&mut self.output, happening)?;
                writeln!(self.output)?;
            } else {
                self.line(happening)?;
            }
        }
        self.output.flush()
    }

    fn line(&mut self, happening: &Happening) -> io::Result<()> {
        let (sign, style) = match happening.kind {
            HappeningKind::Client => ("C: ", CLIENT),
            HappeningKind::Server => ("S: ", Style::new()),
            HappeningKind::Opened | HappeningKind::Closed | HappeningKind::Mark => ("-- ", DIM),
            HappeningKind::Event => ("", BOLD),
        };
        let style = if happening.refused { REFUSED } else { style };
        let about = match (happening.session, happening.message) {
            (Some(session), _) => session.connection(),
            (None, message) => message.map(|message| message.to_string()).unwrap_or_default(),
        };
        writeln!(
            self.output,
            "{DIM}{}{DIM:#}  {}  {}  {DIM}{}{DIM:#}  {style}{sign}{}{style:#}",
            time_of_day(happening.at),
            padded(&happening.stack, self.server_width),
            padded(&happening.service, SERVICE_WIDTH),
            padded(&about, ID_WIDTH),
            printable(&happening.text)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;

    #[test]
    fn each_happening_is_a_line() {
        let event = Happening {
            cursor: "1-1".to_owned(),
            at: Timestamp::UNIX_EPOCH,
            stack: "a.test".to_owned(),
            service: "mailbox-store".to_owned(),
            kind: HappeningKind::Event,
            session: None,
            message: Some(MessageId::from_number(1)),
            text: "accepted".to_owned(),
            refused: false,
        };
        let said = Happening {
            kind: HappeningKind::Server,
            service: "smtp-gateway".to_owned(),
            session: "019ac8f2-7d3a-7c51-8000-1f0e2d3c4b5a".parse().ok(),
            message: None,
            text: "550 no\u{1b}".to_owned(),
            refused: true,
            ..event.clone()
        };
        let mut octets = Vec::new();
        let output = anstream::StripStream::new(&mut octets);
        Lines { output, is_json: false, server_width: 0 }.write(&[event, said]).unwrap();
        let expected = "\
00:00:00.000Z  a.test  mailbox-store  0000000000001  accepted
00:00:00.000Z  a.test  smtp-gateway   1f0e2d3c4b5a   S: 550 no?
";
        assert_eq!(String::from_utf8(octets).unwrap(), expected);
    }
}
