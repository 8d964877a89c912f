//! Composes a message (RFC 5322, RFC 2045).

use base64::{Engine as _, engine::general_purpose::STANDARD};
use mail_proto::Mailbox;

/// The octets of text that one line of 76 base64 digits holds (RFC 2045 §6.8).
const OCTETS_PER_LINE: usize = 57;
/// What one encoded word holds: with its frame it has at most 75 characters (RFC 2047 §2).
const OCTETS_PER_WORD: usize = 45;
/// A header line has at most 998 octets (RFC 5322 §2.1.1); this leaves room for the field's name.
const PLAIN_SUBJECT_OCTETS: usize = 900;

/// The subject would not stay one header field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the subject must be one line without control characters")]
pub(crate) struct InvalidSubject;

/// A message with one part of plain text, each line ended by CRLF.
///
/// The headers are those of the hand-out's messages, in their order: their sizes are part of the tutorial.
pub(crate) fn compose(from: &Mailbox, subject: &str, text: &str) -> Result<Vec<u8>, InvalidSubject> {
    let subject = encode_subject(subject)?;
    let mut message = format!(
        "Content-Type: text/plain; charset=\"utf-8\"\r\n\
         MIME-Version: 1.0\r\n\
         Content-Transfer-Encoding: base64\r\n\
         Subject: {subject}\r\n\
         From: {from}\r\n\
         \r\n"
    );
    for line in canonical(text).as_bytes().chunks(OCTETS_PER_LINE) {
        STANDARD.encode_string(line, &mut message);
        message.push_str("\r\n");
    }
    Ok(message.into_bytes())
}

/// Line breaks of any kind as CRLF, which is what they are inside base64 (RFC 2045 §6.8).
fn canonical(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\r', "\n").replace('\n', "\r\n")
}

fn encode_subject(subject: &str) -> Result<String, InvalidSubject> {
    if subject.chars().any(char::is_control) {
        return Err(InvalidSubject);
    }
    // Spaces at the ends would be lost, and what looks like an encoded word would be decoded.
    let plain = subject.is_ascii()
        && subject.len() <= PLAIN_SUBJECT_OCTETS
        && !subject.contains("=?")
        && subject == subject.trim();
    if plain {
        return Ok(subject.to_owned());
    }
    let words: Vec<_> = words(subject).map(|word| format!("=?utf-8?b?{}?=", STANDARD.encode(word))).collect();
    Ok(words.join("\r\n "))
}

/// Cuts between characters: each encoded word must make sense alone (RFC 2047 §5).
fn words(mut rest: &str) -> impl Iterator<Item = &str> {
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (word, after) = rest.split_at(rest.floor_char_boundary(OCTETS_PER_WORD));
        rest = after;
        Some(word)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use mail_parser::MessageParser;

    fn composed(subject: &str, text: &str) -> String {
        let from = "usr1@mail.sustech.edu.cn".parse().unwrap();
        String::from_utf8(compose(&from, subject, text).unwrap()).unwrap()
    }

    #[test]
    fn the_tutorial_messages_to_the_octet() {
        assert_eq!(
            composed("Test", "This is a test emailing myself."),
            "Content-Type: text/plain; charset=\"utf-8\"\r\n\
             MIME-Version: 1.0\r\n\
             Content-Transfer-Encoding: base64\r\n\
             Subject: Test\r\n\
             From: usr1@mail.sustech.edu.cn\r\n\
             \r\n\
             VGhpcyBpcyBhIHRlc3QgZW1haWxpbmcgbXlzZWxmLg==\r\n"
        );
        let table = [
            ("This is a test emailing myself.", 195),
            ("This is a test emailing other user in the same domain.", 223),
            ("This is a test emailing other user in the different domain.", 233),
        ];
        for (text, tutorial_octets) in table {
            assert_eq!(composed("Test", text).len() + 3, tutorial_octets, "{text}");
        }
    }

    #[test]
    fn what_goes_in_comes_out_in_short_lines() {
        let long = "ab ".repeat(500);
        let umlauts = "Grüße aus 深圳 ".repeat(40);
        let table = [
            ("Test", "hello"),
            ("", ""),
            ("  kept  ", "  kept  "),
            ("=?utf-8?q?not_decoded?=", "=?utf-8?q?not_decoded?="),
            ("Grüße aus 深圳 🎉", "Grüße aus 深圳 🎉"),
            (&umlauts, &umlauts),
            (&long, &long),
            ("lines", "one\r\n.two\r\n..\r\n\r\nFrom three\r\n"),
        ];
        for (subject, text) in table {
            let message = composed(subject, text);
            let longest = message.split("\r\n").map(str::len).max().unwrap();
            assert!(longest <= 76 + "Subject: ".len(), "{longest} in {message}");
            assert!(message.ends_with("\r\n") && message.is_ascii(), "{message}");
            let parsed = MessageParser::new().parse(&message).unwrap();
            assert_eq!(parsed.subject().unwrap_or_default(), subject);
            assert_eq!(parsed.body_text(0).unwrap_or_default(), text);
            assert_eq!(parsed.from().unwrap().first().unwrap().address(), Some("usr1@mail.sustech.edu.cn"));
        }
    }

    #[test]
    fn line_breaks_are_crlf_in_the_text() {
        for text in ["a\nb\n", "a\r\nb\r\n", "a\rb\r"] {
            let message = composed("Test", text);
            assert_eq!(MessageParser::new().parse(&message).unwrap().body_text(0).unwrap(), "a\r\nb\r\n");
        }
    }

    #[test]
    fn a_subject_injects_nothing() {
        let from = "usr1@mail.sustech.edu.cn".parse().unwrap();
        for subject in ["a\r\nBcc: x@y", "a\nb", "a\rb", "a\0b", "a\tb", "ü\nx", "a\u{85}b"] {
            assert_eq!(compose(&from, subject, "text"), Err(InvalidSubject), "{subject:?}");
        }
    }
}
