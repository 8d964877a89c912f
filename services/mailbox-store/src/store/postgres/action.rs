//! What an operator does to a message of the queue.

use super::{database::Transaction, failure::Failure, submit::release};
use crate::store::{
    QueueAction,
    plan::action::{Change, Standing},
    records::key,
};
use internal_api::MessageId;
use mail_proto::Mailbox;
use std::{collections::BTreeSet, str::FromStr};
use tokio_postgres::Row;

/// Does it; returns how many entries it has changed.
pub(super) async fn act(tx: &mut Transaction<'_>, id: MessageId, action: QueueAction) -> Result<u64, Failure> {
    let message = key(id);
    let now = tx.now();
    let Change { entries, event } = action.plan(standing(tx, message).await?, now)?;
    if entries == 0 {
        return Ok(0);
    }
    let statement = match action {
        QueueAction::Retry => {
            "UPDATE queue SET next_attempt_at_ms = $2
             WHERE message_id = $1 AND quarantined_at_ms IS NULL AND held_at_ms IS NULL
             AND lease IS NULL AND next_attempt_at_ms > $2"
        }
        QueueAction::Hold => {
            "UPDATE queue SET held_at_ms = $2
             WHERE message_id = $1 AND quarantined_at_ms IS NULL AND held_at_ms IS NULL"
        }
        QueueAction::Release => {
            "UPDATE queue SET held_at_ms = NULL, next_attempt_at_ms =
                 CASE WHEN lease IS NOT NULL AND next_attempt_at_ms > $2 THEN next_attempt_at_ms ELSE $2 END
             WHERE message_id = $1 AND quarantined_at_ms IS NULL AND held_at_ms IS NOT NULL"
        }
        QueueAction::Remove => {
            "DELETE FROM queue WHERE message_id = $1 AND quarantined_at_ms IS NULL
             AND (lease IS NULL OR next_attempt_at_ms <= $2)"
        }
    };
    if tx.execute(statement, &[&message, &now.as_millisecond()]).await? != entries {
        // A relay has claimed or settled some of them since. What is to be done is decided anew.
        return Err(Failure::Conflict("the queue entries of a message changed meanwhile"));
    }
    if let Some(event) = event {
        tx.events.push(message, event);
    }
    match action {
        QueueAction::Retry | QueueAction::Release => tx.effects.queue_changed = true,
        QueueAction::Hold => {}
        QueueAction::Remove => {
            tx.effects.queued -= entries as i64;
            release(tx, &BTreeSet::from([message]), entries as i64).await?;
        }
    }
    Ok(entries)
}

/// The entries of a message.
async fn standing(tx: &Transaction<'_>, message: i64) -> Result<Vec<Standing>, Failure> {
    let select = "SELECT recipient, lease IS NOT NULL, next_attempt_at_ms, held_at_ms IS NOT NULL FROM queue
         WHERE message_id = $1 AND quarantined_at_ms IS NULL ORDER BY recipient";
    let standing = |row: &Row| {
        let recipient = Mailbox::from_str(row.try_get(0)?).ok();
        let (has_lease, next_attempt_at_ms, is_held) = (row.try_get(1)?, row.try_get(2)?, row.try_get(3)?);
        Ok(Standing { recipient, has_lease, next_attempt_at_ms, is_held })
    };
    let rows = tx.query(select, &[&message]).await?;
    Ok(rows.iter().map(standing).collect::<Result<_, tokio_postgres::Error>>()?)
}
