//! A message made of what somebody has written (RFC 5322).

use base64::{Engine as _, prelude::BASE64_STANDARD as BASE64};
use jiff::{Timestamp, tz::TimeZone};
use mail_proto::Mailbox;

/// The octets that one line of 76 base64 digits holds (RFC 2045 §6.8).
const OCTETS_PER_LINE: usize = 57;
/// What one encoded word holds: with its frame it has at most 75 characters (RFC 2047 §2).
const OCTETS_PER_WORD: usize = 45;
/// A subject of this length stays on one line as it is.
const PLAIN_SUBJECT_OCTETS: usize = 900;

/// What somebody has written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Draft<'a> {
    pub(super) from: &'a Mailbox,
    pub(super) to: &'a [Mailbox],
    pub(super) subject: &'a str,
    pub(super) text: &'a str,
}

impl Draft<'_> {
    /// The message: one part of plain text.
    ///
    /// # Errors
    /// When the subject would not stay one header field.
    pub(super) fn composed(self, now: Timestamp) -> Result<Vec<u8>, String> {
        let to = self.to.iter().map(ToString::to_string).collect::<Vec<_>>().join(",\r\n ");
        let date = now.to_zoned(TimeZone::system()).strftime("%a, %d %b %Y %H:%M:%S %z").to_string();
        let (from, subject, id) = (self.from, subject(self.subject)?, uuid::Uuid::new_v4());
        let domain = from.domain();
        let mut message = format!(
            "From: {from}\r\nTo: {to}\r\nDate: {date}\r\nMessage-ID: <{id}@{domain}>\r\nSubject: {subject}\r\n\
             MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        );
        let text = self.text.replace("\r\n", "\n").replace('\r', "\n").replace('\n', "\r\n");
        for line in text.as_bytes().chunks(OCTETS_PER_LINE) {
            BASE64.encode_string(line, &mut message);
            message.push_str("\r\n");
        }
        Ok(message.into_bytes())
    }
}

fn subject(text: &str) -> Result<String, String> {
    if text.chars().any(char::is_control) {
        return Err("the subject must be one line without control characters".to_owned());
    }
    let is_plain = text.is_ascii() && text.len() <= PLAIN_SUBJECT_OCTETS && !text.contains("=?") && text == text.trim();
    if is_plain {
        return Ok(text.to_owned());
    }
    let (mut words, mut rest) = (Vec::new(), text);
    while !rest.is_empty() {
        // Each word must make sense alone (RFC 2047 §5).
        let (word, after) = rest.split_at(rest.floor_char_boundary(OCTETS_PER_WORD));
        words.push(format!("=?utf-8?b?{}?=", BASE64.encode(word)));
        rest = after;
    }
    Ok(words.join("\r\n "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Content;

    #[test]
    fn what_is_composed_can_be_read() {
        let (from, to) = ("a@x.test".parse().unwrap(), ["b@y.test".parse().unwrap()]);
        let written = |subject, text| Draft { from: &from, to: &to, subject, text }.composed(Timestamp::UNIX_EPOCH);
        let long = "Grüße ".repeat(20);
        for subject in ["plain", long.trim(), "=?utf-8?q?not_encoded?=", ""] {
            let content = Content::of(&written(subject, "a\n.b\r\nö").unwrap());
            assert_eq!((content.subject.as_str(), content.text.trim_end()), (subject, "a\n.b\nö"));
            assert_eq!(content.to[0].address, "b@y.test");
            assert!(content.message_id.ends_with("@x.test"));
        }
        for hostile in ["a\r\nBcc: c@z.test", "a\nb", "a\0"] {
            assert!(written(hostile, "").is_err(), "{hostile:?}");
        }
    }
}
