//! `mailtown sessions`: the recorded sessions of the town, and one of them as a dialogue.

mod dialogue;
mod filter;

use super::{BOLD, ConsoleArgs, DIM, REFUSED, TownConsole, count};
use crate::output::{NO_OUTPUT, columns, padded, printable, time};
use anyhow::Context;
use filter::{filter, id};
use internal_api::{RecordedSession, Role, SessionId};
use std::io::{self, Write};

/// How many sessions the console gives at once.
const PAGE: u32 = 1000;
const HEADINGS: [&str; 6] = ["opened", "id", "server", "service", "peer", "user"];

const EXAMPLES: &str = "\
Examples:
  mailtown sessions                             the newest sessions of all servers
  mailtown sessions failed stack:gmail.com      those in which gmail.com has refused something
  mailtown sessions refused:nobody@gmail.com
  mailtown sessions 019ac8f2-7d3a-7c51-8000-1f0e2d3c4b5a

Words of a QUERY, all of which must hold: failed, open, closed, stack:NAME, service:NAME, protocol:NAME, peer:ADDRESS,
user:NAME, message:ID, refused:ADDRESS.
In the list, ! after an id says that the session has failed: something was refused, or there was no connection.";

/// The recorded sessions of the running town, the newest first; or one of them as a dialogue.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Sessions {
    /// Which sessions, in words; or the ID of one, to see what was said in it
    #[arg(value_name = "QUERY")]
    query: Vec<String>,
    /// How many sessions are listed at most
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Print one JSON object in each line, for programs; of one session, one object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    pub(crate) console: ConsoleArgs,
}

impl Sessions {
    /// Does it.
    ///
    /// # Errors
    /// One line that says why it cannot.
    pub(crate) async fn run(&self, console: TownConsole) -> anyhow::Result<()> {
        if let Some(id) = id(&self.query) {
            return dialogue::show(&console, id, self.json).await;
        }
        let filter = filter(&self.query)?;
        let (mut sessions, mut before) = (Vec::new(), None::<SessionId>);
        loop {
            let missing = self.limit.saturating_sub(u32::try_from(sessions.len()).unwrap_or(u32::MAX));
            let mut page = filter.clone();
            page.push(("limit", missing.min(PAGE).to_string()));
            page.extend(before.map(|before| ("before", before.to_string())));
            let found = console.client.sessions(&page).await.map_err(|error| console.failed(error))?;
            sessions.extend(found.sessions);
            before = found.next;
            if before.is_none() || sessions.len() >= self.limit as usize {
                break;
            }
        }
        let mut output = anstream::stdout();
        let printed = if self.json { write_json(&sessions, &mut output) } else { write_table(&sessions, &mut output) };
        printed.context(NO_OUTPUT)
    }
}

/// Who is at the other end, and which end that is.
fn peer(session: &RecordedSession) -> String {
    let way = match session.role {
        Role::Server => "from",
        Role::Client => "to",
    };
    session.remote.map_or_else(|| "nobody".to_owned(), |remote| format!("{way} {remote}"))
}

fn write_json(sessions: &[RecordedSession], output: &mut impl Write) -> io::Result<()> {
    for session in sessions {
        serde_json::to_writer(&mut *output, session)?;
        writeln!(output)?;
    }
    output.flush()
}

/// The stream decides over colours.
fn write_table(sessions: &[RecordedSession], output: &mut impl Write) -> io::Result<()> {
    if sessions.is_empty() {
        return writeln!(output, "There is no such session.");
    }
    let rows: Vec<_> = sessions.iter().map(row).collect();
    let widths: Vec<_> = (0..HEADINGS.len())
        .map(|column| rows.iter().map(|row| columns(&row[column])).chain([HEADINGS[column].len()]).max().unwrap_or(0))
        .collect();
    let line = |row: &[String; 6]| {
        let cells: Vec<_> = row.iter().zip(&widths).map(|(cell, width)| padded(cell, *width)).collect();
        cells.join("  ").trim_end().to_owned()
    };
    writeln!(output, "{BOLD}{}{BOLD:#}", line(&HEADINGS.map(str::to_owned)))?;
    let indent = widths[0] + 2;
    for (session, row) in sessions.iter().zip(&rows) {
        let style = if session.has_failed() { REFUSED } else { anstyle::Style::new() };
        writeln!(output, "{style}{}{style:#}", line(row))?;
        if let Some(failure) = session.failure() {
            writeln!(output, "{:indent$}{DIM}({}){DIM:#}", "", printable(failure))?;
        }
    }
    let failed = sessions.iter().filter(|session| session.has_failed()).count();
    writeln!(output, "\n-- {}, {failed} failed.", count(sessions.len() as u64, "session", "sessions"))?;
    output.flush()
}

fn row(session: &RecordedSession) -> [String; 6] {
    let mark = if session.has_failed() { " !" } else { "" };
    [
        time(session.opened_at),
        format!("{}{mark}", session.id),
        session.stack.to_string(),
        session.service.to_string(),
        peer(session),
        printable(session.user.as_deref().unwrap_or_default()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use internal_api::{ConnectionId, Protocol};
    use jiff::Timestamp;

    fn session(role: Role) -> RecordedSession {
        let at = Timestamp::from_second(1_767_225_600).unwrap();
        let id = SessionId::new(at, &ConnectionId::random());
        let owner = ("a.test".parse().unwrap(), "smtp-gateway".into());
        RecordedSession::opened((id, at), owner, (role, Protocol::Smtp))
    }

    #[test]
    fn failed_sessions_are_marked_with_the_last_refusal() {
        let remote = Some("127.0.0.1:50312".parse().unwrap());
        let fine = RecordedSession { remote, user: Some("u@a.test".to_owned()), ..session(Role::Server) };
        let last_refusal = Some("550 5.1.1 no\u{1b}[2J".to_owned());
        let refused = RecordedSession { remote, refusals: 1, last_refusal, ..session(Role::Client) };
        let ended = Some("connection refused".to_owned());
        let closed_at = Some(fine.opened_at);
        let lost = RecordedSession { ended, closed_at, ..session(Role::Client) };
        let mut octets = Vec::new();
        let sessions = [fine, refused, lost];
        write_table(&sessions, &mut anstream::StripStream::new(&mut octets)).unwrap();
        let [a, b, c] = sessions.map(|session| session.id);
        let expected = format!(
            "opened                id                                      server  service       peer                  user
2026-01-01T00:00:00Z  {a}    a.test  smtp-gateway  from 127.0.0.1:50312  u@a.test
2026-01-01T00:00:00Z  {b} !  a.test  smtp-gateway  to 127.0.0.1:50312
                      (550 5.1.1 no?[2J)
2026-01-01T00:00:00Z  {c} !  a.test  smtp-gateway  nobody
                      (connection refused)

-- 3 sessions, 2 failed.
"
        );
        assert_eq!(String::from_utf8(octets).unwrap(), expected);
    }
}
