//! What is changed in the queue, message by message or as a whole.

use super::{find, page};
use crate::{
    client::{NamedStore, told},
    output::NO_OUTPUT,
};
use anyhow::Context;
use futures_util::{StreamExt, stream};
use internal_api::{ApiError, MessageId, ProblemKind, QueueEntry, StoreClient};
use std::{
    collections::BTreeSet,
    io::{self, Write},
};

/// As many messages are changed at once: they are committed together.
const CHANGED_TOGETHER: usize = 16;

/// What is done to single messages.
#[derive(Debug, Clone, Copy)]
pub(super) enum Change {
    Retry,
    Hold,
    Release,
    Remove,
}

impl Change {
    /// Whether it changes a message of which this is a recipient.
    fn concerns(self, entry: &QueueEntry) -> bool {
        match self {
            Self::Hold => !entry.held,
            Self::Release => entry.held,
            Self::Retry | Self::Remove => true,
        }
    }

    /// What is to be said of so many: recipients that are due, or messages.
    fn counted(self, number: u64) -> String {
        let (one, many, what) = match self {
            Self::Retry => ("recipient is", "recipients are", "due now"),
            Self::Hold => ("message is", "messages are", "on hold now"),
            Self::Release => ("message is", "messages are", "released"),
            Self::Remove => ("message is", "messages are", "removed"),
        };
        format!("{number} {} {what}", if number == 1 { one } else { many })
    }

    /// Does it; returns what is to be said of it.
    async fn carry_out(self, client: &StoreClient, id: MessageId) -> Result<&'static str, ApiError> {
        Ok(match self {
            Self::Retry if client.retry_queued(id).await?.entries > 0 => "is due now",
            Self::Retry => "was due already, or is being tried",
            Self::Hold => client.hold_queued(id).await.map(|()| "is on hold")?,
            Self::Release => client.release_queued(id).await.map(|()| "is released")?,
            Self::Remove => client.remove_queued(id).await.map(|()| "is removed")?,
        })
    }
}

/// Does this to each of these messages. One that it cannot be done to does not keep it from the others.
pub(super) async fn each(stores: &[NamedStore], ids: Vec<MessageId>, change: Change) -> anyhow::Result<()> {
    let mut failures = Vec::new();
    for id in ids {
        let changed = async {
            let (store, _) = find(stores, id).await?;
            let server = &store.server;
            let said = change.carry_out(&store.client, id).await.map_err(|error| store.failed(error));
            let said = said.with_context(|| format!("{server}: {id}"))?;
            Ok(format!("{server}: {id} {said}"))
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
        let changed = match change {
            Change::Retry => flush(store, &mut failures).await,
            _ => all_of(store, change, &mut failures).await,
        };
        if let Some(changed) = changed {
            say(&format!("{server}: {}", change.counted(changed)))?;
        }
    }
    told(failures)
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
                Ok(_) => *changed += 1,
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

fn say(line: &str) -> anyhow::Result<()> {
    writeln!(io::stdout(), "{line}").context(NO_OUTPUT)
}
