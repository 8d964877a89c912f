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

/// The run of the process that has given a cursor; `None` where the cursor has another form.
pub(super) fn run_of(cursor: &str) -> Option<u64> {
    u64::from_str_radix(cursor.split_once('-')?.0, 16).ok()
}

/// The trace of a process, and how far it was followed.
#[derive(Debug, Clone)]
pub(super) struct FollowedTrace {
    pub(super) service: Service,
    pub(super) client: RecordsClient,
    /// The cursor behind what is in the index.
    pub(super) applied: watch::Receiver<Option<String>>,
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
    /// Waits until nothing comes after what is in the index. Not all that is numbered is told, so that the number of the last
    /// record says nothing.
    async fn caught_up(&self) -> Option<()> {
        let mut applied = self.applied.clone();
        loop {
            let cursor = applied.wait_for(Option::is_some).await.ok()?.clone();
            applied.mark_unchanged();
            let page = self.client.trace(cursor.as_deref(), Duration::ZERO).await.ok()?;
            if !page.recording {
                // What is not recorded is not known.
                return None;
            }
            if page.records.is_empty() {
                return Some(());
            }
            // It may have been applied since.
            if *applied.borrow() == cursor {
                applied.changed().await.ok()?;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_tells_its_run() {
        assert_eq!([run_of("a-10"), run_of("latest"), run_of("x-1")], [Some(10), None, None]);
    }
}
