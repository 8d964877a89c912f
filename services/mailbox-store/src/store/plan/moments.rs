//! When leases end, and what is old.

use crate::store::ids::least_key;
use jiff::Timestamp;
use std::time::Duration;

/// The moment `duration` after this one, in milliseconds: when a lease ends that is given now.
pub(in crate::store) fn later_ms(now_ms: i64, duration: Duration) -> i64 {
    now_ms.saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX))
}

/// Whether a queue entry is leased: while it is, `next_attempt_at` is when the lease ends. Afterwards the entry is due
/// again, although it still names its lease.
pub(in crate::store) fn is_leased(has_lease: bool, next_attempt_at: Timestamp, now: Timestamp) -> bool {
    has_lease && next_attempt_at > now
}

/// How many whole seconds have gone by since `received_at`; 0 if that is in the future.
pub(in crate::store) fn age_seconds(now: Timestamp, received_at: Timestamp) -> u64 {
    now.duration_since(received_at).as_secs().try_into().unwrap_or_default()
}

/// The least key of a message that is not older than `age`. An id tells when its message came, or a moment later, so
/// nothing counts as older than it is.
pub(in crate::store) fn least_key_of_age(now: Timestamp, age: Duration) -> i64 {
    least_key(now.saturating_sub(age).unwrap_or(Timestamp::MIN))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_lease_ends_when_it_says() {
        assert_eq!(later_ms(1_000, Duration::from_millis(50)), 1_050);
        assert_eq!(later_ms(i64::MAX - 1, Duration::MAX), i64::MAX);
        assert!(is_leased(true, at(10), at(9)));
        assert!(!is_leased(true, at(10), at(10)), "it is due at the end of its lease");
        assert!(!is_leased(false, at(10), at(9)));
    }

    #[test]
    fn ages_are_never_negative() {
        assert_eq!(age_seconds(at(10), at(7)), 3);
        assert_eq!(age_seconds(at(7), at(10)), 0);
        let now = at(1_800_000_000);
        assert_eq!(least_key_of_age(now, Duration::from_secs(60)), least_key(at(1_800_000_000 - 60)));
        assert_eq!(least_key_of_age(now, Duration::MAX), 0);
    }
}
