//! Where a message has been, as its header section tells: what keeps it from going round for ever.

use super::{Result, StoreError};
use mail_proto::Mailbox;

/// A message with so many `Received:` fields is refused (RFC 5321 §6.3).
const RECEIVED_FIELDS: usize = 100;
/// How many `Delivered-To:` fields are remembered. A message with more of them has as many `Received:` fields.
const DELIVERED_TO_FIELDS: usize = RECEIVED_FIELDS;
/// How many octets of a field are looked at: the name, and an address.
const FIELD_OCTETS: usize = 500;

/// Reads the header section of a message as it passes, in bounded memory.
#[derive(Debug, Default)]
pub(super) struct Passage {
    /// The line that is arriving, and the field that it may go on with.
    line: Vec<u8>,
    field: Vec<u8>,
    is_over: bool,
    received: usize,
    delivered_to: Vec<Mailbox>,
}

impl Passage {
    /// Takes the next octets.
    ///
    /// # Errors
    /// [`StoreError::MailLoop`] once there are too many `Received:` fields.
    pub(super) fn see(&mut self, chunk: &[u8]) -> Result<()> {
        let mut rest = chunk;
        while !self.is_over && !rest.is_empty() {
            let end = memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
            let (part, after) = rest.split_at(end);
            rest = after;
            append(&mut self.line, part);
            if part.ends_with(b"\n") {
                self.end_line();
            }
        }
        if self.received >= RECEIVED_FIELDS { Err(StoreError::MailLoop) } else { Ok(()) }
    }

    /// The addresses of the `Delivered-To:` fields of a message that has been seen to its end.
    pub(super) fn delivered_to(&mut self) -> Vec<Mailbox> {
        self.end_field();
        std::mem::take(&mut self.delivered_to)
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        if matches!(line.first(), Some(b' ' | b'\t')) {
            return append(&mut self.field, &line);
        }
        self.end_field();
        // An empty line, or the first line of a message without a header section.
        self.is_over = name_and_value(&line).is_none();
        self.field = line;
    }

    fn end_field(&mut self) {
        let field = std::mem::take(&mut self.field);
        let Some((name, value)) = name_and_value(&field) else { return };
        if name.eq_ignore_ascii_case(b"Received") {
            self.received += 1;
        } else if name.eq_ignore_ascii_case(b"Delivered-To") && self.delivered_to.len() < DELIVERED_TO_FIELDS {
            self.delivered_to.extend(address(value));
        }
    }
}

fn append(to: &mut Vec<u8>, octets: &[u8]) {
    let room = FIELD_OCTETS.saturating_sub(to.len());
    to.extend_from_slice(&octets[..octets.len().min(room)]);
}

/// The two parts of a header field (RFC 5322 §2.2).
fn name_and_value(field: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = memchr::memchr(b':', field)?;
    let name = field[..colon].trim_ascii_end();
    let is_name = !name.is_empty() && name.iter().all(u8::is_ascii_graphic);
    is_name.then_some((name, &field[colon + 1..]))
}

/// The address in the value of a field, with or without angle brackets.
fn address(value: &[u8]) -> Option<Mailbox> {
    let value = std::str::from_utf8(value).ok()?.trim();
    let inside = value.strip_prefix('<').and_then(|value| value.strip_suffix('>'));
    inside.unwrap_or(value).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivered_to(message: &str) -> Vec<String> {
        let mut seen = Vec::new();
        for chunk_octets in [usize::MAX, 1, 7] {
            let mut passage = Passage::default();
            for chunk in message.as_bytes().chunks(chunk_octets) {
                passage.see(chunk).unwrap();
            }
            let addresses: Vec<_> = passage.delivered_to().iter().map(ToString::to_string).collect();
            assert!(seen.is_empty() || seen == addresses, "{chunk_octets}: {message:?}");
            seen = addresses;
        }
        seen
    }

    #[test]
    fn the_header_section_tells_where_a_message_has_been() {
        let table: &[(&str, &[&str])] = &[
            ("", &[]),
            ("Delivered-To: a@x\r\n", &["a@x"]),
            (
                "Subject: x\r\ndelivered-to :<a@X>\r\nDelivered-To:\r\n\t\"b c\"@x \r\n\r\nDelivered-To: d@x\r\n",
                &["a@x", "\"b c\"@x"],
            ),
            ("\r\nDelivered-To: a@x\r\n", &[]),
            ("no field\r\nDelivered-To: a@x\r\n", &[]),
            ("Subject: x\r\n Delivered-To: a@x\r\n", &[]),
            ("Delivered-To: nobody\r\nX-Delivered-To: a@x\r\nDelivered-To: b@x\r\n\r\n", &["b@x"]),
        ];
        for (message, expected) in table {
            assert_eq!(delivered_to(message), *expected, "{message:?}");
        }
        let long = format!("Subject: {}\r\nDelivered-To: a@x\r\n\r\n", "x".repeat(100_000));
        assert_eq!(delivered_to(&long), ["a@x"]);
    }

    #[test]
    fn a_message_with_a_hundred_received_fields_is_in_a_loop() {
        let message = |fields: usize| "Received: by x\r\n\tfor y\r\n".repeat(fields) + "\r\n";
        for chunk_octets in [usize::MAX, 1] {
            let seen = |message: String| {
                let mut passage = Passage::default();
                message.as_bytes().chunks(chunk_octets).try_for_each(|chunk| passage.see(chunk))
            };
            assert_eq!(seen(message(99)), Ok(()));
            assert_eq!(seen(message(100)), Err(StoreError::MailLoop));
            assert_eq!(seen(format!("\r\n{}", message(100))), Ok(()));
        }
    }
}
