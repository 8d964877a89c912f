//! The login throttle: who has failed to log in often waits longer and longer, and others do not.
//!
//! ```text
//! failures     the counts and the delays, without clock
//! login_delay  how soon a user of POP3 may log in again, which is another matter
//! table        what is remembered, in bounded memory
//! ```

mod failures;
mod login_delay;
mod table;

pub(crate) use login_delay::LoginDelays;

use crate::{
    metrics::Metrics,
    passwords::{Client, Waiting},
    store::{Result, StoreError},
};
use failures::{Failed, Failures, Guess};
use mail_net::Clock;
use service_kit::shutdown::CancellationToken;
use std::{
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::Instant;
use town_config::LiveStack;

/// How long the store works on a login at most. A gateway waits for 15 s, and POP3 has a maildrop to open after it.
pub(crate) const LOGIN_TIME: Duration = Duration::from_secs(12);
/// How much of this a login waits for its turns to hash.
const TURN_TIME: Duration = Duration::from_secs(5);

/// Delays the logins of one store.
pub(crate) struct Throttle {
    failures: Mutex<Failures>,
    stack: LiveStack,
    clock: Clock,
    metrics: Metrics,
    shutdown: CancellationToken,
}

impl Throttle {
    /// The limit is that of the stack. Whoever waits at `shutdown` waits no longer.
    pub(crate) fn new(stack: LiveStack, clock: Clock, metrics: Metrics, shutdown: CancellationToken) -> Self {
        Self { failures: Mutex::default(), stack, clock, metrics, shutdown }
    }

    /// Begins a login of a client to an account, which need not exist. The request for it came at `began`.
    ///
    /// # Errors
    /// [`StoreError::Overloaded`] when too many logins of the client's network wait, or to the account if nobody knows the network.
    pub(crate) fn begin(&self, client: Option<IpAddr>, account: &str, began: Instant) -> Result<Attempt<'_>> {
        let (limit, now) = (self.limit(), self.clock.wall.now());
        let mut failures = self.lock();
        let guess = failures.guess(client, account);
        match failures.enter(guess, limit, now) {
            Ok(is_delayed) => Ok(Attempt { throttle: self, client, guess, is_delayed, began }),
            Err(failures::Crowded) => {
                self.metrics.logins_refused_unchecked.inc();
                Err(StoreError::Overloaded(
                    client.map_or("to log in to this account", |_| "to log in from this address"),
                ))
            }
        }
    }

    /// Counts the outcome of a login for which the client has waited before.
    pub(crate) fn count(&self, client: Option<IpAddr>, account: &str, succeeded: bool) {
        let guess = self.lock().guess(client, account);
        if succeeded {
            self.succeeded(guess);
        } else {
            self.failed(guess, client);
        }
    }

    fn succeeded(&self, guess: Guess) -> Duration {
        let (limit, now) = (self.limit(), self.clock.wall.now());
        self.lock().succeeded(guess, limit, now)
    }

    fn failed(&self, guess: Guess, client: Option<IpAddr>) -> Duration {
        let (limit, now) = (self.limit(), self.clock.wall.now());
        let Failed { delay, begins } = self.lock().failed(guess, limit, now);
        if let (Some(failures), Some(client)) = (begins, client) {
            facts::StoreLoginsDelayed { client, failures }.log();
        }
        delay
    }

    fn limit(&self) -> u32 {
        self.stack.current().limits.login_failures
    }

    fn lock(&self) -> MutexGuard<'_, Failures> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits, but not beyond the time of a login that began then.
    async fn wait(&self, delay: Duration, began: Instant) {
        let delay = delay.min((began + LOGIN_TIME).saturating_duration_since(self.clock.io.instant()));
        if delay.is_zero() {
            return;
        }
        self.metrics.logins_delayed.inc();
        self.shutdown.run_until_cancelled(self.clock.io.sleep(delay)).await;
    }
}

/// A login whose outcome is not known yet. As long as it lives, it takes one of the places of a network, or account, that
/// is delayed.
pub(crate) struct Attempt<'t> {
    throttle: &'t Throttle,
    client: Option<IpAddr>,
    guess: Guess,
    is_delayed: bool,
    began: Instant,
}

impl Attempt<'_> {
    /// Whose turn it is when the password is hashed.
    pub(crate) fn hash_for(&self) -> Waiting {
        let client = Client { network: self.guess.network, account: self.guess.account, is_delayed: self.is_delayed };
        Waiting { client, until: self.began + TURN_TIME }
    }

    /// Waits as long as the network and the account have to, and counts nothing.
    pub(crate) async fn wait(self) {
        let (limit, now) = (self.throttle.limit(), self.throttle.clock.wall.now());
        let delay = self.throttle.lock().delay(self.guess, limit, now);
        self.throttle.wait(delay, self.began).await;
    }

    /// Counts a success, and waits.
    pub(crate) async fn succeeded(self) {
        let delay = self.throttle.succeeded(self.guess);
        self.throttle.wait(delay, self.began).await;
    }

    /// Counts a failure, and waits.
    pub(crate) async fn failed(self) {
        let delay = self.throttle.failed(self.guess, self.client);
        self.throttle.wait(delay, self.began).await;
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if self.is_delayed {
            self.throttle.lock().leave(self.guess);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::future::join_all;
    use mail_net::ManualClock;
    use prometheus_client::registry::Registry;
    use std::path::Path;
    use town_config::Config;

    const GUESSER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const ELSEWHERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 1));

    fn throttle() -> Throttle {
        let text = "[server.\"a.test\"]\nsmtp = 1\npop = 2\n[accounts.\"a.test\"]\n\"u@a.test\" = \"pass\"\n";
        let stack = Config::parse(text, Path::new("config.toml")).unwrap().stack("a.test").unwrap().clone();
        let clock = ManualClock::starting_at("2026-01-01T00:00:00Z".parse().unwrap()).clock();
        Throttle::new(stack.into(), clock, Metrics::new(&mut Registry::default()), CancellationToken::new())
    }

    /// How long a login took that was right or wrong; `None` when it was refused unchecked.
    async fn took(
        throttle: &Throttle,
        client: impl Into<Option<IpAddr>>,
        account: &str,
        fits: bool,
    ) -> Option<Duration> {
        let started = throttle.clock.io.instant();
        let attempt = throttle.begin(client.into(), account, started).ok()?;
        if fits {
            attempt.succeeded().await;
        } else {
            attempt.failed().await;
        }
        Some(throttle.clock.io.since(started))
    }

    /// The same for a user who asks for a verifier.
    async fn verifier_took(throttle: &Throttle, client: IpAddr) -> Option<Duration> {
        let started = throttle.clock.io.instant();
        throttle.begin(Some(client), "u@a.test", started).ok()?.wait().await;
        Some(throttle.clock.io.since(started))
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_guesses_waits_and_others_do_not() {
        let throttle = throttle();
        let guesses = async {
            let mut all = Duration::ZERO;
            for _ in 0..20 {
                all += took(&throttle, GUESSER, "u@a.test", false).await.expect("there is room");
            }
            // 250 ms, doubled five times, and the last four.
            assert_eq!(all, Duration::from_millis(250 * 63 - 250 * 32) + 5 * Duration::from_secs(8));
        };
        let others = async {
            for _ in 0..5 {
                throttle.clock.io.sleep(Duration::from_secs(3)).await;
                let good = took(&throttle, ELSEWHERE, "u@a.test", true).await.expect("others are not refused");
                assert!(good <= Duration::from_millis(500), "{good:?}");
            }
        };
        tokio::join!(guesses, others);
        assert!(throttle.metrics.logins_delayed.get() >= 10);
        assert_eq!(throttle.metrics.logins_refused_unchecked.get(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn too_many_guesses_at_once_are_refused() {
        let throttle = throttle();
        for _ in 0..20 {
            throttle.count(Some(GUESSER), "u@a.test", false);
        }
        let guesses = join_all((0..100).map(|_| took(&throttle, GUESSER, "u@a.test", false))).await;
        let (waited, refused): (Vec<_>, Vec<_>) = guesses.into_iter().partition(Option::is_some);
        assert_eq!(waited, vec![Some(Duration::from_secs(8)); 16]);
        assert_eq!((refused.len() as u64, throttle.metrics.logins_refused_unchecked.get()), (84, 84));
        // Their places are free again.
        assert_eq!(took(&throttle, GUESSER, "u@a.test", false).await, Some(Duration::from_secs(8)));
        // One that goes away leaves its place, too.
        for _ in 0..100 {
            let now = throttle.clock.io.instant();
            assert!(throttle.begin(Some(GUESSER), "u@a.test", now).is_ok(), "there is room");
        }
    }

    /// Gateways tell no address that many clients share.
    #[tokio::test(start_paused = true)]
    async fn guesses_from_nowhere_delay_one_account() {
        let throttle = throttle();
        let short = Some(Duration::from_millis(500));
        for _ in 0..20 {
            throttle.count(None, "u@a.test", false);
        }
        let guesses = join_all((0..100).map(|_| took(&throttle, None, "u@a.test", false))).await;
        let (waited, refused): (Vec<_>, Vec<_>) = guesses.into_iter().partition(Option::is_some);
        assert_eq!((waited, refused.len()), (vec![short; 16], 84));
        assert_eq!(took(&throttle, None, "v@a.test", false).await, Some(Duration::ZERO));
        assert_eq!(took(&throttle, ELSEWHERE, "v@a.test", true).await, Some(Duration::ZERO));
        assert_eq!(took(&throttle, None, "u@a.test", true).await, short);
        assert_eq!(took(&throttle, None, "u@a.test", true).await, Some(Duration::ZERO), "the right password ends it");
    }

    #[tokio::test(start_paused = true)]
    async fn proofs_are_delayed_before_the_challenge() {
        let throttle = throttle();
        for _ in 0..1000 {
            assert_eq!(verifier_took(&throttle, GUESSER).await, Some(Duration::ZERO));
            throttle.count(Some(GUESSER), "u@a.test", true);
        }
        for _ in 0..11 {
            throttle.count(Some(GUESSER), "u@a.test", false);
        }
        assert_eq!(verifier_took(&throttle, GUESSER).await, Some(Duration::from_millis(250)));
        assert_eq!(verifier_took(&throttle, ELSEWHERE).await, Some(Duration::from_millis(250)));
        throttle.count(Some(ELSEWHERE), "u@a.test", true);
        assert_eq!(verifier_took(&throttle, ELSEWHERE).await, Some(Duration::ZERO));
        let refused = join_all((0..100).map(|_| verifier_took(&throttle, GUESSER))).await;
        assert_eq!(refused.iter().filter(|refused| refused.is_none()).count(), 84);
    }

    /// A gateway would give up after 15 s, and its client would learn nothing.
    #[tokio::test(start_paused = true)]
    async fn all_that_a_login_waits_for_has_one_deadline() {
        let throttle = throttle();
        for _ in 0..20 {
            throttle.count(Some(GUESSER), "u@a.test", false);
        }
        let io = throttle.clock.io;
        for (before, total) in [(0, 8), (4, 12), (7, 12), (20, 20)] {
            let [before, total] = [before, total].map(Duration::from_secs);
            for fits in [true, false] {
                let began = io.instant();
                let attempt = throttle.begin(Some(GUESSER), "u@a.test", began).unwrap();
                assert_eq!(attempt.hash_for().until, began + TURN_TIME);
                io.sleep(before).await;
                if fits {
                    attempt.succeeded().await
                } else {
                    attempt.failed().await
                }
                assert_eq!(io.since(began), total, "{before:?} {fits}");
                throttle.lock().forget_proofs();
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_a_store_that_stops() {
        let throttle = throttle();
        for _ in 0..20 {
            throttle.count(Some(GUESSER), "u@a.test", false);
        }
        throttle.shutdown.cancel();
        assert_eq!(took(&throttle, GUESSER, "u@a.test", false).await, Some(Duration::ZERO));
    }
}
