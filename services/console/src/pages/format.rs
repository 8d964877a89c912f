//! Times and sizes as people read them.

use jiff::{Timestamp, tz::TimeZone};
use maud::{Markup, html};

/// A time: short in the text, whole in the tooltip. The short one leaves out what `now` has too.
pub(crate) fn time(at: Timestamp, now: Timestamp) -> Markup {
    let zone = TimeZone::system();
    let (at_zoned, now) = (at.to_zoned(zone.clone()), now.to_zoned(zone));
    let short = if at_zoned.date() == now.date() {
        at_zoned.strftime("%H:%M:%S")
    } else if at_zoned.year() == now.year() {
        at_zoned.strftime("%-d %b %H:%M")
    } else {
        at_zoned.strftime("%-d %b %Y")
    };
    html! { time datetime=(at) title=(at_zoned.strftime("%a, %-d %b %Y, %H:%M:%S %z")) { (short) } }
}

/// A time in full.
pub(crate) fn full_time(at: Timestamp) -> Markup {
    let zoned = at.to_zoned(TimeZone::system());
    html! { time datetime=(at) { (zoned.strftime("%a, %-d %b %Y, %H:%M:%S %z")) } }
}

/// A number of octets in the unit that fits.
pub(crate) fn octets(number: u64) -> String {
    const UNITS: [&str; 3] = ["kB", "MB", "GB"];
    let mut size = number as f64 / 1024.0;
    if size < 1.0 {
        return format!("{number} B");
    }
    for unit in UNITS {
        if size < 999.5 {
            return if size < 9.95 { format!("{size:.1} {unit}") } else { format!("{size:.0} {unit}") };
        }
        size /= 1024.0;
    }
    format!("{size:.1} TB")
}

/// A number with the word for what it counts.
pub(crate) fn count(number: u64, one: &str, more: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { more })
}

/// A text as the value of a URL's query, or as a segment of its path (RFC 3986 §2.1).
pub(crate) fn encoded(text: &str) -> String {
    let encode = |octet: u8| match octet {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(octet).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(encode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (number, expected) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 kB"),
            (10 * 1024, "10 kB"),
            (1024 * 1024 - 1, "1.0 MB"),
            (5 * 1024 * 1024 * 1024, "5.0 GB"),
            (5 << 40, "5.0 TB"),
        ] {
            assert_eq!(octets(number), expected);
        }
    }

    #[test]
    fn what_is_encoded_changes_no_url() {
        assert_eq!(encoded("a b&c=d#/é\"<"), "a%20b%26c%3Dd%23%2F%C3%A9%22%3C");
    }

    #[test]
    fn the_short_time_leaves_out_what_is_known() {
        let at: Timestamp = "2026-11-28T10:00:00Z".parse().unwrap();
        let short = |now: &str| time(at, now.parse().unwrap()).0;
        assert!(short("2026-11-28T10:00:00Z").contains(":00</time>"));
        assert!(short("2026-06-01T10:00:00Z").contains(" Nov "));
        assert!(short("2027-06-01T10:00:00Z").contains(" 2026</time>"));
    }
}
