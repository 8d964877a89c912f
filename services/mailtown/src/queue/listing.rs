//! How the queue is printed, for people and for programs.

use crate::output::{printable, time};
use anstyle::{AnsiColor, Style};
use internal_api::{QueuedMessage, QueuedRecipient};
use serde::Serialize;
use std::io::{self, Write};

/// How wide the columns are. An id has 13 characters, and a space and a mark after it.
const ID_WIDTH: usize = 15;
const OCTETS_WIDTH: usize = 9;
const ARRIVED_WIDTH: usize = 20;

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const HELD: Style = Style::new().fg_color(Some(anstyle::Color::Ansi(AnsiColor::Yellow)));
const ACTIVE: Style = Style::new().fg_color(Some(anstyle::Color::Ansi(AnsiColor::Green)));

/// For whom it is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// In columns.
    People,
    /// As one JSON object in each line.
    Programs,
}

/// A message as programs get it.
#[derive(Serialize)]
struct Line<'a> {
    server: &'a str,
    #[serde(flatten)]
    message: &'a QueuedMessage,
}

/// Prints messages one after the other: a long queue is never whole in memory.
pub(super) struct Listing<W> {
    output: W,
    form: Form,
    server_width: usize,
    /// Whose queues are listed, if not those of the whole town.
    only: Option<String>,
    messages: u64,
    octets: u64,
}

impl Form {
    pub(super) fn of(is_json: bool) -> Self {
        if is_json { Self::Programs } else { Self::People }
    }
}

impl<W: Write> Listing<W> {
    /// Prints messages of these servers. The stream decides over colours.
    pub(super) fn new<'s>(output: W, form: Form, servers: impl IntoIterator<Item = &'s str>) -> Self {
        let server_width = servers.into_iter().chain(["server"]).map(str::len).max().unwrap_or_default();
        Self { output, form, server_width, only: None, messages: 0, octets: 0 }
    }

    /// Says of an empty list that it is about these servers only.
    pub(super) fn of_only(mut self, servers: &[&str]) -> Self {
        self.only = Some(servers.join(", "));
        self
    }

    /// Whether nothing was printed.
    pub(super) fn is_empty(&self) -> bool {
        self.messages == 0
    }

    /// Prints a message.
    pub(super) fn message(&mut self, server: &str, message: &QueuedMessage) -> io::Result<()> {
        let is_first = self.is_empty();
        self.messages += 1;
        self.octets = self.octets.saturating_add(message.octets);
        if self.form == Form::Programs {
            return self.json(server, message);
        }
        let width = self.server_width;
        if is_first {
            let (id, octets, arrived, server) = ("id", "octets", "arrived", "server");
            writeln!(
                self.output,
                "{BOLD}{id:ID_WIDTH$} {octets:>OCTETS_WIDTH$}  {arrived:ARRIVED_WIDTH$}  {server:width$}  \
                 sender and recipients{BOLD:#}"
            )?;
        }
        let (mark, style) = mark(message);
        let (id, octets, arrived) = (message.message, message.octets, time(message.queued_at));
        let sender = printable(&message.reverse_path.to_string());
        let id = format!("{id}{mark}");
        writeln!(
            self.output,
            "{style}{id:ID_WIDTH$}{style:#} {octets:>OCTETS_WIDTH$}  {arrived:ARRIVED_WIDTH$}  {server:width$}  {sender}"
        )?;
        let indent = ID_WIDTH + 1 + OCTETS_WIDTH + 2 + ARRIVED_WIDTH + 2 + width + 2;
        let mut said = "";
        for recipient in &message.recipients {
            // One reply stands before all whom it is about.
            if !recipient.last_reply.is_empty() && recipient.last_reply != said {
                let reply = printable(&recipient.last_reply);
                writeln!(self.output, "{:indent$}{DIM}({reply}){DIM:#}", "")?;
            }
            said = &recipient.last_reply;
            let (address, next) = (printable(&recipient.recipient.to_string()), next(message, recipient));
            writeln!(self.output, "{:indent$}{address}, {next}", "")?;
        }
        Ok(())
    }

    /// Prints what is below the last message.
    pub(super) fn end(&mut self) -> io::Result<()> {
        match (self.form, self.messages) {
            (Form::Programs, _) => {}
            (Form::People, 0) => match &self.only {
                Some(servers) => writeln!(self.output, "The queue of {servers} is empty.")?,
                None => writeln!(self.output, "The queue is empty.")?,
            },
            (Form::People, 1) => writeln!(self.output, "\n-- {} octets in 1 message.", self.octets)?,
            (Form::People, messages) => writeln!(self.output, "\n-- {} octets in {messages} messages.", self.octets)?,
        }
        self.output.flush()
    }

    /// Prints all that is known of a message.
    pub(super) fn show(&mut self, server: &str, message: &QueuedMessage) -> io::Result<()> {
        if self.form == Form::Programs {
            return self.json(server, message);
        }
        let (mark, style) = mark(message);
        writeln!(self.output, "id         {style}{}{mark}{style:#}", message.message)?;
        writeln!(self.output, "server     {server}")?;
        writeln!(self.output, "sender     {}", printable(&message.reverse_path.to_string()))?;
        writeln!(self.output, "octets     {}", message.octets)?;
        writeln!(self.output, "arrived    {}", time(message.queued_at))?;
        if let Some(expires_at) = message.expires_at {
            writeln!(self.output, "expires    {}", time(expires_at))?;
        }
        for recipient in &message.recipients {
            writeln!(self.output, "\nrecipient  {}", printable(&recipient.recipient.to_string()))?;
            if let Some(via) = &recipient.via {
                writeln!(self.output, "alias      {}", printable(&via.to_string()))?;
            }
            writeln!(self.output, "attempts   {}", recipient.attempts)?;
            writeln!(self.output, "state      {}", next(message, recipient))?;
            if !recipient.last_reply.is_empty() {
                writeln!(self.output, "last reply {}", printable(&recipient.last_reply))?;
            }
        }
        self.output.flush()
    }

    fn json(&mut self, server: &str, message: &QueuedMessage) -> io::Result<()> {
        serde_json::to_writer(&mut self.output, &Line { server, message })?;
        writeln!(self.output)
    }
}

/// What stands after the id, and how it is coloured.
fn mark(message: &QueuedMessage) -> (&'static str, Style) {
    if message.held {
        (" !", HELD)
    } else if message.recipients.iter().any(|recipient| recipient.leased) {
        (" *", ACTIVE)
    } else {
        ("", Style::new())
    }
}

/// What happens next to a recipient.
fn next(message: &QueuedMessage, recipient: &QueuedRecipient) -> String {
    match (recipient.leased, message.held) {
        (true, false) => "is being tried".to_owned(),
        (true, true) => "is being tried, then on hold".to_owned(),
        (false, true) => "on hold".to_owned(),
        (false, false) => format!("next attempt {}", time(recipient.next_attempt_at)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use internal_api::MessageId;
    use jiff::Timestamp;

    fn recipient(address: &str, leased: bool, last_reply: &str) -> QueuedRecipient {
        QueuedRecipient {
            recipient: address.parse().unwrap(),
            attempts: 3,
            next_attempt_at: Timestamp::from_second(1_767_225_660).unwrap(),
            leased,
            last_reply: last_reply.to_owned(),
            original: None,
            notify: None,
            via: Some("list@a.test".parse().unwrap()),
        }
    }

    fn message(number: u64, held: bool, recipients: Vec<QueuedRecipient>) -> QueuedMessage {
        let queued_at = Timestamp::from_millisecond(1_767_225_600_123).unwrap();
        QueuedMessage {
            message: MessageId::from_number(number),
            reverse_path: "<u@a.test>".parse().unwrap(),
            octets: 1000,
            queued_at,
            expires_at: Some(queued_at),
            held,
            recipients,
        }
    }

    fn printed(form: Form, print: impl FnOnce(&mut Listing<anstream::StripStream<&mut Vec<u8>>>)) -> String {
        let mut octets = Vec::new();
        print(&mut Listing::new(anstream::StripStream::new(&mut octets), form, ["a.test", "longer.test"]));
        String::from_utf8(octets).unwrap()
    }

    #[test]
    fn a_list_has_columns_marks_and_a_sum() {
        let text = printed(Form::People, |listing| {
            let later = "451 4.2.0 la\u{1b}[2Jter";
            let recipients = vec![recipient("x@b.test", false, later), recipient("y@b.test", false, later)];
            listing.message("a.test", &message(1, false, recipients)).unwrap();
            let one = |leased| vec![recipient("z@b.test", leased, "")];
            listing.message("a.test", &message(2, false, one(true))).unwrap();
            listing.message("longer.test", &message(3, true, one(false))).unwrap();
            listing.end().unwrap();
        });
        let expected = "\
id                 octets  arrived               server       sender and recipients
0000000000001        1000  2026-01-01T00:00:00Z  a.test       <u@a.test>
                                                              (451 4.2.0 la?[2Jter)
                                                              x@b.test, next attempt 2026-01-01T00:01:00Z
                                                              y@b.test, next attempt 2026-01-01T00:01:00Z
0000000000002 *      1000  2026-01-01T00:00:00Z  a.test       <u@a.test>
                                                              z@b.test, is being tried
0000000000003 !      1000  2026-01-01T00:00:00Z  longer.test  <u@a.test>
                                                              z@b.test, on hold

-- 3000 octets in 3 messages.
";
        assert_eq!(text, expected);
        assert_eq!(printed(Form::People, |listing| listing.end().unwrap()), "The queue is empty.\n");
        let mut octets = Vec::new();
        Listing::new(&mut octets, Form::People, ["a.test"]).of_only(&["a.test"]).end().unwrap();
        assert_eq!(String::from_utf8(octets).unwrap(), "The queue of a.test is empty.\n");
    }

    #[test]
    fn one_message_is_shown_with_everything() {
        let held = message(1, true, vec![recipient("x@b.test", true, "451 later")]);
        let text = printed(Form::People, |listing| listing.show("a.test", &held).unwrap());
        let expected = "\
id         0000000000001 !
server     a.test
sender     <u@a.test>
octets     1000
arrived    2026-01-01T00:00:00Z
expires    2026-01-01T00:00:00Z

recipient  x@b.test
alias      list@a.test
attempts   3
state      is being tried, then on hold
last reply 451 later
";
        assert_eq!(text, expected);
    }

    #[test]
    fn programs_get_an_object_in_each_line() {
        let text = printed(Form::Programs, |listing| {
            listing.message("a.test", &message(1, false, vec![recipient("x@b.test", false, "")])).unwrap();
            listing.message("a.test", &message(2, true, Vec::new())).unwrap();
            listing.end().unwrap();
        });
        let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let ids: Vec<_> = lines.iter().map(|line| (&line["server"], &line["message"], &line["held"])).collect();
        assert_eq!(
            serde_json::json!(ids),
            serde_json::json!([["a.test", "0000000000001", false], ["a.test", "0000000000002", true]])
        );
        assert_eq!(lines[0]["recipients"][0]["recipient"], "x@b.test");
    }

    /// What the page for operators says of the object, and all that it has.
    #[test]
    fn the_object_is_the_documented_one() {
        const PAGE: &str = include_str!("../../../../docs/in-operation.md");
        let (_, documented) = PAGE.split_once("<!-- queue --json").unwrap();
        let (_, example) = documented.split_once("```json\n").unwrap();
        let (example, table) = example.split_once("```").unwrap();
        let documented: serde_json::Value = serde_json::from_str(example).unwrap();
        let recipient: QueuedRecipient = serde_json::from_value(documented["recipients"][0].clone()).unwrap();
        assert!(recipient.original.is_some() && recipient.notify.is_some() && recipient.via.is_some());
        let message = QueuedMessage {
            message: "0sbpf74vf0gzr".parse().unwrap(),
            reverse_path: "<usr1@mail.sustech.edu.cn>".parse().unwrap(),
            octets: 233,
            queued_at: "2026-11-26T20:54:54.125Z".parse().unwrap(),
            expires_at: Some("2026-11-27T20:54:54.125Z".parse().unwrap()),
            held: false,
            recipients: vec![recipient],
        };
        let printed = printed(Form::Programs, |listing| listing.message("exmail.qq.com", &message).unwrap());
        let printed: serde_json::Value = serde_json::from_str(&printed).unwrap();
        assert_eq!(printed, documented);
        let keys = |value: &serde_json::Value, prefix: &str| {
            let keys = value.as_object().unwrap().keys().map(|key| format!("{prefix}{key}"));
            keys.collect::<Vec<_>>()
        };
        let mut fields = [keys(&printed, ""), keys(&printed["recipients"][0], "recipients[].")].concat();
        let rows = table.lines().skip_while(|line| !line.starts_with("| `")).map_while(|line| line.strip_prefix("| `"));
        let mut rows: Vec<_> = rows.map(|row| row.split_once('`').unwrap().0.to_owned()).collect();
        fields.sort_unstable();
        rows.sort_unstable();
        assert_eq!(rows, fields);
    }
}
