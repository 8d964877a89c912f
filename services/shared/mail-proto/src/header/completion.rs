//! The fields that a submitted message lacks (RFC 6409 §8).

/// The longest name of a field, with the white space after it: what fits into a line (RFC 5322 §2.1.1).
const NAME_OCTETS: usize = 998;

/// Adds fields to a message that streams by: each one that the message lacks, at the end of its header.
///
/// A message that lacks none stays as it is, octet for octet. Only the beginning of a line is ever held back: at most a
/// field's name.
#[derive(Debug)]
pub struct Completion {
    /// Name and line of each field that was not seen yet.
    missing: Vec<(&'static str, String)>,
    at: At,
    /// The beginning of a line that is not understood yet.
    held: Vec<u8>,
    is_first_line: bool,
}

/// Where in the message it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    LineStart,
    /// In a line of the header, after what tells that it is one.
    HeaderLine,
    /// Where nothing is added any more.
    Rest,
}

/// What a line of the header is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    Field,
    Continuation,
    /// The empty line that ends the header.
    Empty,
    /// One that is not of a header, which ends it too.
    Foreign,
}

impl Completion {
    /// Adds these fields, given by name and value.
    pub fn new(fields: impl IntoIterator<Item = (&'static str, String)>) -> Self {
        let missing = fields.into_iter().map(|(name, value)| (name, format!("{name}: {value}\r\n"))).collect();
        Self { missing, at: At::LineStart, held: Vec::new(), is_first_line: true }
    }

    /// Takes the next octets of the message and appends what is to be passed on.
    pub fn push(&mut self, mut input: &[u8], output: &mut Vec<u8>) {
        while let Some((&first, rest)) = input.split_first() {
            match self.at {
                At::Rest => return output.extend_from_slice(input),
                At::HeaderLine => {
                    let line_feed = memchr::memchr(b'\n', input);
                    let (line, after) = input.split_at(line_feed.map_or(input.len(), |at| at + 1));
                    output.extend_from_slice(line);
                    input = after;
                    if line_feed.is_some() {
                        self.at = At::LineStart;
                    }
                }
                At::LineStart => {
                    self.held.push(first);
                    input = rest;
                    if let Some(line) = self.line() {
                        self.begin_line(line, output);
                    }
                }
            }
        }
    }

    /// The message is whole: appends what is left to be passed on.
    pub fn finish(mut self, output: &mut Vec<u8>) {
        match self.at {
            At::Rest => {}
            // A line without its end: nothing may join it.
            At::HeaderLine => {
                output.extend_from_slice(b"\r\n");
                self.add(output);
            }
            At::LineStart if self.held.is_empty() => self.add(output),
            At::LineStart => self.begin_line(Line::Foreign, output),
        }
    }

    /// What the line is that begins with what is held, as soon as its last octet tells.
    fn line(&self) -> Option<Line> {
        let (&last, before) = self.held.split_last()?;
        match (before.last(), last) {
            (None, b' ' | b'\t') if !self.is_first_line => Some(Line::Continuation),
            (None, b'\r') => None,
            (Some(b'\r'), b'\n') => Some(Line::Empty),
            (Some(b'\r'), _) | (None, b' ' | b'\t' | b':') => Some(Line::Foreign),
            (Some(_), b':') => Some(Line::Field),
            (Some(_), b' ' | b'\t') if before.len() < NAME_OCTETS => None,
            // White space stands only between name and colon.
            (Some(b' ' | b'\t'), _) => Some(Line::Foreign),
            (_, b'!'..=b'~') if before.len() < NAME_OCTETS => None,
            _ => Some(Line::Foreign),
        }
    }

    /// Passes on what is held, which begins such a line.
    fn begin_line(&mut self, line: Line, output: &mut Vec<u8>) {
        match line {
            Line::Continuation => self.at = At::HeaderLine,
            Line::Field => {
                let name = self.held.strip_suffix(b":").unwrap_or(&self.held).trim_ascii_end();
                self.missing.retain(|(missing, _)| !name.eq_ignore_ascii_case(missing.as_bytes()));
                self.at = if self.missing.is_empty() { At::Rest } else { At::HeaderLine };
            }
            Line::Empty | Line::Foreign => {
                self.add(output);
                // The message has no header of its own: its first line is set apart from ours.
                if self.is_first_line && line == Line::Foreign {
                    output.extend_from_slice(b"\r\n");
                }
                self.at = At::Rest;
            }
        }
        self.is_first_line = false;
        output.append(&mut self.held);
    }

    fn add(&mut self, output: &mut Vec<u8>) {
        self.missing.drain(..).for_each(|(_, line)| output.extend_from_slice(line.as_bytes()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::header::separator;
    use proptest::prelude::*;

    fn completed(message: &[u8], chunk: usize) -> Vec<u8> {
        let mut completion = Completion::new([("Date", "today".to_owned()), ("Message-ID", "<1@a.test>".to_owned())]);
        let mut output = Vec::new();
        for piece in message.chunks(chunk) {
            completion.push(piece, &mut output);
            assert!(completion.held.len() <= NAME_OCTETS, "what is held back stays bounded");
        }
        completion.finish(&mut output);
        output
    }

    #[test]
    fn what_is_missing_is_added_at_the_end_of_the_header() {
        let (date, id) = ("Date: today\r\n", "Message-ID: <1@a.test>\r\n");
        let long = format!("{}\r\nDate: x\r\n", "x".repeat(2000));
        let table = [
            ("Subject: x\r\n\r\nDate: y\r\n", format!("Subject: x\r\n{date}{id}\r\nDate: y\r\n")),
            ("Date: x\r\n\r\nbody\r\n", format!("Date: x\r\n{id}\r\nbody\r\n")),
            ("message-id : x\r\nA: b\r\n\r\n", format!("message-id : x\r\nA: b\r\n{date}\r\n")),
            // Other names, and what only looks like one.
            (
                "Resent-Date: x\r\nDate-Of: y\r\nX: z\r\n Date: folded\r\n\tMessage-ID: folded\r\n\r\n",
                format!(
                    "Resent-Date: x\r\nDate-Of: y\r\nX: z\r\n Date: folded\r\n\tMessage-ID: folded\r\n{date}{id}\r\n"
                ),
            ),
            // No header, or no end of it.
            ("", format!("{date}{id}")),
            ("\r\nbody\r\n", format!("{date}{id}\r\nbody\r\n")),
            ("A: b\r\n", format!("A: b\r\n{date}{id}")),
            ("A: b", format!("A: b\r\n{date}{id}")),
            ("no header\r\n", format!("{date}{id}\r\nno header\r\n")),
            ("no", format!("{date}{id}\r\nno")),
            (" folded\r\n", format!("{date}{id}\r\n folded\r\n")),
            (": x\r\n", format!("{date}{id}\r\n: x\r\n")),
            ("é: x\r\n", format!("{date}{id}\r\né: x\r\n")),
            ("A: b\r\nnonsense\r\nDate: x\r\n", format!("A: b\r\n{date}{id}nonsense\r\nDate: x\r\n")),
            ("A: b\r\n\r", format!("A: b\r\n{date}{id}\r")),
            (&long, format!("{date}{id}\r\n{long}")),
        ];
        for (message, expected) in table {
            for chunk in [1, 2, 3, 7, 5000] {
                let found = completed(message.as_bytes(), chunk);
                assert_eq!(String::from_utf8_lossy(&found), expected, "{message:?} in chunks of {chunk}");
            }
        }
    }

    #[test]
    fn a_message_that_has_all_stays_as_it_is() {
        for message in [
            "Date: x\r\nMessage-ID: y\r\n\r\nbody",
            "MESSAGE-ID\t: y\r\nA: b\r\n c\r\ndate:\r\n\r\n.\r\n",
            "Date: x\r\nMessage-ID: y",
        ] {
            for chunk in 1..=message.len() {
                assert_eq!(completed(message.as_bytes(), chunk), message.as_bytes(), "{message:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn chunking_never_matters_and_nothing_is_lost(
            input in prop::collection::vec(prop::sample::select(b"Date: x\r\n\r\n \t.".to_vec()), 0..60),
            chunk in 1usize..60,
        ) {
            let output = completed(&input, chunk);
            prop_assert_eq!(&output, &completed(&input, 1));
            // Without what was added, the message is what it was.
            let text = String::from_utf8(output).unwrap();
            let without = text.replacen("Date: today\r\n", "", 1).replacen("Message-ID: <1@a.test>\r\n", "", 1);
            let input = String::from_utf8(input).unwrap();
            let apart = format!("\r\n{input}");
            let joined = format!("{input}\r\n");
            prop_assert!([&input, &apart, &joined].contains(&&without), "{text:?}");
            // A field of our own before it needs no more to set it apart.
            prop_assert_eq!(separator(text.as_bytes()), b"");
        }
    }
}
