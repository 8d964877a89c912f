//! Chance that can be repeated.

use std::ops::RangeInclusive;

/// SplitMix64: a seed gives the same numbers wherever and whenever.
#[derive(Debug)]
pub struct Random(pub u64);

impl Random {
    /// A number of this range.
    pub fn within(&mut self, range: RangeInclusive<u64>) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        range.start() + (mixed ^ (mixed >> 31)) % (range.end() - range.start() + 1)
    }

    /// True n times in a hundred.
    pub fn percent(&mut self, chance: u64) -> bool {
        self.within(0..=99) < chance
    }
}
