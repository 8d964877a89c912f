//! A message's journey: from the session that brought it, over each hop to other servers, to the sessions that read it.
//!
//! It is joined of what the stores tell of messages and what the gateways have seen on their sockets. [`of`] is pure: it is
//! given all that is known ([`Known`]) and the time.
//!
//! A hop has two ends, and each service records its own. They are joined by their addresses, which are the same the other way
//! round, and by the number of the transaction in the session; the id in the other server's `250 … queued as` confirms it.
//! Where addresses are translated between the ends, as between containers, the id alone joins them. Of a server outside of
//! the town there is what the town has seen.

mod attempts;
mod build;
mod fate;
mod join;
mod known;
mod steps;
#[cfg(test)]
mod tests;

pub(crate) use build::of;
pub(crate) use join::is_other_end;
pub(crate) use known::{Known, KnownMail};

use internal_api::{MessageId, SessionId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A message's journey.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Journey {
    /// The message with which it begins: the one that was asked for, or the one that it is a copy of or a report about.
    pub message: MessageId,
    /// The message that was asked for.
    pub asked_for: MessageId,
    /// When the first step began.
    #[schema(value_type = String, format = DateTime)]
    pub begins_at: Timestamp,
    /// When the last step ended; where something is waited for, this is in the future.
    #[schema(value_type = String, format = DateTime)]
    pub ends_at: Timestamp,
    /// How it stands.
    pub outcome: Outcome,
    /// What has become of it for each recipient of its envelope.
    pub recipients: Vec<Fate>,
    /// The stages, each after the one that it follows from.
    pub stages: Vec<Stage>,
}

/// What has become of a message for a recipient.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Fate {
    /// Who.
    pub address: String,
    /// How it stands.
    pub outcome: Outcome,
    /// In one sentence.
    pub sentence: String,
}

/// Steps that belong together: all in one session, or all at one store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Stage {
    /// What it is.
    pub kind: StageKind,
    /// In a few words, such as `Attempt 2 to gmail.com`.
    pub title: String,
    /// The message that it is about. A relayed message has another id at each server.
    pub message: MessageId,
    /// The place in `stages` of the stage from which it follows; absent for the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<usize>,
    /// It tells of a failure message or a report, which is a journey of its own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_branch: bool,
    /// The recipients that it concerns.
    pub recipients: Vec<String>,
    /// The two ends of its connection, as far as they are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends: Option<Ends>,
    /// Its steps, in order.
    pub steps: Vec<Step>,
    /// What is not known, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// What a stage is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StageKind {
    /// A client brings the message into the town.
    Submission,
    /// The store has it.
    Store,
    /// A relay worker tries to send it to another server.
    Attempt,
    /// It waits for its first or next attempt.
    Wait,
    /// A user reads it.
    Fetch,
}

/// The ends of a connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Ends {
    /// The session of the end that has called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<SessionId>,
    /// The session of the end that was called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<SessionId>,
    /// How it is known that they belong together.
    pub joined: Joined,
}

/// How the two ends of a hop were found to belong together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Joined {
    /// One end is known.
    #[default]
    No,
    /// By their addresses.
    Addresses,
    /// By their addresses; the server's reply names the message there.
    Confirmed,
    /// By the server's reply, which names the message there. The addresses differ.
    Reply,
}

/// Something that has happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Step {
    /// What.
    pub kind: StepKind,
    /// In a few words: the command, or what was done.
    pub name: String,
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// How long it took, in microseconds.
    pub microseconds: u64,
    /// The server name of the stack where it happened.
    pub stack: String,
    /// The service that did it or has seen it.
    pub service: String,
    /// The session that it is seen in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionId>,
    /// The record of that session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<u64>,
    /// How it went.
    pub outcome: Outcome,
    /// What it means, in one sentence.
    pub sentence: String,
    /// What was said in reply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<String>,
}

impl Step {
    /// When it ended.
    pub(crate) fn until(&self) -> Timestamp {
        let nanoseconds = self.at.as_nanosecond() + i128::from(self.microseconds) * 1000;
        Timestamp::from_nanosecond(nanoseconds).unwrap_or(self.at)
    }
}

/// What a step is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StepKind {
    /// A connection was made, until the greeting.
    Connect,
    /// MX, then the port and the address of the exchange.
    Resolved,
    /// TLS was agreed on.
    Encrypted,
    /// Something goes wrong on purpose.
    Fault,
    /// A command with its reply.
    Command,
    /// The message itself, with its final dot or its last chunk.
    Dot,
    /// A store has committed the message.
    Commit,
    /// It is in a maildrop.
    Delivered,
    /// It waits to be sent.
    Queued,
    /// An attempt has begun.
    Claimed,
    /// It waits for the next attempt.
    Deferred,
    /// Nothing happens until the next attempt.
    Pause,
    /// An operator holds it, or has released it.
    Held,
    /// Another server has it.
    Relayed,
    /// It was refused for good, or has waited for too long.
    Failed,
    /// Its sender is told.
    Bounced,
    /// A user has logged in.
    Login,
    /// A user has read it.
    Fetched,
    /// It was deleted.
    Deleted,
}

/// How something stands or went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// As it should.
    Ok,
    /// It is not decided yet, or was put off.
    Waiting,
    /// It was refused, or broke off.
    Refused,
}
