//! How safe the way to an exchange must be (RFC 8689).

use super::Context;
use bytes::Bytes;
use internal_api::{ApiError, ClaimedMessage, RawMessage};
use town_config::RelayTls;

/// How safe the way to an exchange must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Security {
    /// As the configuration says.
    Configured,
    /// As the configuration says, but no certificate has to be verified: `TLS-Required: No` (RFC 8689 §3).
    Waived,
    /// Verified TLS, to a server that promises the same for the rest of the way: REQUIRETLS (RFC 8689 §4.2.1).
    Required,
}

impl Security {
    /// What the sender of a message wants. What the parameter says holds, whatever the header says (RFC 8689 §4.1). The
    /// header is read only where it can make a difference: where the configuration wants certificates to be verified.
    pub(super) async fn of(context: &Context, message: &ClaimedMessage, body: Option<&Bytes>) -> Self {
        if message.parameters.requiretls {
            return Self::Required;
        }
        let stack = context.stack.current();
        if stack.relay_tls() != RelayTls::Verify || stack.relay.smarthost.is_some() {
            return Self::Configured;
        }
        // A message that cannot be read is not sent either.
        if waives(context, message, body).await.unwrap_or(false) { Self::Waived } else { Self::Configured }
    }
}

/// Whether a message says `TLS-Required: No`.
async fn waives(context: &Context, message: &ClaimedMessage, body: Option<&Bytes>) -> Result<bool, ApiError> {
    let mut raw = match body {
        Some(octets) => RawMessage::from(octets.clone()),
        None => context.store.message(message.id).await?,
    };
    let mut header = HeaderReader::default();
    while let Some(chunk) = raw.chunk().await? {
        if let Some(waives) = header.read(&chunk) {
            return Ok(waives);
        }
    }
    Ok(header.end())
}

/// The longest field that is looked at, in octets. The one that is looked for is shorter.
const FIELD_OCTETS: usize = 256;

/// Looks for `TLS-Required: No` in a header section that is read in pieces.
#[derive(Debug, Default)]
struct HeaderReader {
    /// The beginning of a field, with the lines that go on with it; at most [`FIELD_OCTETS`] and one.
    field: Vec<u8>,
    /// Whether the next octet does not begin a line.
    is_in_line: bool,
    /// Whether a field has begun, with which a line can go on.
    has_field: bool,
}

impl HeaderReader {
    /// Takes the next piece. Tells whether the header has the field, as soon as that is known.
    fn read(&mut self, piece: &[u8]) -> Option<bool> {
        for &octet in piece {
            if !self.is_in_line {
                let goes_on = matches!(octet, b' ' | b'\t') && self.has_field;
                if !goes_on && self.is_wanted() {
                    return Some(true);
                }
                // The empty line.
                if octet == b'\r' || octet == b'\n' {
                    return Some(false);
                }
                if !goes_on {
                    self.field.clear();
                }
                self.has_field = true;
            }
            self.is_in_line = octet != b'\n';
            if self.field.len() <= FIELD_OCTETS {
                self.field.push(octet);
            }
        }
        None
    }

    /// The same at the end of a message without a body.
    fn end(&self) -> bool {
        self.is_wanted()
    }

    fn is_wanted(&self) -> bool {
        if self.field.len() > FIELD_OCTETS {
            return false;
        }
        let Some(colon) = self.field.iter().position(|&octet| octet == b':') else { return false };
        let (name, value) = (&self.field[..colon], &self.field[colon + 1..]);
        name.trim_ascii_end().eq_ignore_ascii_case(b"TLS-Required") && value.trim_ascii().eq_ignore_ascii_case(b"No")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8689 §3 and §5.
    #[test]
    fn the_field_is_found_in_the_header_only() {
        let long = format!("X: {}\r\nTLS-Required: No\r\n\r\n", "a".repeat(1000));
        let longer = format!("TLS-Required: No{}x\r\n\r\n", " ".repeat(1000));
        let table = [
            ("TLS-Required: No\r\n\r\nx\r\n", true),
            ("tls-required:no\r\n\r\nx\r\n", true),
            ("Subject: x\r\nTLS-Required:\r\n No\r\nTo: y\r\n\r\n", true),
            ("TLS-Required: No\r\n", true),
            (&long, true),
            (&longer, false),
            ("TLS-Required: Yes\r\n\r\n", false),
            ("TLS-Required: No way\r\n\r\n", false),
            ("X-TLS-Required: No\r\n\r\n", false),
            ("Subject: a\r\n TLS-Required: No\r\n\r\n", false),
            ("Subject: a\r\n\r\nTLS-Required: No\r\n", false),
            ("\r\nTLS-Required: No\r\n\r\n", false),
            ("", false),
        ];
        for (message, expected) in table {
            for octets in [1, 2, 7, usize::MAX] {
                let mut header = HeaderReader::default();
                let known = message.as_bytes().chunks(octets).find_map(|piece| header.read(piece));
                assert_eq!(known.unwrap_or_else(|| header.end()), expected, "{message:?} {octets}");
                assert!(header.field.len() <= FIELD_OCTETS + 1);
            }
        }
    }
}
