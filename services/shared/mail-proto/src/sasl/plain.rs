//! PLAIN (RFC 4616).

/// The parts of PLAIN's one message.
// No `Debug` outside of tests: there is a password inside.
#[cfg_attr(test, derive(Debug))]
#[derive(PartialEq, Eq)]
pub(super) struct PlainMessage {
    pub(super) authorization: String,
    pub(super) user: String,
    pub(super) password: String,
}

/// Parses `authorization NUL user NUL password` (RFC 4616 §2).
pub(super) fn parse(message: &[u8]) -> Option<PlainMessage> {
    let text = std::str::from_utf8(message).ok()?;
    let mut parts = text.split('\0').map(str::to_owned);
    let (authorization, user, password) = (parts.next()?, parts.next()?, parts.next()?);
    let is_whole = parts.next().is_none() && !user.is_empty() && !password.is_empty();
    is_whole.then_some(PlainMessage { authorization, user, password })
}

/// The message of a client that acts for itself.
pub(super) fn message(user: &str, password: &str) -> String {
    format!("\0{user}\0{password}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_with_two_nuls_in_the_right_places() {
        let parsed = |message: &[u8]| {
            let PlainMessage { authorization, user, password } = parse(message)?;
            Some([authorization, user, password])
        };
        let table: &[(&[u8], Option<[&str; 3]>)] = &[
            // RFC 4616 §4.
            (b"\0tim\0tanstaaftanstaaf", Some(["", "tim", "tanstaaftanstaaf"])),
            (b"Ursel\0Kurt\0xipj3plmq", Some(["Ursel", "Kurt", "xipj3plmq"])),
            (b"\0u\0 p q ", Some(["", "u", " p q "])),
            ("\0ü\0é".as_bytes(), Some(["", "ü", "é"])),
            (b"", None),
            (b"u\0p", None),
            (b"\0u\0", None),
            (b"\0\0p", None),
            (b"\0u\0p\0", None),
            (b"\0u\0\xff", None),
        ];
        for (message, expected) in table {
            assert_eq!(parsed(message), expected.map(|parts| parts.map(str::to_owned)), "{}", message.escape_ascii());
        }
        assert_eq!(parsed(super::message("u", "p").as_bytes()), Some(["", "u", "p"].map(str::to_owned)));
    }
}
