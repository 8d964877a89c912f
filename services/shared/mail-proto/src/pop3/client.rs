//! What a client makes of the server's octets (RFC 1939 §3).

use crate::{
    dot::DotDecoder,
    line::{LineDecoder, LineError},
    pop3::{Command, ResponseCode},
};
use bytes::{Bytes, BytesMut};
use std::str;

/// Far more than RFC 2449 §4 allows: another server's chatter is no reason to stop.
const STATUS_LINE_OCTETS: usize = 4096;

/// Why the server's octets are no reply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidReply {
    /// It is no line.
    #[error("the server's reply: {0}")]
    Line(#[from] LineError),
    /// It begins with neither `+OK` nor `-ERR`, or lacks what the command asked for.
    #[error("not a POP3 reply: {0}")]
    Form(String),
}

/// The first line of a reply, without CRLF.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusLine {
    line: Bytes,
    ok: bool,
}

impl StatusLine {
    /// Reads a line without its CRLF.
    ///
    /// # Errors
    /// [`InvalidReply::Form`].
    pub fn parse(line: Bytes) -> Result<Self, InvalidReply> {
        let word = line.split(|&octet| octet == b' ').next().unwrap_or_default();
        match word {
            b"+OK" => Ok(Self { line, ok: true }),
            b"-ERR" => Ok(Self { line, ok: false }),
            _ => Err(InvalidReply::Form(line.escape_ascii().to_string())),
        }
    }

    /// Whether it is `+OK`.
    pub fn is_ok(&self) -> bool {
        self.ok
    }

    /// The whole line as it came.
    pub fn as_bytes(&self) -> &[u8] {
        &self.line
    }

    /// What stands after `+OK ` or `-ERR `; unreadable octets as U+FFFD.
    pub fn text(&self) -> String {
        let status_octets = if self.ok { 3 } else { 4 };
        String::from_utf8_lossy(self.line[status_octets..].trim_ascii_start()).into_owned()
    }

    /// The response code, where it is one that we know.
    pub fn response_code(&self) -> Option<ResponseCode> {
        let text = self.text().to_ascii_uppercase();
        ResponseCode::ALL.into_iter().find(|code| text.starts_with(code.as_str()))
    }

    /// The first two numbers of the text. STAT answers with how many messages and octets there are, and `LIST n` with the
    /// number and the size.
    ///
    /// # Errors
    /// [`InvalidReply::Form`] when the text does not begin with two numbers.
    pub fn two_numbers(&self) -> Result<(u64, u64), InvalidReply> {
        let text = self.text();
        let mut numbers = text.split(' ').map(str::parse);
        match (numbers.next(), numbers.next()) {
            (Some(Ok(first)), Some(Ok(second))) => Ok((first, second)),
            _ => Err(InvalidReply::Form(self.line.escape_ascii().to_string())),
        }
    }
}

/// A whole reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerReply {
    /// The first line.
    pub status: StatusLine,
    /// What followed, unstuffed and without the final dot: a message, or lines. Empty for a single line.
    pub body: Vec<u8>,
}

impl ServerReply {
    /// The lines of the body, without their CRLF.
    pub fn lines(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = &self.body[..];
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let end = memchr::memmem::find(rest, b"\r\n");
            let line = &rest[..end.unwrap_or(rest.len())];
            rest = end.map_or(&[], |end| &rest[end + 2..]);
            Some(line)
        })
    }
}

/// Waits for one reply.
#[derive(Debug)]
pub struct ReplyDecoder {
    lines: LineDecoder,
    in_lines: bool,
    status: Option<StatusLine>,
    dots: DotDecoder,
    body: Vec<u8>,
}

impl ReplyDecoder {
    /// For the server's greeting.
    pub fn greeting() -> Self {
        Self::new(false)
    }

    /// For the reply to this command.
    pub fn for_command(command: &Command) -> Self {
        Self::new(command.is_answered_in_lines())
    }

    /// Takes the reply off `input`; `None` when more input is needed. What follows it stays in `input`.
    ///
    /// # Errors
    /// [`InvalidReply`]; the connection is of no use then.
    pub fn decode(&mut self, input: &mut BytesMut) -> Result<Option<ServerReply>, InvalidReply> {
        let status = match self.status.take() {
            Some(status) => status,
            None => match self.lines.decode(input) {
                Some(line) => StatusLine::parse(line?)?,
                None => return Ok(None),
            },
        };
        if self.in_lines && status.is_ok() && !self.dots.decode(input, &mut self.body) {
            self.status = Some(status);
            return Ok(None);
        }
        Ok(Some(ServerReply { status, body: std::mem::take(&mut self.body) }))
    }

    fn new(in_lines: bool) -> Self {
        Self {
            lines: LineDecoder::new(STATUS_LINE_OCTETS),
            in_lines,
            status: None,
            dots: DotDecoder::default(),
            body: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The reply and what is left, however the octets arrive.
    fn decode(command: &Command, wire: &[u8]) -> Result<Option<(ServerReply, Vec<u8>)>, InvalidReply> {
        let mut results = (1..=wire.len()).map(|chunk| {
            let mut decoder = ReplyDecoder::for_command(command);
            let mut input = BytesMut::new();
            let mut pieces = wire.chunks(chunk);
            while let Some(piece) = pieces.next() {
                input.extend_from_slice(piece);
                if let Some(reply) = decoder.decode(&mut input)? {
                    pieces.for_each(|piece| input.extend_from_slice(piece));
                    return Ok(Some((reply, input.to_vec())));
                }
            }
            Ok(None)
        });
        let first = results.next().unwrap();
        assert!(results.all(|result| result == first), "{}", wire.escape_ascii());
        first
    }

    fn status(line: &'static str) -> StatusLine {
        StatusLine::parse(Bytes::from_static(line.as_bytes())).unwrap()
    }

    #[test]
    fn replies_at_every_chunk_size() {
        // Command, what arrives, the first line, the body, what is left.
        type Row = (Command, &'static [u8], &'static str, &'static [u8], &'static [u8]);
        let table: &[Row] = &[
            (Command::Noop, b"+OK\r\nrest", "+OK", b"", b"rest"),
            (Command::Retr(1), b"+OK 7 octets\r\na\r\n..\r\n.\r\n+OK", "+OK 7 octets", b"a\r\n.\r\n", b"+OK"),
            (Command::Retr(1), b"-ERR no such message\r\n", "-ERR no such message", b"", b""),
            (Command::List(None), b"+OK\r\n.\r\n", "+OK", b"", b""),
            (Command::List(Some(1)), b"+OK 1 120\r\n", "+OK 1 120", b"", b""),
        ];
        for (command, wire, line, body, rest) in table {
            let (reply, left) = decode(command, wire).unwrap().unwrap();
            assert_eq!((reply.status.as_bytes(), &reply.body[..], &left[..]), (line.as_bytes(), *body, *rest));
        }
    }

    #[test]
    fn what_is_no_reply() {
        assert_eq!(decode(&Command::Noop, b"+OK"), Ok(None));
        assert_eq!(decode(&Command::Retr(1), b"+OK\r\nhalf"), Ok(None));
        for wire in [&b"220 ready\r\n"[..], b"+OKAY\r\n", b"\r\n", b"+ok\r\n"] {
            let form = wire[..wire.len() - 2].escape_ascii().to_string();
            assert_eq!(decode(&Command::Noop, wire), Err(InvalidReply::Form(form)));
        }
        assert_eq!(decode(&Command::Noop, b"+OK\n"), Err(InvalidReply::Line(LineError::BareLf)));
    }

    #[test]
    fn parts_of_a_status_line() {
        assert_eq!(status("+OK").text(), "");
        assert_eq!(status("+OK 2 320").two_numbers(), Ok((2, 320)));
        assert_eq!(status("+OK 1 120 octets").two_numbers(), Ok((1, 120)));
        assert!(status("+OK ready").two_numbers().is_err());
        assert_eq!(status("-ERR [in-use] locked").response_code(), Some(ResponseCode::InUse));
        assert_eq!(status("-ERR [SYS/TEMP] wait").response_code(), Some(ResponseCode::SysTemp));
        assert_eq!(status("-ERR locked").response_code(), None);
        assert_eq!(status("-ERR locked").text(), "locked");
    }

    #[test]
    fn lines_of_a_body() {
        let reply = |body: &[u8]| ServerReply { status: status("+OK"), body: body.to_vec() };
        assert_eq!(reply(b"").lines().count(), 0);
        assert_eq!(reply(b"1 120\r\n\r\n2 200\r\n").lines().collect::<Vec<_>>(), [&b"1 120"[..], b"", b"2 200"]);
        assert_eq!(reply(b"a\nb\r\nc").lines().collect::<Vec<_>>(), [&b"a\nb"[..], b"c"]);
    }
}
