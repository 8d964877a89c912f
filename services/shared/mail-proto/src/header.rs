//! What servers on the way add to the header of a message.

mod completion;

pub use completion::Completion;

/// What stands between a field that is added before a message and the message itself: an empty line, unless the message
/// begins with a header field, or with that line. Otherwise its first line would continue or join our field
/// (RFC 5322 §2.2.3).
pub fn separator(message: &[u8]) -> &'static [u8] {
    let name = message.iter().take_while(|octet| matches!(octet, b'!'..=b'9' | b';'..=b'~')).count();
    let colon = message[name..].iter().find(|octet| !matches!(octet, b' ' | b'\t'));
    let is_field = name > 0 && colon == Some(&b':');
    if is_field || message.is_empty() || message.starts_with(b"\r\n") { b"" } else { b"\r\n" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_begins_with_no_field_is_set_apart() {
        let apart =
            ["no field\r\n", " Subject: folded\r\n", "\tx\r\n", "From u@a.test Thu: x\r\n", ": x\r\n", "é: x", "name"];
        for message in apart {
            assert_eq!(separator(message.as_bytes()), b"\r\n", "{message:?}");
        }
        for message in ["Subject: x\r\n", "X-1:\r\n", "Subject : x\r\n", "\r\nbody\r\n", ""] {
            assert_eq!(separator(message.as_bytes()), b"", "{message:?}");
        }
    }
}
