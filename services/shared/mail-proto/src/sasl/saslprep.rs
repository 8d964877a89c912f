//! SASLprep (RFC 4013): one form for a name or a password, however it was typed.

use std::borrow::Cow;
use stringprep::tables;

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

/// Whether a text has no character that no name and no password may have (RFC 4013 §2.3). Unlike [`prepare`], this takes
/// characters that Unicode has got since, as a query must (RFC 3454 §7).
pub fn is_permitted(text: &str) -> bool {
    !text.chars().any(|c| {
        tables::ascii_control_character(c)
            || tables::non_ascii_control_character(c)
            || tables::private_use(c)
            || tables::non_character_code_point(c)
            || tables::surrogate_code(c)
            || tables::inappropriate_for_plain_text(c)
            || tables::inappropriate_for_canonical_representation(c)
            || tables::change_display_properties_or_deprecated(c)
            || tables::tagging_character(c)
    })
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

    #[test]
    fn what_no_name_may_have() {
        for text in ["a", "ü", "two words", "a\u{a0}b", "\u{1f600}", ""] {
            assert!(is_permitted(text), "{text:?}");
        }
        for text in ["\u{7}", "ü\t", "\u{85}", "\u{e000}", "\u{fffd}", "\u{2ff0}", "\u{200e}", "\u{e0001}", "\u{fdd0}"]
        {
            assert!(!is_permitted(text), "{text:?}");
        }
    }
}
