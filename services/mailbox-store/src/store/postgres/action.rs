//! What an operator does to a message of the queue.

use super::{database::Transaction, failure::Failure, submit::release};
use crate::store::{
    QueueAction,
    plan::action::{Change, Standing},
    records::key,
};
use futures_util::future::try_join_all;
use internal_api::{MessageId, reports::GIVEN_UP};
use mail_proto::Mailbox;
use std::{
    collections::{BTreeMap, BTreeSet},
    str::FromStr,
};
use tokio_postgres::Row;

/// How many statements travel together at most.
const TOGETHER: usize = 500;

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
        QueueAction::GiveUp => {
            "UPDATE queue SET held_at_ms = NULL, lease = NULL, next_attempt_at_ms = $2, last_reply =
                 CASE WHEN last_reply LIKE '2%' THEN last_reply ELSE $3 END
             WHERE message_id = $1 AND quarantined_at_ms IS NULL
             AND (lease IS NULL OR next_attempt_at_ms <= $2)"
        }
    };
    let now_ms = now.as_millisecond();
    let changed = match action {
        QueueAction::GiveUp => tx.execute(statement, &[&message, &now_ms, &GIVEN_UP]).await?,
        _ => tx.execute(statement, &[&message, &now_ms]).await?,
    };
    if changed != entries {
        // Entries may have been added to the message since. What is to be done is decided anew.
        return Err(Failure::Conflict("the queue entries of a message changed meanwhile"));
    }
    if let Some(event) = event {
        tx.events.push(message, event);
    }
    match action {
        QueueAction::Retry | QueueAction::Release | QueueAction::GiveUp => tx.effects.queue_changed = true,
        QueueAction::Hold => {}
        QueueAction::Remove => {
            tx.effects.queued -= entries as i64;
            release(tx, &BTreeSet::from([message]), entries as i64).await?;
        }
    }
    Ok(entries)
}

/// The entries of a message, by recipient. Nobody else changes them until the end. Each domain by itself: rows of several
/// machines cannot be locked at once.
async fn standing(tx: &Transaction<'_>, message: i64) -> Result<Vec<Standing>, Failure> {
    let domains =
        "SELECT DISTINCT domain FROM queue WHERE message_id = $1 AND quarantined_at_ms IS NULL ORDER BY domain";
    let rows = tx.query(domains, &[&message]).await?;
    let domains: Vec<String> = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, tokio_postgres::Error>>()?;
    let select = "SELECT recipient, lease IS NOT NULL, next_attempt_at_ms, held_at_ms IS NOT NULL FROM queue
         WHERE domain = $1 AND message_id = $2 AND quarantined_at_ms IS NULL ORDER BY recipient FOR UPDATE";
    let standing = |row: &Row| {
        let name: String = row.try_get(0)?;
        let (has_lease, next_attempt_at_ms, is_held) = (row.try_get(1)?, row.try_get(2)?, row.try_get(3)?);
        let recipient = Mailbox::from_str(&name).ok();
        Ok((name, Standing { recipient, has_lease, next_attempt_at_ms, is_held }))
    };
    let mut entries: BTreeMap<String, Standing> = BTreeMap::new();
    for some in domains.chunks(TOGETHER) {
        let locking = some.iter().map(|domain| async move { tx.query(select, &[domain, &message]).await });
        for row in try_join_all(locking).await?.iter().flatten() {
            let (name, entry) = standing(row).map_err(|error: tokio_postgres::Error| Failure::from(error))?;
            entries.insert(name, entry);
        }
    }
    Ok(entries.into_values().collect())
}
