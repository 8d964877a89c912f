//! Leases on the outbound queue. Whoever claims takes what nobody else is claiming at the moment, and waits for nobody.

use super::{
    accounts, aliases,
    database::Transaction,
    failure::Failure,
    messages,
    pool::Parameters,
    quarantine, queue,
    submit::{Arrival, Incoming, deliver_here, hold, release, submit},
    values::{Natural, Parsed, parsed},
};
use crate::store::{
    Abilities, ClaimOutcome, LocalMail, StoreError,
    aliases::Directory,
    events::{self, Settled},
    plan::{
        abilities::{LOOKS_PAST_WITHHELD, withheld},
        claim::Queued,
        local::{Home, Plan, WAITING_MESSAGES, Waiting, left_to_gateway, without_mailbox},
        moments::later_ms,
        outcome::{Decision, QueueChange, decide, told},
    },
    records::{id, key},
};
use futures_util::future::try_join_all;
use internal_api::{
    Claim, ClaimedMessage, ClaimedRecipient, EventKind, MailboxSummary, Outcome, RecipientOutcome, Settlement,
    reports::{DELIVERED, is_final},
};
use jiff::Timestamp;
use mail_proto::{AddressRules, Domain, Mailbox, smtp::Recipient};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tokio_postgres::Row;

/// How often to look for further messages, when those found have more than one recipient each.
const LOOKS: u32 = 8;
/// How many statements travel together at most.
const TOGETHER: usize = 500;

/// The entry that has been due the longest, or will be due first, from a time on.
pub(super) const FIRST_DUE: &str = "SELECT domain, next_attempt_at_ms FROM queue
     WHERE quarantined_at_ms IS NULL AND held_at_ms IS NULL AND next_attempt_at_ms >= $1
     ORDER BY next_attempt_at_ms LIMIT 1";

/// The same without the domains in `$1`. Goes from domain to domain, one step in the index each: the domains that are
/// left out are the ones with a long queue.
pub(super) const FIRST_DUE_EXCEPT: &str = "WITH RECURSIVE heads (domain, next_attempt_at_ms) AS (
         (SELECT domain, next_attempt_at_ms FROM queue
             WHERE quarantined_at_ms IS NULL AND held_at_ms IS NULL ORDER BY domain, next_attempt_at_ms LIMIT 1)
         UNION ALL
         SELECT head.domain, head.next_attempt_at_ms FROM heads, LATERAL (
             SELECT queue.domain, queue.next_attempt_at_ms FROM queue
             WHERE quarantined_at_ms IS NULL AND held_at_ms IS NULL AND queue.domain > heads.domain
             ORDER BY queue.domain, queue.next_attempt_at_ms LIMIT 1
         ) AS head
     )
     SELECT domain, next_attempt_at_ms FROM heads WHERE domain <> ALL($1) ORDER BY next_attempt_at_ms LIMIT 1";

/// The messages of a domain that are due, those first that have been due the longest.
pub(super) const DUE_MESSAGES: &str = "SELECT message_id FROM queue
     WHERE domain = $1 AND next_attempt_at_ms BETWEEN $2 AND $3
     AND quarantined_at_ms IS NULL AND held_at_ms IS NULL AND message_id <> ALL($4)
     ORDER BY next_attempt_at_ms, message_id LIMIT $5 FOR UPDATE SKIP LOCKED";

/// A new lease.
struct Lease<'a> {
    name: &'a str,
    domain: &'a str,
    /// Nothing is due earlier.
    floor_ms: i64,
    now_ms: i64,
    ends_at_ms: i64,
}

/// A recipient that was claimed just now.
struct Taken {
    recipient: String,
    /// `None` when it cannot be decoded.
    decoded: Option<ClaimedRecipient>,
}

pub(super) async fn claim(
    tx: &mut Transaction<'_>,
    duration: Duration,
    limit: u32,
    except: &[Domain],
    local: &LocalMail,
    abilities: Abilities,
) -> Result<ClaimOutcome, Failure> {
    let (now_ms, mut looks_in_vain) = (tx.now_ms(), 0);
    // And those of which others are claiming everything, or nothing could be decoded.
    let mut passed: Vec<String> = except.iter().map(|domain| domain.as_str().to_owned()).collect();
    loop {
        let floor_ms = tx.due_floor_ms();
        let Some((domain, due_at_ms)) = longest_due(tx, floor_ms, &passed).await? else {
            return Ok(ClaimOutcome::NothingDue { next_due_at: None });
        };
        if due_at_ms > now_ms {
            let next_due_at = Timestamp::from_millisecond(due_at_ms).ok();
            return Ok(ClaimOutcome::NothingDue { next_due_at });
        }
        let name = uuid::Uuid::new_v4().simple().to_string();
        let ends_at_ms = later_ms(now_ms, duration);
        let lease = Lease { name: &name, domain: &domain, floor_ms, now_ms, ends_at_ms };
        let mut messages = take(tx, &lease, limit).await?;
        let domain_is_local = domain.parse::<Domain>().is_ok_and(|domain| local.is_local(&domain));
        if domain_is_local && !messages.is_empty() {
            for message in &mut messages {
                settle_local(tx, &name, local, message).await?;
            }
            messages.retain(|message| !message.recipients.is_empty());
            if messages.is_empty() {
                // Nobody should wait until the rest of a long queue is looked at.
                return Ok(ClaimOutcome::NothingDue { next_due_at: Some(tx.now()) });
            }
        }
        let has_withheld = withhold(tx, &name, abilities, &mut messages).await?;
        looks_in_vain += u32::from(has_withheld);
        match domain.parse::<Domain>() {
            Ok(domain) if !messages.is_empty() => {
                for message in &messages {
                    tx.events.push(key(message.id), events::claimed(&message.recipients, ends_at_ms));
                }
                return Ok(ClaimOutcome::Claimed(Claim { lease: name, domain, messages }));
            }
            _ if looks_in_vain == LOOKS_PAST_WITHHELD => {
                return Ok(ClaimOutcome::NothingDue { next_due_at: Some(tx.now()) });
            }
            // There may be others behind what is withheld.
            _ if has_withheld => {}
            _ => passed.push(domain),
        }
    }
}

/// Gives those messages back that need more than the gateway can do; returns whether there were any.
async fn withhold(
    tx: &Transaction<'_>,
    lease: &str,
    abilities: Abilities,
    messages: &mut Vec<ClaimedMessage>,
) -> Result<bool, Failure> {
    let needs_more: Vec<_> = messages.extract_if(.., |message| !abilities.suffice_for(message)).collect();
    for message in &needs_more {
        for ClaimedRecipient { mailbox, .. } in &message.recipients {
            let outcome = RecipientOutcome { recipient: mailbox.clone(), outcome: withheld() };
            settle_recipient(tx, lease, key(message.id), &outcome).await?;
        }
    }
    Ok(!needs_more.is_empty())
}

/// Settles due messages of this local domain as [`claim`] does; returns whether there may be more.
pub(super) async fn deliver_waiting(
    tx: &mut Transaction<'_>,
    domain: &str,
    local: &LocalMail,
) -> Result<bool, Failure> {
    let name = uuid::Uuid::new_v4().simple().to_string();
    let (floor_ms, now_ms) = (tx.due_floor_ms(), tx.now_ms());
    // The lease does not outlive the change.
    let lease = Lease { name: &name, domain, floor_ms, now_ms, ends_at_ms: now_ms };
    let messages = take(tx, &lease, WAITING_MESSAGES).await?;
    let is_full = messages.len() == WAITING_MESSAGES as usize;
    for mut message in messages {
        settle_local(tx, &name, local, &mut message).await?;
        for ClaimedRecipient { mailbox: recipient, .. } in message.recipients {
            let outcome = RecipientOutcome { recipient, outcome: left_to_gateway() };
            settle_recipient(tx, &name, key(message.id), &outcome).await?;
        }
    }
    Ok(is_full)
}

/// Settles those recipients of a claimed message that the store itself sees to. The others remain, with the reason.
async fn settle_local(
    tx: &mut Transaction<'_>,
    lease: &str,
    local: &LocalMail,
    claimed: &mut ClaimedMessage,
) -> Result<(), Failure> {
    let message = key(claimed.id);
    let Some(octets) = messages::delivered_octets(tx, message).await? else { return Ok(()) };
    let mut settled = Settled::default();
    let named = claimed.recipients.iter().map(|recipient| &recipient.mailbox).collect();
    let mut directory = aliases::look_up(tx, local.rules, named).await?;
    for mut recipient in std::mem::take(&mut claimed.recipients) {
        let summary = home(tx, local, &mut directory, &recipient.mailbox).await?;
        let said = queue::last_reply(tx, message, &recipient.mailbox).await?;
        match local.plan(&Waiting::new(claimed, &recipient, summary.as_ref(), octets.unsigned_abs(), &said)) {
            Plan::Settle(outcome) => {
                let into = summary.map_or_else(|| recipient.mailbox.clone(), |summary| summary.address);
                let outcome = RecipientOutcome { recipient: recipient.mailbox, outcome };
                let event = match outcome.outcome {
                    Outcome::DeliverHere { .. } => settle_here(tx, lease, message, &outcome, &into).await?,
                    _ => settle_recipient(tx, lease, message, &outcome).await?,
                };
                settled.add(&outcome.recipient, event);
            }
            Plan::Report(reply) => {
                recipient.said_by_store = Some(reply);
                claimed.recipients.push(recipient);
            }
        }
    }
    tx.events.settled(message, settled);
    Ok(())
}

/// The mailbox that a recipient means, which a newcomer gets now.
async fn home(
    tx: &mut Transaction<'_>,
    local: &LocalMail,
    directory: &mut Directory,
    recipient: &Mailbox,
) -> Result<Option<MailboxSummary>, Failure> {
    let mailbox = match local.home(recipient, &directory.entry(recipient)) {
        Home::Known(mailbox) => mailbox,
        Home::New(account) => {
            let Some(newcomers) = &local.newcomers else { return Ok(None) };
            match accounts::add(tx, &account, &newcomers.password).await {
                Ok(()) => tx.effects.admitted.push(account.address.clone()),
                // Another store was faster.
                Err(Failure::Store(StoreError::AccountExists)) => {}
                Err(failure) => return Err(failure),
            }
            directory.add_account(&account.address.to_string());
            account.address
        }
        Home::Nobody => return Ok(None),
    };
    accounts::find(tx, &mailbox).await
}

/// The domain that has been due the longest, or will be due first.
async fn longest_due(tx: &Transaction<'_>, floor_ms: i64, passed: &[String]) -> Result<Option<(String, i64)>, Failure> {
    let row = match passed {
        [] => tx.query_one(FIRST_DUE, &[&floor_ms]).await?,
        passed => tx.query_one(FIRST_DUE_EXCEPT, &[&passed]).await?,
    };
    let found = row.map(|row| Ok::<_, tokio_postgres::Error>((row.try_get(0)?, row.try_get(1)?))).transpose()?;
    if passed.is_empty() {
        tx.raise_due_floor(found.as_ref().map(|(_, due_at_ms)| *due_at_ms));
    }
    Ok(found)
}

/// Leases messages of the lease's domain, by id. Those that cannot be read are quarantined.
async fn take(tx: &mut Transaction<'_>, lease: &Lease<'_>, limit: u32) -> Result<Vec<ClaimedMessage>, Failure> {
    let keys = due_messages(tx, lease, limit).await?;
    let taken = take_recipients(tx, lease, &keys).await?;
    let envelopes = messages::envelopes(tx, &keys).await?;
    let mut claimed = Vec::new();
    for (message, taken) in taken {
        let reason = match messages::required(&envelopes, message) {
            Ok(envelope) if envelope.has_body && lease.domain.parse::<Domain>().is_ok() => {
                let recipients = recipients(tx, lease, message, taken).await?;
                if !recipients.is_empty() {
                    let messages::Envelope { reverse_path, octets, received_at, parameters, .. } = envelope;
                    let queued = Queued { id: id(message), reverse_path, octets, received_at, parameters };
                    claimed.push(queued.claimed(recipients, tx.now()));
                }
                continue;
            }
            Ok(envelope) if !envelope.has_body => "it has no body".to_owned(),
            Ok(_) => format!("no domain: {:?}", lease.domain),
            Err(undecodable) => undecodable.reason,
        };
        quarantine::message(tx, message, Some(lease.name), &reason).await?;
    }
    Ok(claimed)
}

/// Up to `limit` messages that are due, those first that have been due the longest. One recipient of each is locked.
async fn due_messages(tx: &Transaction<'_>, lease: &Lease<'_>, limit: u32) -> Result<Vec<i64>, Failure> {
    let (mut messages, limit): (Vec<i64>, _) = (Vec::new(), limit.max(1) as usize);
    for _ in 0..LOOKS {
        let wanted = limit - messages.len();
        let parameters: Parameters<'_> = &[&lease.domain, &lease.floor_ms, &lease.now_ms, &messages, &(wanted as i64)];
        let found = tx.query(DUE_MESSAGES, parameters).await?;
        for row in &found {
            let message = row.try_get(0)?;
            if !messages.contains(&message) {
                messages.push(message);
            }
        }
        if found.len() < wanted || messages.len() == limit {
            break;
        }
    }
    Ok(messages)
}

/// Leases the due recipients of these messages, but those that another is claiming.
async fn take_recipients(
    tx: &Transaction<'_>,
    lease: &Lease<'_>,
    messages: &[i64],
) -> Result<BTreeMap<i64, Vec<Taken>>, Failure> {
    // First locked and then updated, because an update would wait for who is claiming them.
    let select = "SELECT message_id, recipient FROM queue
         WHERE domain = $1 AND next_attempt_at_ms <= $2 AND quarantined_at_ms IS NULL AND held_at_ms IS NULL
         AND message_id = ANY($3)
         FOR UPDATE SKIP LOCKED";
    let (mut keys, mut recipients): (Vec<i64>, Vec<String>) = (Vec::new(), Vec::new());
    for row in tx.query(select, &[&lease.domain, &lease.now_ms, &messages]).await? {
        keys.push(row.try_get(0)?);
        recipients.push(row.try_get(1)?);
    }
    let update = "UPDATE queue SET lease = $1, attempts = attempts + 1, next_attempt_at_ms = $2
         FROM unnest($4::bigint[], $5::text[]) AS taken (message_id, recipient)
         WHERE queue.domain = $3 AND queue.message_id = taken.message_id AND queue.recipient = taken.recipient
         RETURNING queue.message_id, queue.recipient, attempts, original_recipient, notify, via, last_reply,
             delay_told";
    let rows = tx.query(update, &[&lease.name, &lease.ends_at_ms, &lease.domain, &keys, &recipients]).await?;
    let mut taken: BTreeMap<i64, Vec<Taken>> = BTreeMap::new();
    for row in rows {
        let recipient = Taken { recipient: row.try_get(1)?, decoded: claimed_recipient(&row).ok() };
        taken.entry(row.try_get(0)?).or_default().push(recipient);
    }
    Ok(taken)
}

/// A row that [`take_recipients`] returns.
fn claimed_recipient(row: &Row) -> Result<ClaimedRecipient, tokio_postgres::Error> {
    let (Parsed(mailbox), Natural(attempts)) = (row.try_get(1)?, row.try_get(2)?);
    let recipient = Recipient { mailbox, original: parsed(row, 3)?, notify: parsed(row, 4)? };
    let said_by_store = Some(row.try_get::<_, String>(6)?).filter(|said| is_final(said));
    let delay_told = Some(row.try_get::<_, Option<bool>>(7)?.unwrap_or(false));
    Ok(ClaimedRecipient {
        via: parsed(row, 5)?,
        said_by_store,
        delay_told,
        ..ClaimedRecipient::new(recipient, attempts)
    })
}

/// Those of the recipients that can be decoded. The others are quarantined.
async fn recipients(
    tx: &mut Transaction<'_>,
    lease: &Lease<'_>,
    message: i64,
    taken: Vec<Taken>,
) -> Result<Vec<ClaimedRecipient>, Failure> {
    let mut recipients = Vec::with_capacity(taken.len());
    for Taken { recipient, decoded } in taken {
        match decoded {
            Some(decoded) if decoded.mailbox.domain().as_str() == lease.domain => recipients.push(decoded),
            _ => quarantine::queue_entry(tx, lease.domain, message, &recipient).await?,
        }
    }
    recipients.sort_by(|one, other| one.mailbox.cmp(&other.mailbox));
    Ok(recipients)
}

pub(super) async fn renew(tx: &mut Transaction<'_>, lease: &str, duration: Duration) -> Result<(), Failure> {
    let ends_at_ms = later_ms(tx.now_ms(), duration);
    let update = "UPDATE queue SET next_attempt_at_ms = $2 WHERE lease = $1";
    if tx.execute(update, &[&lease, &ends_at_ms]).await? > 0 { Ok(()) } else { Err(StoreError::LeaseLost.into()) }
}

/// Settles, with a failure message if there is one.
pub(super) async fn settle(
    tx: &mut Transaction<'_>,
    lease: &str,
    settlement: &Settlement,
    failure_message: &[Incoming],
    rules: AddressRules,
) -> Result<(), Failure> {
    let message = key(settlement.message);
    let mut finished = 0;
    let is_local = |settled: &&RecipientOutcome| matches!(settled.outcome, Outcome::DeliverHere { .. });
    let (local, remote): (Vec<_>, Vec<_>) = settlement.outcomes.iter().partition(is_local);
    let mut settled = Settled::default();
    for outcomes in remote.chunks(TOGETHER) {
        let tx = &*tx;
        let settling = outcomes.iter().map(|outcome| settle_recipient(tx, lease, message, outcome));
        for (outcome, event) in outcomes.iter().zip(try_join_all(settling).await?) {
            finished += i64::from(matches!(outcome.outcome, Outcome::Finished { .. }));
            settled.add(&outcome.recipient, event);
        }
    }
    tx.effects.queued -= finished;
    if finished > 0 {
        release(tx, &BTreeSet::from([message]), finished).await?;
    }
    for outcome in local {
        let recipient = &outcome.recipient;
        let mailbox = aliases::look_up(tx, rules, BTreeSet::from([recipient])).await?.entry(recipient).mailbox;
        let event = match (mailbox, without_mailbox(outcome)) {
            (Some(into), _) => settle_here(tx, lease, message, outcome, &into).await?,
            (None, Some(deferred)) => settle_recipient(tx, lease, message, &deferred).await?,
            (None, None) => settle_recipient(tx, lease, message, outcome).await?,
        };
        settled.add(recipient, event);
    }
    tx.events.settled(message, settled);
    if let Some(report) = submit(tx, failure_message).await?.first() {
        tx.events.push(message, told(&settlement.outcomes, report.id));
    }
    Ok(())
}

/// Delivers to a recipient here, into this mailbox; the maildrop holds the message from then on instead of the queue. Returns what is to be
/// told of the recipient.
async fn settle_here(
    tx: &mut Transaction<'_>,
    lease: &str,
    message: i64,
    settled: &RecipientOutcome,
    into: &Mailbox,
) -> Result<EventKind, Failure> {
    // While it is deferred for the time being, nobody else delivers it.
    let deferred = settle_recipient(tx, lease, message, settled).await?;
    let arrival = deliver_here(tx, message, into).await?;
    if let Arrival::NoRoom = arrival {
        return Ok(deferred);
    }
    // The maildrop takes the place of the queue, unless it has one already.
    let is_new = matches!(arrival, Arrival::Now);
    let (domain, recipient) = (settled.recipient.domain().as_str(), settled.recipient.to_string());
    // The sender may want to know. Then the recipient waits in the queue for the report.
    let report = "UPDATE queue SET lease = NULL, next_attempt_at_ms = $4, last_reply = $5
         WHERE domain = $1 AND message_id = $2 AND recipient = $3 AND notify LIKE '%SUCCESS%'";
    if tx.execute(report, &[&domain, &message, &recipient, &tx.now_ms(), &DELIVERED]).await? > 0 {
        if is_new {
            hold(tx, &[message]).await?;
        }
        tx.effects.queue_changed = true;
    } else {
        let delete = "DELETE FROM queue WHERE domain = $1 AND message_id = $2 AND recipient = $3";
        tx.execute(delete, &[&domain, &message, &recipient]).await?;
        tx.effects.queued -= 1;
        if !is_new {
            release(tx, &BTreeSet::from([message]), 1).await?;
        }
    }
    Ok(EventKind::Delivered { recipients: Vec::new() })
}

/// Returns what is to be told of the recipient.
async fn settle_recipient(
    tx: &Transaction<'_>,
    lease: &str,
    message: i64,
    settled: &RecipientOutcome,
) -> Result<EventKind, Failure> {
    let (domain, recipient) = (settled.recipient.domain().as_str(), settled.recipient.to_string());
    let Decision { change, event } = decide(&settled.outcome, tx.now());
    let entries = match change {
        QueueChange::Remove => {
            let delete = "DELETE FROM queue WHERE domain = $1 AND message_id = $2 AND recipient = $3 AND lease = $4";
            tx.execute(delete, &[&domain, &message, &recipient, &lease]).await?
        }
        QueueChange::Postpone { next_attempt_at_ms, reply, untried, delay_told } => {
            let update = "UPDATE queue SET lease = NULL, next_attempt_at_ms = $5,
                     attempts = CASE WHEN $7 THEN GREATEST(attempts - 1, 0) ELSE attempts END,
                     last_reply = CASE WHEN last_reply LIKE '2%' OR $7 AND $6 = '' THEN last_reply ELSE $6 END,
                     delay_told = CASE WHEN $8 THEN TRUE ELSE delay_told END
                 WHERE domain = $1 AND message_id = $2 AND recipient = $3 AND lease = $4";
            let parameters: Parameters<'_> =
                &[&domain, &message, &recipient, &lease, &next_attempt_at_ms, &reply, &untried, &delay_told];
            tx.execute(update, parameters).await?
        }
    };
    if entries > 0 { Ok(event) } else { Err(StoreError::LeaseLost.into()) }
}
