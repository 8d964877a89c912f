//! Where to begin to look for what is due.
//!
//! While a backup reads its snapshot, PostgreSQL keeps every version of every entry. What was claimed and relayed
//! meanwhile then lies at the head of the indexes, and every look from their beginning walks all of it.

use std::time::Duration;

/// No entry is due earlier than this before the moment of the change that makes it due. Covers the difference between
/// the stores' clocks, and the time from that moment to the commit.
const MARGIN: Duration = Duration::from_secs(5);
/// How often to look from the beginning nevertheless: what was committed still later waits this long at most.
const FULL_LOOK: Duration = Duration::from_secs(30);

/// The earliest time that a living entry may be due at, as far as is known. In milliseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Floor {
    due_at_ms: i64,
    last_full_look_ms: Option<i64>,
}

impl Default for Floor {
    fn default() -> Self {
        Self { due_at_ms: i64::MIN, last_full_look_ms: None }
    }
}

impl Floor {
    /// Where a look at this moment begins.
    pub(super) fn start(&mut self, now_ms: i64) -> i64 {
        let since = self.last_full_look_ms.map(|last| now_ms - last);
        // A clock that was turned back has made nothing true of the time before.
        if since.is_none_or(|since| !(0..FULL_LOOK.as_millis() as i64).contains(&since)) {
            *self = Self { due_at_ms: i64::MIN, last_full_look_ms: Some(now_ms) };
        }
        self.due_at_ms
    }

    /// Takes note that a look at `now_ms` found nothing earlier than `earliest_ms`, or nothing at all.
    pub(super) fn raise(&mut self, now_ms: i64, earliest_ms: Option<i64>) {
        let newest_ms = now_ms - MARGIN.as_millis() as i64;
        self.due_at_ms = self.due_at_ms.max(earliest_ms.map_or(newest_ms, |earliest_ms| earliest_ms.min(newest_ms)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rises_with_what_was_found_and_starts_anew_now_and_then() {
        let mut floor = Floor::default();
        assert_eq!(floor.start(100_000), i64::MIN);
        floor.raise(100_000, Some(7));
        assert_eq!(floor.start(100_001), 7);
        floor.raise(100_001, Some(200_000));
        assert_eq!(floor.start(100_002), 95_001);
        floor.raise(110_000, None);
        assert_eq!(floor.start(129_999), 105_000);
        assert_eq!(floor.start(130_000), i64::MIN);
        floor.raise(130_000, None);
        assert_eq!(floor.start(129_000), i64::MIN, "the clock was turned back");
    }
}
