//! The steps that sessions tell of.

use super::{Outcome, Step, StepKind, join::Handling};
use crate::transcript::{Answer, Exchange, FINAL_DOT, GREETING, exchanges, spoken};
use internal_api::{Handled, Mark, MessageId, Record, Role, Seen, SessionRecords};
use jiff::Timestamp;
use mail_proto::{Side, explain};
use std::ops::Range;

/// The service that commits messages.
pub(super) const STORE: &str = "mailbox-store";
/// The service that knows where domains take their mail.
const NAME_SERVER: &str = "pseudo-dns";

/// How long it is from one time to a later one, in microseconds; 0 where clocks differ.
pub(super) fn microseconds(from: Timestamp, until: Timestamp) -> u64 {
    u64::try_from(until.duration_since(from).as_micros()).unwrap_or(0)
}

/// What a session says about its steps.
pub(super) struct Seer<'s> {
    records: &'s SessionRecords,
    exchanges: Vec<Exchange>,
}

impl<'s> Seer<'s> {
    pub(super) fn of(records: &'s SessionRecords) -> Self {
        Self { records, exchanges: exchanges(records) }
    }

    /// A step that this session has seen.
    pub(super) fn step(&self, kind: StepKind, (at, until): (Timestamp, Timestamp), record: u64) -> Step {
        let session = &self.records.session;
        Step {
            kind,
            name: String::new(),
            at,
            microseconds: microseconds(at, until),
            stack: session.stack.to_string(),
            service: session.service.to_string(),
            session: Some(session.id),
            record: Some(record).filter(|record| *record > 0),
            outcome: Outcome::Ok,
            sentence: String::new(),
            reply: None,
        }
    }

    /// All steps until the end of a transaction that a server has taken, its commit included.
    pub(super) fn reception(&self, handling: &Handling<'_>) -> Vec<Step> {
        let mut steps = self.transaction(handling.transaction, handling.transaction == 1);
        steps.extend(self.commit(handling));
        steps
    }

    /// The commit of a message that a server has taken.
    pub(super) fn commit(&self, handling: &Handling<'_>) -> Option<Step> {
        if handling.how != Handled::Accepted {
            return None;
        }
        let sent = self.exchanges.iter().rfind(|exchange| exchange.record > 0 && exchange.record < handling.record);
        let began = sent.map_or(handling.at, |exchange| exchange.asked_until);
        let stack = &self.records.session.stack;
        Some(Step {
            name: "Commit".to_owned(),
            service: STORE.to_owned(),
            sentence: format!("The store of {stack} has the message on its disk; only then the server says so."),
            ..self.step(StepKind::Commit, (began, handling.at), handling.record)
        })
    }

    /// The steps of the attempt at the end that sends: the way to the exchange, and this transaction. `record` is that of the
    /// mark that begins it; without it, no transaction came of it.
    pub(super) fn attempt(&self, claimed_at: Timestamp, handling: Option<(u32, u64)>) -> Vec<Step> {
        let is_first = |record: u64| {
            let mut marks = self.records.records.iter().filter(|other| other.sequence < record);
            !marks.any(|other| matches!(other.what, Seen::Mark(Mark::Message { .. })))
        };
        let is_fresh = handling.is_none_or(|(_, record)| is_first(record));
        let mut steps = if is_fresh { self.way(claimed_at) } else { self.reuse(claimed_at, handling) };
        match handling {
            None => steps.extend(self.commands(|exchange| exchange.verb != "QUIT")),
            Some((_, record)) => {
                let mut later = self.exchanges.iter().filter(|exchange| exchange.record > record);
                // This service may have given up a transaction before it began: its own count is greater then.
                let number = later.find(|exchange| exchange.verb == "MAIL").map_or(0, |exchange| exchange.transaction);
                steps.extend(self.transaction(number, is_fresh));
            }
        }
        steps
    }

    /// The faults of a transaction at the end that takes the message; without a number, those of the whole session.
    pub(super) fn faults_of(&self, transaction: u32) -> impl Iterator<Item = Step> {
        let steps = match transaction {
            0 => self.commands(|_| true),
            number => self.transaction(number, number == 1),
        };
        steps.into_iter().filter(|step| step.kind == StepKind::Fault)
    }

    /// From the claim to TLS, as marks tell.
    fn way(&self, claimed_at: Timestamp) -> Vec<Step> {
        let steps = self.records.records.iter().filter_map(|Record { sequence, at, what }| match what {
            Seen::Mark(Mark::Resolved { domain, exchange, address }) => Some(Step {
                name: format!("MX {exchange}"),
                service: NAME_SERVER.to_owned(),
                sentence: format!("{exchange} takes the mail of {domain} (MX); it listens on {address} (P)."),
                ..self.step(StepKind::Resolved, (claimed_at.min(*at), *at), *sequence)
            }),
            Seen::Mark(Mark::Encrypted { tls }) => Some(Step {
                name: "TLS".to_owned(),
                sentence: format!("From here on all is encrypted with {tls}."),
                ..self.step(StepKind::Encrypted, (*at, *at), *sequence)
            }),
            _ => None,
        });
        steps.collect()
    }

    fn reuse(&self, claimed_at: Timestamp, handling: Option<(u32, u64)>) -> Vec<Step> {
        let record = handling.map_or(0, |(_, record)| record);
        let began = self.records.records.iter().find(|other| other.sequence == record).map_or(claimed_at, |it| it.at);
        let sentence = "The connection of an earlier message is used again: no lookup, no greeting.".to_owned();
        let step = self.step(StepKind::Connect, (began, began), record);
        vec![Step { name: "Connection".to_owned(), sentence, ..step }]
    }

    /// The commands of a transaction, with what comes before the first one.
    fn transaction(&self, number: u32, with_opening: bool) -> Vec<Step> {
        let first = self.exchanges.iter().find(|exchange| exchange.transaction > 0).map_or(u64::MAX, |it| it.record);
        self.commands(|exchange| {
            let is_opening = exchange.transaction == 0 && exchange.record < first && exchange.verb != "QUIT";
            (exchange.transaction == number && number > 0) || (with_opening && is_opening)
        })
    }

    /// Commands, each with the faults that happen until the next one.
    fn commands(&self, wanted: impl Fn(&Exchange) -> bool) -> Vec<Step> {
        let next = |index: usize| self.exchanges.get(index + 1).map_or(u64::MAX, |next| next.record);
        let wanted = self.exchanges.iter().enumerate().filter(|(_, exchange)| wanted(exchange));
        let steps = wanted.flat_map(|(index, exchange)| {
            let first = if index == 0 { 0 } else { exchange.record };
            std::iter::once(self.command(exchange)).chain(self.faults(first..next(index)))
        });
        steps.collect()
    }

    /// The faults that happen among these records.
    fn faults(&self, among: Range<u64>) -> impl Iterator<Item = Step> {
        self.records.records.iter().filter(move |record| among.contains(&record.sequence)).filter_map(|record| {
            let Seen::Mark(Mark::Fault { name, what }) = &record.what else { return None };
            Some(Step {
                name: format!("Fault {name}"),
                outcome: Outcome::Refused,
                sentence: format!("It goes wrong on purpose: {what}."),
                ..self.step(StepKind::Fault, (record.at, record.at), record.sequence)
            })
        })
    }

    /// A command as a step.
    pub(super) fn command(&self, exchange: &Exchange) -> Step {
        let kind = match exchange.verb.as_str() {
            GREETING => StepKind::Connect,
            FINAL_DOT => StepKind::Dot,
            "BDAT" => StepKind::Dot,
            _ => StepKind::Command,
        };
        let until = exchange.until();
        let mut step = self.step(kind, (exchange.asked_at, until), exchange.record);
        step.name = match exchange.verb.as_str() {
            GREETING => "Connect".to_owned(),
            FINAL_DOT => "Message and final dot".to_owned(),
            _ => exchange.command.clone(),
        };
        (step.outcome, step.sentence) = match &exchange.answer {
            Some(answer) => (self.outcome(answer), self.meaning(exchange, answer)),
            None if self.records.session.broken => (Outcome::Refused, self.silence(exchange)),
            None => (Outcome::Waiting, self.silence(exchange)),
        };
        step.reply = exchange.answer.as_ref().map(|answer| answer.text.clone());
        step
    }

    fn outcome(&self, answer: &Answer) -> Outcome {
        match answer {
            answer if !answer.is_refusal() => Outcome::Ok,
            answer if answer.is_temporary() => Outcome::Waiting,
            _ => Outcome::Refused,
        }
    }

    /// What a refusal says, or what a command asks for.
    fn meaning(&self, exchange: &Exchange, answer: &Answer) -> String {
        let session = &self.records.session;
        if exchange.verb == GREETING && !answer.is_refusal() {
            let address = match session.role {
                Role::Client => session.remote,
                Role::Server => session.local,
            };
            let address = address.map(|address| address.to_string()).unwrap_or_default();
            return format!("There is a connection to {address}, and the server says who it is.");
        }
        let Some(protocol) = spoken(session.protocol) else { return String::new() };
        let command = if exchange.verb == FINAL_DOT { FINAL_DOT } else { exchange.command.as_str() };
        let parts = if answer.is_refusal() {
            explain::line(protocol, Side::Server, answer.text.as_bytes(), Some(command.as_bytes()))
        } else {
            explain::line(protocol, Side::Client, command.as_bytes(), None)
        };
        // The last word of a reply's beginning is the most exact one; the first word of a command is the command.
        let part = if answer.is_refusal() { parts.last() } else { parts.first() };
        part.map(|part| part.explanation.to_string()).unwrap_or_default()
    }

    fn silence(&self, exchange: &Exchange) -> String {
        let session = &self.records.session;
        let what = match exchange.verb.as_str() {
            GREETING if session.local.is_none() => "There is no connection",
            GREETING => "There is no greeting",
            _ => "There is no reply",
        };
        match &session.ended {
            Some(ended) => format!("{what}: {}.", ended.trim_end_matches('.')),
            None => format!("{what} yet."),
        }
    }

    /// The steps of a session that has read this message.
    pub(super) fn fetch(&self, message: MessageId) -> Vec<Step> {
        let mut steps = Vec::new();
        let opened = self.records.session.opened_at;
        for Record { sequence, at, what } in &self.records.records {
            match what {
                Seen::Mark(Mark::LoggedIn { user }) => steps.push(Step {
                    name: "Log in".to_owned(),
                    sentence: format!("{user} has proven who they are, and the maildrop is theirs alone for now."),
                    ..self.step(StepKind::Login, (opened, *at), *sequence)
                }),
                Seen::Mark(Mark::Message { message: which, .. }) if *which == message => {
                    steps.extend(self.read(*sequence));
                }
                Seen::Mark(Mark::Deleted { messages }) if messages.contains(&message) => steps.push(Step {
                    name: "Delete".to_owned(),
                    sentence: "The session ends with QUIT: what it has marked as deleted is gone (RFC 1939 §6)."
                        .to_owned(),
                    ..self.step(StepKind::Deleted, (*at, *at), *sequence)
                }),
                _ => {}
            }
        }
        steps
    }

    /// The RETR or TOP to which the mark belongs, and the DELE of the same message.
    fn read(&self, mark: u64) -> Vec<Step> {
        let asked = self.exchanges.iter().rfind(|exchange| exchange.record > 0 && exchange.record < mark);
        let Some(asked) = asked else { return Vec::new() };
        let number = |exchange: &Exchange| exchange.command.split_whitespace().nth(1).map(str::to_owned);
        let deletes = |exchange: &&Exchange| exchange.verb == "DELE" && number(exchange) == number(asked);
        let read = Step { kind: StepKind::Fetched, ..self.command(asked) };
        let deleted = self.exchanges.iter().find(deletes).map(|exchange| self.command(exchange));
        [read].into_iter().chain(deleted).collect()
    }
}
