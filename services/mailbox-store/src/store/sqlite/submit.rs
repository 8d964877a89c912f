//! Submission: delivery and queueing in one change. And its reverse: removing a message that nothing holds.

use super::{
    accounts, aliases,
    bodies::{ReceivedBody, ReceivedContent},
    values::{column, id, key},
    writer::WriteTransaction,
};
use crate::store::{
    Result, Submitted,
    plan::{
        expansion::{Expanded, Expansion},
        holders,
        placement::{Room, delivered_octets, place},
    },
    records::ParameterColumns,
};
use internal_api::{MessageId, Submission};
use mail_proto::{AddressRules, Mailbox, smtp::Recipient};
use rusqlite::{Connection, OptionalExtension, params};

/// How a store treats new messages.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ways {
    /// Whether maildrops hold them with a `Return-Path:` line before them.
    pub(super) adds_return_path: bool,
    pub(super) rules: AddressRules,
}

/// Stores a message, unless it is the repeat of one.
pub(super) fn submit(
    tx: &mut WriteTransaction<'_>,
    submission: &Submission,
    mut body: ReceivedBody,
    ways: Ways,
) -> Result<Submitted> {
    let Ways { adds_return_path, rules } = ways;
    if let Some(id) = earlier(tx, &submission.transaction)? {
        return Ok(Submitted { id, repeated: true });
    }
    let id = tx.next_id();
    let (octets, delivered_to) = (body.octets(), std::mem::take(&mut body.delivered_to));
    tx.connection
        .prepare_cached("INSERT INTO submissions (message_id, transaction_id) VALUES (?1, ?2)")?
        .execute(params![key(id), submission.transaction])?;
    insert(tx, id, submission, body, adds_return_path)?;
    let delivered_octets = delivered_octets(octets, adds_return_path, &submission.reverse_path);
    let recipients = expand(tx.connection, rules, &submission.recipients, &delivered_to)?;
    let placement = place(&recipients, |recipient| room(tx.connection, recipient, delivered_octets))?;
    for recipient in &placement.here {
        insert_delivery(tx, id, recipient, delivered_octets)?;
    }
    for (expanded, reply) in placement.queued.iter().chain(&placement.reported) {
        enqueue(tx, id, expanded, reply)?;
    }
    tx.events.accepted(key(id), &submission.reverse_path, octets, &placement);
    tx.effects.submitted += 1;
    Ok(Submitted { id, repeated: false })
}

/// The recipients of a submission once its aliases are expanded, by address.
fn expand(
    connection: &Connection,
    rules: AddressRules,
    recipients: &[Recipient],
    delivered_to: &[Mailbox],
) -> Result<Vec<Expanded>> {
    let mut expansion = Expansion::new(recipients, delivered_to);
    while !expansion.unknown().is_empty() {
        expansion.answer(|address| aliases::look_up(connection, rules, address))?;
    }
    Ok(expansion.recipients())
}

/// The message of an earlier submission of this name.
pub(super) fn earlier(tx: &WriteTransaction<'_>, transaction: &str) -> Result<Option<MessageId>> {
    let mut statement = tx.connection.prepare_cached("SELECT message_id FROM submissions WHERE transaction_id = ?1")?;
    Ok(statement.query_row([transaction], |row| row.get(0)).optional()?.map(id))
}

fn insert(
    tx: &mut WriteTransaction<'_>,
    id: MessageId,
    submission: &Submission,
    body: ReceivedBody,
    adds_return_path: bool,
) -> Result<()> {
    let octets = column(body.octets());
    let received_at_ms = tx.now().as_millisecond();
    let ReceivedBody { content, checksum, .. } = body;
    let ParameterColumns { identity, body_type, smtputf8, ret, envid, requiretls, submitter } = submission.into();
    let (file, memory) = match &content {
        ReceivedContent::Memory(octets) => (None, Some(&octets[..])),
        ReceivedContent::File(file) => (Some(&file.name), None),
    };
    tx.connection
        .prepare_cached(
            "INSERT INTO messages
                 (id, reverse_path, octets, received_at_ms, adds_return_path, body_file, body, checksum,
                  identity, body_type, smtputf8, ret, envid, requiretls, submitter)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
        )?
        .execute(params![
            key(id),
            submission.reverse_path.to_string(),
            octets,
            received_at_ms,
            adds_return_path,
            file,
            memory,
            checksum.to_bytes(),
            identity,
            body_type,
            smtputf8,
            ret,
            envid,
            requiretls,
            submitter
        ])?;
    if let ReceivedContent::File(file) = content {
        tx.effects.kept_files.push(file);
    }
    Ok(())
}

/// Puts a message into a recipient's maildrop; returns whether there is one, with room in it.
pub(super) fn deliver(tx: &mut WriteTransaction<'_>, id: MessageId, recipient: &Mailbox, octets: u64) -> Result<bool> {
    let is_counted = accounts::count_in(tx.connection, &recipient.to_string(), octets)?;
    if is_counted {
        insert_delivery(tx, id, recipient, octets)?;
    }
    Ok(is_counted)
}

/// Counts a message into a recipient's mailbox if there is room, and else says why not.
fn room(connection: &Connection, recipient: &Mailbox, octets: u64) -> Result<Room> {
    let address = recipient.to_string();
    Ok(if accounts::count_in(connection, &address, octets)? {
        Room::Found
    } else if accounts::exists(connection, &address)? {
        Room::Full
    } else {
        Room::Elsewhere
    })
}

/// Puts a message into the maildrop of a mailbox that it is counted into.
fn insert_delivery(tx: &mut WriteTransaction<'_>, id: MessageId, recipient: &Mailbox, octets: u64) -> Result<()> {
    tx.connection
        .prepare_cached("INSERT INTO deliveries (address, message_id, octets) VALUES (?1, ?2, ?3)")?
        .execute(params![recipient.to_string(), key(id), column(octets)])?;
    tx.effects.delivered += 1;
    Ok(())
}

fn enqueue(tx: &mut WriteTransaction<'_>, id: MessageId, expanded: &Expanded, reply: &str) -> Result<()> {
    let Expanded { recipient: Recipient { mailbox, original, notify }, via, .. } = expanded;
    let due_at_ms = tx.now().as_millisecond();
    tx.connection
        .prepare_cached(
            "INSERT INTO queue (message_id, recipient, domain, attempts, next_attempt_at_ms, last_reply,
                 original_recipient, notify, via)
             VALUES (?1, ?2, ?3, 0, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![
            key(id),
            mailbox.to_string(),
            mailbox.domain().as_str(),
            due_at_ms,
            reply,
            original.as_ref().map(ToString::to_string),
            notify.map(|notify| notify.to_string()),
            via.as_ref().map(ToString::to_string)
        ])?;
    tx.effects.queued += 1;
    tx.effects.queue_changed = true;
    Ok(())
}

/// Removes a message that nothing holds any more.
pub(super) fn release(tx: &mut WriteTransaction<'_>, message: i64) -> Result<()> {
    let mut holders = tx.connection.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM deliveries WHERE message_id = ?1)
             + EXISTS (SELECT 1 FROM queue WHERE message_id = ?1)",
    )?;
    if !holders::are_gone(holders.query_row([message], |row| row.get(0))?) {
        return Ok(());
    }
    let mut statement = tx.connection.prepare_cached("DELETE FROM messages WHERE id = ?1 RETURNING body_file")?;
    let files: Vec<Option<String>> = super::values::collect(statement.query_map([message], |row| row.get(0))?)?;
    tx.effects.removed_files.extend(files.into_iter().flatten());
    Ok(())
}
