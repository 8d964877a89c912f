//! The reply to a message, however it is written: one that is not understood would have the message sent again.

use crate::smtp::{Reply, ReplyError, ReplyReader};

/// The most lines without a code that are skipped.
const SKIPPED_LINES: usize = 100;

/// Puts the reply to a message together. Any line that begins with a code is an answer; others are skipped.
#[derive(Debug, Default)]
pub struct AnswerReader {
    replies: ReplyReader,
    /// The code of the lines so far.
    code: Option<[u8; 3]>,
    skipped: usize,
}

impl AnswerReader {
    /// Takes a line without its end; returns the reply once it is complete. If its lines have different codes, the last
    /// one counts.
    ///
    /// # Errors
    /// [`ReplyError::TooLong`]; the connection is of no more use then.
    pub fn line(&mut self, line: &[u8]) -> Result<Option<Reply>, ReplyError> {
        let Some((code, rest)) = split(line) else {
            self.skipped += 1;
            return if self.skipped > SKIPPED_LINES { Err(ReplyError::TooLong) } else { Ok(None) };
        };
        if self.code.replace(code).is_some_and(|before| before != code) {
            self.replies = ReplyReader::default();
        }
        let (separator, text) = match rest.split_first() {
            Some((b'-', text)) => (b'-', text),
            Some((b' ', text)) => (b' ', text),
            _ => (b' ', rest),
        };
        self.replies.line(&[&code[..], &[separator], text].concat())
    }

    /// The reply, when no more is to come after this part of a line: what was said so far, if there is a code in it.
    pub fn end(mut self, unfinished: &[u8]) -> Option<Reply> {
        if let Ok(Some(reply)) = self.line(unfinished) {
            return Some(reply);
        }
        let code = self.code?;
        self.line(&code).ok().flatten()
    }
}

/// The code at the beginning of a line, and what follows it.
fn split(line: &[u8]) -> Option<([u8; 3], &[u8])> {
    let (code, rest) = line.split_first_chunk::<3>()?;
    let is_code = (b'2'..=b'5').contains(&code[0]) && code.iter().all(u8::is_ascii_digit);
    // More digits are no code.
    (is_code && !rest.first().is_some_and(u8::is_ascii_digit)).then_some((*code, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What becomes of these lines, and of a part of one before the end.
    fn read(lines: &[&str], unfinished: &str) -> Option<String> {
        let mut reader = AnswerReader::default();
        for line in lines {
            if let Some(reply) = reader.line(line.as_bytes()).unwrap() {
                return Some(reply.on_one_line());
            }
        }
        reader.end(unfinished.as_bytes()).map(|reply| reply.on_one_line())
    }

    #[test]
    fn whatever_begins_with_a_code_is_an_answer() {
        let table: [(&[&str], &str, Option<&str>); 14] = [
            (&["250 2.0.0 OK"], "", Some("250 2.0.0 OK")),
            (&["250-one", "250 two"], "", Some("250 one two")),
            (&["250"], "", Some("250 ")),
            (&["250ok"], "", Some("250 ok")),
            (&["250\tok"], "", Some("250  ok")),
            (&["", "hm", "250 ok"], "", Some("250 ok")),
            (&["250-one", "550 two"], "", Some("550 two")),
            (&[], "250 ok", Some("250 ok")),
            (&[], "452", Some("452 ")),
            (&[], "250-more is to co", Some("250 more is to co ")),
            (&["250-one"], "25", Some("250 one ")),
            (&["250-one"], "", Some("250 one ")),
            (&["hm"], "25", None),
            (&["2500 octets", "150 hm", "650 hm"], "", None),
        ];
        for (lines, unfinished, expected) in table {
            assert_eq!(read(lines, unfinished).as_deref(), expected, "{lines:?} {unfinished:?}");
        }
    }

    #[test]
    fn what_has_no_end_is_given_up() {
        for line in ["hm", "250-more"] {
            let mut reader = AnswerReader::default();
            let given_up = (0..1000).find_map(|_| reader.line(line.as_bytes()).err());
            assert_eq!(given_up, Some(ReplyError::TooLong), "{line}");
        }
    }
}
