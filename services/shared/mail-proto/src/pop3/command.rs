//! What a client says (RFC 1939 §5 to §7, RFC 2449 §5, RFC 2595 §4, RFC 5034 §4, RFC 6856).

use crate::password::Password;
use std::str::{self, FromStr};

/// The text holds what cannot stand in a command: a CR, a LF or a NUL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("control characters cannot be sent")]
pub struct InvalidText;

/// The argument of USER as it was given: not empty, without CR, LF or NUL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserName(String);

impl UserName {
    /// The name as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for UserName {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, InvalidText> {
        if text.is_empty() { Err(InvalidText) } else { sendable(text).map(Self) }
    }
}

/// Without CR, LF and NUL.
impl FromStr for Password {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, InvalidText> {
        sendable(text).map(Self::from)
    }
}

fn sendable(text: &str) -> Result<String, InvalidText> {
    if text.contains(['\r', '\n', '\0']) { Err(InvalidText) } else { Ok(text.to_owned()) }
}

/// A command. It has no `Display`, because a password would be in it.
///
/// A message number too great for 64 bits is read as the greatest: there is no such message either.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// USER: who logs in.
    User(UserName),
    /// PASS: everything after the first space is the password, spaces included.
    Pass(Password),
    /// STAT: how many messages, how many octets.
    Stat,
    /// LIST: the sizes, of all messages or of one.
    List(Option<u64>),
    /// RETR: a message.
    Retr(u64),
    /// DELE: mark a message as deleted.
    Dele(u64),
    /// RSET: forget the marks.
    Rset,
    /// NOOP.
    Noop,
    /// QUIT: delete what is marked, and end.
    Quit,
    /// UIDL: the unique ids, of all messages or of one.
    Uidl(Option<u64>),
    /// TOP: the headers of a message and the first lines of its body.
    Top {
        /// Which message.
        number: u64,
        /// How many lines of the body.
        lines: u64,
    },
    /// CAPA: what the server can do (RFC 2449 §5).
    Capa,
    /// STLS: speak TLS from now on (RFC 2595 §4).
    Stls,
    /// AUTH: log in with a mechanism of SASL (RFC 5034 §4).
    Auth {
        /// The mechanism's name as it was given.
        mechanism: String,
        /// The first message in base64, if it is there.
        initial: Option<Password>,
    },
    /// AUTH without a mechanism: list them. No RFC has it; clients have asked so since before CAPA.
    Mechanisms,
    /// APOP, whatever its arguments are: a digest is not looked at (RFC 1939 §7).
    Apop,
    /// UTF8: speak UTF-8 from now on (RFC 6856 §2.1).
    Utf8,
    /// LANG: list the languages, or reply in one (RFC 6856 §3).
    Lang(Option<String>),
}

/// Why a line is no command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// The verb is none of ours.
    #[error("unknown command")]
    Unknown,
    /// The arguments are not those of the verb; what is right is told.
    #[error("syntax: {0}")]
    Arguments(&'static str),
}

impl Command {
    /// Reads a line without its CRLF.
    ///
    /// # Errors
    /// [`CommandError`], which is answered with `-ERR`.
    pub fn parse(line: &[u8]) -> Result<Self, CommandError> {
        let (verb, argument) = match memchr::memchr(b' ', line) {
            Some(space) => (&line[..space], Some(&line[space + 1..])),
            None => (line, None),
        };
        match without_final_spaces(verb).to_ascii_uppercase().as_slice() {
            b"USER" => text(argument.map(without_final_spaces), "USER address").map(Self::User),
            b"PASS" => text(argument, "PASS password").map(Self::Pass),
            b"STAT" => none(argument, "STAT").map(|()| Self::Stat),
            b"LIST" => optional_number(argument, "LIST [number]").map(Self::List),
            b"RETR" => numbers(argument, "RETR number").map(|[number]| Self::Retr(number)),
            b"DELE" => numbers(argument, "DELE number").map(|[number]| Self::Dele(number)),
            b"RSET" => none(argument, "RSET").map(|()| Self::Rset),
            b"NOOP" => none(argument, "NOOP").map(|()| Self::Noop),
            b"QUIT" => none(argument, "QUIT").map(|()| Self::Quit),
            b"UIDL" => optional_number(argument, "UIDL [number]").map(Self::Uidl),
            b"TOP" => numbers(argument, "TOP number lines").map(|[number, lines]| Self::Top { number, lines }),
            b"CAPA" => none(argument, "CAPA").map(|()| Self::Capa),
            b"STLS" => none(argument, "STLS").map(|()| Self::Stls),
            b"AUTH" => auth(argument),
            b"APOP" => Ok(Self::Apop),
            b"UTF8" => none(argument, "UTF8").map(|()| Self::Utf8),
            b"LANG" => words(argument, "LANG [language]").and_then(lang),
            _ => Err(CommandError::Unknown),
        }
    }

    /// The line to send, its CRLF included. It holds the password in clear.
    pub fn to_wire(&self) -> String {
        match self {
            Self::User(name) => format!("USER {}\r\n", name.as_str()),
            Self::Pass(password) => format!("PASS {}\r\n", password.expose()),
            Self::Stat => "STAT\r\n".to_owned(),
            Self::List(None) => "LIST\r\n".to_owned(),
            Self::List(Some(number)) => format!("LIST {number}\r\n"),
            Self::Retr(number) => format!("RETR {number}\r\n"),
            Self::Dele(number) => format!("DELE {number}\r\n"),
            Self::Rset => "RSET\r\n".to_owned(),
            Self::Noop => "NOOP\r\n".to_owned(),
            Self::Quit => "QUIT\r\n".to_owned(),
            Self::Uidl(None) => "UIDL\r\n".to_owned(),
            Self::Uidl(Some(number)) => format!("UIDL {number}\r\n"),
            Self::Top { number, lines } => format!("TOP {number} {lines}\r\n"),
            Self::Capa => "CAPA\r\n".to_owned(),
            Self::Stls => "STLS\r\n".to_owned(),
            Self::Auth { mechanism, initial: None } => format!("AUTH {mechanism}\r\n"),
            Self::Auth { mechanism, initial: Some(initial) } => format!("AUTH {mechanism} {}\r\n", initial.expose()),
            Self::Mechanisms => "AUTH\r\n".to_owned(),
            Self::Apop => "APOP\r\n".to_owned(),
            Self::Utf8 => "UTF8\r\n".to_owned(),
            Self::Lang(None) => "LANG\r\n".to_owned(),
            Self::Lang(Some(range)) => format!("LANG {range}\r\n"),
        }
    }

    /// Whether lines up to a final dot follow this command's `+OK`.
    pub fn is_answered_in_lines(&self) -> bool {
        let is_listing = matches!(self, Self::List(None) | Self::Uidl(None) | Self::Lang(None));
        is_listing || matches!(self, Self::Retr(_) | Self::Top { .. } | Self::Capa | Self::Mechanisms)
    }
}

/// The words after AUTH: none, a mechanism, or a mechanism and a response.
fn auth(argument: Option<&[u8]>) -> Result<Command, CommandError> {
    const SYNTAX: &str = "AUTH mechanism [initial-response]";
    match words(argument, SYNTAX)?.as_slice() {
        [] => Ok(Command::Mechanisms),
        [mechanism] => Ok(Command::Auth { mechanism: (*mechanism).to_owned(), initial: None }),
        [mechanism, initial] => {
            let initial = Some(Password::from((*initial).to_owned()));
            Ok(Command::Auth { mechanism: (*mechanism).to_owned(), initial })
        }
        _ => Err(CommandError::Arguments(SYNTAX)),
    }
}

fn lang(words: Vec<&str>) -> Result<Command, CommandError> {
    match words.as_slice() {
        [] => Ok(Command::Lang(None)),
        [range] => Ok(Command::Lang(Some((*range).to_owned()))),
        _ => Err(CommandError::Arguments("LANG [language]")),
    }
}

/// Words of printable ASCII, one space between them.
fn words<'a>(argument: Option<&'a [u8]>, syntax: &'static str) -> Result<Vec<&'a str>, CommandError> {
    let argument = without_final_spaces(argument.unwrap_or_default());
    if argument.is_empty() {
        return Ok(Vec::new());
    }
    let words = argument.split(|&octet| octet == b' ').map(|word| {
        let is_word = !word.is_empty() && word.iter().all(u8::is_ascii_graphic);
        str::from_utf8(word).ok().filter(|_| is_word)
    });
    words.collect::<Option<_>>().ok_or(CommandError::Arguments(syntax))
}

fn text<T: FromStr>(argument: Option<&[u8]>, syntax: &'static str) -> Result<T, CommandError> {
    let text = argument.and_then(|argument| str::from_utf8(argument).ok());
    text.and_then(|text| text.parse().ok()).ok_or(CommandError::Arguments(syntax))
}

/// White space at the end of a line is tolerated, except in a password.
fn without_final_spaces(mut argument: &[u8]) -> &[u8] {
    while let [rest @ .., b' ' | b'\t'] = argument {
        argument = rest;
    }
    argument
}

fn none(argument: Option<&[u8]>, syntax: &'static str) -> Result<(), CommandError> {
    if without_final_spaces(argument.unwrap_or_default()).is_empty() {
        Ok(())
    } else {
        Err(CommandError::Arguments(syntax))
    }
}

fn optional_number(argument: Option<&[u8]>, syntax: &'static str) -> Result<Option<u64>, CommandError> {
    if none(argument, syntax).is_ok() {
        return Ok(None);
    }
    numbers(argument, syntax).map(|[number]| Some(number))
}

/// Exactly `N` numbers, one space between them.
fn numbers<const N: usize>(argument: Option<&[u8]>, syntax: &'static str) -> Result<[u64; N], CommandError> {
    let words = without_final_spaces(argument.unwrap_or_default()).split(|&octet| octet == b' ');
    let numbers: Option<Vec<u64>> = words.map(number).collect();
    numbers.and_then(|numbers| numbers.try_into().ok()).ok_or(CommandError::Arguments(syntax))
}

/// Digits and nothing else.
fn number(word: &[u8]) -> Option<u64> {
    if word.is_empty() || !word.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(word.iter().fold(0_u64, |number, digit| number.saturating_mul(10).saturating_add(u64::from(digit - b'0'))))
}

#[cfg(test)]
mod tests;
