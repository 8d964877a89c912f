//! Passwords on their way: which lines hold one, and what is kept of such a line.

use mail_proto::explain;

/// The verbs of SMTP and POP3 that are no part of a login: a line that begins with one of them holds no password.
const VERBS: [&[u8]; 35] = [
    b"HELO",
    b"EHLO",
    b"MAIL",
    b"RCPT",
    b"DATA",
    b"BDAT",
    b"RSET",
    b"VRFY",
    b"EXPN",
    b"HELP",
    b"NOOP",
    b"QUIT",
    b"SEND",
    b"SOML",
    b"SAML",
    b"TURN",
    b"ETRN",
    b"STARTTLS",
    b"USER",
    b"PASS",
    b"APOP",
    b"AUTH",
    b"STLS",
    b"CAPA",
    b"UTF8",
    b"LANG",
    b"STAT",
    b"LIST",
    b"RETR",
    b"DELE",
    b"TOP",
    b"UIDL",
    b"LAST",
    b"LHLO",
    b"XCLIENT",
];

/// Whether a command line holds a password: PASS of POP3, and AUTH with more than the name of a mechanism.
pub(crate) fn is_secret(line: &[u8]) -> bool {
    shown_octets(line).is_some()
}

/// Whether a line is AUTH. What follows it may be a password, also where the server has refused AUTH: a client that
/// pipelines does not know.
pub(crate) fn is_auth(line: &[u8]) -> bool {
    words(line).next().is_some_and(|(_, verb)| verb.eq_ignore_ascii_case(b"AUTH"))
}

/// Whether a line begins with a verb.
pub(crate) fn is_command(line: &[u8]) -> bool {
    words(line).next().is_some_and(|(_, word)| VERBS.iter().any(|verb| word.eq_ignore_ascii_case(verb)))
}

/// The words of a line, each with its place. Whatever a lenient server takes for a blank parts them.
fn words(line: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut at = 0;
    let words = line.split(|octet| b" \t\r\n".contains(octet)).map(move |word| {
        let place = at;
        at += word.len() + 1;
        (place, word)
    });
    words.filter(|(_, word)| !word.is_empty())
}

/// How many octets of a command line come before the password; `None` where there is none.
fn shown_octets(line: &[u8]) -> Option<usize> {
    let mut words = words(line);
    let (at, verb) = words.next()?;
    if verb.eq_ignore_ascii_case(b"PASS") {
        return Some((at + verb.len() + 1).min(line.len()));
    }
    if !verb.eq_ignore_ascii_case(b"AUTH") {
        return None;
    }
    // What is no mechanism may be a password at the wrong place.
    let is_mechanism = |word: &[u8]| str::from_utf8(word).is_ok_and(|word| explain::mechanism(word).is_some());
    words.find(|(_, word)| !is_mechanism(word)).map(|(at, _)| at)
}

/// Replaces each octet of the password in a line by `*`. A line without a command is all password.
pub(crate) fn mask(line: &mut [u8]) {
    let shown = shown_octets(line).unwrap_or(0);
    let end = line.trim_ascii_end().len().max(shown);
    line.get_mut(shown..end).unwrap_or_default().fill(b'*');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(line: &str) -> String {
        let mut line = line.as_bytes().to_vec();
        mask(&mut line);
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn a_password_is_as_many_stars() {
        for (line, shown) in [
            ("PASS secret\r\n", "PASS ******\r\n"),
            ("pass two words\r\n", "pass *********\r\n"),
            (" PASS secret\r\n", " PASS ******\r\n"),
            ("PASS\tsecret\r\n", "PASS\t******\r\n"),
            ("PASS \r\n", "PASS \r\n"),
            ("PASS\r\n", "PASS\r\n"),
            ("AUTH PLAIN AHVzcg==\r\n", "AUTH PLAIN ********\r\n"),
            ("auth plain AHV zcg\n", "auth plain *******\n"),
            ("\tAUTH  PLAIN\tAHVzcg==\r\n", "\tAUTH  PLAIN\t********\r\n"),
            ("AUTH AHVzcjE\r\n", "AUTH *******\r\n"),
            ("AHVzcjE=\r\n", "********\r\n"),
            ("*\r\n", "*\r\n"),
            ("\r\n", "\r\n"),
            ("PASS unfinished", "PASS **********"),
        ] {
            assert_eq!(masked(line), shown);
        }
    }

    #[test]
    fn other_commands_hold_no_password() {
        for line in ["USER usr1\r\n", "AUTH\r\n", "AUTH PLAIN\r\n", "AUTH PLAIN \r\n", "PASSWORD x\r\n", "\r\n", ""] {
            assert!(!is_secret(line.as_bytes()), "{line:?}");
        }
        for line in ["PASS x\r\n", "Pass\r\n", "AUTH LOGIN dXNy\r\n", "auth xoauth2 =\r\n", " AUTH x\r\n"] {
            assert!(is_secret(line.as_bytes()), "{line:?}");
        }
    }
}
