//! What is known of a message and of all that came of it.

use crate::model::Mail;
use internal_api::{Event, MessageId, SessionId, SessionRecords};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a journey is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Known {
    /// The message that is asked for.
    pub(crate) asked_for: MessageId,
    /// The message that it came from: itself, or the one that it is a copy of or a report about.
    pub(crate) first: MessageId,
    /// The first message, and those that came of it.
    pub(crate) mail: BTreeMap<MessageId, KnownMail>,
    /// The sessions that may have to do with them.
    pub(crate) sessions: BTreeMap<SessionId, SessionRecords>,
}

/// A message, as its store tells of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KnownMail {
    /// The server name of the stack.
    pub(crate) stack: String,
    /// When the store has taken it.
    pub(crate) accepted_at: Timestamp,
    /// The sender of the envelope; empty for a failure message.
    pub(crate) mail_from: String,
    /// `Subject`.
    pub(crate) subject: String,
    /// What has happened to it, the oldest first.
    pub(crate) events: Vec<Event>,
}

impl From<Mail> for KnownMail {
    fn from(mail: Mail) -> Self {
        let Mail { summary, events, .. } = mail;
        Self {
            stack: summary.stack,
            accepted_at: summary.accepted_at,
            mail_from: summary.mail_from,
            subject: summary.subject,
            events,
        }
    }
}

impl Known {
    /// The sessions with their ids, the oldest first.
    pub(crate) fn sessions(&self) -> impl Iterator<Item = &SessionRecords> {
        self.sessions.values()
    }
}
