//! What a store does by itself as time goes by.

use crate::{
    admission::Admission,
    store::{EventRetention, Result, Store},
};
use futures_util::{FutureExt, future::BoxFuture};
use internal_api::Problem;
use jiff::Timestamp;
use mail_net::WallClock;
use service_kit::http::Schedule;
use std::{sync::Arc, time::Duration};
use town_config::LiveStack;

/// How often what is past remembering is forgotten.
pub(super) const MAINTENANCE_INTERVAL: Duration = Duration::from_secs(15 * 60);
/// How many records of events are kept at most.
const EVENT_RECORDS: u64 = 1_000_000;

/// Forgets, expires and delivers what is due.
pub(super) struct Maintenance {
    pub(super) store: Arc<dyn Store>,
    pub(super) admission: Arc<Admission>,
    pub(super) stack: LiveStack,
    pub(super) wall: WallClock,
}

impl Maintenance {
    /// Does it once. A failure is logged.
    pub(super) async fn carry_out(&self) {
        if let Err(error) = self.try_carry_out().await {
            facts::StoreMaintenanceFailed { task: "forget, expire and deliver", error }.log();
        }
    }

    async fn try_carry_out(&self) -> Result<()> {
        let retention = self.stack.current().retention.clone();
        if let Some(age) = retention.messages {
            self.store.expire(age).await?;
        }
        self.store.prune_events(EventRetention { age: retention.events, records: EVENT_RECORDS }).await?;
        self.store.maintain(self.admission.local_mail().await?).await
    }

    async fn next(&self) -> Result<Option<Timestamp>> {
        let upcoming = self.store.upcoming().await?;
        let expiry = self.stack.current().retention.messages.zip(upcoming.oldest_delivered);
        // What is past its time stays for a reason, such as a session that has the maildrop open.
        let expiry = expiry.map(|(age, came)| expires_at(came, age)).filter(|at| *at > self.wall.now());
        Ok(upcoming.queue.into_iter().chain(expiry).min())
    }
}

impl Schedule for Maintenance {
    fn next_due(&self) -> BoxFuture<'_, Result<Option<Timestamp>, Problem>> {
        async { Ok(self.next().await?) }.boxed()
    }

    fn catch_up(&self) -> BoxFuture<'_, ()> {
        self.carry_out().boxed()
    }
}

/// When a message of this age is deleted: at the end of a maintenance interval, as in real time, so that a clock that goes
/// from one such moment to the next has few steps.
fn expires_at(came: Timestamp, age: Duration) -> Timestamp {
    let interval = MAINTENANCE_INTERVAL.as_secs() as i64;
    let due = came.saturating_add(age).unwrap_or(Timestamp::MAX).as_second();
    Timestamp::from_second((due / interval + 1).saturating_mul(interval)).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mail_expires_by_the_quarter_of_an_hour() {
        let day = Duration::from_secs(24 * 60 * 60);
        for (came, expected) in [
            ("2026-01-01T00:00:00Z", "2026-01-02T00:15:00Z"),
            ("2026-01-01T00:14:59.999Z", "2026-01-02T00:15:00Z"),
            ("2026-01-01T00:15:00Z", "2026-01-02T00:30:00Z"),
        ] {
            assert_eq!(expires_at(came.parse().unwrap(), day), expected.parse::<Timestamp>().unwrap(), "{came}");
        }
        assert_eq!(expires_at(Timestamp::MAX, Duration::MAX), Timestamp::MAX);
    }
}
