//! Commands with their replies.

use super::{side, spoken};
use internal_api::{Form, Seen, SessionRecords};
use jiff::Timestamp;
use mail_proto::{Protocol, Side};
use std::collections::VecDeque;

/// The verb of what the server says first.
pub(crate) const GREETING: &str = "";
/// The verb of the end of a message.
pub(crate) const FINAL_DOT: &str = ".";
/// How many commands may wait for their reply before the oldest are forgotten.
const PIPELINED: usize = 2000;

/// A command with its reply. The greeting and the end of a message count as commands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Exchange {
    /// The verb in upper case, or [`GREETING`], or [`FINAL_DOT`].
    pub(crate) verb: String,
    /// The command without its line end; empty for a greeting.
    pub(crate) command: String,
    /// The record of the command; of the greeting, that of the reply.
    pub(crate) record: u64,
    /// When the command was seen, or the first octet of a message.
    pub(crate) asked_at: Timestamp,
    /// When the last octet of the message was seen; otherwise as `asked_at`.
    pub(crate) asked_until: Timestamp,
    /// Absent where there is none.
    pub(crate) answer: Option<Answer>,
    /// Which transaction it belongs to, from 1; 0 outside of any.
    pub(crate) transaction: u32,
}

/// A reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Its lines, joined by a blank: without line ends, and without codes but the first.
    pub(crate) text: String,
    /// When its last line was seen.
    pub(crate) at: Timestamp,
    /// The end of what comes with it, such as the message after RETR.
    pub(crate) until: Timestamp,
}

impl Answer {
    /// It refuses: for now or for good.
    pub(crate) fn is_refusal(&self) -> bool {
        self.text.starts_with(['4', '5']) || self.text.starts_with("-ERR")
    }

    /// It refuses for now (RFC 5321 §4.2.1).
    pub(crate) fn is_temporary(&self) -> bool {
        self.text.starts_with('4')
    }
}

impl Exchange {
    /// When it was over.
    pub(crate) fn until(&self) -> Timestamp {
        self.answer.as_ref().map_or(self.asked_until, |answer| answer.until)
    }
}

/// The commands of a session with their replies, in order. Of a protocol without commands there are none.
pub(crate) fn exchanges(session: &SessionRecords) -> Vec<Exchange> {
    let Some(protocol) = spoken(session.session.protocol) else { return Vec::new() };
    let mut reader = Reader::new(protocol, session.session.opened_at);
    for record in &session.records {
        if let Seen::Octets(seen) = &record.what
            && let Some(octets) = seen.octets.bytes()
        {
            let seen_at = SeenAt { record: record.sequence, at: record.at };
            reader.saw(side(&session.session, seen.direction), seen_at, seen.form, &octets);
        }
    }
    reader.done
}

/// Where and when something was seen.
#[derive(Debug, Clone, Copy)]
pub(super) struct SeenAt {
    pub(super) record: u64,
    pub(super) at: Timestamp,
}

/// Follows a dialogue.
#[derive(Debug)]
pub(super) struct Reader {
    protocol: Protocol,
    done: Vec<Exchange>,
    /// Places in `done` of the commands without a reply.
    waiting: VecDeque<usize>,
    /// What each side has sent of a line that is not at its end.
    unfinished: [Vec<u8>; 2],
    /// The lines of a reply of which more lines follow.
    reply: Vec<String>,
    transaction: u32,
    in_transaction: bool,
    /// The client's next line is no command: it goes on with AUTH.
    in_exchange: bool,
}

impl Reader {
    pub(super) fn new(protocol: Protocol, opened_at: Timestamp) -> Self {
        let greeting = Exchange {
            verb: GREETING.to_owned(),
            command: String::new(),
            record: 0,
            asked_at: opened_at,
            asked_until: opened_at,
            answer: None,
            transaction: 0,
        };
        Self {
            protocol,
            done: vec![greeting],
            waiting: VecDeque::from([0]),
            unfinished: Default::default(),
            reply: Vec::new(),
            transaction: 0,
            in_transaction: false,
            in_exchange: false,
        }
    }

    /// The command that the next line of this side belongs to: the one that a server answers, or the AUTH that a client goes
    /// on with.
    pub(super) fn about(&self, by: Side) -> Option<&str> {
        let place = match by {
            Side::Server => *self.waiting.front()?,
            Side::Client if self.in_exchange => self.done.len().checked_sub(1)?,
            Side::Client => return None,
        };
        Some(self.done[place].command.as_str()).filter(|command| !command.is_empty())
    }

    pub(super) fn saw(&mut self, by: Side, record: SeenAt, form: Form, octets: &[u8]) {
        if form == Form::Body {
            return self.body(by, record);
        }
        let unfinished = &mut self.unfinished[usize::from(by == Side::Server)];
        unfinished.extend_from_slice(octets);
        let Some(end) = unfinished.iter().rposition(|octet| *octet == b'\n') else { return };
        let rest = unfinished.split_off(end + 1);
        let lines = std::mem::replace(unfinished, rest);
        for line in String::from_utf8_lossy(&lines).lines() {
            match by {
                Side::Client => self.command(line, record),
                Side::Server => self.line(line, record),
            }
        }
    }

    /// A part of a message: the client's after DATA or BDAT, the server's after RETR or TOP.
    fn body(&mut self, by: Side, record: SeenAt) {
        let last = match by {
            Side::Client => self.waiting.back().map(|place| &mut self.done[*place]),
            Side::Server => self.done.iter_mut().rev().find(|exchange| exchange.answer.is_some()),
        };
        let Some(last) = last else { return };
        match (by, &mut last.answer) {
            (Side::Server, Some(answer)) => answer.until = record.at,
            _ => {
                if last.verb == FINAL_DOT && last.record == 0 {
                    (last.record, last.asked_at) = (record.record, record.at);
                }
                last.asked_until = record.at;
            }
        }
    }

    fn push(&mut self, verb: String, command: &str, record: u64, at: Timestamp) {
        if self.waiting.len() == PIPELINED {
            self.waiting.pop_front();
        }
        let transaction = if self.in_transaction { self.transaction } else { 0 };
        self.waiting.push_back(self.done.len());
        let command = command.to_owned();
        self.done.push(Exchange { verb, command, record, asked_at: at, asked_until: at, answer: None, transaction });
    }

    fn command(&mut self, line: &str, record: SeenAt) {
        if std::mem::take(&mut self.in_exchange) {
            // The message goes on with the AUTH before it, whose text explains the next one, too.
            let command = self.done.last().map(|exchange| exchange.command.clone()).unwrap_or_default();
            return self.push("AUTH".to_owned(), &command, record.record, record.at);
        }
        let verb = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
        if self.protocol == Protocol::Smtp {
            match verb.as_str() {
                "MAIL" => (self.transaction, self.in_transaction) = (self.transaction + 1, true),
                "RSET" | "EHLO" | "HELO" | "QUIT" => self.in_transaction = false,
                _ => {}
            }
        }
        self.push(verb, line, record.record, record.at);
    }

    fn line(&mut self, line: &str, record: SeenAt) {
        match self.protocol {
            Protocol::Smtp => self.smtp_line(line, record),
            Protocol::Pop3 => self.pop3_line(line, record),
        }
    }

    fn smtp_line(&mut self, line: &str, record: SeenAt) {
        let code = line.get(..3).filter(|code| code.bytes().all(|octet| octet.is_ascii_digit()));
        let text = match (self.reply.is_empty(), code) {
            (false, Some(_)) => line.get(4..).unwrap_or_default(),
            _ => line,
        };
        self.reply.push(text.to_owned());
        // More lines follow (RFC 5321 §4.2.1).
        if code.is_some() && line.as_bytes().get(3) == Some(&b'-') {
            return;
        }
        let text = std::mem::take(&mut self.reply).join(" ");
        let Some(place) = self.answer(text, record) else { return };
        let verb = self.done[place].verb.clone();
        match (verb.as_str(), code) {
            ("DATA", Some("354")) => {
                // The message comes before all that was pipelined, and its first octet tells when.
                self.push(FINAL_DOT.to_owned(), "", 0, record.at);
                if let Some(dot) = self.waiting.pop_back() {
                    self.waiting.push_front(dot);
                }
            }
            ("AUTH", Some("334")) => self.in_exchange = true,
            (FINAL_DOT, _) => self.in_transaction = false,
            ("BDAT", _) if self.done[place].command.to_ascii_uppercase().ends_with(" LAST") => {
                self.in_transaction = false;
            }
            _ => {}
        }
    }

    fn pop3_line(&mut self, line: &str, record: SeenAt) {
        let is_status = ["+OK", "-ERR"].iter().any(|status| line.starts_with(status));
        if line == "+" || line.starts_with("+ ") {
            self.in_exchange = true;
            self.answer(line.to_owned(), record);
        } else if is_status {
            self.answer(line.to_owned(), record);
        } else {
            self.body(Side::Server, record);
        }
    }

    fn answer(&mut self, text: String, record: SeenAt) -> Option<usize> {
        let place = self.waiting.pop_front()?;
        let exchange = &mut self.done[place];
        if exchange.verb == GREETING {
            exchange.record = record.record;
        }
        exchange.answer = Some(Answer { text, at: record.at, until: record.at });
        Some(place)
    }
}
