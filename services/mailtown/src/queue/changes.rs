//! What is changed in the queue, message by message or as a whole.

use super::{NO_OUTPUT, find, page};
use crate::client::{NamedStore, told};
use anyhow::Context;
use futures_util::{StreamExt, stream};
use internal_api::{ApiError, MessageId, ProblemKind, StoreClient};
use std::{
    collections::BTreeSet,
    io::{self, Write},
};

/// As many messages are removed at once: they are committed together.
const REMOVED_TOGETHER: usize = 16;

/// What is done to single messages.
#[derive(Debug, Clone, Copy)]
pub(super) enum Change {
    Retry,
    Hold,
    Release,
    Remove,
}

impl Change {
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

/// Makes all messages due that are neither on hold nor being tried.
pub(super) async fn flush(stores: &[NamedStore]) -> anyhow::Result<()> {
    let mut failures = Vec::new();
    for store in stores {
        let (server, flushed) = (&store.server, store.client.flush_queue().await);
        match flushed
            .map_err(|error| store.failed(error))
            .with_context(|| format!("{server}: the queue cannot be retried"))
        {
            Ok(flushed) => {
                say(&format!("{server}: {} due now", counted(flushed.entries, "recipient is", "recipients are")))?
            }
            Err(failure) => failures.push(failure),
        }
    }
    told(failures)
}

/// Removes all messages that nobody is trying.
pub(super) async fn remove_all(stores: &[NamedStore]) -> anyhow::Result<()> {
    let mut failures = Vec::new();
    for store in stores {
        let removed = remove_all_of(store, &mut failures).await;
        say(&format!("{}: {} removed", store.server, counted(removed, "message is", "messages are")))?;
    }
    told(failures)
}

/// Removes all messages of one store; returns how many.
async fn remove_all_of(store: &NamedStore, failures: &mut Vec<anyhow::Error>) -> u64 {
    let (mut removed, mut after) = (0, None);
    loop {
        let page = match page(store, after.as_deref()).await {
            Ok(page) => page,
            Err(failure) => {
                failures.push(failure);
                return removed;
            }
        };
        let ids: BTreeSet<_> = page.entries.iter().map(|entry| entry.message).collect();
        let remove = |id| async move { (id, store.client.remove_queued(id).await) };
        let mut removals = stream::iter(ids.into_iter().map(remove)).buffer_unordered(REMOVED_TOGETHER);
        while let Some((id, outcome)) = removals.next().await {
            match outcome {
                Ok(()) => removed += 1,
                // It has left the queue meanwhile, or the rest of it was on the page before.
                Err(error) if error.kind() == Some(ProblemKind::NotQueued) => {}
                Err(error) => {
                    let is_silent = error.is_unanswered();
                    failures.push(store.failed(error).context(format!("{}: {id}", store.server)));
                    if is_silent {
                        return removed;
                    }
                }
            }
        }
        after = page.next_after;
        if after.is_none() {
            return removed;
        }
    }
}

fn say(line: &str) -> anyhow::Result<()> {
    writeln!(io::stdout(), "{line}").context(NO_OUTPUT)
}

fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}
