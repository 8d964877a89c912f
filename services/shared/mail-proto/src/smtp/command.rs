//! Commands (RFC 5321 §4.1.1).

use super::Reply;
use crate::address::{AddressError, Domain, ForwardPath, ReversePath, split_path};
use std::{fmt, str::FromStr};

/// How a client calls itself in HELO or EHLO. Any host name or literal is taken (RFC 5321 §4.1.4 forbids
/// refusing mail over it), but nothing that could not stand in a `Received:` field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientName(String);

impl ClientName {
    /// The name as given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A server introduces itself by its own name.
impl From<&Domain> for ClientName {
    fn from(domain: &Domain) -> Self {
        Self(domain.to_string())
    }
}

impl FromStr for ClientName {
    type Err = CommandError;

    fn from_str(text: &str) -> Result<Self, CommandError> {
        let valid = |b: u8| b.is_ascii_alphanumeric() || b"._-:[]".contains(&b);
        if (1..=255).contains(&text.len()) && text.bytes().all(valid) {
            Ok(Self(text.to_owned()))
        } else {
            Err(CommandError::Argument("give a host name or an address literal"))
        }
    }
}

/// What BODY= declares (RFC 6152 §2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyType {
    /// Octets below 128 only.
    SevenBit,
    /// Any octets, in lines.
    EightBitMime,
}

/// The parameters of MAIL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MailParameters {
    /// The message's octets, as the client estimates them (RFC 1870 §6).
    pub size_octets: Option<u64>,
    /// The kind of its octets.
    pub body: Option<BodyType>,
}

/// A command with its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// HELO (§4.1.1.1).
    Helo(ClientName),
    /// EHLO (§4.1.1.1).
    Ehlo(ClientName),
    /// MAIL FROM (§4.1.1.2).
    Mail(ReversePath, MailParameters),
    /// RCPT TO (§4.1.1.3).
    Rcpt(ForwardPath),
    /// DATA (§4.1.1.4).
    Data,
    /// RSET (§4.1.1.5).
    Rset,
    /// VRFY (§4.1.1.6).
    Vrfy(String),
    /// HELP (§4.1.1.8).
    Help,
    /// NOOP (§4.1.1.9).
    Noop,
    /// QUIT (§4.1.1.10).
    Quit,
}

/// What is wrong with a command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// Octets that no command has.
    #[error("a command is made of printable ASCII characters")]
    NotText,
    /// No such command.
    #[error("command not recognised")]
    Unrecognised,
    /// A command of the RFCs that this server does not offer.
    #[error("command not implemented")]
    NotImplemented,
    /// The argument is missing, superfluous or malformed; says what is expected.
    #[error("{0}")]
    Argument(&'static str),
    /// The reverse-path is malformed.
    #[error("{0}")]
    ReversePath(AddressError),
    /// The forward-path is malformed.
    #[error("{0}")]
    ForwardPath(AddressError),
    /// A parameter of MAIL or RCPT that was not announced.
    #[error("parameter not recognised")]
    UnknownParameter,
}

impl CommandError {
    /// The reply to such a command.
    pub fn reply(self) -> Reply {
        let (code, status) = match self {
            Self::NotText => (500, (5, 2)),
            Self::Unrecognised => (500, (5, 1)),
            Self::NotImplemented => (502, (5, 1)),
            Self::Argument(_) => (501, (5, 4)),
            Self::ReversePath(_) => (501, (1, 7)),
            Self::ForwardPath(_) => (501, (1, 3)),
            Self::UnknownParameter => (555, (5, 4)),
        };
        Reply::new(code, status, self.to_string())
    }
}

impl Command {
    /// Parses a line without its CRLF. Trailing spaces are tolerated (RFC 5321 §4.1.1).
    ///
    /// # Errors
    /// [`CommandError`], which knows its reply.
    pub fn parse(line: &[u8]) -> Result<Self, CommandError> {
        let text = std::str::from_utf8(line).map_err(|_| CommandError::NotText)?;
        if !text.bytes().all(|b| (b' '..=b'~').contains(&b)) {
            return Err(CommandError::NotText);
        }
        let text = text.trim_end_matches(' ');
        let (verb, argument) = text.split_once(' ').unwrap_or((text, ""));
        match verb.to_ascii_uppercase().as_str() {
            "HELO" => Ok(Self::Helo(argument.trim_start().parse()?)),
            "EHLO" => Ok(Self::Ehlo(argument.trim_start().parse()?)),
            "MAIL" => mail(after_keyword(argument, "FROM:", "say MAIL FROM:<address>")?),
            "RCPT" => rcpt(after_keyword(argument, "TO:", "say RCPT TO:<address>")?),
            "DATA" => without_argument(argument, Self::Data),
            "RSET" => without_argument(argument, Self::Rset),
            "QUIT" => without_argument(argument, Self::Quit),
            "VRFY" if argument.is_empty() => Err(CommandError::Argument("say whom to verify")),
            "VRFY" => Ok(Self::Vrfy(argument.to_owned())),
            "HELP" => Ok(Self::Help),
            "NOOP" => Ok(Self::Noop),
            "AUTH" | "BDAT" | "ETRN" | "EXPN" | "SAML" | "SEND" | "SOML" | "STARTTLS" | "TURN" => {
                Err(CommandError::NotImplemented)
            }
            _ => Err(CommandError::Unrecognised),
        }
    }
}

fn without_argument(argument: &str, command: Command) -> Result<Command, CommandError> {
    if argument.is_empty() { Ok(command) } else { Err(CommandError::Argument("this command takes no argument")) }
}

/// What follows the keyword; spaces after the colon are common and harmless.
fn after_keyword<'a>(argument: &'a str, keyword: &str, usage: &'static str) -> Result<&'a str, CommandError> {
    match argument.trim_start().split_at_checked(keyword.len()) {
        Some((start, rest)) if start.eq_ignore_ascii_case(keyword) => Ok(rest.trim_start()),
        _ => Err(CommandError::Argument(usage)),
    }
}

fn mail(argument: &str) -> Result<Command, CommandError> {
    let failure = CommandError::ReversePath;
    let (path, parameters) = split_path(argument).ok_or(failure(AddressError::Brackets))?;
    let reverse_path = path.parse().map_err(failure)?;
    let mut parsed = MailParameters::default();
    for parameter in parameters_of(parameters)? {
        let (keyword, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let repeated = match keyword.to_ascii_uppercase().as_str() {
            "SIZE" => parsed.size_octets.replace(size(value)?).is_some(),
            "BODY" => parsed.body.replace(body_type(value)?).is_some(),
            _ => return Err(CommandError::UnknownParameter),
        };
        if repeated {
            return Err(CommandError::Argument("a parameter is given twice"));
        }
    }
    Ok(Command::Mail(reverse_path, parsed))
}

fn rcpt(argument: &str) -> Result<Command, CommandError> {
    let failure = CommandError::ForwardPath;
    let (path, parameters) = split_path(argument).ok_or(failure(AddressError::Brackets))?;
    let forward_path = path.parse().map_err(failure)?;
    match parameters_of(parameters)?.next() {
        Some(_) => Err(CommandError::UnknownParameter),
        None => Ok(Command::Rcpt(forward_path)),
    }
}

fn parameters_of(text: &str) -> Result<impl Iterator<Item = &str>, CommandError> {
    if !text.is_empty() && !text.starts_with(' ') {
        return Err(CommandError::Argument("put a space between path and parameters"));
    }
    Ok(text.split(' ').filter(|parameter| !parameter.is_empty()))
}

/// RFC 1870 §5: up to 20 digits. What does not fit 64 bits is over every limit anyhow.
fn size(value: &str) -> Result<u64, CommandError> {
    if (1..=20).contains(&value.len()) && value.bytes().all(|b| b.is_ascii_digit()) {
        Ok(value.parse().unwrap_or(u64::MAX))
    } else {
        Err(CommandError::Argument("SIZE takes a number of octets"))
    }
}

fn body_type(value: &str) -> Result<BodyType, CommandError> {
    match value.to_ascii_uppercase().as_str() {
        "7BIT" => Ok(BodyType::SevenBit),
        "8BITMIME" => Ok(BodyType::EightBitMime),
        _ => Err(CommandError::Argument("BODY is 7BIT or 8BITMIME")),
    }
}

/// As it travels, without its CRLF.
impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Helo(name) => write!(f, "HELO {}", name.0),
            Self::Ehlo(name) => write!(f, "EHLO {}", name.0),
            Self::Mail(path, parameters) => {
                write!(f, "MAIL FROM:{path}")?;
                if let Some(octets) = parameters.size_octets {
                    write!(f, " SIZE={octets}")?;
                }
                match parameters.body {
                    Some(BodyType::SevenBit) => f.write_str(" BODY=7BIT"),
                    Some(BodyType::EightBitMime) => f.write_str(" BODY=8BITMIME"),
                    None => Ok(()),
                }
            }
            Self::Rcpt(path) => write!(f, "RCPT TO:{path}"),
            Self::Data => f.write_str("DATA"),
            Self::Rset => f.write_str("RSET"),
            Self::Vrfy(whom) => write!(f, "VRFY {whom}"),
            Self::Help => f.write_str("HELP"),
            Self::Noop => f.write_str("NOOP"),
            Self::Quit => f.write_str("QUIT"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn well_formed_lines() {
        let table = [
            ("helo a", "HELO a"),
            ("EHLO [IPv6:::1]", "EHLO [IPv6:::1]"),
            ("EHLO my_laptop", "EHLO my_laptop"),
            ("mail from:<a@b>", "MAIL FROM:<a@b>"),
            ("MAIL FROM: <a@b>", "MAIL FROM:<a@b>"),
            ("MAIL FROM:<>", "MAIL FROM:<>"),
            ("MAIL FROM:<a@B> SIZE=10 BODY=8bitmime", "MAIL FROM:<a@b> SIZE=10 BODY=8BITMIME"),
            (
                "MAIL FROM:<a@b>  body=7BIT size=99999999999999999999",
                "MAIL FROM:<a@b> SIZE=18446744073709551615 BODY=7BIT",
            ),
            ("MAIL FROM:<\"a b>\"@c> SIZE=1", "MAIL FROM:<\"a b>\"@c> SIZE=1"),
            ("RCPT TO:<@x,@y:a@b>", "RCPT TO:<a@b>"),
            ("rcpt to:<Postmaster>", "RCPT TO:<postmaster>"),
            ("DATA", "DATA"),
            ("data  ", "DATA"),
            ("NOOP whatever", "NOOP"),
            ("HELP mail", "HELP"),
            ("vrfy a b", "VRFY a b"),
        ];
        for (line, expected) in table {
            assert_eq!(Command::parse(line.as_bytes()).map(|c| c.to_string()).as_deref(), Ok(expected), "{line}");
        }
    }

    #[test]
    fn malformed_lines() {
        let table: &[(&[u8], u16, &str)] = &[
            (b"", 500, "5.5.1"),
            (b" NOOP", 500, "5.5.1"),
            (b"MAILFROM:<a@b>", 500, "5.5.1"),
            (b"NO\0P", 500, "5.5.2"),
            (b"NO\rOP", 500, "5.5.2"),
            (b"EHLO\ta", 500, "5.5.2"),
            (b"EHLO \xff", 500, "5.5.2"),
            (b"EHLO", 501, "5.5.4"),
            (b"EHLO a b", 501, "5.5.4"),
            (b"EHLO (a)", 501, "5.5.4"),
            (b"DATA now", 501, "5.5.4"),
            (b"QUIT now", 501, "5.5.4"),
            (b"VRFY", 501, "5.5.4"),
            (b"MAIL", 501, "5.5.4"),
            (b"MAIL TO:<a@b>", 501, "5.5.4"),
            (b"MAIL FROM:a@b", 501, "5.1.7"),
            (b"MAIL FROM:<a@b", 501, "5.1.7"),
            (b"MAIL FROM:<a>", 501, "5.1.7"),
            (b"MAIL FROM:<a@b>SIZE=1", 501, "5.5.4"),
            (b"MAIL FROM:<a@b> SIZE=", 501, "5.5.4"),
            (b"MAIL FROM:<a@b> SIZE=-1", 501, "5.5.4"),
            (b"MAIL FROM:<a@b> SIZE=1 SIZE=2", 501, "5.5.4"),
            (b"MAIL FROM:<a@b> BODY=BINARYMIME", 501, "5.5.4"),
            (b"MAIL FROM:<a@b> SMTPUTF8", 555, "5.5.4"),
            (b"RCPT TO:<>", 501, "5.1.3"),
            (b"RCPT TO:<a@>", 501, "5.1.3"),
            (b"RCPT TO:<a@b> NOTIFY=NEVER", 555, "5.5.4"),
            (b"EXPN x", 502, "5.5.1"),
            (b"STARTTLS", 502, "5.5.1"),
        ];
        for (line, code, status) in table {
            let reply = Command::parse(line).unwrap_err().reply();
            assert_eq!((reply.code(), reply.enhanced().as_deref()), (*code, Some(*status)), "{line:?}");
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_display_parses_back(
            line in "(MAIL FROM:|RCPT TO:|EHLO |VRFY )?<?[ -~]{0,30}>?( SIZE=[0-9]{1,4})?"
        ) {
            if let Ok(command) = Command::parse(line.as_bytes()) {
                prop_assert_eq!(Command::parse(command.to_string().as_bytes()), Ok(command));
            }
        }
    }
}
