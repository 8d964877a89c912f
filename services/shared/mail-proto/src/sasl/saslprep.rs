//! SASLprep (RFC 4013): one form for a name or a password, however it was typed.

use std::borrow::Cow;

/// A text that cannot be prepared: it has characters that no name and no password may have (RFC 4013 §2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the text has characters that SASLprep prohibits")]
pub struct Unpreparable;

/// The prepared form of a text, which is not empty.
///
/// # Errors
/// [`Unpreparable`].
pub fn prepare(text: &str) -> Result<Cow<'_, str>, Unpreparable> {
    let prepared = stringprep::saslprep(text).map_err(|_| Unpreparable)?;
    if prepared.is_empty() { Err(Unpreparable) } else { Ok(prepared) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4013 §3.
    #[test]
    fn the_examples_of_the_rfc() {
        let table = [
            ("I\u{ad}X", Some("IX")),
            ("user", Some("user")),
            ("USER", Some("USER")),
            ("\u{aa}", Some("a")),
            ("\u{2168}", Some("IX")),
            ("\u{7}", None),
            ("\u{627}\u{31}", None),
            ("", None),
            ("\u{ad}", None),
            ("a\u{a0}b", Some("a b")),
        ];
        for (text, expected) in table {
            assert_eq!(prepare(text).ok().as_deref(), expected, "{text:?}");
        }
    }
}
