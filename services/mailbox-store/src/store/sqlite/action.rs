//! What an operator does to a message of the queue.

use super::{
    submit::release,
    values::{RawText, collect, key},
    writer::WriteTransaction,
};
use crate::store::{
    QueueAction, Result, StoreError,
    plan::action::{Change, Standing},
};
use internal_api::{MessageId, reports::GIVEN_UP};
use rusqlite::params;

/// Does it; returns how many entries it has changed.
pub(super) fn act(tx: &mut WriteTransaction<'_>, id: MessageId, action: QueueAction) -> Result<u64> {
    let (message, now) = (key(id), tx.now());
    let now_ms = now.as_millisecond();
    let Change { entries, event } = action.plan(standing(tx, message)?, now)?;
    if entries == 0 {
        return Ok(0);
    }
    let statement = match action {
        QueueAction::Retry => {
            "UPDATE queue SET next_attempt_at_ms = ?2
             WHERE message_id = ?1 AND quarantined_at_ms IS NULL AND held_at_ms IS NULL
             AND lease IS NULL AND next_attempt_at_ms > ?2"
        }
        QueueAction::Hold => {
            "UPDATE queue SET held_at_ms = ?2
             WHERE message_id = ?1 AND quarantined_at_ms IS NULL AND held_at_ms IS NULL"
        }
        QueueAction::Release => {
            "UPDATE queue SET held_at_ms = NULL, next_attempt_at_ms =
                 CASE WHEN lease IS NOT NULL AND next_attempt_at_ms > ?2 THEN next_attempt_at_ms ELSE ?2 END
             WHERE message_id = ?1 AND quarantined_at_ms IS NULL AND held_at_ms IS NOT NULL"
        }
        QueueAction::Remove => {
            "DELETE FROM queue WHERE message_id = ?1 AND quarantined_at_ms IS NULL
             AND (lease IS NULL OR next_attempt_at_ms <= ?2)"
        }
        QueueAction::GiveUp => {
            "UPDATE queue SET held_at_ms = NULL, lease = NULL, next_attempt_at_ms = ?2, last_reply =
                 CASE WHEN last_reply LIKE '2%' THEN last_reply ELSE ?3 END
             WHERE message_id = ?1 AND quarantined_at_ms IS NULL
             AND (lease IS NULL OR next_attempt_at_ms <= ?2)"
        }
    };
    let mut statement = tx.connection.prepare_cached(statement)?;
    let changed = match action {
        QueueAction::GiveUp => statement.execute(params![message, now_ms, GIVEN_UP])?,
        _ => statement.execute(params![message, now_ms])?,
    } as u64;
    if changed != entries {
        return Err(StoreError::Internal(format!("{changed} queue entries were changed instead of {entries}")));
    }
    if let Some(event) = event {
        tx.events.push(message, event);
    }
    match action {
        QueueAction::Retry | QueueAction::Release | QueueAction::GiveUp => tx.effects.queue_changed = true,
        QueueAction::Hold => {}
        QueueAction::Remove => {
            tx.effects.queued -= entries as i64;
            release(tx, message)?;
        }
    }
    Ok(entries)
}

/// The entries of a message.
fn standing(tx: &WriteTransaction<'_>, message: i64) -> Result<Vec<Standing>> {
    let mut statement = tx.connection.prepare_cached(
        "SELECT recipient, lease IS NOT NULL, next_attempt_at_ms, held_at_ms IS NOT NULL FROM queue
         WHERE message_id = ?1 AND quarantined_at_ms IS NULL ORDER BY recipient",
    )?;
    collect(statement.query_map([message], |row| {
        let recipient = row.get::<_, RawText>(0)?.parse();
        let (has_lease, next_attempt_at_ms, is_held) = (row.get(1)?, row.get(2)?, row.get(3)?);
        Ok(Standing { recipient, has_lease, next_attempt_at_ms, is_held })
    })?)
}
