//! When a recipient is tried again, and when not any more.

use crate::Relay;
use std::time::Duration;

/// What follows a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Another attempt, this many whole seconds from now.
    RetryAfter(Duration),
    /// The message has been tried for long enough (RFC 5321 §4.5.4.1).
    Expired,
}

impl Relay {
    /// Whether the sender of a message of this age is told of its delay, if they want to know.
    pub fn tells_of_delay(&self, age: Duration) -> bool {
        !self.delay_notice.is_zero() && age >= self.delay_notice
    }

    /// What follows the `attempts`-th attempt (from 1) for a message of this age. `chance`, from 0 to 1, decides how far
    /// the pause is longer or shorter than its key says.
    pub fn after_attempt(&self, attempts: u32, age: Duration, chance: f64) -> Next {
        if age >= self.expiry {
            return Next::Expired;
        }
        let failed_before = attempts.saturating_sub(1) as usize;
        let pause = self.retry.get(failed_before).or(self.retry.last()).copied().unwrap_or(self.expiry);
        let pause = self.jitter.apply(pause, chance);
        // The last attempt comes when the time is up, not an hour later.
        let pause = pause.min(self.expiry - age);
        // The queue counts in seconds. Rounded down, the last one of a message's life would be full of attempts.
        Next::RetryAfter(Duration::from_secs(pause.as_millis().div_ceil(1000) as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_is_told_from_its_time_on_or_never() {
        let [relay, silent] =
            [4 * 60 * 60, 0].map(|seconds| Relay { delay_notice: Duration::from_secs(seconds), ..Relay::default() });
        let four_hours = Relay::default().delay_notice;
        assert!(relay.tells_of_delay(four_hours) && !relay.tells_of_delay(four_hours - Duration::from_millis(1)));
        assert!(!silent.tells_of_delay(Duration::ZERO) && !silent.tells_of_delay(Duration::MAX));
    }

    #[test]
    fn the_default_schedule() {
        let relay = Relay::default();
        let after = |attempts, seconds| relay.after_attempt(attempts, Duration::from_secs(seconds), 0.5);
        let pauses = [(1, 5), (2, 15), (3, 60), (4, 300), (5, 900), (6, 3600), (7, 3600), (1000, 3600)];
        for (attempts, seconds) in pauses {
            assert_eq!(after(attempts, 0), Next::RetryAfter(Duration::from_secs(seconds)), "{attempts}");
        }
        assert_eq!(after(30, 86_390), Next::RetryAfter(Duration::from_secs(10)));
        assert_eq!(after(30, 86_400), Next::Expired);
        // The last attempt comes when the time is up, with jitter as without.
        assert_eq!(
            relay.after_attempt(30, Duration::from_secs(86_390), 1.0),
            Next::RetryAfter(Duration::from_secs(10))
        );
        assert_eq!(relay.after_attempt(4, Duration::ZERO, 0.0), Next::RetryAfter(Duration::from_secs(270)));
    }

    #[test]
    fn a_part_of_a_second_is_a_second() {
        let relay = Relay { retry: vec![Duration::from_millis(1200)], ..Relay::default() };
        let after = |age| relay.after_attempt(1, age, 0.5);
        assert_eq!(after(Duration::ZERO), Next::RetryAfter(Duration::from_secs(2)));
        let almost_over = relay.expiry - Duration::from_millis(1);
        assert_eq!(after(almost_over), Next::RetryAfter(Duration::from_secs(1)));
    }
}
