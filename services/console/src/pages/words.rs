//! Durations and octets as people read them.

use jiff::{SignedDuration, Timestamp};
use maud::{Markup, html};

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

/// A piece of what is shown of octets.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    /// Text, as it is.
    Text(String),
    /// An octet that has no letter, and its picture.
    Sign(&'static str, String),
}

/// Octets with all that is not seen otherwise: CR and LF, controls, and what is no UTF-8. A CR or LF alone is marked.
pub(crate) fn visible(octets: &[u8]) -> Markup {
    html! {
        @for piece in pieces(octets) {
            @match piece {
                Piece::Text(text) => (text),
                Piece::Sign(class, text) => span.(class) { (text) },
            }
        }
    }
}

fn pieces(octets: &[u8]) -> Vec<Piece> {
    let mut pieces = Vec::new();
    for chunk in octets.utf8_chunks() {
        let mut text = String::new();
        let mut letters = chunk.valid().chars().peekable();
        let mut sign = |text: &mut String, class, sign: String| {
            if !text.is_empty() {
                pieces.push(Piece::Text(std::mem::take(text)));
            }
            pieces.push(Piece::Sign(class, sign));
        };
        while let Some(letter) = letters.next() {
            match letter {
                '\r' if letters.next_if_eq(&'\n').is_some() => {
                    sign(&mut text, "eol", "\\r\\n".to_owned());
                    if letters.peek().is_some() {
                        text.push('\n');
                    }
                }
                '\r' => sign(&mut text, "eol bare", "\\r".to_owned()),
                '\n' => {
                    sign(&mut text, "eol bare", "\\n".to_owned());
                    if letters.peek().is_some() {
                        text.push('\n');
                    }
                }
                '\t' => text.push(letter),
                letter if letter.is_control() => sign(&mut text, "octet", format!("\\x{:02x}", u32::from(letter))),
                letter => text.push(letter),
            }
        }
        if !text.is_empty() {
            pieces.push(Piece::Text(text));
        }
        let rest = chunk.invalid().iter().map(|octet| Piece::Sign("octet", format!("\\x{octet:02x}")));
        pieces.extend(rest);
    }
    pieces
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

    #[test]
    fn line_ends_are_seen() {
        for (octets, expected) in [
            (&b"QUIT\r\n"[..], "QUIT<span class=\"eol\">\\r\\n</span>"),
            (b"QUIT\n", "QUIT<span class=\"eol bare\">\\n</span>"),
            (b"a\rb", "a<span class=\"eol bare\">\\r</span>b"),
            (b"a\r\nb\r\n", "a<span class=\"eol\">\\r\\n</span>\nb<span class=\"eol\">\\r\\n</span>"),
            (b"\0\xff<", "<span class=\"octet\">\\x00</span><span class=\"octet\">\\xff</span>&lt;"),
            ("é".as_bytes(), "é"),
        ] {
            assert_eq!(visible(octets).0, expected);
        }
    }
}
