//! What happened to messages, in the order in which it became durable.

use crate::{ClaimedRecipient, MessageId, text};
use jiff::Timestamp;
use mail_proto::{Mailbox, ReversePath};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};
use utoipa::ToSchema;

/// One page of `GET /v1/events`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EventPage {
    /// The events of this page.
    pub events: Vec<Event>,
    /// Pass this as `after` to read on; present on every page, also on an empty one.
    pub next_after: String,
}

/// The answer to `GET /v1/messages/{id}/events`: what is known of one message, the oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MessageEvents {
    /// The events of this message.
    pub events: Vec<Event>,
}

/// Something that happened to a message. It is durable together with the change that it tells of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// Where it stands among all events. Opaque; pass it as `after` to get what came later.
    pub cursor: String,
    /// When it happened, by the store's clock.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// The message.
    pub message: MessageId,
    /// What happened.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// What happened to a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum EventKind {
    /// The store took it.
    Accepted {
        /// Where failure messages go, in angle brackets.
        #[schema(value_type = text::ReversePath)]
        reverse_path: ReversePath,
        /// Its octets as received.
        octets: u64,
    },
    /// Maildrops hold it.
    Delivered {
        /// Whose.
        #[schema(value_type = Vec<text::Mailbox>)]
        recipients: Vec<Mailbox>,
    },
    /// It waits to be relayed, or for room in a mailbox here.
    Queued {
        /// For whom.
        #[schema(value_type = Vec<text::Mailbox>)]
        recipients: Vec<Mailbox>,
    },
    /// A relay worker tries to send it.
    Claimed {
        /// To whom, and how often they were tried, this time included.
        recipients: Vec<ClaimedRecipient>,
        /// When the claim ends unless it is renewed.
        #[schema(value_type = String, format = DateTime)]
        until: Timestamp,
    },
    /// It waits for the next attempt.
    Deferred {
        /// For whom.
        #[schema(value_type = Vec<text::Mailbox>)]
        recipients: Vec<Mailbox>,
        /// What the peer, or what stood in its way, said.
        reply: String,
        /// When it is tried next.
        #[schema(value_type = String, format = DateTime)]
        next_attempt_at: Timestamp,
        /// Nobody tried these recipients: the attempt does not count.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        untried: bool,
    },
    /// Another server has taken it.
    Relayed {
        /// For whom.
        #[schema(value_type = Vec<text::Mailbox>)]
        recipients: Vec<Mailbox>,
        /// The name of the mail exchange.
        exchange: String,
        /// What it said.
        reply: String,
        /// The message's id there, if the reply names it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        peer_id: Option<MessageId>,
    },
    /// It was refused for good.
    Failed {
        /// For whom.
        #[schema(value_type = Vec<text::Mailbox>)]
        recipients: Vec<Mailbox>,
        /// The name of the mail exchange that refused it; absent when this server did.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        said_by: Option<String>,
        /// The words of the refusal.
        reply: String,
    },
    /// It waited for too long and is not tried again.
    Expired {
        /// For whom.
        #[schema(value_type = Vec<text::Mailbox>)]
        recipients: Vec<Mailbox>,
        /// What the last attempt was answered.
        reply: String,
    },
    /// It left the queue. A gateway of an earlier version does not tell why.
    Finished {
        /// For whom.
        #[schema(value_type = Vec<text::Mailbox>)]
        recipients: Vec<Mailbox>,
    },
    /// Its sender is told of a failure.
    Bounced {
        /// The failure message.
        as_message: MessageId,
    },
    /// Its sender is told of a success or a delay, as they have asked.
    Reported {
        /// The report.
        as_message: MessageId,
    },
    /// An operator has put it on hold: it is not tried until it is released.
    Held {
        /// For whom.
        #[schema(value_type = Vec<text::Mailbox>)]
        recipients: Vec<Mailbox>,
    },
    /// An operator has released it: it is due.
    Released {
        /// For whom.
        #[schema(value_type = Vec<text::Mailbox>)]
        recipients: Vec<Mailbox>,
    },
    /// Maildrops lost it, or the queue.
    Deleted {
        /// Whose, or for whom it waited.
        #[schema(value_type = Vec<text::Mailbox>)]
        recipients: Vec<Mailbox>,
        /// Who deleted it.
        by: DeletedBy,
    },
    /// The store has become what it was when a snapshot was taken, with the events of that time. What was told between them
    /// and this event did not happen. It is about no message, and `message` is zero.
    Restored {
        /// The name of the snapshot.
        snapshot: String,
    },
}

/// Who deletes messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeletedBy {
    /// The mailbox's user, in the UPDATE state (RFC 1939 §6).
    Session,
    /// `[retention] messages` of the configuration.
    Retention,
    /// An operator, who has removed it from the queue. Its sender is not told.
    Operator,
}

impl EventKind {
    /// Its name, as it travels.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Accepted { .. } => "accepted",
            Self::Delivered { .. } => "delivered",
            Self::Queued { .. } => "queued",
            Self::Claimed { .. } => "claimed",
            Self::Deferred { .. } => "deferred",
            Self::Relayed { .. } => "relayed",
            Self::Failed { .. } => "failed",
            Self::Expired { .. } => "expired",
            Self::Finished { .. } => "finished",
            Self::Bounced { .. } => "bounced",
            Self::Reported { .. } => "reported",
            Self::Held { .. } => "held",
            Self::Released { .. } => "released",
            Self::Deleted { .. } => "deleted",
            Self::Restored { .. } => "restored",
        }
    }
}

/// Where an event stands among all events of a store. First comes the number of its transaction, or 0 where one commits
/// after the other; then the number of its record; then its place in the record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct EventPosition {
    /// The number of the transaction.
    pub transaction: i64,
    /// The number of the record.
    pub record: i64,
    /// The place in the record, from 1; 0 stands before all of them.
    pub place: u32,
}

/// The text is no event's cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no cursor; give that of an event, or a page's next_after")]
pub struct InvalidEventPosition;

impl fmt::Display for EventPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{:x}-{:x}", self.transaction, self.record, self.place)
    }
}

impl FromStr for EventPosition {
    type Err = InvalidEventPosition;

    fn from_str(text: &str) -> Result<Self, InvalidEventPosition> {
        let mut numbers = text.splitn(3, '-').map(|digits| i64::from_str_radix(digits, 16).ok());
        let mut next = || numbers.next().flatten().ok_or(InvalidEventPosition);
        let (transaction, record, place) = (next()?, next()?, next()?);
        let position = Self { transaction, record, place: u32::try_from(place).map_err(|_| InvalidEventPosition)? };
        // Each position has one spelling, which the description of the API can state.
        if position.to_string() == text { Ok(position) } else { Err(InvalidEventPosition) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_read_as_it_is_written() {
        for position in [
            EventPosition::default(),
            EventPosition { transaction: 0, record: 17, place: 2 },
            EventPosition { transaction: i64::MAX, record: i64::MAX, place: u32::MAX },
        ] {
            assert_eq!(position.to_string().parse(), Ok(position));
        }
        for text in [
            "",
            "1",
            "1-2",
            "1-2-",
            "1-2-3-4",
            "-1-2-3",
            "+1-2-3",
            "g-2-3",
            "1-2-100000000",
            "1-2- 3",
            "01-2-3",
            "A-2-3",
        ] {
            assert_eq!(text.parse::<EventPosition>(), Err(InvalidEventPosition), "{text:?}");
        }
    }

    #[test]
    fn the_kind_stands_beside_the_rest() {
        let kind = EventKind::Bounced { as_message: MessageId::from_number(7) };
        let event =
            Event { cursor: "0-1-1".to_owned(), at: Timestamp::UNIX_EPOCH, message: MessageId::from_number(6), kind };
        let text = serde_json::to_string(&event).unwrap();
        let expected = r#"{"cursor":"0-1-1","at":"1970-01-01T00:00:00Z","message":"0000000000006","kind":"bounced","as_message":"0000000000007"}"#;
        assert_eq!(text, expected);
        assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), event);
        assert_eq!(event.kind.name(), "bounced");
    }
}
