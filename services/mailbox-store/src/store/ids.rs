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
