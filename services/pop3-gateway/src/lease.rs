//! The lock of a maildrop: a lease, kept as long as its session lives.

use bytes::Bytes;
use internal_api::{ApiError, MaildropEntry, MaildropUpdate, MessageId, ProblemKind, RawMessage, Renewal, StoreClient};
use mail_net::IoClock;
use mail_proto::Mailbox;
use service_kit::telemetry;
use std::time::Duration;
use tokio_util::task::AbortOnDropHandle;

/// How long to wait after a renewal that brought no answer.
const RETRY: Duration = Duration::from_secs(5);
/// For how long after QUIT an update that brings no answer is repeated, and after which pause. The last call takes 30 s
/// at most, so the client hears from us within a minute.
const REPEAT_FOR: Duration = Duration::from_secs(30);
const REPEAT_PAUSE: Duration = Duration::from_millis(500);

/// A maildrop that is locked for us. Dropped, it is not renewed any more and runs out.
#[derive(Debug)]
pub(crate) struct Lease {
    holder: Holder,
    lease_seconds: u32,
    renewal: AbortOnDropHandle<()>,
}

/// Who holds which lock.
#[derive(Debug, Clone)]
struct Holder {
    store: StoreClient,
    mailbox: Mailbox,
    session: String,
    io: IoClock,
}

impl Lease {
    /// Keeps the lock that was given under the name `session`.
    pub(crate) fn keep(store: StoreClient, mailbox: Mailbox, session: String, lease_seconds: u32, io: IoClock) -> Self {
        let holder = Holder { store, mailbox, session, io };
        let renewal = holder.clone().renew_for_ever(Renewal { lease_seconds });
        Self { holder, lease_seconds, renewal: AbortOnDropHandle::new(telemetry::spawn(renewal)) }
    }

    /// Begins to read a message.
    pub(crate) async fn message(&self, id: MessageId) -> Result<RawMessage, ApiError> {
        self.holder.store.delivered_message(&self.holder.mailbox, id).await
    }

    /// Reads several messages, up to the first that must be read alone.
    pub(crate) async fn messages(&self, listed: &[MaildropEntry]) -> Result<Vec<(MessageId, Bytes)>, ApiError> {
        self.holder.store.delivered_messages(&self.holder.mailbox, listed).await
    }

    /// Deletes these messages or none, and unlocks the maildrop. A store that gives no answer is asked again: it may have
    /// deleted them.
    pub(crate) async fn update(self, delete: Vec<MessageId>) -> Result<(), ApiError> {
        let Self { holder, lease_seconds, renewal } = self;
        // A renewal that came after the update would find the lease gone.
        drop(renewal);
        let (started, update) = (holder.io.instant(), MaildropUpdate { delete });
        let mut may_be_done = false;
        loop {
            let error = match holder.store.update_maildrop(&holder.mailbox, &holder.session, &update).await {
                Err(error) if error.kind().is_none() => error,
                answered => return answered,
            };
            may_be_done |= !error.was_not_sent();
            if !may_be_done || holder.io.since(started) >= REPEAT_FOR {
                holder.release_in_background(lease_seconds);
                return Err(error);
            }
            tracing::debug!(%error, "no answer to the deletion of messages; asking again");
            holder.io.sleep(REPEAT_PAUSE).await;
        }
    }

    /// Unlocks the maildrop and deletes nothing. If that fails, the lease runs out.
    pub(crate) async fn release(self) {
        let Self { holder, renewal, .. } = self;
        drop(renewal);
        if let Err(error) = holder.store.close_session(&holder.mailbox, &holder.session).await {
            facts::Pop3UnlockFailed { error }.log();
        }
    }
}

/// Unlocks a maildrop that may have been locked although the store gave no answer. Tries for as long as the lease may
/// live.
pub(crate) fn release_in_background(
    store: StoreClient,
    mailbox: Mailbox,
    session: String,
    lease_seconds: u32,
    io: IoClock,
) {
    let holder = Holder { store, mailbox, session, io };
    holder.release_in_background(lease_seconds);
}

impl Holder {
    fn release_in_background(self, lease_seconds: u32) {
        let lease = Duration::from_secs(lease_seconds.into());
        let releasing = async move {
            let attempts = async {
                while let Err(error) = self.store.close_session(&self.mailbox, &self.session).await {
                    tracing::debug!(%error, "cannot unlock the maildrop yet");
                    self.io.sleep(RETRY).await;
                }
            };
            if let Err(error) = self.io.timeout(lease, attempts).await {
                facts::Pop3UnlockFailed { error }.log();
            }
        };
        telemetry::spawn(releasing);
    }

    /// Renews three times a lease, also while a long message is sent; ends when the lock is lost.
    async fn renew_for_ever(self, renewal: Renewal) {
        let interval = Duration::from_secs(u64::from(renewal.lease_seconds)) / 3;
        let mut pause = interval;
        loop {
            self.io.sleep(pause).await;
            pause = interval;
            match self.store.renew_session(&self.mailbox, &self.session, renewal).await {
                Ok(()) => {}
                Err(error) if is_lost(&error) => {
                    facts::Pop3LockLost {}.log();
                    return;
                }
                Err(error) => {
                    facts::Pop3RenewalFailed { error }.log();
                    pause = interval.min(RETRY);
                }
            }
        }
    }
}

/// Whether there is nothing to renew. The lock of a mailbox that was removed went with it.
fn is_lost(error: &ApiError) -> bool {
    matches!(error.kind(), Some(ProblemKind::LeaseLost | ProblemKind::MailboxUnknown))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::{Router, extract::State, routing::put};
    use internal_api::{Endpoint, InProcess, Problem};
    use mail_net::Clock;
    use std::sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    };

    /// How often a lease of a minute is renewed within an hour, when the store always has this problem.
    async fn renewals_in_an_hour(problem: ProblemKind) -> u32 {
        let renewals = Arc::new(AtomicU32::default());
        let renew = async move |State(renewals): State<Arc<AtomicU32>>| {
            renewals.fetch_add(1, Ordering::Relaxed);
            Problem::from(problem)
        };
        let routes = Router::new().route("/v1/mailboxes/{address}/sessions/{session}", put(renew));
        let (in_process, io) = (InProcess::default(), Clock::system().io);
        let _served = in_process.serve(routes.with_state(Arc::clone(&renewals)));
        // Nobody listens there.
        let endpoint = Endpoint::new("http://127.0.0.1:1", None).unwrap().in_process(in_process);
        let (store, mailbox) = (StoreClient::new(endpoint, io), "a@b.test".parse().unwrap());
        let _lease = Lease::keep(store, mailbox, "lock".to_owned(), 60, io);
        io.sleep(Duration::from_secs(3600)).await;
        renewals.load(Ordering::Relaxed)
    }

    #[tokio::test(start_paused = true)]
    async fn a_lock_that_is_lost_is_not_renewed_any_more() {
        for problem in [ProblemKind::LeaseLost, ProblemKind::MailboxUnknown] {
            assert_eq!(renewals_in_an_hour(problem).await, 1, "{problem:?}");
        }
        // The store may recover before the lease has run out.
        assert!(renewals_in_an_hour(ProblemKind::StorageUnavailable).await > 3600 / 6);
    }
}
