//! Composes a message (RFC 5322, RFC 2045).

use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::{Timestamp, tz::TimeZone};
use mail_proto::Mailbox;
use town_config::Profile;
use uuid::Uuid;

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

/// What a user has written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Draft<'a> {
    pub(crate) from: &'a Mailbox,
    pub(crate) to: &'a [Mailbox],
    pub(crate) subject: &'a str,
    pub(crate) text: &'a str,
}

/// A message with one part of plain text, each line ended by CRLF.
///
/// In profile `tutorial` its headers are those of the hand-out's messages, in their order: their sizes are part of the
/// tutorial. In profile `rfc` it also has the fields that RFC 5322 §3.6 asks for.
pub(crate) fn compose(draft: Draft<'_>, profile: Profile, now: Timestamp) -> Result<Vec<u8>, InvalidSubject> {
    let Draft { from, to, subject, text } = draft;
    let subject = encode_subject(subject)?;
    let mut message = format!(
        "Content-Type: text/plain; charset=\"utf-8\"\r\n\
         MIME-Version: 1.0\r\n\
         Content-Transfer-Encoding: base64\r\n\
         Subject: {subject}\r\n\
         From: {from}\r\n"
    );
    if profile == Profile::Rfc {
        message.push_str(&identification(from, to, now));
    }
    message.push_str("\r\n");
    for line in canonical(text).as_bytes().chunks(OCTETS_PER_LINE) {
        STANDARD.encode_string(line, &mut message);
        message.push_str("\r\n");
    }
    Ok(message.into_bytes())
}

/// `To`, `Date` and `Message-ID`.
fn identification(from: &Mailbox, to: &[Mailbox], now: Timestamp) -> String {
    let to = to.iter().map(ToString::to_string).collect::<Vec<_>>().join(",\r\n ");
    let date = now.to_zoned(TimeZone::system()).strftime("%a, %d %b %Y %H:%M:%S %z");
    format!("To: {to}\r\nDate: {date}\r\nMessage-ID: <{}@{}>\r\n", Uuid::new_v4(), from.domain())
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

    const NOW: Timestamp = Timestamp::constant(1_767_225_600, 0);
    use mail_parser::MessageParser;

    fn written(subject: &str, text: &str, profile: Profile) -> Result<String, InvalidSubject> {
        let from = "usr1@mail.sustech.edu.cn".parse().unwrap();
        let to = ["usr2@mail.sustech.edu.cn".parse().unwrap(), "usr@gmail.com".parse().unwrap()];
        let message = compose(Draft { from: &from, to: &to, subject, text }, profile, NOW)?;
        Ok(String::from_utf8(message).unwrap())
    }

    fn composed(subject: &str, text: &str) -> String {
        written(subject, text, Profile::Tutorial).unwrap()
    }

    #[test]
    fn profile_rfc_identifies_the_message() {
        let messages = [(); 2].map(|()| written("Test", "text", Profile::Rfc).unwrap());
        let [first, second] = messages.each_ref().map(|message| MessageParser::new().parse(message).unwrap());
        let to: Vec<_> = first.to().unwrap().iter().filter_map(mail_parser::Addr::address).collect();
        assert_eq!(to, ["usr2@mail.sustech.edu.cn", "usr@gmail.com"]);
        assert_eq!(first.date().unwrap().to_timestamp(), NOW.as_second());
        assert!(first.message_id().unwrap().ends_with("@mail.sustech.edu.cn"));
        assert_ne!(first.message_id(), second.message_id());
        assert_eq!((first.subject(), first.body_text(0).as_deref()), (Some("Test"), Some("text")));
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
        for subject in ["a\r\nBcc: x@y", "a\nb", "a\rb", "a\0b", "a\tb", "ü\nx", "a\u{85}b"] {
            assert_eq!(written(subject, "text", Profile::Rfc), Err(InvalidSubject), "{subject:?}");
        }
    }
}
