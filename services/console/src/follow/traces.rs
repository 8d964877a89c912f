//! How far the traces of the gateways were followed.

use crate::services::Service;
use futures_util::future::join_all;
use internal_api::RecordsClient;
use mail_net::IoClock;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::watch;

/// How long the records of a gateway are waited for.
const LIMIT: Duration = Duration::from_secs(2);
/// Stands for the position after the last record.
const LATEST: &str = "latest";

/// A position in a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TracePosition {
    /// The run of the process that has recorded it.
    pub(super) run: u64,
    sequence: u64,
}

impl TracePosition {
    /// That of a cursor; `None` where the cursor has another form.
    pub(super) fn of(cursor: &str) -> Option<Self> {
        let (run, sequence) = cursor.split_once('-')?;
        let number = |digits| u64::from_str_radix(digits, 16).ok();
        Some(Self { run: number(run)?, sequence: number(sequence)? })
    }

    fn reaches(self, other: Self) -> bool {
        self.run == other.run && self.sequence >= other.sequence
    }
}

/// The trace of a process, and how far it was followed.
#[derive(Debug, Clone)]
pub(super) struct FollowedTrace {
    pub(super) service: Service,
    pub(super) client: RecordsClient,
    pub(super) applied: watch::Receiver<Option<TracePosition>>,
}

/// The traces that are followed, by URL. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Traces(Arc<Mutex<BTreeMap<String, FollowedTrace>>>);

impl Traces {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, FollowedTrace>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, url: &str, trace: FollowedTrace) {
        self.lock().insert(url.to_owned(), trace);
    }

    pub(super) fn forget(&self, url: &str) {
        self.lock().remove(url);
    }

    /// Waits until the index has what each process of this service has recorded before this call. `false` when it has not,
    /// or when no process is known.
    pub(super) async fn caught_up(&self, service: &Service, io: IoClock) -> bool {
        let followed: Vec<_> = self.lock().values().filter(|trace| trace.service == *service).cloned().collect();
        let reached = join_all(followed.iter().map(|trace| io.timeout(LIMIT, trace.caught_up()))).await;
        !reached.is_empty() && reached.into_iter().all(|reached| reached.ok().flatten().is_some())
    }
}

impl FollowedTrace {
    async fn caught_up(&self) -> Option<()> {
        let page = self.client.trace(Some(LATEST), Duration::ZERO).await.ok()?;
        // What is not recorded is not known.
        let latest = TracePosition::of(&page.next_after).filter(|_| page.recording)?;
        let reached = |applied: &Option<TracePosition>| applied.is_some_and(|applied| applied.reaches(latest));
        self.applied.clone().wait_for(reached).await.ok().map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_reaches_those_before_it_in_its_run() {
        let position = |cursor| TracePosition::of(cursor).unwrap();
        assert!(position("a-10").reaches(position("a-10")) && position("a-10").reaches(position("a-f")));
        assert!(!position("a-10").reaches(position("a-11")) && !position("b-10").reaches(position("a-1")));
        assert_eq!(TracePosition::of("latest"), None);
    }
}
