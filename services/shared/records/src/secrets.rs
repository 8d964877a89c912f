//! Passwords on their way: which lines hold one, and what is kept of such a line.

/// Whether a command line holds a password: PASS of POP3, and AUTH with an initial response of either protocol.
pub(crate) fn is_secret(line: &[u8]) -> bool {
    shown_octets(line).is_some()
}

/// How many octets of a command line come before the password; `None` where there is none.
fn shown_octets(line: &[u8]) -> Option<usize> {
    let mut words = line.trim_ascii_end().split_inclusive(|&octet| octet == b' ');
    let verb = words.next()?;
    match verb.trim_ascii_end() {
        verb if verb.eq_ignore_ascii_case(b"PASS") => Some(verb.len() + 1),
        name if name.eq_ignore_ascii_case(b"AUTH") => {
            let mechanism = words.next()?;
            words.next().map(|_| verb.len() + mechanism.len())
        }
        _ => None,
    }
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
            ("PASS \r\n", "PASS \r\n"),
            ("PASS\r\n", "PASS\r\n"),
            ("AUTH PLAIN AHVzcg==\r\n", "AUTH PLAIN ********\r\n"),
            ("auth plain AHV zcg\n", "auth plain *******\n"),
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
        for line in ["PASS x\r\n", "Pass\r\n", "AUTH LOGIN dXNy\r\n", "auth xoauth2 =\r\n"] {
            assert!(is_secret(line.as_bytes()), "{line:?}");
        }
    }
}
