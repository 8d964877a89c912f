//! What the server says (RFC 1939 §3, RFC 2449 §8, RFC 3206, RFC 5034 §4).

use crate::{
    dot::DotEncoder,
    line::{CRLF_CURE, LineError},
    pop3::CommandError,
};
use std::fmt;

/// The longest first line, CRLF included (RFC 2449 §4).
const LINE_OCTETS: usize = 512;

/// Tells a program why, in square brackets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResponseCode {
    /// Another session holds the maildrop (RFC 2449 §8.1.2).
    InUse,
    /// The user has logged in a moment ago (RFC 2449 §8.1.1).
    LoginDelay,
    /// Name or password is wrong (RFC 3206 §5).
    Auth,
    /// The server is in trouble; try again later (RFC 3206 §4).
    SysTemp,
    /// The server is in trouble that will not pass by itself (RFC 3206 §4).
    SysPerm,
}

impl ResponseCode {
    pub(crate) const ALL: [Self; 5] = [Self::InUse, Self::LoginDelay, Self::Auth, Self::SysTemp, Self::SysPerm];

    /// The code with its brackets.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InUse => "[IN-USE]",
            Self::LoginDelay => "[LOGIN-DELAY]",
            Self::Auth => "[AUTH]",
            Self::SysTemp => "[SYS/TEMP]",
            Self::SysPerm => "[SYS/PERM]",
        }
    }
}

/// A reply. Whatever it is made of, each of its lines is one line of printable ASCII.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The first line, without CRLF.
    first: String,
    /// The lines that follow, each with its CRLF; `None` when the first line is all.
    body: Option<String>,
}

impl Reply {
    /// `+OK` and a text, which may be empty.
    pub fn ok(text: impl fmt::Display) -> Self {
        Self::single(format_args!("+OK {text}"))
    }

    /// `-ERR` and a text.
    pub fn error(text: impl fmt::Display) -> Self {
        Self::single(format_args!("-ERR {text}"))
    }

    /// `-ERR`, a response code and a text.
    pub fn error_code(code: ResponseCode, text: impl fmt::Display) -> Self {
        Self::single(format_args!("-ERR {} {text}", code.as_str()))
    }

    /// A challenge of AUTH, which is base64 of any length (RFC 5034 §4).
    pub fn challenge(base64: &str) -> Self {
        let mut first = String::new();
        push_printable(&mut first, format_args!("+ {base64}"));
        Self { first, body: None }
    }

    /// `+OK`, a text, and lines up to a final dot.
    pub fn lines<T: fmt::Display>(text: impl fmt::Display, lines: impl IntoIterator<Item = T>) -> Self {
        let mut body = String::new();
        for line in lines {
            push_printable(&mut body, format_args!("{line}"));
            body.push_str("\r\n");
        }
        Self { body: Some(body), ..Self::ok(text) }
    }

    /// Whether it is `+OK`.
    pub fn is_ok(&self) -> bool {
        self.first.starts_with("+OK")
    }

    /// Appends what is sent: CRLFs, dot-stuffing and final dot included.
    pub fn encode(&self, output: &mut Vec<u8>) {
        output.extend_from_slice(self.first.as_bytes());
        output.extend_from_slice(b"\r\n");
        if let Some(body) = &self.body {
            let mut encoder = DotEncoder::default();
            encoder.encode(body.as_bytes(), output);
            encoder.finish(output);
        }
    }

    fn single(text: fmt::Arguments<'_>) -> Self {
        let mut first = String::new();
        push_printable(&mut first, text);
        first.truncate(LINE_OCTETS - 2);
        first.truncate(first.trim_end_matches(' ').len());
        Self { first, body: None }
    }
}

/// The first line, without CRLF.
impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.first)
    }
}

impl From<CommandError> for Reply {
    fn from(error: CommandError) -> Self {
        Self::error(error)
    }
}

impl From<LineError> for Reply {
    fn from(error: LineError) -> Self {
        match error {
            LineError::BareLf => Self::error(format_args!("{error}; {CRLF_CURE}")),
            LineError::TooLong | LineError::HttpRequest | LineError::Tls => Self::error(error),
        }
    }
}

/// Appends `text` with a `?` for everything that is not printable ASCII.
fn push_printable(output: &mut String, text: fmt::Arguments<'_>) {
    struct Printable<'a>(&'a mut String);

    impl fmt::Write for Printable<'_> {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0.extend(text.chars().map(|character| if matches!(character, ' '..='~') { character } else { '?' }));
            Ok(())
        }
    }

    // Writing to a String fails only where a Display does, and then there is nothing more to write.
    let _ = fmt::Write::write_fmt(&mut Printable(output), text);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(reply: &Reply) -> String {
        let mut output = Vec::new();
        reply.encode(&mut output);
        String::from_utf8(output).unwrap()
    }

    #[test]
    fn replies_on_the_wire() {
        let table = [
            (Reply::ok(""), "+OK\r\n"),
            (Reply::ok("2 320"), "+OK 2 320\r\n"),
            (Reply::error("no such message"), "-ERR no such message\r\n"),
            (Reply::error_code(ResponseCode::InUse, "locked"), "-ERR [IN-USE] locked\r\n"),
            (Reply::lines("", ["1 120", "2 200"]), "+OK\r\n1 120\r\n2 200\r\n.\r\n"),
            (Reply::lines("none", [""; 0]), "+OK none\r\n.\r\n"),
            (Reply::lines("dots", [".", "..x"]), "+OK dots\r\n..\r\n...x\r\n.\r\n"),
            (Reply::from(LineError::TooLong), "-ERR line too long\r\n"),
            (Reply::from(CommandError::Arguments("NOOP")), "-ERR syntax: NOOP\r\n"),
        ];
        for (reply, expected) in table {
            assert_eq!(wire(&reply), expected);
            assert_eq!(reply.is_ok(), expected.starts_with("+OK"), "{expected}");
        }
    }

    #[test]
    fn a_challenge_is_sent_whole() {
        assert_eq!(wire(&Reply::challenge("")), "+ \r\n");
        let long = "A".repeat(2000);
        assert_eq!(wire(&Reply::challenge(&long)), format!("+ {long}\r\n"));
        assert!(!Reply::challenge("").is_ok());
    }

    #[test]
    fn no_text_breaks_out_of_its_line() {
        assert_eq!(wire(&Reply::ok("a\r\n+OK b\0é")), "+OK a??+OK b??\r\n");
        assert_eq!(wire(&Reply::lines("x\n", ["\r\n.\r\nb"])), "+OK x?\r\n??.??b\r\n.\r\n");
        let long = wire(&Reply::error("x".repeat(1000)));
        assert_eq!((long.len(), long.ends_with("x\r\n")), (LINE_OCTETS, true));
    }
}
