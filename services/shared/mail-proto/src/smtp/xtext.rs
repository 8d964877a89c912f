//! xtext: any ASCII text within one parameter (RFC 3461 §4).

use std::fmt::Write;

/// The text as xtext: `+`, `=`, space and what is not printable ASCII become `+XX`.
pub(super) fn encode(text: &str) -> String {
    let mut xtext = String::with_capacity(text.len());
    for octet in text.bytes() {
        match octet {
            b'+' | b'=' | 0..=b' ' | 0x7f.. => {
                // Writing to a string succeeds.
                let _ = write!(xtext, "+{octet:02X}");
            }
            octet => xtext.push(char::from(octet)),
        }
    }
    xtext
}

/// The text behind xtext. `None` if this is not xtext, or stands for anything but printable ASCII and spaces.
/// Its hexadecimal digits are in upper case.
pub(super) fn decode(xtext: &str) -> Option<String> {
    decode_utf8(xtext).filter(|text| text.bytes().all(|octet| matches!(octet, b' '..=b'~')))
}

/// The text behind what should be xtext, but may stand for UTF-8. No RFC allows that. `None` where it has control characters.
pub(super) fn decode_utf8(xtext: &str) -> Option<String> {
    let mut text = Vec::with_capacity(xtext.len());
    let mut octets = xtext.bytes();
    while let Some(octet) = octets.next() {
        let octet = match octet {
            b'+' => hexadecimal(octets.next()?)? << 4 | hexadecimal(octets.next()?)?,
            b'!'..=b'~' if octet != b'=' => octet,
            _ => return None,
        };
        text.push(octet);
    }
    String::from_utf8(text).ok().filter(|text| !text.contains(char::is_control))
}

fn hexadecimal(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_xtext_and_what_is_not() {
        let table = [
            ("", Some("")),
            ("abc", Some("abc")),
            ("a+2Bb", Some("a+b")),
            ("a+2bb", None),
            ("+3D+20", Some("= ")),
            ("a+", None),
            ("a+2", None),
            ("a+2G", None),
            ("+-1", None),
            ("a=b", None),
            ("a b", None),
            ("a\tb", None),
            ("+0D+0A", None),
            ("+7F", None),
            ("+C3+A9", None),
            ("é", None),
        ];
        for (xtext, text) in table {
            assert_eq!(decode(xtext).as_deref(), text, "{xtext}");
        }
    }

    proptest! {
        #[test]
        fn printable_text_comes_back(text in "[ -~]{0,40}") {
            let xtext = encode(&text);
            prop_assert!(xtext.bytes().all(|octet| matches!(octet, b'!'..=b'~') && octet != b'='));
            prop_assert_eq!(decode(&xtext), Some(text));
        }
    }
}
