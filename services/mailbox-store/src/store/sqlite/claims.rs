//! Leases on the outbound queue.

use super::{
    accounts, aliases,
    bodies::ReceivedBody,
    maildrop, messages, quarantine, queue,
    submit::{Ways, deliver, release, submit},
    values::{Moment, Natural, Parsed, RawText, collect, decode, id, key, parameters, parsed},
    writer::WriteTransaction,
};
use crate::store::{
    Abilities, ClaimOutcome, LocalMail, Result, StoreError,
    events::{self, Settled},
    plan::{
        abilities::{LOOKS_PAST_WITHHELD, withheld},
        claim::Queued,
        local::{Home, Plan, WAITING_MESSAGES, Waiting, left_to_gateway, without_mailbox},
        moments::later_ms,
        outcome::{Decision, QueueChange, decide, told},
    },
};
use internal_api::{
    Claim, ClaimedMessage, ClaimedRecipient, EventKind, MailboxSummary, MessageId, Outcome, RecipientOutcome,
    Settlement,
    reports::{DELIVERED, is_final},
};
use mail_proto::{AddressRules, Domain, Mailbox, smtp::Recipient};
use rusqlite::{OptionalExtension, Row, params};
use std::time::Duration;

/// The plus signs keep SQLite from looking through all that is due for the domain: a message has few recipients, a
/// domain may have a long queue.
const TAKE_RECIPIENTS: &str = "UPDATE queue SET lease = ?1, attempts = attempts + 1, next_attempt_at_ms = ?2
     WHERE message_id = ?3 AND +domain = ?4 AND +next_attempt_at_ms <= ?5
     AND quarantined_at_ms IS NULL AND held_at_ms IS NULL
     RETURNING recipient, attempts, original_recipient, notify, via, last_reply, delay_told";

/// A new lease.
struct Lease<'a> {
    name: &'a str,
    domain: &'a RawText,
    now_ms: i64,
    ends_at_ms: i64,
}

/// What a look has found.
struct Taken {
    messages: Vec<ClaimedMessage>,
    /// Some were settled.
    has_settled: bool,
    /// Some need more than the gateway can do.
    has_withheld: bool,
}

pub(super) fn claim(
    tx: &mut WriteTransaction<'_>,
    duration: Duration,
    limit: u32,
    except: &[Domain],
    local: &LocalMail,
    abilities: Abilities,
) -> Result<ClaimOutcome> {
    let (now_ms, mut looks_in_vain) = (tx.now().as_millisecond(), 0);
    // Repeats only after everything that it found was quarantined or withheld.
    loop {
        let Some((domain, due_at_ms)) = longest_due(tx, except)? else {
            return Ok(ClaimOutcome::NothingDue { next_due_at: None });
        };
        if due_at_ms > now_ms {
            let next_due_at = jiff::Timestamp::from_millisecond(due_at_ms).ok();
            return Ok(ClaimOutcome::NothingDue { next_due_at });
        }
        let name = uuid::Uuid::new_v4().simple().to_string();
        let lease = Lease { name: &name, domain: &domain, now_ms, ends_at_ms: later_ms(now_ms, duration) };
        let Taken { mut messages, has_settled, has_withheld } = take(tx, &lease, limit, local, abilities)?;
        looks_in_vain += u32::from(has_withheld);
        if messages.is_empty() && (has_settled || looks_in_vain == LOOKS_PAST_WITHHELD) {
            // Others may want to write before the rest of a long queue is looked at.
            return Ok(ClaimOutcome::NothingDue { next_due_at: Some(tx.now()) });
        }
        if let (false, Some(domain)) = (messages.is_empty(), domain.parse::<Domain>()) {
            messages.sort_by_key(|message| message.id);
            return Ok(ClaimOutcome::Claimed(Claim { lease: name, domain, messages }));
        }
    }
}

/// Leases due messages of the lease's domain, except those that the store itself settles and those that it withholds.
fn take(
    tx: &mut WriteTransaction<'_>,
    lease: &Lease<'_>,
    limit: u32,
    local: &LocalMail,
    abilities: Abilities,
) -> Result<Taken> {
    let due = due_messages(tx, lease, limit)?;
    if due.is_empty() {
        let reason = "the indexes of the queue disagree; mailbox-store check tells more, and a backup is whole";
        return Err(StoreError::Internal(reason.to_owned()));
    }
    let is_local = lease.domain.parse::<Domain>().is_some_and(|domain| local.is_local(&domain));
    let mut taken = Taken { messages: Vec::new(), has_settled: false, has_withheld: false };
    for message in due {
        let Some(mut claimed) = claim_message(tx, lease, message)? else { continue };
        if is_local {
            taken.has_settled |= settle_local(tx, lease.name, local, &mut claimed)?;
        }
        if claimed.recipients.is_empty() {
            continue;
        }
        if abilities.suffice_for(&claimed) {
            tx.events.push(message, events::claimed(&claimed.recipients, lease.ends_at_ms));
            taken.messages.push(claimed);
        } else {
            taken.has_withheld = true;
            for ClaimedRecipient { mailbox: recipient, .. } in claimed.recipients {
                let outcome = RecipientOutcome { recipient, outcome: withheld() };
                settle_into(tx, lease.name, claimed.id, &outcome, &outcome.recipient)?;
            }
        }
    }
    Ok(taken)
}

/// Settles due messages of this local domain as [`claim`] does; returns whether there may be more.
pub(super) fn deliver_waiting(tx: &mut WriteTransaction<'_>, domain: &Domain, local: &LocalMail) -> Result<bool> {
    let name = uuid::Uuid::new_v4().simple().to_string();
    let now_ms = tx.now().as_millisecond();
    // The lease does not outlive the change.
    let lease = Lease { name: &name, domain: &RawText::from(domain.as_str()), now_ms, ends_at_ms: now_ms };
    let due = due_messages(tx, &lease, WAITING_MESSAGES)?;
    for message in &due {
        let Some(mut claimed) = claim_message(tx, &lease, *message)? else { continue };
        settle_local(tx, &name, local, &mut claimed)?;
        for ClaimedRecipient { mailbox: recipient, .. } in claimed.recipients {
            let outcome = RecipientOutcome { recipient, outcome: left_to_gateway() };
            settle_into(tx, &name, claimed.id, &outcome, &outcome.recipient)?;
        }
    }
    Ok(due.len() == WAITING_MESSAGES as usize)
}

/// The domain that has been due the longest, or will be due first, except those in `except`.
fn longest_due(tx: &WriteTransaction<'_>, except: &[Domain]) -> Result<Option<(RawText, i64)>> {
    if except.is_empty() {
        let first = "SELECT domain, next_attempt_at_ms FROM queue
             WHERE quarantined_at_ms IS NULL AND held_at_ms IS NULL ORDER BY next_attempt_at_ms LIMIT 1";
        let mut statement = tx.connection.prepare_cached(first)?;
        return Ok(statement.query_row([], |row| Ok((row.get(0)?, row.get(1)?))).optional()?);
    }
    // From domain to domain, two steps each: the domains that are left out are the ones with a long queue.
    let mut statement = tx.connection.prepare_cached(
        "WITH RECURSIVE domains (domain) AS (
             SELECT MIN(domain) FROM queue WHERE quarantined_at_ms IS NULL AND held_at_ms IS NULL
             UNION ALL
             SELECT (
                 SELECT MIN(domain) FROM queue
                 WHERE quarantined_at_ms IS NULL AND held_at_ms IS NULL AND domain > domains.domain
             )
             FROM domains WHERE domain IS NOT NULL
         )
         SELECT domain, (
             SELECT MIN(next_attempt_at_ms) FROM queue
             WHERE quarantined_at_ms IS NULL AND held_at_ms IS NULL AND queue.domain = domains.domain
         ) AS due_at_ms
         FROM domains WHERE domain IS NOT NULL AND domain NOT IN (SELECT value FROM json_each(?1))
         ORDER BY due_at_ms LIMIT 1",
    )?;
    // A domain has no character that JSON would have to escape, and SQLite takes a list in no other way.
    let except = format!("[{}]", except.iter().map(|domain| format!("\"{domain}\"")).collect::<Vec<_>>().join(","));
    Ok(statement.query_row([except], |row| Ok((row.get(0)?, row.get(1)?))).optional()?)
}

/// Up to `limit` messages that are due for the lease's domain, those first that have been due the longest.
fn due_messages(tx: &WriteTransaction<'_>, lease: &Lease<'_>, limit: u32) -> Result<Vec<i64>> {
    let mut statement = tx.connection.prepare_cached(
        "SELECT message_id FROM queue
         WHERE domain = ?1 AND next_attempt_at_ms <= ?2 AND quarantined_at_ms IS NULL AND held_at_ms IS NULL
         ORDER BY next_attempt_at_ms, message_id",
    )?;
    let mut messages = Vec::new();
    let mut rows = statement.query(params![lease.domain, lease.now_ms])?;
    while messages.len() < limit.max(1) as usize
        && let Some(row) = rows.next()?
    {
        let message = row.get(0)?;
        // The recipients of one message mostly stand together; where not, claiming twice finds nothing.
        if messages.last() != Some(&message) {
            messages.push(message);
        }
    }
    Ok(messages)
}

/// Leases the due recipients of one message; `None` when none is left that can be decoded.
fn claim_message(tx: &mut WriteTransaction<'_>, lease: &Lease<'_>, message: i64) -> Result<Option<ClaimedMessage>> {
    let Some(mut claimed) = envelope(tx, lease, message)? else { return Ok(None) };
    let mut statement = tx.connection.prepare_cached(TAKE_RECIPIENTS)?;
    let rows = statement
        .query_map(params![lease.name, lease.ends_at_ms, message, lease.domain, lease.now_ms], |row| {
            Ok((row.get::<_, RawText>(0)?, claimed_recipient(row)))
        })?;
    for (recipient, claimed_recipient) in collect(rows)? {
        match claimed_recipient {
            Ok(found) if lease.domain.parse().as_ref() == Some(found.mailbox.domain()) => {
                claimed.recipients.push(found);
            }
            _ => quarantine::queue_entry(tx, message, &recipient, "a recipient that cannot be decoded")?,
        }
    }
    claimed.recipients.sort_by(|one, other| one.mailbox.cmp(&other.mailbox));
    Ok(Some(claimed).filter(|claimed| !claimed.recipients.is_empty()))
}

/// Settles those recipients of a claimed message that the store itself sees to, and returns whether there were any. The
/// others remain, with the reason.
fn settle_local(
    tx: &mut WriteTransaction<'_>,
    lease: &str,
    local: &LocalMail,
    claimed: &mut ClaimedMessage,
) -> Result<bool> {
    let Some(octets) = messages::delivered_octets(tx.connection, claimed.id)? else { return Ok(false) };
    let mut settled = Settled::default();
    let claimed_recipients = claimed.recipients.len();
    for mut recipient in std::mem::take(&mut claimed.recipients) {
        let summary = home(tx, local, &recipient.mailbox)?;
        let said = queue::last_reply(tx.connection, key(claimed.id), &recipient.mailbox)?;
        match local.plan(&Waiting::new(claimed, &recipient, summary.as_ref(), octets, &said)) {
            Plan::Settle(outcome) => {
                let into = summary.map_or_else(|| recipient.mailbox.clone(), |summary| summary.address);
                let outcome = RecipientOutcome { recipient: recipient.mailbox, outcome };
                settled.add(&outcome.recipient, settle_into(tx, lease, claimed.id, &outcome, &into)?);
            }
            Plan::Report(reply) => {
                recipient.said_by_store = Some(reply);
                claimed.recipients.push(recipient);
            }
        }
    }
    tx.events.settled(key(claimed.id), settled);
    Ok(claimed.recipients.len() < claimed_recipients)
}

/// The mailbox that a recipient means, which a newcomer gets now.
fn home(tx: &mut WriteTransaction<'_>, local: &LocalMail, recipient: &Mailbox) -> Result<Option<MailboxSummary>> {
    let mailbox = match local.home(recipient, &aliases::look_up(tx.connection, local.rules, recipient)?) {
        Home::Known(mailbox) => mailbox,
        Home::New(account) => {
            let Some(newcomers) = &local.newcomers else { return Ok(None) };
            accounts::add(tx, &account, &newcomers.password)?;
            tx.effects.admitted.push(account.address.clone());
            account.address
        }
        Home::Nobody => return Ok(None),
    };
    accounts::mailbox(tx.connection, mailbox).map(Some)
}

/// A row of [`TAKE_RECIPIENTS`].
fn claimed_recipient(row: &Row<'_>) -> rusqlite::Result<ClaimedRecipient> {
    let (Parsed(mailbox), Natural(attempts)) = (row.get(0)?, row.get(1)?);
    let recipient = Recipient { mailbox, original: parsed(row, 2)?, notify: parsed(row, 3)? };
    let (via, said) = (parsed(row, 4)?, row.get::<_, RawText>(5)?.to_string());
    let said_by_store = Some(said).filter(|said| is_final(said));
    let delay_told = Some(row.get::<_, Option<bool>>(6)?.unwrap_or(false));
    Ok(ClaimedRecipient { via, said_by_store, delay_told, ..ClaimedRecipient::new(recipient, attempts) })
}

/// The message to be claimed, without recipients yet. One that cannot be read is quarantined.
fn envelope(tx: &mut WriteTransaction<'_>, lease: &Lease<'_>, message: i64) -> Result<Option<ClaimedMessage>> {
    let mut statement = tx.connection.prepare_cached(
        "SELECT id, reverse_path, octets, received_at_ms, body_file, body IS NULL,
             identity, body_type, smtputf8, ret, envid, requiretls, submitter
         FROM messages WHERE id = ?1",
    )?;
    let now = tx.now();
    let found = statement.query_row([message], |row| {
        decode(row, |row| {
            let (Parsed(reverse_path), Natural(octets), Moment(received_at)) = (row.get(1)?, row.get(2)?, row.get(3)?);
            let (id, (_, parameters)) = (id(row.get(0)?), parameters(row, 6)?);
            let queued = Queued { id, reverse_path, octets, received_at, parameters };
            Ok((queued.claimed(Vec::new(), now), row.get::<_, Option<String>>(4)?, row.get::<_, bool>(5)?))
        })
    });
    let reason = match found.optional()? {
        None => "queued, but not among the messages".to_owned(),
        Some(Err(undecodable)) => undecodable.reason,
        Some(Ok((_, Some(file), _))) if !tx.bodies.contains(&file) => format!("its body {file} is missing"),
        Some(Ok((_, None, true))) => "it has no body".to_owned(),
        Some(Ok(_)) if lease.domain.parse::<Domain>().is_none() => format!("no domain: {}", lease.domain),
        Some(Ok((claimed, ..))) => return Ok(Some(claimed)),
    };
    quarantine::message(tx, message, &reason)?;
    Ok(None)
}

pub(super) fn renew(tx: &mut WriteTransaction<'_>, lease: &str, duration: Duration) -> Result<()> {
    let ends_at_ms = later_ms(tx.now().as_millisecond(), duration);
    let entries = tx
        .connection
        .prepare_cached("UPDATE queue SET next_attempt_at_ms = ?2 WHERE lease = ?1")?
        .execute(params![lease, ends_at_ms])?;
    if entries > 0 { Ok(()) } else { Err(StoreError::LeaseLost) }
}

/// Settles with a failure message's body, if there is one, and as in [`submit`].
pub(super) fn settle(
    tx: &mut WriteTransaction<'_>,
    lease: &str,
    settlement: &Settlement,
    failure_message: ReceivedBody,
    ways: Ways,
) -> Result<()> {
    let mut settled = Settled::default();
    for outcome in &settlement.outcomes {
        let kind = settle_recipient(tx, lease, settlement.message, outcome, ways.rules)?;
        settled.add(&outcome.recipient, kind);
    }
    tx.events.settled(key(settlement.message), settled);
    if let Some(submission) = &settlement.failure_message {
        let report = submit(tx, submission, failure_message, ways)?;
        tx.events.push(key(settlement.message), told(&settlement.outcomes, report.id));
    }
    release(tx, key(settlement.message))
}

/// Settles a recipient as a gateway says; returns what is to be told of it.
fn settle_recipient(
    tx: &mut WriteTransaction<'_>,
    lease: &str,
    message: MessageId,
    settled: &RecipientOutcome,
    rules: AddressRules,
) -> Result<EventKind> {
    let recipient = &settled.recipient;
    let Some(deferred) = without_mailbox(settled) else { return settle_into(tx, lease, message, settled, recipient) };
    match aliases::look_up(tx.connection, rules, recipient)?.mailbox {
        Some(into) => settle_into(tx, lease, message, settled, &into),
        None => settle_into(tx, lease, message, &deferred, recipient),
    }
}

/// Settles a recipient whose mail goes into this mailbox; returns what is to be told of it.
fn settle_into(
    tx: &mut WriteTransaction<'_>,
    lease: &str,
    message: MessageId,
    settled: &RecipientOutcome,
    into: &Mailbox,
) -> Result<EventKind> {
    let recipient = settled.recipient.to_string();
    let Decision { change, event } = decide(&settled.outcome, tx.now());
    let entries = match &change {
        QueueChange::Remove => tx
            .connection
            .prepare_cached("DELETE FROM queue WHERE message_id = ?1 AND recipient = ?2 AND lease = ?3")?
            .execute(params![key(message), recipient, lease])?,
        QueueChange::Postpone { next_attempt_at_ms, reply, untried, delay_told } => tx
            .connection
            .prepare_cached(
                "UPDATE queue SET lease = NULL, next_attempt_at_ms = ?4, attempts = MAX(attempts - ?6, 0),
                     last_reply = CASE WHEN last_reply LIKE '2%' OR ?6 AND ?5 = '' THEN last_reply ELSE ?5 END,
                     delay_told = CASE WHEN ?7 THEN TRUE ELSE delay_told END
                 WHERE message_id = ?1 AND recipient = ?2 AND lease = ?3",
            )?
            .execute(params![key(message), recipient, lease, next_attempt_at_ms, reply, untried, delay_told])?,
    };
    if entries == 0 {
        return Err(StoreError::LeaseLost);
    }
    match &settled.outcome {
        Outcome::Finished { .. } => tx.effects.queued -= 1,
        // Only now is it known that the claim holds, and that this outcome is the recipient's first.
        Outcome::DeliverHere { .. } if deliver_here(tx, message, &settled.recipient, into)? => {
            return Ok(EventKind::Delivered { recipients: Vec::new() });
        }
        Outcome::Deferred { .. } | Outcome::DeliverHere { .. } => {}
    }
    Ok(event)
}

/// Puts a queued message into a maildrop after all; returns whether there was room in it. It may be there already, for
/// another spelling of the recipient.
fn deliver_here(
    tx: &mut WriteTransaction<'_>,
    message: MessageId,
    recipient: &Mailbox,
    into: &Mailbox,
) -> Result<bool> {
    if maildrop::is_hidden(tx.connection, &into.to_string(), key(message))? {
        // It would go with what was deleted around it. Later there is room for it.
        return Ok(false);
    }
    let found = messages::delivered_octets(tx.connection, message)?;
    let is_there = maildrop::has(tx.connection, &into.to_string(), key(message))?;
    let is_delivered = is_there || found.map_or(Ok(false), |octets| deliver(tx, message, into, octets))?;
    if is_delivered && !is_reported(tx, message, recipient)? {
        tx.connection
            .prepare_cached("DELETE FROM queue WHERE message_id = ?1 AND recipient = ?2")?
            .execute(params![key(message), recipient.to_string()])?;
        tx.effects.queued -= 1;
    }
    Ok(is_delivered)
}

/// Whether the sender wants to know that this recipient has got the message. It waits in the queue for the report then.
fn is_reported(tx: &mut WriteTransaction<'_>, message: MessageId, recipient: &Mailbox) -> Result<bool> {
    let now_ms = tx.now().as_millisecond();
    let entries = tx
        .connection
        .prepare_cached(
            "UPDATE queue SET lease = NULL, next_attempt_at_ms = ?3, last_reply = ?4
             WHERE message_id = ?1 AND recipient = ?2 AND notify LIKE '%SUCCESS%'",
        )?
        .execute(params![key(message), recipient.to_string(), now_ms, DELIVERED])?;
    tx.effects.queue_changed |= entries > 0;
    Ok(entries > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::Connection;

    #[test]
    fn recipients_are_taken_without_a_look_at_the_rest_of_the_queue() {
        let directory = tempfile::tempdir().unwrap();
        let connection: Connection = super::super::database::open(&directory.path().join("store.db")).unwrap();
        let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {TAKE_RECIPIENTS}")).unwrap();
        let plan: String = statement.query_row(params![1, 1, 1, 1, 1], |row| row.get("detail")).unwrap();
        assert_eq!(plan, "SEARCH queue USING PRIMARY KEY (message_id=?)");
    }
}
