//! The beginning of a message, as TOP sends it (RFC 1939 §7).

/// Cuts a message that arrives in pieces after its headers, the empty line, and the first n lines of the body.
#[derive(Debug)]
pub struct Top {
    /// `None` until the empty line was seen.
    body_lines_left: Option<u64>,
    body_lines: u64,
    /// Octets of the line so far.
    line_octets: usize,
    after_cr: bool,
}

impl Top {
    /// With at most `body_lines` lines of the body.
    pub fn new(body_lines: u64) -> Self {
        Self { body_lines_left: None, body_lines, line_octets: 0, after_cr: false }
    }

    /// What of the next piece belongs to the top.
    pub fn take<'a>(&mut self, piece: &'a [u8]) -> &'a [u8] {
        let mut at = 0;
        while at < piece.len() && !self.is_complete() {
            at += self.line(&piece[at..]);
        }
        &piece[..at]
    }

    /// Whether nothing that follows belongs to the top.
    pub fn is_complete(&self) -> bool {
        self.body_lines_left == Some(0)
    }

    /// Takes octets up to the end of the line or of the piece.
    fn line(&mut self, rest: &[u8]) -> usize {
        let Some(line_feed) = memchr::memchr(b'\n', rest) else {
            self.line_octets += rest.len();
            self.after_cr = rest.ends_with(b"\r");
            return rest.len();
        };
        let ends = if line_feed == 0 { self.after_cr } else { rest[line_feed - 1] == b'\r' };
        self.line_octets += line_feed + 1;
        self.after_cr = false;
        if ends {
            self.body_lines_left = match self.body_lines_left {
                Some(lines) => Some(lines.saturating_sub(1)),
                None if self.line_octets == 2 => Some(self.body_lines),
                None => None,
            };
            self.line_octets = 0;
        }
        line_feed + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn top(message: &[u8], body_lines: u64, chunk: usize) -> Vec<u8> {
        let mut top = Top::new(body_lines);
        message.chunks(chunk).flat_map(|piece| top.take(piece).to_vec()).collect()
    }

    #[test]
    fn the_cut() {
        let table: &[(&[u8], u64, &[u8])] = &[
            (b"A: b\r\n\r\none\r\ntwo\r\n", 0, b"A: b\r\n\r\n"),
            (b"A: b\r\n\r\none\r\ntwo\r\n", 1, b"A: b\r\n\r\none\r\n"),
            (b"A: b\r\n\r\none\r\ntwo\r\n", 2, b"A: b\r\n\r\none\r\ntwo\r\n"),
            (b"A: b\r\n\r\none\r\ntwo\r\n", u64::MAX, b"A: b\r\n\r\none\r\ntwo\r\n"),
            (b"A: b\r\n\r\n\r\n\r\nx", 1, b"A: b\r\n\r\n\r\n"),
            (b"A: b\r\n\r\nno line end", 1, b"A: b\r\n\r\nno line end"),
            (b"A: b\r\n\r\n", 5, b"A: b\r\n\r\n"),
            (b"A: b\r\nno empty line\r\n", 1, b"A: b\r\nno empty line\r\n"),
            (b"\r\nbody at once\r\nmore\r\n", 1, b"\r\nbody at once\r\n"),
            (b"", 3, b""),
            (b"A: b\n\nc\r\n\r\none\r\n", 0, b"A: b\n\nc\r\n\r\n"),
            (b"A: b\r\n\r\r\n\r\none\r\n", 0, b"A: b\r\n\r\r\n\r\n"),
        ];
        for (message, body_lines, expected) in table {
            for chunk in 1..=message.len().max(1) {
                let cut = top(message, *body_lines, chunk);
                assert_eq!(cut.escape_ascii().to_string(), expected.escape_ascii().to_string(), "chunks of {chunk}");
            }
        }
    }

    /// Everything in memory, one line after the other.
    fn naive(message: &str, body_lines: usize) -> String {
        let mut lines = message.split_inclusive("\r\n");
        let mut cut = String::new();
        for line in lines.by_ref() {
            cut.push_str(line);
            if line == "\r\n" {
                break;
            }
        }
        cut.extend(lines.take(body_lines));
        cut
    }

    proptest! {
        #[test]
        fn chunks_do_not_matter(pieces in prop::collection::vec("\r\n|\r|\n|a|\\.", 0..30), body_lines in 0usize..5, chunk in 1usize..40) {
            let message = pieces.concat();
            let cut = top(message.as_bytes(), body_lines as u64, chunk);
            prop_assert_eq!(String::from_utf8(cut).unwrap(), naive(&message, body_lines));
        }
    }
}
