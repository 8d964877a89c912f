//! Replies (RFC 5321 §4.2) with enhanced status codes (RFC 3463, RFC 2034).

use std::{borrow::Cow, fmt};

/// The most lines and octets of one reply that are kept: a peer may not fill our memory.
const LINES: usize = 100;
const TEXT_OCTETS: usize = 8 * 1024;
/// The most lines and octets of one reply that are read: a peer may not keep us reading for ever.
const READ_LINES: usize = 500;
const READ_OCTETS: usize = 64 * 1024;

/// The subject and detail of an enhanced status code. The class is the first digit of the reply's code, so
/// the two cannot disagree.
pub type Status = (u16, u16);

/// A reply: what a server sends, and what a client has read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    code: u16,
    status: Option<Status>,
    lines: Vec<Cow<'static, str>>,
}

impl Reply {
    /// A reply of one line with an enhanced status code; control characters in `text` become spaces.
    pub fn new(code: u16, status: Status, text: impl Into<Cow<'static, str>>) -> Self {
        Self { code, status: Some(status), lines: vec![printable(text.into())] }
    }

    /// A reply without an enhanced status code: the greeting, EHLO's and 354 (RFC 2034 §3).
    pub fn plain(code: u16, text: impl Into<Cow<'static, str>>) -> Self {
        Self { code, status: None, lines: vec![printable(text.into())] }
    }

    /// The same reply with one more line.
    #[must_use]
    pub fn line(mut self, text: impl Into<Cow<'static, str>>) -> Self {
        self.lines.push(printable(text.into()));
        self
    }

    /// The same reply, with a `?` for each character beyond ASCII.
    #[must_use]
    pub fn in_ascii(self) -> Self {
        if self.is_ascii() {
            return self;
        }
        let replace = |line: &str| line.replace(|character: char| !character.is_ascii(), "?").into();
        Self { lines: self.lines.iter().map(|line| replace(line)).collect(), ..self }
    }

    /// Whether its text is in ASCII.
    pub fn is_ascii(&self) -> bool {
        self.lines.iter().all(|line| line.is_ascii())
    }

    /// The three digits.
    pub fn code(&self) -> u16 {
        self.code
    }

    /// The enhanced status code as text, such as `5.1.1`; `None` where the reply has none.
    pub fn enhanced(&self) -> Option<String> {
        self.status.map(|(subject, detail)| format!("{}.{subject}.{detail}", self.code / 100))
    }

    /// The enhanced status code without its class; `None` where the reply has none.
    pub fn status(&self) -> Option<Status> {
        self.status
    }

    /// The lines of text, without codes.
    pub fn lines(&self) -> &[Cow<'static, str>] {
        &self.lines
    }

    fn is_full(&self) -> bool {
        self.lines.len() == LINES || self.lines.iter().map(|line| line.len()).sum::<usize>() >= TEXT_OCTETS
    }

    /// 2yz: done as asked.
    pub fn is_positive(&self) -> bool {
        self.code / 100 == 2
    }

    /// 4yz: worth another try.
    pub fn is_transient(&self) -> bool {
        self.code / 100 == 4
    }

    /// 5yz: not to be tried again as it was.
    pub fn is_permanent(&self) -> bool {
        self.code / 100 == 5
    }

    /// All of it on one line, for logs and failure messages.
    pub fn on_one_line(&self) -> String {
        let enhanced = self.enhanced().map(|status| status + " ").unwrap_or_default();
        format!("{} {enhanced}{}", self.code, self.lines.join(" "))
    }

    /// Appends the reply as it travels.
    pub fn encode(&self, output: &mut Vec<u8>) {
        output.extend_from_slice(self.to_string().as_bytes());
    }
}

/// As it travels, CRLFs included.
impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let last = self.lines.len() - 1;
        for (index, line) in self.lines.iter().enumerate() {
            let separator = if index == last { ' ' } else { '-' };
            write!(f, "{}{separator}", self.code)?;
            if let Some((subject, detail)) = self.status {
                write!(f, "{}.{subject}.{detail} ", self.code / 100)?;
            }
            write!(f, "{line}\r\n")?;
        }
        Ok(())
    }
}

fn printable(text: Cow<'static, str>) -> Cow<'static, str> {
    if text.contains(char::is_control) { text.replace(char::is_control, " ").into() } else { text }
}

/// What a server sent is no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// The line does not begin with a code and a separator.
    #[error("a line that is no SMTP reply")]
    Syntax,
    /// The lines of one reply carry different codes.
    #[error("an SMTP reply with two codes")]
    Inconsistent,
    /// The reply has too many lines or octets.
    #[error("an SMTP reply without end")]
    TooLong,
}

/// Puts the lines of a reply together.
#[derive(Debug, Default)]
pub struct ReplyReader {
    partial: Option<Reply>,
    /// How many lines and octets of it were read.
    lines: usize,
    octets: usize,
}

impl ReplyReader {
    /// Takes a line without its CRLF; returns the reply once it is complete.
    ///
    /// # Errors
    /// [`ReplyError`]; the connection is of no more use then.
    pub fn line(&mut self, line: &[u8]) -> Result<Option<Reply>, ReplyError> {
        (self.lines, self.octets) = (self.lines + 1, self.octets + line.len());
        if self.lines > READ_LINES || self.octets > READ_OCTETS {
            return Err(ReplyError::TooLong);
        }
        let (code, last, text) = split(line)?;
        // Control characters first: otherwise a tab after the status hides it here, and not from who reads it next.
        let text = printable(text.into_owned().into());
        let (status, text) = split_status(code, &text);
        let text = text.to_owned();
        let mut reply = match self.partial.take() {
            None => Reply { code, status, lines: vec![text.into()] },
            Some(reply) if reply.code != code => return Err(ReplyError::Inconsistent),
            Some(reply) if reply.is_full() => reply,
            Some(reply) => reply.line(text),
        };
        reply.status = reply.status.or(status);
        if last {
            (self.lines, self.octets) = (0, 0);
            return Ok(Some(reply));
        }
        self.partial = Some(reply);
        Ok(None)
    }
}

/// Code, whether this is the last line, and text.
fn split(line: &[u8]) -> Result<(u16, bool, Cow<'_, str>), ReplyError> {
    let (code, rest) = line.split_at_checked(3).ok_or(ReplyError::Syntax)?;
    if !code.iter().all(u8::is_ascii_digit) || !(b'2'..=b'5').contains(&code[0]) {
        return Err(ReplyError::Syntax);
    }
    let code = code.iter().fold(0, |code, digit| code * 10 + u16::from(digit - b'0'));
    match rest.split_first() {
        None => Ok((code, true, "".into())),
        Some((b' ', text)) => Ok((code, true, String::from_utf8_lossy(text))),
        Some((b'-', text)) => Ok((code, false, String::from_utf8_lossy(text))),
        Some(_) => Err(ReplyError::Syntax),
    }
}

/// Takes an enhanced status code of the right class off the text.
fn split_status(code: u16, text: &str) -> (Option<Status>, &str) {
    let (first, rest) = text.split_once(' ').unwrap_or((text, ""));
    let mut numbers = first.split('.').map(|number| {
        let digits = (1..=3).contains(&number.len()) && number.bytes().all(|b| b.is_ascii_digit());
        if digits { number.parse::<u16>().ok() } else { None }
    });
    match [numbers.next(), numbers.next(), numbers.next(), numbers.next()] {
        [Some(Some(class)), Some(Some(subject)), Some(Some(detail)), None] if class == code / 100 => {
            (Some((subject, detail)), rest)
        }
        _ => (None, text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(wire: &str) -> Result<Option<Reply>, ReplyError> {
        let mut reader = ReplyReader::default();
        let mut reply = None;
        for line in wire.split_terminator("\r\n") {
            reply = reader.line(line.as_bytes())?;
        }
        Ok(reply)
    }

    #[test]
    fn replies_as_they_travel() {
        assert_eq!(Reply::new(250, (1, 5), "OK").to_string(), "250 2.1.5 OK\r\n");
        assert_eq!(Reply::plain(250, "a").line("PIPELINING").to_string(), "250-a\r\n250 PIPELINING\r\n");
        assert_eq!(Reply::new(550, (1, 1), "a\r\n250 OK").to_string(), "550 5.1.1 a  250 OK\r\n");
    }

    #[test]
    fn what_peers_send() {
        let reply = read("550-5.1.1 no\r\n550 5.1.1 such user\r\n").unwrap().unwrap();
        assert_eq!((reply.code(), reply.enhanced().as_deref()), (550, Some("5.1.1")));
        assert_eq!(reply.on_one_line(), "550 5.1.1 no such user");
        assert_eq!(read("250\r\n").unwrap().unwrap().lines(), [""]);
        assert_eq!(read("550 2.1.1 odd\r\n").unwrap().unwrap().enhanced(), None);
        assert_eq!(read("550 5.1.1\tno\r\n"), Ok(Some(Reply::new(550, (1, 1), "no"))));
        // RFC 3463 §2: one to three digits.
        for wire in ["550 5.1.1234 odd", "550 5.+1.1 odd", "550 5..1 odd", "550 5.1.1.1 odd"] {
            assert_eq!(read(wire).unwrap().unwrap().enhanced(), None, "{wire}");
        }
        assert_eq!(read("250-a\r\n"), Ok(None));
        assert_eq!(read("250-a\r\n251 b\r\n"), Err(ReplyError::Inconsistent));
        for wire in ["", "25", "abc hi", "250_x", "150 x", "650 x", "-ERR"] {
            assert_eq!(read(&format!("{wire}\r\n")), Err(ReplyError::Syntax), "{wire}");
        }
    }

    #[test]
    fn a_reply_without_end_stays_small() {
        let mut reader = ReplyReader::default();
        let long = ["250-", &"x".repeat(TEXT_OCTETS - 1)].concat();
        for _ in 0..2 {
            for _ in 1..READ_LINES {
                assert_eq!(reader.line(b"250-more"), Ok(None));
            }
            assert_eq!(reader.line(b"250 end").unwrap().unwrap().lines().len(), LINES);
            for _ in 0..7 {
                assert_eq!(reader.line(long.as_bytes()), Ok(None));
            }
            assert_eq!(reader.line(b"250 end").unwrap().unwrap().lines().len(), 2);
        }
    }

    #[test]
    fn eight_kibioctets_of_a_reply_are_kept() {
        for (line_octets, kept) in [(4096, 2), (4095, 3), (1000, 9), (10_000, 1), (0, 100)] {
            let line = ["250-", &"x".repeat(line_octets)].concat();
            let mut reader = ReplyReader::default();
            for _ in 0..kept {
                assert_eq!(reader.line(line.as_bytes()), Ok(None));
            }
            assert_eq!(reader.line(b"250 end").unwrap().unwrap().lines().len(), kept, "lines of {line_octets}");
        }
    }

    #[test]
    fn a_reply_without_end_is_given_up() {
        for (line_octets, read) in [(4, 500), (8, 500), (4096, 16), (4097, 15), (65_536, 1)] {
            let line = format!("250-{}", "x".repeat(line_octets - 4));
            let mut reader = ReplyReader::default();
            for _ in 0..read {
                assert_eq!(reader.line(line.as_bytes()), Ok(None), "lines of {line_octets}");
            }
            assert_eq!(reader.line(line.as_bytes()), Err(ReplyError::TooLong), "lines of {line_octets}");
        }
    }

    proptest! {
        #[test]
        fn display_reads_back(
            code in 200u16..600,
            status in prop::option::of((0u16..1000, 0u16..1000)),
            lines in prop::collection::vec("[!-~][ -~]{0,20}", 1..5),
        ) {
            let mut lines = lines.into_iter();
            let first = lines.next().unwrap();
            // Without a status, a text that looks like one would read back as one.
            prop_assume!(status.is_some() || first.bytes().next().is_some_and(|b| !b.is_ascii_digit()));
            let reply = match status {
                Some(status) => Reply::new(code, status, first),
                None => Reply::plain(code, first),
            };
            let reply = lines.filter(|line| !line.as_bytes()[0].is_ascii_digit()).fold(reply, Reply::line);
            prop_assert_eq!(read(&reply.to_string()), Ok(Some(reply)));
        }
    }
}
