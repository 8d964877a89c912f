//! Which sessions are the two ends of one connection.

use super::{Ends, Joined, Known, attempts::Attempt};
use internal_api::{Handled, Mark, MessageId, RecordedSession, Role, Seen, SessionRecords};
use jiff::{SignedDuration, Timestamp};
use mail_proto::Mailbox;

/// How far the clocks of two services may be apart.
const CLOCKS: SignedDuration = SignedDuration::from_secs(2);

/// What one session has done with a message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Handling<'s> {
    /// The session.
    pub(super) session: &'s SessionRecords,
    /// The record of the mark.
    pub(super) record: u64,
    /// When.
    pub(super) at: Timestamp,
    /// How.
    pub(super) how: Handled,
    /// Which transaction of the session.
    pub(super) transaction: u32,
    /// For whom.
    pub(super) recipients: &'s [Mailbox],
}

/// An attempt with the sessions in which it was made.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Hop<'s> {
    /// The end of the stack that sends.
    pub(super) client: Option<&'s SessionRecords>,
    /// The end of the stack that takes it.
    pub(super) server: Option<&'s SessionRecords>,
    /// Which transaction of the session; 0 where it came to none.
    pub(super) transaction: u32,
    /// The message there.
    pub(super) there: Option<MessageId>,
    pub(super) joined: Joined,
}

impl Hop<'_> {
    pub(super) fn ends(&self) -> Option<Ends> {
        let id = |end: Option<&SessionRecords>| end.map(|end| end.session.id);
        let ends = Ends { client: id(self.client), server: id(self.server), joined: self.joined };
        (ends.client.is_some() || ends.server.is_some()).then_some(ends)
    }
}

/// Whether these are the ends of one connection, by addresses and time.
pub(crate) fn is_other_end(one: &RecordedSession, other: &RecordedSession) -> bool {
    let is_opposite = one.role != other.role && one.local.is_some() && one.remote.is_some();
    let (earlier, later) = if one.opened_at <= other.opened_at { (one, other) } else { (other, one) };
    // A port is used again after a while.
    let overlap = earlier.closed_at.is_none_or(|closed| closed + CLOCKS >= later.opened_at);
    is_opposite && overlap && one.local == other.remote && one.remote == other.local
}

/// All that sessions have done with a message, in order.
pub(super) fn handlings(known: &Known, message: MessageId) -> Vec<Handling<'_>> {
    let mut found = Vec::new();
    for session in known.sessions() {
        for record in &session.records {
            if let Seen::Mark(Mark::Message { message: which, how, transaction, recipients }) = &record.what
                && *which == message
            {
                let (how, transaction) = (*how, *transaction);
                let (record, at) = (record.sequence, record.at);
                found.push(Handling { session, record, at, how, transaction, recipients });
            }
        }
    }
    found.sort_by_key(|handling| handling.at);
    found
}

/// Finds the sessions of an attempt to send this message of this stack. `peer_id` is what the other server's reply names.
pub(super) fn hop<'k>(
    known: &'k Known,
    (stack, message): (&str, MessageId),
    attempt: &Attempt<'_>,
    peer_id: Option<MessageId>,
) -> Hop<'k> {
    let (client, transaction) = client(known, (stack, message), attempt);
    let by_reply = peer_id.and_then(|id| accepting(known, id));
    let by_addresses = client.and_then(|client| {
        let mut others = known.sessions().filter(|other| is_other_end(&client.session, &other.session));
        others.find(|other| other.session.role == Role::Server)
    });
    if let Some(server) = by_addresses {
        let there = accepted(server, transaction).filter(|_| transaction > 0);
        let is_confirmed = there.is_some() && there == peer_id;
        let joined = if is_confirmed { Joined::Confirmed } else { Joined::Addresses };
        if is_confirmed || by_reply.is_none() {
            return Hop { client, server: Some(server), transaction, there: there.or(peer_id), joined };
        }
    }
    match by_reply {
        Some(found) => {
            let transaction = if client.is_some() { transaction } else { found.transaction };
            Hop { client, server: Some(found.session), transaction, there: peer_id, joined: Joined::Reply }
        }
        None => Hop { client, server: None, transaction, there: peer_id, joined: Joined::No },
    }
}

/// The session in which a message was taken in.
pub(super) fn accepting(known: &Known, message: MessageId) -> Option<Handling<'_>> {
    handlings(known, message).into_iter().find(|handling| handling.how == Handled::Accepted)
}

/// The message that this transaction of a server's session has brought.
fn accepted(server: &SessionRecords, wanted: u32) -> Option<MessageId> {
    server.records.iter().find_map(|record| match &record.what {
        Seen::Mark(Mark::Message { message, how: Handled::Accepted, transaction, .. }) if *transaction == wanted => {
            Some(*message)
        }
        _ => None,
    })
}

/// The sending end: where the message was sent, or where a connection was tried for its domain.
fn client<'k>(
    known: &'k Known,
    (stack, message): (&str, MessageId),
    attempt: &Attempt<'_>,
) -> (Option<&'k SessionRecords>, u32) {
    let until = attempt.ended_at().map(|at| at + CLOCKS);
    let is_within = |at: Timestamp| at + CLOCKS >= attempt.claimed_at && until.is_none_or(|until| at <= until);
    let sent = handlings(known, message).into_iter().filter(|handling| {
        let session = &handling.session.session;
        session.role == Role::Client
            && session.stack.as_str() == stack
            && is_within(handling.at)
            && attempt.concerns(handling.recipients)
    });
    // Where clocks leave two, the one that is nearest to the claim.
    let nearest = |at: Timestamp| at.duration_since(attempt.claimed_at).abs();
    if let Some(handling) = sent.min_by_key(|handling| nearest(handling.at)) {
        return (Some(handling.session), handling.transaction);
    }
    let tried = known.sessions().filter(|records| {
        let session = &records.session;
        session.role == Role::Client
            && session.stack.as_str() == stack
            && session.messages.is_empty()
            && is_within(session.opened_at)
            && records.records.iter().any(|record| {
                matches!(&record.what, Seen::Mark(Mark::Resolved { domain, .. }) if attempt.domain().is_some_and(|wanted| wanted.as_str() == domain.as_str()))
            })
    });
    // Of several tries, the last one is what the outcome tells of.
    let (mut exact, mut near) = (None::<&SessionRecords>, None);
    for records in tried {
        let opened = records.session.opened_at;
        let is_exact = opened >= attempt.claimed_at && attempt.ended_at().is_none_or(|ended| opened <= ended);
        if is_exact {
            exact = Some(records);
        }
        near = Some(records);
    }
    (exact.or(near), 0)
}
