//! What is changed in the queue, message by message or as a whole.

use super::{find, page};
use crate::{
    client::{NamedStore, told},
    output::say,
};
use anyhow::Context;
use futures_util::{StreamExt, stream};
use internal_api::{ApiError, MessageId, ProblemKind, QueueEntry, StoreClient, reports::is_final};
use std::collections::BTreeSet;

/// As many messages are changed at once: they are committed together.
const CHANGED_TOGETHER: usize = 16;

/// What is done to single messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Retry,
    Hold,
    Release,
    GiveUp,
    Remove,
}

impl Change {
    /// Whether it changes a message of which this is a recipient.
    fn concerns(self, entry: &QueueEntry) -> bool {
        match self {
            Self::Retry | Self::Hold => !entry.held,
            Self::Release => entry.held,
            // Of one that was given up already, the sender is about to be told.
            Self::GiveUp => !is_final(&entry.last_reply),
            Self::Remove => true,
        }
    }

    /// What is to be said of so many messages.
    fn counted(self, number: u64) -> String {
        let verb = if number == 1 { "message is" } else { "messages are" };
        let what = match self {
            Self::Retry => "due now",
            Self::Hold => "on hold now",
            Self::Release => "released",
            Self::GiveUp => "given up; senders are told",
            Self::Remove => "removed",
        };
        format!("{number} {verb} {what}")
    }

    /// What is to be said of one message, which this has changed or left as it was.
    fn said(self, has_changed: bool) -> &'static str {
        match (self, has_changed) {
            (Self::Retry, true) => "is due now",
            (Self::Retry, false) => "was due already, or is being tried",
            (Self::Hold, _) => "is on hold",
            (Self::Release, true) => "is released",
            (Self::Release, false) => "was not on hold",
            (Self::GiveUp, _) => "is given up; its sender is told",
            (Self::Remove, _) => "is removed",
        }
    }

    /// Does it; returns whether that has changed anything, where the store tells.
    async fn carry_out(self, client: &StoreClient, id: MessageId) -> Result<bool, ApiError> {
        match self {
            Self::Retry => return Ok(client.retry_queued(id).await?.entries > 0),
            Self::Hold => client.hold_queued(id).await?,
            Self::Release => client.release_queued(id).await?,
            Self::GiveUp => client.give_up_queued(id).await?,
            Self::Remove => client.remove_queued(id).await?,
        }
        Ok(true)
    }
}

/// Does this to each of these messages. One that it cannot be done to does not keep it from the others.
pub(super) async fn each(stores: &[NamedStore], ids: Vec<MessageId>, change: Change) -> anyhow::Result<()> {
    let mut failures = Vec::new();
    for id in ids {
        let changed = async {
            let (store, message) = find(stores, id).await?;
            let server = &store.server;
            if change == Change::Release && !message.held {
                return Ok(format!("{server}: {id} {}", change.said(false)));
            }
            let changed = change.carry_out(&store.client, id).await.map_err(|error| store.failed(error));
            let changed = changed.with_context(|| format!("{server}: {id}"))?;
            Ok(format!("{server}: {id} {}", change.said(changed)))
        };
        match changed.await {
            Ok(said) => say(&said)?,
            Err(failure) => failures.push(failure),
        }
    }
    told(failures)
}

/// Does this to all messages: those that it changes something of, and that nobody is trying.
pub(super) async fn all(stores: &[NamedStore], change: Change) -> anyhow::Result<()> {
    let mut failures = Vec::new();
    for store in stores {
        let server = &store.server;
        let said = match change {
            Change::Retry => flush(store, &mut failures).await.map(recipients_due),
            _ => all_of(store, change, &mut failures).await.map(|changed| change.counted(changed)),
        };
        if let Some(said) = said {
            say(&format!("{server}: {said}"))?;
        }
    }
    told(failures)
}

/// The store makes a whole queue due at once, and counts recipients.
fn recipients_due(number: u64) -> String {
    format!("{number} {} due now", if number == 1 { "recipient is" } else { "recipients are" })
}

/// Makes all messages of one store due that are neither on hold nor being tried; returns for how many recipients.
async fn flush(store: &NamedStore, failures: &mut Vec<anyhow::Error>) -> Option<u64> {
    let flushed = store.client.flush_queue().await.map_err(|error| store.failed(error));
    match flushed.with_context(|| format!("{}: the queue cannot be retried", store.server)) {
        Ok(flushed) => Some(flushed.entries),
        Err(failure) => {
            failures.push(failure);
            None
        }
    }
}

/// Changes all messages of one store; returns how many, unless it cannot be asked at all.
async fn all_of(store: &NamedStore, change: Change, failures: &mut Vec<anyhow::Error>) -> Option<u64> {
    let (mut changed, mut after) = (None, None);
    loop {
        let page = match page(store, after.as_deref()).await {
            Ok(page) => page,
            Err(failure) => {
                failures.push(failure);
                return changed;
            }
        };
        let changed = changed.get_or_insert(0);
        let entries = page.entries.iter().filter(|entry| change.concerns(entry));
        let ids: BTreeSet<_> = entries.map(|entry| entry.message).collect();
        let carry_out = |id| async move { (id, change.carry_out(&store.client, id).await) };
        let mut changes = stream::iter(ids.into_iter().map(carry_out)).buffer_unordered(CHANGED_TOGETHER);
        while let Some((id, outcome)) = changes.next().await {
            match outcome {
                Ok(has_changed) => *changed += u64::from(has_changed),
                // It has left the queue meanwhile, or the rest of it was on the page before.
                Err(error) if error.kind() == Some(ProblemKind::NotQueued) => {}
                Err(error) => {
                    let is_silent = error.is_unanswered();
                    failures.push(store.failed(error).context(format!("{}: {id}", store.server)));
                    if is_silent {
                        return Some(*changed);
                    }
                }
            }
        }
        after = page.next_after;
        if after.is_none() {
            return Some(*changed);
        }
    }
}
