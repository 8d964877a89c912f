//! What commands write to standard output.

use anyhow::Context;
use jiff::Timestamp;
use std::io::{self, Write};
use unicode_width::UnicodeWidthStr;

/// Why nothing can be said.
pub(crate) const NO_OUTPUT: &str = "cannot write to standard output";

/// Writes one line.
///
/// # Errors
/// [`NO_OUTPUT`], with the reason.
pub(crate) fn say(line: &str) -> anyhow::Result<()> {
    writeln!(io::stdout(), "{line}").context(NO_OUTPUT)
}

/// The exit code of a program that SIGPIPE ends, as a shell sees it.
pub(crate) const UNREAD: u8 = 128 + 13;

/// Whether a command failed because nobody reads its output any more, as after `| head -1`.
pub(crate) fn is_unread(error: &anyhow::Error) -> bool {
    let is_broken_pipe = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
    error.to_string() == NO_OUTPUT && error.root_cause().downcast_ref().is_some_and(is_broken_pipe)
}

/// How many columns of a terminal a text takes.
pub(crate) fn columns(text: &str) -> usize {
    text.width()
}

/// A text, and spaces up to so many columns of a terminal.
pub(crate) fn padded(text: &str, width: usize) -> String {
    format!("{text}{:1$}", "", width.saturating_sub(columns(text)))
}

/// In whole seconds of UTC.
pub(crate) fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// What others said, without what would move the cursor or change the colours of a terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { '?' } else { character }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_pipe_elsewhere_is_an_error() {
        let error = |kind: io::ErrorKind, context| Err::<(), _>(io::Error::from(kind)).context(context).unwrap_err();
        assert!(is_unread(&error(io::ErrorKind::BrokenPipe, NO_OUTPUT)));
        assert!(!is_unread(&error(io::ErrorKind::StorageFull, NO_OUTPUT)));
        assert!(!is_unread(&error(io::ErrorKind::BrokenPipe, "http://127.0.0.1:1080")));
    }

    #[test]
    fn a_text_is_as_wide_as_a_terminal_shows_it() {
        for (text, expected) in [
            ("ab", "ab    |"),
            ("用户", "用户  |"),
            ("é", "é     |"),
            ("e\u{301}", "e\u{301}     |"),
            ("longer text", "longer text|"),
        ] {
            assert_eq!(padded(text, 6) + "|", expected);
        }
    }
}
