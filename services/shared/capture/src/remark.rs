//! What the comments of packets say.

use internal_api::{Handled, Mark, MessageId, RecordedSession, Role};
use jiff::Timestamp;
use std::{fmt::Write as _, net::SocketAddr};

/// How long a comment may become, in octets.
const COMMENT_OCTETS: usize = 4096;

/// What is going to be said with the next packet.
#[derive(Debug, Default)]
pub(crate) struct Remarks(String);

impl Remarks {
    /// Adds a line. A comment that is too long does not grow any more.
    pub(crate) fn add(&mut self, line: &str) {
        if line.is_empty() || self.0.len() + line.len() > COMMENT_OCTETS {
            return;
        }
        if !self.0.is_empty() {
            self.0.push('\n');
        }
        self.0.push_str(line);
    }

    pub(crate) fn take(&mut self) -> String {
        std::mem::take(&mut self.0)
    }
}

/// What is said with the first packet of a session.
pub(crate) fn session(session: &RecordedSession) -> String {
    let mut text = format!("session {} (connection {})", session.id, session.connection);
    let end = match session.role {
        Role::Server => "server",
        Role::Client => "client",
    };
    let _ = write!(text, "\nseen by {} of {}, the {end}", session.service, session.stack);
    let (client, server) = match session.role {
        Role::Server => (session.remote, session.local),
        Role::Client => (session.local, session.remote),
    };
    let _ = write!(text, "\nreally from {} to {}", address(client), address(server));
    if let Some(tls) = &session.tls {
        let _ = write!(text, "\nwith {tls}");
    }
    if let Some(user) = &session.user {
        let _ = write!(text, "\nuser {user}");
    }
    text + &messages(&session.messages)
}

/// What is said with the first packet of a transaction.
pub(crate) fn transaction(session: &RecordedSession, number: u32, ids: &[MessageId]) -> String {
    format!("session {}, transaction {number}{}", session.id, messages(ids))
}

/// What a mark says; empty where it says nothing.
pub(crate) fn mark(session: &RecordedSession, mark: &Mark) -> String {
    match mark {
        Mark::Resolved { domain, exchange, address } => format!("mail for {domain} goes to {exchange} at {address}"),
        Mark::LoggedIn { user } => format!("{user} is logged in"),
        Mark::LoginRefused { reason } => format!("the login is refused: {reason}"),
        Mark::Verdict { about, accepted: false, reply } => format!("{about} is refused: {}", reply.trim_end()),
        Mark::Locked { mailbox, messages } => format!("the maildrop of {mailbox} is locked, messages: {messages}"),
        Mark::LockLost => "the lock of the maildrop is lost".to_owned(),
        Mark::Deleted { messages } => format!("messages deleted: {}", list(messages)),
        Mark::Message { message, how, transaction, .. } => {
            let how = match how {
                Handled::Accepted => "accepted",
                Handled::Sending => "sending",
                Handled::Relayed => "relayed",
                Handled::Fetched => "fetched with RETR",
                Handled::Looked => "read with TOP",
            };
            let transaction = if *transaction > 0 { format!(", transaction {transaction}") } else { String::new() };
            format!("session {}{transaction}, message {message}: {how}", session.id)
        }
        Mark::Fault { name, what } => format!("session {}, fault {name}: {what}", session.id),
        Mark::Connected { .. } | Mark::Encrypted { .. } | Mark::Verdict { .. } | Mark::Called { .. } => String::new(),
    }
}

/// What is said where a session ends.
pub(crate) fn end(session: &RecordedSession) -> String {
    let mut text = format!("session {} ended", session.id);
    if let Some(reason) = &session.ended {
        let _ = write!(text, ": {reason}");
    }
    if session.missing_records > 0 {
        let _ = write!(text, "\nrecords of this session that were not kept: {}", session.missing_records);
    }
    text
}

/// What is said where octets of a body are missing.
pub(crate) fn missing(octets: u64, with_lines: bool) -> String {
    match with_lines {
        true => format!("octets of this body that were not kept: {octets}; lines that say so stand in their place"),
        false => format!("octets before this packet that were not kept: {octets}"),
    }
}

/// Nanoseconds since 1970; 0 before.
pub(crate) fn nanoseconds(at: Timestamp) -> u64 {
    u64::try_from(at.as_nanosecond()).unwrap_or(0)
}

fn messages(ids: &[MessageId]) -> String {
    if ids.is_empty() { String::new() } else { format!("\nmessage {}", list(ids)) }
}

fn list(ids: &[MessageId]) -> String {
    ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn address(address: Option<SocketAddr>) -> String {
    address.map_or_else(|| "an unknown address".to_owned(), |address| address.to_string())
}
