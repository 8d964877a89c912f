//! How messages get their ids.

use jiff::Timestamp;

/// 2020-01-01T00:00:00Z, from which ids count.
const EPOCH_MS: i64 = 1_577_836_800_000;
/// The bits of an id below the milliseconds.
const RANDOM_BITS: u32 = 22;

/// A key greater than `last`. 41 bits of milliseconds last until 2089; the random bits make it impossible to
/// tell from two ids how many came between.
pub(super) fn next_key(last: i64, now: Timestamp) -> i64 {
    let random = uuid::Uuid::new_v4().as_u128() as i64 & ((1 << RANDOM_BITS) - 1);
    (least_key(now) | random).max(last + 1)
}

/// The least key that a message of this moment may have.
pub(super) fn least_key(moment: Timestamp) -> i64 {
    (moment.as_millisecond() - EPOCH_MS).clamp(0, (1 << 41) - 1) << RANDOM_BITS
}

/// When the message of this key came, or a moment later.
pub(super) fn moment(key: i64) -> Timestamp {
    Timestamp::from_millisecond((key >> RANDOM_BITS).saturating_add(EPOCH_MS)).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_grow_while_the_time_stands() {
        let now: Timestamp = "2026-01-01T00:00:00.123Z".parse().unwrap();
        let mut last = next_key(0, now);
        assert_eq!(moment(last), now);
        for _ in 0..1000 {
            let next = next_key(last, now);
            assert!(next > last);
            last = next;
        }
        // A full millisecond goes on in the next one.
        let full = least_key(now) | ((1 << RANDOM_BITS) - 1);
        assert_eq!((next_key(full, now), moment(full + 1)), (full + 1, "2026-01-01T00:00:00.124Z".parse().unwrap()));
    }
}
