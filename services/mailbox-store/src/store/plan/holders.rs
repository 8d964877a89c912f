//! When a message may go: when nothing holds it any more. Each maildrop entry and each queue entry of a message holds it,
//! hidden and quarantined ones too.
//!
//! SQLite, where one thread writes, looks for holders when one of them has gone. PostgreSQL counts them in a column,
//! because two that let go of a message at the same time do not see each other.

/// Whether a message with this many holders goes, body and all. Fewer than none is a damaged count.
pub(in crate::store) fn are_gone(holders: i64) -> bool {
    holders <= 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_holder_takes_the_message_with_it() {
        assert!([i64::MIN, -1, 0].into_iter().all(are_gone));
        assert!(![1, 2, i64::MAX].into_iter().any(are_gone));
    }
}
