//! One session as a dialogue.

use super::peer;
use crate::{
    console_commands::{BOLD, CLIENT, DIM, REFUSED, TownConsole, WAITS, duration},
    output::{NO_OUTPUT, printable},
};
use anstyle::Style;
use anyhow::Context;
use console::client::{DialogueLine, SessionDialogue, Speaker};
use internal_api::SessionId;
use std::{
    collections::HashSet,
    io::{self, Write},
};

/// How wide the time is, and what stands before a line: time, blanks, `C: `.
const TIME_WIDTH: usize = 10;
const INDENT: usize = TIME_WIDTH + 5;

/// Prints a session.
///
/// # Errors
/// One line that says why it cannot.
pub(super) async fn show(console: &TownConsole, id: SessionId, is_json: bool) -> anyhow::Result<()> {
    let dialogue = console.client.dialogue(id).await.map_err(|error| console.failed(error))?;
    let mut output = anstream::stdout();
    let printed = if is_json { write_json(&dialogue, &mut output) } else { write(&dialogue, &mut output) };
    printed.context(NO_OUTPUT)
}

fn write_json(dialogue: &SessionDialogue, output: &mut impl Write) -> io::Result<()> {
    serde_json::to_writer(&mut *output, dialogue)?;
    writeln!(output)?;
    output.flush()
}

/// The stream decides over colours.
fn write(SessionDialogue { session, lines }: &SessionDialogue, output: &mut impl Write) -> io::Result<()> {
    let (mark, style) = if session.has_failed() { (" !", REFUSED) } else { ("", Style::new()) };
    writeln!(output, "session    {style}{}{mark}{style:#}", session.id)?;
    writeln!(output, "server     {}, {}", session.stack, session.service)?;
    writeln!(output, "peer       {}", peer(session))?;
    writeln!(output, "connection {}", session.connection)?;
    writeln!(output, "opened     {}", session.opened_at)?;
    match (session.closed_at, session.ended.as_deref()) {
        (Some(at), why) => writeln!(output, "closed     {at} ({})", printable(why.unwrap_or("it has ended")))?,
        (None, _) => writeln!(output, "closed     not yet")?,
    }
    for (name, value) in [("tls        ", &session.tls), ("user       ", &session.user)] {
        if let Some(value) = value {
            writeln!(output, "{name}{}", printable(value))?;
        }
    }
    if session.missing_records > 0 {
        writeln!(output, "missing    {} records, because the session had too many", session.missing_records)?;
    }
    writeln!(output)?;
    let mut explained = HashSet::new();
    lines.iter().try_for_each(|line| write_line(line, &mut explained, output))?;
    output.flush()
}

/// A line with what is to be said about it. What was explained once is not explained again.
fn write_line<'l>(line: &'l DialogueLine, explained: &mut HashSet<&'l str>, output: &mut impl Write) -> io::Result<()> {
    let (who, style) = match line.by {
        Speaker::Client => ("C:", CLIENT),
        Speaker::Server if line.refused => ("S:", REFUSED),
        Speaker::Server => ("S:", BOLD),
        Speaker::Service if line.refused => ("--", REFUSED),
        Speaker::Service => ("--", DIM),
    };
    let since = duration(line.microseconds);
    let mut before = format!("{since:>TIME_WIDTH$}  {who} ");
    for part in line.text.split_terminator('\n').map(|part| part.strip_suffix('\r').unwrap_or(part)) {
        writeln!(output, "{before}{style}{}{style:#}", printable(part))?;
        before = " ".repeat(INDENT);
    }
    if line.missing > 0 {
        writeln!(output, "{:INDENT$}{DIM}[{} octets were not kept]{DIM:#}", "", line.missing)?;
    }
    for remark in &line.remarks {
        let style = if remark.is_advice { WAITS } else { REFUSED };
        let text = remark.text.trim_end_matches('.');
        let (rfc, section) = (remark.rfc, &remark.section);
        writeln!(output, "{:INDENT$}{style}! {text} (RFC {rfc} §{section}).{style:#}", "")?;
    }
    for part in line.explanations.iter().filter(|part| explained.insert(&part.text)) {
        let (word, text) = (printable(&part.word), part.text.trim_end_matches('.'));
        let (rfc, section) = (part.rfc, &part.section);
        writeln!(output, "{:INDENT$}{DIM}{word}: {text} (RFC {rfc} §{section}).{DIM:#}", "")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use console::client::{Explained, Remarked};
    use internal_api::{ConnectionId, Protocol, RecordedSession, Role};
    use jiff::Timestamp;

    fn line(by: Speaker, microseconds: u64, text: &str) -> DialogueLine {
        DialogueLine {
            record: 1,
            at: Timestamp::UNIX_EPOCH,
            microseconds,
            by,
            text: text.to_owned(),
            is_body: false,
            missing: 0,
            refused: false,
            explanations: Vec::new(),
            remarks: Vec::new(),
        }
    }

    fn word(word: &str) -> Explained {
        let (text, section) = ("It greets.".to_owned(), "4.1.1.1".to_owned());
        Explained { word: word.to_owned(), text, rfc: 5321, section }
    }

    #[test]
    fn a_session_is_read_from_top_to_bottom() {
        let at = Timestamp::UNIX_EPOCH;
        let id = SessionId::new(at, &ConnectionId::random());
        let owner = ("a.test".parse().unwrap(), "smtp-gateway".into());
        let session = RecordedSession::opened((id, at), owner, (Role::Server, Protocol::Smtp));
        let remark = Remarked {
            name: "bare-lf".to_owned(),
            text: "The line ends with LF alone.".to_owned(),
            rfc: 5321,
            section: "2.3.8".to_owned(),
            is_advice: false,
        };
        let lines = vec![
            line(Speaker::Server, 12, "220 a.test\u{7} ready\r\n"),
            DialogueLine {
                explanations: vec![word("EHLO")],
                remarks: vec![remark],
                ..line(Speaker::Client, 1_200, "EHLO b\n")
            },
            DialogueLine { explanations: vec![word("HELO")], ..line(Speaker::Client, 2_000_000, "HELO b\r\n") },
            DialogueLine { missing: 7, is_body: true, ..line(Speaker::Client, 2_000_000, "a\r\n\r\nb\r\n") },
            line(Speaker::Service, 2_000_001, "The policy accepts DATA."),
        ];
        let mut octets = Vec::new();
        let connection = session.connection.clone();
        write(&SessionDialogue { session, lines }, &mut anstream::StripStream::new(&mut octets)).unwrap();
        let expected = format!(
            "session    {id}
server     a.test, smtp-gateway
peer       nobody
connection {connection}
opened     1970-01-01T00:00:00Z
closed     not yet

     12 µs  S: 220 a.test? ready
    1.2 ms  C: EHLO b
               ! The line ends with LF alone (RFC 5321 §2.3.8).
               EHLO: It greets (RFC 5321 §4.1.1.1).
     2.0 s  C: HELO b
     2.0 s  C: a
               
               b
               [7 octets were not kept]
     2.0 s  -- The policy accepts DATA.
"
        );
        assert_eq!(String::from_utf8(octets).unwrap(), expected);
    }
}
