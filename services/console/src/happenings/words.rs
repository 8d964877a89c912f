//! Happenings in words.

use super::{Happening, HappeningKind};
use crate::transcript::{is_refusal, sentence, side};
use internal_api::{DeletedBy, Event, EventKind, Form, Mark, Record, RecordedSession, Role, Seen, SeenOctets};
use mail_proto::{Mailbox, Side};

/// The service that tells events.
const STORE: &str = "mailbox-store";

/// What an event of a store tells.
pub(super) fn event(cursor: String, stack: &str, event: &Event) -> Happening {
    let refused =
        matches!(event.kind, EventKind::Deferred { .. } | EventKind::Failed { .. } | EventKind::Expired { .. });
    Happening {
        cursor,
        at: event.at,
        stack: stack.to_owned(),
        service: STORE.to_owned(),
        kind: HappeningKind::Event,
        session: None,
        message: Some(event.message).filter(|_| !matches!(event.kind, EventKind::Restored { .. })),
        text: of_event(&event.kind),
        refused,
    }
}

fn of_event(kind: &EventKind) -> String {
    match kind {
        EventKind::Accepted { reverse_path, octets } => format!("accepted from {reverse_path}, {octets} octets"),
        EventKind::Delivered { recipients } => format!("delivered to {}", list(recipients)),
        EventKind::Queued { recipients } => format!("queued for {}", list(recipients)),
        EventKind::Claimed { recipients, .. } => {
            let attempts = recipients.iter().map(|recipient| recipient.attempts).max().unwrap_or_default();
            let recipients: Vec<_> = recipients.iter().map(|recipient| recipient.mailbox.clone()).collect();
            format!("tried for {}, attempt {attempts}", list(&recipients))
        }
        EventKind::Deferred { recipients, reply, next_attempt_at, .. } => {
            format!("deferred for {} until {next_attempt_at}: {reply}", list(recipients))
        }
        EventKind::Relayed { recipients, exchange, reply, .. } => {
            format!("relayed for {} to {exchange}: {reply}", list(recipients))
        }
        EventKind::Failed { recipients, said_by, reply } => {
            let by = said_by.as_deref().map(|by| format!(" by {by}")).unwrap_or_default();
            format!("refused for {}{by}: {reply}", list(recipients))
        }
        EventKind::Expired { recipients, reply } => format!("given up for {}: {reply}", list(recipients)),
        EventKind::Finished { recipients } => format!("finished for {}", list(recipients)),
        EventKind::Bounced { as_message } => format!("answered with the failure message {as_message}"),
        EventKind::Reported { as_message } => format!("answered with the report {as_message}"),
        EventKind::Held { recipients } => format!("on hold for {}", list(recipients)),
        EventKind::Released { recipients } => format!("released for {}", list(recipients)),
        EventKind::Deleted { recipients, by } => {
            let by = match by {
                DeletedBy::Session => "its user",
                DeletedBy::Retention => "the retention",
                DeletedBy::Operator => "an operator",
            };
            format!("deleted by {by}, of {}", list(recipients))
        }
        EventKind::Restored { snapshot } => format!("restored to the snapshot {snapshot}"),
    }
}

fn list(mailboxes: &[Mailbox]) -> String {
    mailboxes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// What a record of a session tells: nothing, or one happening for each line.
pub(super) fn record(cursor: &str, session: &RecordedSession, record: &Record) -> Vec<Happening> {
    let happening = |kind, text: String, refused| Happening {
        cursor: cursor.to_owned(),
        at: record.at,
        stack: session.stack.to_string(),
        service: session.service.to_string(),
        kind,
        session: Some(session.id),
        message: None,
        text,
        refused,
    };
    match &record.what {
        Seen::Opened { state } => vec![happening(HappeningKind::Opened, opened(state), false)],
        Seen::Closed { state } => {
            let why = state.ended.as_deref().unwrap_or("it has ended");
            vec![happening(HappeningKind::Closed, format!("The session ends: {why}"), false)]
        }
        Seen::Mark(mark) => {
            let (text, refused) = sentence(mark);
            let message = match mark {
                Mark::Message { message, .. } => Some(*message),
                _ => None,
            };
            vec![Happening { message, ..happening(HappeningKind::Mark, text, refused) }]
        }
        Seen::Octets(seen) => {
            let by = side(session, seen.direction);
            let kind = if by == Side::Client { HappeningKind::Client } else { HappeningKind::Server };
            let lines = lines(session, seen).into_iter();
            lines.map(|line| happening(kind, line.clone(), by == Side::Server && is_refusal(&line))).collect()
        }
    }
}

fn opened(state: &RecordedSession) -> String {
    let protocol = crate::api::sessions::protocol_name(state.protocol);
    let (way, address) = match state.role {
        Role::Server => ("from", state.remote),
        Role::Client => ("to", state.remote),
    };
    match address {
        Some(address) => format!("A session of {protocol} begins, {way} {address}"),
        None => format!("A session of {protocol} begins"),
    }
}

fn lines(session: &RecordedSession, seen: &SeenOctets) -> Vec<String> {
    let octets = seen.octets.bytes().unwrap_or_default();
    if seen.form == Form::Body || crate::transcript::spoken(session.protocol).is_none() {
        return vec![format!("[{} octets]", octets.len() as u64 + seen.missing)];
    }
    let text = String::from_utf8_lossy(&octets);
    let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
    if seen.missing > 0 {
        lines.push(format!("[{} octets were not kept]", seen.missing));
    }
    lines
}
