//! Attempts of relay workers, in real time. The lease of a claim ends by the clock of the town, which may be moved while the
//! attempt is under way.

use mail_net::IoClock;
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// With more claims than this, those whose workers have gone are looked for.
const MANY: usize = 1_000;

/// The claims that were handed out and are not settled, by their leases.
pub(super) struct Attempts {
    claims: Mutex<HashMap<String, Attempt>>,
    io: IoClock,
}

struct Attempt {
    ends_at: Instant,
    /// How many recipients are not settled.
    recipients: usize,
}

impl Attempts {
    pub(super) fn new(io: IoClock) -> Self {
        Self { claims: Mutex::default(), io }
    }

    /// A claim for this number of recipients was handed out.
    pub(super) fn begin(&self, lease: &str, duration: Duration, recipients: usize) {
        let now = self.io.instant();
        let mut claims = self.claims();
        if claims.len() >= MANY {
            claims.retain(|_, attempt| attempt.ends_at > now);
        }
        claims.insert(lease.to_owned(), Attempt { ends_at: now + duration, recipients });
    }

    /// The claim lasts for this time from now.
    pub(super) fn renew(&self, lease: &str, duration: Duration) {
        let now = self.io.instant();
        if let Some(attempt) = self.claims().get_mut(lease) {
            attempt.ends_at = now + duration;
        }
    }

    /// This number of recipients of the claim was settled.
    pub(super) fn settle(&self, lease: &str, recipients: usize) {
        let mut claims = self.claims();
        let Some(attempt) = claims.get_mut(lease) else { return };
        attempt.recipients = attempt.recipients.saturating_sub(recipients);
        if attempt.recipients == 0 {
            claims.remove(lease);
        }
    }

    /// Whether a worker may still try what it has claimed under this lease.
    pub(super) fn is_under_way(&self, lease: &str) -> bool {
        let now = self.io.instant();
        self.claims().get(lease).is_some_and(|attempt| attempt.ends_at > now)
    }

    fn claims(&self) -> MutexGuard<'_, HashMap<String, Attempt>> {
        self.claims.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mail_net::Clock;

    const MINUTE: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn an_attempt_ends_when_all_is_settled_or_with_its_lease() {
        let attempts = Attempts::new(Clock::system().io);
        attempts.begin("a", MINUTE, 2);
        attempts.begin("b", MINUTE, 1);
        attempts.settle("a", 1);
        assert!(attempts.is_under_way("a") && attempts.is_under_way("b"));
        attempts.settle("a", 1);
        assert!(!attempts.is_under_way("a"));
        tokio::time::advance(MINUTE / 2).await;
        attempts.renew("b", MINUTE);
        tokio::time::advance(MINUTE / 2).await;
        assert!(attempts.is_under_way("b"));
        tokio::time::advance(MINUTE / 2).await;
        assert!(!attempts.is_under_way("b"));
        for number in 0..2 * MANY {
            attempts.begin(&number.to_string(), Duration::ZERO, 1);
        }
        assert!(attempts.claims().len() <= MANY);
    }
}
