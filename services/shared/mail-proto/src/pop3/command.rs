//! What a client says (RFC 1939 §5 to §7, RFC 2449 §5).

use std::{
    fmt,
    str::{self, FromStr},
};

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

/// A password: without CR, LF or NUL, and never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// The password in clear, for the one place that checks or sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl FromStr for Password {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, InvalidText> {
        sendable(text).map(Self)
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
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
        match verb.to_ascii_uppercase().as_slice() {
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
        }
    }

    /// Whether lines up to a final dot follow this command's `+OK`.
    pub fn is_answered_in_lines(&self) -> bool {
        matches!(self, Self::List(None) | Self::Uidl(None) | Self::Retr(_) | Self::Top { .. } | Self::Capa)
    }
}

fn text<T: FromStr>(argument: Option<&[u8]>, syntax: &'static str) -> Result<T, CommandError> {
    let text = argument.and_then(|argument| str::from_utf8(argument).ok());
    text.and_then(|text| text.parse().ok()).ok_or(CommandError::Arguments(syntax))
}

/// Spaces at the end of a line are forgiven, except in a password; nothing else is.
fn without_final_spaces(mut argument: &[u8]) -> &[u8] {
    while let [rest @ .., b' '] = argument {
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
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn user(name: &str) -> Command {
        Command::User(name.parse().unwrap())
    }

    fn pass(password: &str) -> Command {
        Command::Pass(password.parse().unwrap())
    }

    #[test]
    fn commands() {
        let table: &[(&[u8], Command)] = &[
            (b"USER usr1@mail.sustech.edu.cn", user("usr1@mail.sustech.edu.cn")),
            (b"uSeR \"a b\"@c ", user("\"a b\"@c")),
            (b"PASS  two  spaces ", pass(" two  spaces ")),
            (b"PASS ", pass("")),
            ("pass pässword".as_bytes(), pass("pässword")),
            (b"stat", Command::Stat),
            (b"STAT ", Command::Stat),
            (b"LIST", Command::List(None)),
            (b"LIST ", Command::List(None)),
            (b"list 3", Command::List(Some(3))),
            (b"RETR 0", Command::Retr(0)),
            (b"RETR 007 ", Command::Retr(7)),
            (b"DELE 99999999999999999999999", Command::Dele(u64::MAX)),
            (b"RSET", Command::Rset),
            (b"NOOP", Command::Noop),
            (b"quit", Command::Quit),
            (b"UIDL", Command::Uidl(None)),
            (b"UIDL 1", Command::Uidl(Some(1))),
            (b"TOP 1 0", Command::Top { number: 1, lines: 0 }),
            (b"CAPA", Command::Capa),
        ];
        for (line, expected) in table {
            assert_eq!(Command::parse(line).as_ref(), Ok(expected), "{}", line.escape_ascii());
        }
    }

    #[test]
    fn lines_that_are_no_commands() {
        let unknown: &[&[u8]] = &[b"", b" ", b" NOOP", b"HELO x", b"RETR\t1", b"NOOP\0", b"XTND", b"\xff"];
        for line in unknown {
            assert_eq!(Command::parse(line), Err(CommandError::Unknown), "{}", line.escape_ascii());
        }
        let arguments: &[&[u8]] = &[
            b"USER",
            b"USER ",
            b"USER a\rb",
            b"USER \xff",
            b"PASS",
            b"PASS \xff",
            b"PASS a\0",
            b"STAT 1",
            b"LIST x",
            b"LIST 1 2",
            b"RETR",
            b"RETR ",
            b"RETR -1",
            b"RETR +1",
            b"RETR 1.0",
            b"RETR  1",
            b"RETR 1\r",
            b"RETR 0x1",
            "RETR ١".as_bytes(),
            b"DELE",
            b"DELE one",
            b"NOOP 1",
            b"QUIT now",
            b"UIDL -1",
            b"TOP 1",
            b"TOP 1 -1",
            b"TOP 1 1 1",
            b"CAPA x",
        ];
        for line in arguments {
            let error = Command::parse(line).unwrap_err();
            assert!(matches!(error, CommandError::Arguments(_)), "{}: {error}", line.escape_ascii());
        }
    }

    #[test]
    fn a_password_is_never_shown() {
        assert_eq!(format!("{:?}", pass("secret")), "Pass(Password(…))");
    }

    #[test]
    fn nothing_can_be_smuggled_into_a_command() {
        for text in ["a\r\nDELE 1", "a\n", "a\0", "\r"] {
            assert_eq!(text.parse::<UserName>(), Err(InvalidText));
            assert_eq!(text.parse::<Password>(), Err(InvalidText));
        }
        assert_eq!("".parse::<UserName>(), Err(InvalidText));
    }

    fn any_command() -> impl Strategy<Value = Command> {
        prop_oneof![
            "[^ \r\n\0]([^\r\n\0]{0,20}[^\\s\0])?".prop_map(|name| user(&name)),
            "[^\r\n\0]{0,20}".prop_map(|password| pass(&password)),
            Just(Command::Stat),
            any::<Option<u64>>().prop_map(Command::List),
            any::<u64>().prop_map(Command::Retr),
            any::<u64>().prop_map(Command::Dele),
            Just(Command::Rset),
            Just(Command::Noop),
            Just(Command::Quit),
            any::<Option<u64>>().prop_map(Command::Uidl),
            any::<(u64, u64)>().prop_map(|(number, lines)| Command::Top { number, lines }),
            Just(Command::Capa),
        ]
    }

    proptest! {
        #[test]
        fn what_is_sent_is_what_is_read(command in any_command()) {
            let wire = command.to_wire();
            let line = wire.strip_suffix("\r\n").unwrap();
            prop_assert!(!line.contains(['\r', '\n']));
            prop_assert_eq!(Command::parse(line.as_bytes()), Ok(command));
        }

        #[test]
        fn whatever_is_read_is_sent_alike(line in prop::collection::vec(prop::sample::select(b"LISTOPRE 0129-\r\xff".to_vec()), 0..12)) {
            if let Ok(command) = Command::parse(&line) {
                prop_assert_eq!(Command::parse(command.to_wire().trim_end_matches("\r\n").as_bytes()), Ok(command));
            }
        }
    }
}
