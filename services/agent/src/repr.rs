//! Octets as Python prints them: the hand-out's dialogues were recorded with a Python client.

use std::fmt::Write;

/// `repr()` of a `bytes`.
pub(crate) fn bytes(octets: &[u8]) -> String {
    // Python prefers single quotes, unless that would need a backslash that double quotes do not.
    let quote = if octets.contains(&b'\'') && !octets.contains(&b'"') { '"' } else { '\'' };
    let mut text = format!("b{quote}");
    for &octet in octets {
        match octet {
            b'\\' => text.push_str("\\\\"),
            b'\t' => text.push_str("\\t"),
            b'\n' => text.push_str("\\n"),
            b'\r' => text.push_str("\\r"),
            _ if char::from(octet) == quote => text.extend(['\\', quote]),
            b' '..=b'~' => text.push(char::from(octet)),
            _ => {
                // Writing to a String cannot fail.
                let _ = write!(text, "\\x{octet:02x}");
            }
        }
    }
    text.push(quote);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_python_prints_bytes() {
        let table: &[(&[u8], &str)] = &[
            (b"", "b''"),
            (b"+OK POP3 server ready", "b'+OK POP3 server ready'"),
            (b"charset=\"utf-8\"", "b'charset=\"utf-8\"'"),
            (b"don't", "b\"don't\""),
            (b"\"don't\"", "b'\"don\\'t\"'"),
            (b"a\\b", "b'a\\\\b'"),
            (b"\t\n\r", "b'\\t\\n\\r'"),
            (b"\0\x01\x1f\x7f\x80\xff", "b'\\x00\\x01\\x1f\\x7f\\x80\\xff'"),
            (b" ~", "b' ~'"),
            ("é".as_bytes(), "b'\\xc3\\xa9'"),
        ];
        for (octets, expected) in table {
            assert_eq!(bytes(octets), *expected);
        }
    }

    /// Every octet alone and next to each kind of quote, against Python itself where there is one.
    #[test]
    fn agrees_with_python() {
        let script = "for q in [b'', b\"'\", b'\"', b'\\'\"']:\n for i in range(256): print(repr(q + bytes([i])))";
        let Ok(python) = std::process::Command::new("python3").args(["-c", script]).output() else { return };
        let expected = String::from_utf8(python.stdout).unwrap();
        let quotes: [&[u8]; 4] = [b"", b"'", b"\"", b"'\""];
        let ours: Vec<_> =
            quotes.iter().flat_map(|quotes| (0..=255).map(|octet| bytes(&[quotes, &[octet][..]].concat()))).collect();
        assert_eq!(ours, expected.lines().collect::<Vec<_>>());
    }
}
