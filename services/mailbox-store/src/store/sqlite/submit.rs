//! Submission: delivery and queueing in one change. And its reverse, letting go of a message.

use super::{
    accounts,
    bodies::{ReceivedBody, ReceivedContent},
    values::{column, id, key},
    writer::WriteTransaction,
};
use crate::store::{
    Result, Submitted,
    records::{MAILBOX_FULL, return_path},
};
use internal_api::{MessageId, Submission};
use mail_proto::Mailbox;
use rusqlite::{OptionalExtension, params};
use std::collections::BTreeSet;

/// Stores a message, unless it is the repeat of one. With `adds_return_path`, maildrops hold it with a
/// `Return-Path:` line before it.
pub(super) fn submit(
    tx: &mut WriteTransaction<'_>,
    submission: &Submission,
    body: ReceivedBody,
    adds_return_path: bool,
) -> Result<Submitted> {
    if let Some(id) = earlier(tx, &submission.transaction)? {
        return Ok(Submitted { id, repeated: true });
    }
    let id = tx.next_id();
    let octets = body.octets();
    tx.connection
        .prepare_cached("INSERT INTO submissions (message_id, transaction_id) VALUES (?1, ?2)")?
        .execute(params![key(id), submission.transaction])?;
    insert(tx, id, submission, body, adds_return_path)?;
    let delivered_octets = match adds_return_path {
        true => octets + return_path(&submission.reverse_path).len() as u64,
        false => octets,
    };
    // Each once, however often it was named.
    let (mut delivered, mut queued) = (Vec::new(), Vec::new());
    for recipient in submission.recipients.iter().collect::<BTreeSet<_>>() {
        if deliver(tx, id, recipient, delivered_octets)? {
            delivered.push(recipient.clone());
        } else {
            enqueue(tx, id, recipient)?;
            queued.push(recipient.clone());
        }
    }
    tx.events.accepted(key(id), &submission.reverse_path, octets, delivered, queued);
    tx.effects.submitted += 1;
    Ok(Submitted { id, repeated: false })
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
    let ReceivedBody { content, checksum } = body;
    let (file, memory) = match &content {
        ReceivedContent::Memory(octets) => (None, Some(&octets[..])),
        ReceivedContent::File(file) => (Some(&file.name), None),
    };
    tx.connection
        .prepare_cached(
            "INSERT INTO messages
                 (id, reverse_path, octets, received_at_ms, adds_return_path, body_file, body, checksum)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![
            key(id),
            submission.reverse_path.to_string(),
            octets,
            received_at_ms,
            adds_return_path,
            file,
            memory,
            checksum.to_bytes()
        ])?;
    if let ReceivedContent::File(file) = content {
        tx.effects.kept_files.push(file);
    }
    Ok(())
}

/// Puts a message into a recipient's maildrop; returns whether there is one, with room in it.
pub(super) fn deliver(tx: &mut WriteTransaction<'_>, id: MessageId, recipient: &Mailbox, octets: u64) -> Result<bool> {
    let address = recipient.to_string();
    if !accounts::count_in(tx.connection, &address, octets)? {
        return Ok(false);
    }
    tx.connection
        .prepare_cached("INSERT INTO deliveries (address, message_id, octets) VALUES (?1, ?2, ?3)")?
        .execute(params![address, key(id), column(octets)])?;
    tx.effects.delivered += 1;
    Ok(true)
}

fn enqueue(tx: &mut WriteTransaction<'_>, id: MessageId, recipient: &Mailbox) -> Result<()> {
    let due_at_ms = tx.now().as_millisecond();
    tx.connection
        .prepare_cached(
            "INSERT INTO queue (message_id, recipient, domain, attempts, next_attempt_at_ms, last_reply)
             SELECT ?1, ?2, ?3, 0, ?4, iif(EXISTS (SELECT 1 FROM accounts WHERE address = ?2), ?5, '')",
        )?
        .execute(params![key(id), recipient.to_string(), recipient.domain().as_str(), due_at_ms, MAILBOX_FULL])?;
    tx.effects.queued += 1;
    tx.effects.queue_changed = true;
    Ok(())
}

/// Lets go of a message if nothing refers to it any more.
pub(super) fn release(tx: &mut WriteTransaction<'_>, message: i64) -> Result<()> {
    let mut statement = tx.connection.prepare_cached(
        "DELETE FROM messages WHERE id = ?1
         AND NOT EXISTS (SELECT 1 FROM deliveries WHERE message_id = ?1)
         AND NOT EXISTS (SELECT 1 FROM queue WHERE message_id = ?1)
         RETURNING body_file",
    )?;
    let files: Vec<Option<String>> = super::values::collect(statement.query_map([message], |row| row.get(0))?)?;
    tx.effects.removed_files.extend(files.into_iter().flatten());
    Ok(())
}
