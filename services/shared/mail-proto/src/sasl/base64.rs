//! Base64 as lines of an exchange have it (RFC 4648 §4): padded, without any other character, and written in one way only.

use base64::{Engine, engine::general_purpose::STANDARD};

/// The octets as one line.
pub(super) fn encode(octets: impl AsRef<[u8]>) -> String {
    STANDARD.encode(octets)
}

/// The octets behind a line; `None` when it is not base64.
pub(super) fn decode(line: &[u8]) -> Option<Vec<u8>> {
    STANDARD.decode(line).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_tolerated() {
        let table: &[(&[u8], Option<&[u8]>)] = &[
            (b"", Some(b"")),
            (b"AA==", Some(b"\0")),
            (b"dXNyMQ==", Some(b"usr1")),
            (b"AB==", None),
            (b"AA=", None),
            (b"AA", None),
            (b"=", None),
            (b"====", None),
            (b"dXNy MQ==", None),
            (b" dXNyMQ==", None),
            (b"dXNyMQ==\r", None),
            (b"dXNy*Q==", None),
            (b"-_-_", None),
            (b"dXNyMQ==dXNyMQ==", None),
        ];
        for (line, expected) in table {
            assert_eq!(decode(line).as_deref(), *expected, "{}", line.escape_ascii());
        }
    }
}
