//! Durations as people read them.

use jiff::{SignedDuration, Timestamp};

/// A duration in the unit that fits.
pub(crate) fn duration(microseconds: u64) -> String {
    let value = microseconds as f64;
    match microseconds {
        0..1_000 => format!("{microseconds} µs"),
        1_000..10_000 => format!("{:.1} ms", value / 1e3),
        10_000..1_000_000 => format!("{:.0} ms", value / 1e3),
        1_000_000..10_000_000 => format!("{:.2} s", value / 1e6),
        10_000_000..60_000_000 => format!("{:.1} s", value / 1e6),
        _ => long(microseconds / 1_000_000),
    }
}

fn long(seconds: u64) -> String {
    let (days, hours, minutes, rest) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    match (days, hours) {
        (0, 0) => format!("{minutes} min {rest} s"),
        (0, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

/// How far a time is from now, such as `in 4 min 10 s` or `12 s ago`.
pub(crate) fn relative(at: Timestamp, now: Timestamp) -> String {
    let distance = at.duration_since(now);
    let seconds = distance.abs().as_secs().unsigned_abs();
    let text = if seconds < 60 { format!("{seconds} s") } else { long(seconds) };
    match distance.cmp(&SignedDuration::ZERO) {
        std::cmp::Ordering::Greater => format!("in {text}"),
        _ if seconds == 0 => "now".to_owned(),
        _ => format!("{text} ago"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (microseconds, expected) in [
            (0, "0 µs"),
            (999, "999 µs"),
            (1_500, "1.5 ms"),
            (40_000, "40 ms"),
            (3_002_000, "3.00 s"),
            (59_900_000, "59.9 s"),
            (61_000_000, "1 min 1 s"),
            (3_661_000_000, "1 h 1 min"),
            (90_000_000_000, "1 d 1 h"),
        ] {
            assert_eq!(duration(microseconds), expected);
        }
    }

    #[test]
    fn distances_from_now() {
        let now: Timestamp = "2026-11-28T10:00:00Z".parse().unwrap();
        for (seconds, expected) in [(0, "now"), (5, "in 5 s"), (-5, "5 s ago"), (250, "in 4 min 10 s")] {
            assert_eq!(relative(now + SignedDuration::from_secs(seconds), now), expected);
        }
    }
}
