//! Commands (RFC 5321 §4.1.1).

use super::{MailParameters, ParameterName, RecipientParameters, Reply, Tolerance};
use crate::{
    address::{AddressError, Domain, ForwardPath, ReversePath, in_command, split_bare_path, split_path},
    explain,
    password::Password,
};
use std::{fmt, str::FromStr};

/// How a client calls itself in HELO or EHLO, as it can stand in a `Received:` field. Mail is never refused because of
/// it (RFC 5321 §4.1.4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientName(String);

impl ClientName {
    /// The longest name in octets (RFC 5321 §4.5.3.1.2).
    const OCTETS: usize = 255;

    /// The name; empty when the client gave none.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name in these octets, each with a `?` in its place that could mean something in a header field.
    fn from_octets(octets: &[u8]) -> Result<Self, CommandError> {
        if octets.len() > Self::OCTETS || octets.iter().any(u8::is_ascii_control) {
            return Err(CommandError::Argument("give a name of at most 255 octets without control characters"));
        }
        let literal = octets.strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]"));
        let inside: String = literal.unwrap_or(octets).iter().map(|&octet| in_header(octet)).collect();
        Ok(Self(if literal.is_some() { format!("[{inside}]") } else { inside }))
    }
}

/// RFC 5322 §3.2.3 `atext`, and the signs of host names, literals and addresses.
fn in_header(octet: u8) -> char {
    if octet.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~.:@".contains(&octet) { char::from(octet) } else { '?' }
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
        Self::from_octets(text.as_bytes())
    }
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
    Rcpt(ForwardPath, RecipientParameters),
    /// DATA (§4.1.1.4).
    Data,
    /// BDAT (RFC 3030 §2): a piece of the message follows at once.
    Bdat(Chunk),
    /// STARTTLS (RFC 3207 §4).
    StartTls,
    /// AUTH (RFC 4954 §4).
    Auth {
        /// The name of a mechanism.
        mechanism: String,
        /// The client's first message in base64, which may hold a password.
        initial: Option<Password>,
    },
    /// RSET (§4.1.1.5).
    Rset,
    /// VRFY (§4.1.1.6).
    Vrfy(Inquiry),
    /// EXPN (§4.1.1.7).
    Expn(Inquiry),
    /// HELP (§4.1.1.8), perhaps about a command.
    Help(String),
    /// NOOP (§4.1.1.9).
    Noop,
    /// QUIT (§4.1.1.10).
    Quit,
}

/// Whom VRFY or EXPN is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inquiry {
    /// An address, with or without brackets and domain, or a name.
    pub whom: String,
    /// Whether the command has the parameter SMTPUTF8: the reply may hold UTF-8 (RFC 6531 §3.7.4.2).
    pub smtputf8: bool,
}

/// The longest name of a mechanism (RFC 4422 §3.1).
const MECHANISM_OCTETS: usize = 20;

/// A piece of a message that follows its BDAT command (RFC 3030 §2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    /// How long it is.
    pub octets: u64,
    /// Whether the message ends with it.
    pub is_last: bool,
}

/// What is wrong with a command line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// The verb has octets that no verb has.
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
    /// An address beyond ASCII, where none may be (RFC 6531 §3.5).
    #[error("an address beyond ASCII needs the parameter SMTPUTF8 of MAIL, VRFY or EXPN")]
    NotAscii,
    /// A parameter of MAIL or RCPT that was not announced, or a value of one.
    #[error("parameter not known: {0}")]
    UnknownParameter(ParameterName),
}

impl CommandError {
    /// The reply to such a command.
    pub fn reply(&self) -> Reply {
        let (code, status) = match self {
            Self::NotText => (500, (5, 2)),
            Self::Unrecognised => (500, (5, 1)),
            Self::NotImplemented => (502, (5, 1)),
            Self::Argument(_) => (501, (5, 4)),
            Self::ReversePath(_) => (501, (1, 7)),
            Self::ForwardPath(_) => (501, (1, 3)),
            Self::NotAscii => (553, (6, 7)),
            Self::UnknownParameter(_) => (555, (5, 4)),
        };
        Reply::new(code, status, self.to_string())
    }
}

/// What a command line asks for. It is judged before the argument is (RFC 5321 §4.1.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// HELO.
    Helo,
    /// EHLO.
    Ehlo,
    /// MAIL, and SOML and SAML (RFC 821 §3.4), which mean the same where nobody has a terminal.
    Mail,
    /// RCPT.
    Rcpt,
    /// DATA.
    Data,
    /// BDAT.
    Bdat,
    /// STARTTLS.
    StartTls,
    /// AUTH.
    Auth,
    /// RSET.
    Rset,
    /// VRFY.
    Vrfy,
    /// EXPN.
    Expn,
    /// HELP.
    Help,
    /// NOOP.
    Noop,
    /// QUIT.
    Quit,
}

/// The white space of commands.
const BLANKS: [char; 2] = [' ', '\t'];

/// The verbs, in the order in which HELP lists them. How each is used is in the tables of [`explain`].
const VERBS: [(&str, Verb); 16] = [
    ("HELO", Verb::Helo),
    ("EHLO", Verb::Ehlo),
    ("MAIL", Verb::Mail),
    ("SOML", Verb::Mail),
    ("SAML", Verb::Mail),
    ("RCPT", Verb::Rcpt),
    ("DATA", Verb::Data),
    ("BDAT", Verb::Bdat),
    ("STARTTLS", Verb::StartTls),
    ("AUTH", Verb::Auth),
    ("RSET", Verb::Rset),
    ("VRFY", Verb::Vrfy),
    ("EXPN", Verb::Expn),
    ("HELP", Verb::Help),
    ("NOOP", Verb::Noop),
    ("QUIT", Verb::Quit),
];

/// Commands of the RFCs that this server does not offer: RFC 821 §3.4 and §3.8, RFC 1985.
const NOT_OFFERED: [&str; 3] = ["ETRN", "SEND", "TURN"];

/// What HELP says about a command, or about all of them. EXPN is one only for those to whom it is offered.
pub(super) fn help(topic: &str, offers_expn: bool) -> String {
    let offered = VERBS.iter().filter(|(_, verb)| offers_expn || *verb != Verb::Expn).map(|(name, _)| *name);
    let about = offered.clone().find(|name| name.eq_ignore_ascii_case(topic));
    about.and_then(explain::usage).unwrap_or_else(|| format!("{} (RFC 5321)", offered.collect::<Vec<_>>().join(" ")))
}

impl Verb {
    /// Splits a line without its CRLF into verb and argument. Trailing white space is tolerated (RFC 5321 §4.1.1).
    ///
    /// # Errors
    /// [`CommandError`] where the verb is none of ours.
    pub fn split(line: &[u8], tolerance: Tolerance) -> Result<(Self, &[u8]), CommandError> {
        let is_space = |octet: &u8| matches!(octet, b' ' | b'\t');
        let indent = line.iter().take_while(|octet| is_space(octet)).count();
        if indent > 0 && !tolerance.odd_spaces && Self::split(&line[indent..], tolerance).is_ok() {
            return Err(CommandError::Argument("put no space before a command"));
        }
        let line = if tolerance.odd_spaces { &line[indent..] } else { line };
        let end = line.iter().rposition(|octet| !is_space(octet)).map_or(0, |last| last + 1);
        let line = &line[..end];
        let (verb, argument) = line.split_at(line.iter().position(is_space).unwrap_or(end));
        let spaces = argument.iter().take_while(|octet| **octet == b' ').count();
        Ok((Self::parse(verb)?, &argument[spaces..]))
    }

    fn parse(verb: &[u8]) -> Result<Self, CommandError> {
        let is = |name: &str| name.as_bytes().eq_ignore_ascii_case(verb);
        match VERBS.iter().find(|(name, _)| is(name)) {
            Some((_, known)) => Ok(*known),
            None if NOT_OFFERED.into_iter().any(is) => Err(CommandError::NotImplemented),
            None if verb.iter().all(u8::is_ascii_graphic) => Err(CommandError::Unrecognised),
            None => Err(CommandError::NotText),
        }
    }
}

impl Command {
    /// Parses a line without its CRLF.
    ///
    /// # Errors
    /// [`CommandError`], which knows its reply.
    pub fn parse(line: &[u8], tolerance: Tolerance) -> Result<Self, CommandError> {
        let (verb, argument) = Verb::split(line, tolerance)?;
        Self::with_argument(verb, argument, tolerance)
    }

    /// Parses the argument of a verb.
    ///
    /// # Errors
    /// [`CommandError`], which knows its reply.
    pub fn with_argument(verb: Verb, argument: &[u8], tolerance: Tolerance) -> Result<Self, CommandError> {
        let text = || printable(verb, argument, tolerance);
        match verb {
            // Any octets will do for a name; the others are made of ASCII (RFC 5321 §2.4).
            Verb::Helo => ClientName::from_octets(argument).map(Self::Helo),
            Verb::Ehlo => ClientName::from_octets(argument).map(Self::Ehlo),
            Verb::Mail => mail(&after_keyword(text()?, "FROM", "say MAIL FROM:<address>", tolerance)?, tolerance),
            Verb::Rcpt => rcpt(&after_keyword(text()?, "TO", "say RCPT TO:<address>", tolerance)?, tolerance),
            Verb::Data => without_argument(text()?, Self::Data),
            Verb::Bdat => chunk(text()?),
            Verb::StartTls => without_argument(text()?, Self::StartTls),
            Verb::Auth => auth(text()?),
            Verb::Rset => without_argument(text()?, Self::Rset),
            Verb::Quit => without_argument(text()?, Self::Quit),
            Verb::Vrfy => inquiry(text()?, "say whom to verify").map(Self::Vrfy),
            Verb::Expn => inquiry(text()?, "say which list to expand").map(Self::Expn),
            Verb::Help => text().map(|topic| Self::Help(topic.to_owned())),
            Verb::Noop => text().map(|_| Self::Noop),
        }
    }
}

/// An argument as text. Only what holds addresses may go beyond ASCII.
fn printable(verb: Verb, argument: &[u8], tolerance: Tolerance) -> Result<&str, CommandError> {
    let may_have_tabs = tolerance.odd_spaces && matches!(verb, Verb::Mail | Verb::Rcpt);
    let may_be_utf8 = matches!(verb, Verb::Mail | Verb::Rcpt | Verb::Vrfy | Verb::Expn);
    let is_printable = |character: char| match character {
        '\t' => may_have_tabs,
        ' '..='~' => true,
        character => may_be_utf8 && !character.is_control(),
    };
    let text = std::str::from_utf8(argument).ok().filter(|text| text.chars().all(is_printable));
    text.ok_or(match verb {
        Verb::Mail => CommandError::ReversePath(AddressError::NotPrintable),
        Verb::Rcpt => CommandError::ForwardPath(AddressError::NotPrintable),
        Verb::Vrfy | Verb::Expn => CommandError::Argument("an argument is made of printable characters"),
        _ => CommandError::Argument("an argument is made of printable ASCII characters"),
    })
}

/// The argument of VRFY and EXPN; with SMTPUTF8 after it, it may go beyond ASCII (RFC 6531 §3.7.4.2).
fn inquiry(argument: &str, usage: &'static str) -> Result<Inquiry, CommandError> {
    let (whom, smtputf8) = match argument.rsplit_once(' ') {
        Some((whom, parameter)) if parameter.eq_ignore_ascii_case("SMTPUTF8") => (whom.trim_end_matches(' '), true),
        _ => (argument, false),
    };
    match whom {
        "" => Err(CommandError::Argument(usage)),
        whom if !smtputf8 && !whom.is_ascii() => Err(CommandError::NotAscii),
        whom => Ok(Inquiry { whom: whom.to_owned(), smtputf8 }),
    }
}

fn without_argument(argument: &str, command: Command) -> Result<Command, CommandError> {
    if argument.is_empty() { Ok(command) } else { Err(CommandError::Argument("this command takes no argument")) }
}

/// What follows the keyword and its colon, where every space is a blank. Spaces around the keyword are common and harmless.
fn after_keyword<'a>(
    argument: &'a str,
    keyword: &str,
    usage: &'static str,
    tolerance: Tolerance,
) -> Result<String, CommandError> {
    // White space beyond ASCII is part of an address, and wrong there.
    let trimmed = |text: &'a str| text.trim_start_matches(BLANKS);
    let Some((start, rest)) = trimmed(argument).split_at_checked(keyword.len()) else {
        return Err(CommandError::Argument(usage));
    };
    let spaces = rest.len() - trimmed(rest).len();
    match trimmed(rest).strip_prefix(':') {
        Some(_) if !start.eq_ignore_ascii_case(keyword) => Err(CommandError::Argument(usage)),
        Some(_) if spaces > 0 && !tolerance.odd_spaces => Err(CommandError::Argument("put no space before the colon")),
        Some(rest) => Ok(trimmed(rest).replace('\t', " ")),
        None => Err(CommandError::Argument(usage)),
    }
}

/// Takes the path off the front of an argument; the parameters remain.
fn take_path(argument: &str, tolerance: Tolerance) -> Result<(String, &str), AddressError> {
    if !argument.starts_with('<') && tolerance.paths_without_brackets {
        // Nothing is no path: nobody sends from `<>` by mistake.
        return match split_bare_path(argument) {
            ("", _) => Err(AddressError::Brackets),
            (path, rest) => Ok((format!("<{path}>"), rest)),
        };
    }
    let (path, rest) = split_path(argument).ok_or(AddressError::Brackets)?;
    let inside = path.strip_prefix('<').and_then(|path| path.strip_suffix('>')).ok_or(AddressError::Brackets)?;
    match inside.trim_matches(BLANKS) {
        trimmed if trimmed.len() == inside.len() => Ok((path.to_owned(), rest)),
        trimmed if tolerance.odd_spaces => Ok((format!("<{trimmed}>"), rest)),
        _ => Err(AddressError::Spaces),
    }
}

/// RFC 4954 §4: the name of a mechanism (RFC 4422 §3.1), then perhaps a message.
fn auth(argument: &str) -> Result<Command, CommandError> {
    let mut words = argument.split(' ').filter(|word| !word.is_empty());
    let is_name = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_');
    let mechanism = words.next().filter(|name| name.len() <= MECHANISM_OCTETS && name.bytes().all(is_name));
    let initial = words.next().map(|line| line.to_owned().into());
    match (mechanism, words.next()) {
        (Some(mechanism), None) => Ok(Command::Auth { mechanism: mechanism.to_owned(), initial }),
        _ => Err(CommandError::Argument("say AUTH, a mechanism, and perhaps a message in base64")),
    }
}

/// Whether a received line is a command that may hold a password. A tap must not show it.
pub fn is_secret(line: &[u8]) -> bool {
    Verb::split(line, Tolerance::ALL).is_ok_and(|(verb, _)| verb == Verb::Auth)
}

/// RFC 3030 §2: the number of octets, then LAST with the last one.
fn chunk(argument: &str) -> Result<Command, CommandError> {
    let mut words = argument.split(' ').filter(|word| !word.is_empty());
    let octets = words.next().filter(|octets| octets.bytes().all(|b| b.is_ascii_digit()));
    let is_last = match (words.next(), words.next()) {
        (None, _) => Some(false),
        (Some(last), None) if last.eq_ignore_ascii_case("LAST") => Some(true),
        _ => None,
    };
    let chunk = octets.and_then(|octets| octets.parse().ok()).zip(is_last);
    let (octets, is_last) =
        chunk.ok_or(CommandError::Argument("say BDAT, a number of octets, and LAST with the last"))?;
    Ok(Command::Bdat(Chunk { octets, is_last }))
}

fn mail(argument: &str, tolerance: Tolerance) -> Result<Command, CommandError> {
    let (path, parameters) = take_path(argument, tolerance).map_err(CommandError::ReversePath)?;
    let reverse_path = ReversePath::parse(&path, tolerance.odd_dots).map_err(CommandError::ReversePath)?;
    in_command(reverse_path.mailbox()).map_err(CommandError::ReversePath)?;
    let mut parsed = MailParameters::default();
    for (keyword, value) in parameters_of(parameters)? {
        parsed.set(keyword, value)?;
    }
    if !parsed.smtputf8 && !path.is_ascii() {
        return Err(CommandError::NotAscii);
    }
    Ok(Command::Mail(reverse_path, parsed))
}

fn rcpt(argument: &str, tolerance: Tolerance) -> Result<Command, CommandError> {
    let (path, parameters) = take_path(argument, tolerance).map_err(CommandError::ForwardPath)?;
    let forward_path = ForwardPath::parse(&path, tolerance.odd_dots).map_err(CommandError::ForwardPath)?;
    in_command(forward_path.mailbox()).map_err(CommandError::ForwardPath)?;
    let mut parsed = RecipientParameters::default();
    for (keyword, value) in parameters_of(parameters)? {
        parsed.set(keyword, value)?;
    }
    Ok(Command::Rcpt(forward_path, parsed))
}

/// Splits parameters into keywords and values.
fn parameters_of(text: &str) -> Result<impl Iterator<Item = (&str, Option<&str>)>, CommandError> {
    if !text.is_empty() && !text.starts_with(' ') {
        return Err(CommandError::Argument("put a space between path and parameters"));
    }
    let parameters = text.split(' ').filter(|parameter| !parameter.is_empty());
    Ok(parameters.map(|parameter| match parameter.split_once('=') {
        Some((keyword, value)) => (keyword, Some(value)),
        None => (parameter, None),
    }))
}

/// As it travels.
impl fmt::Display for Inquiry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.whom, if self.smtputf8 { " SMTPUTF8" } else { "" })
    }
}

/// As it travels, without its CRLF.
impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Helo(name) => write!(f, "HELO {}", name.0),
            Self::Ehlo(name) => write!(f, "EHLO {}", name.0),
            Self::Mail(path, parameters) => write!(f, "MAIL FROM:{path}{parameters}"),
            Self::Rcpt(path, parameters) => write!(f, "RCPT TO:{path}{parameters}"),
            Self::Data => f.write_str("DATA"),
            Self::Bdat(Chunk { octets, is_last: false }) => write!(f, "BDAT {octets}"),
            Self::Bdat(Chunk { octets, is_last: true }) => write!(f, "BDAT {octets} LAST"),
            Self::StartTls => f.write_str("STARTTLS"),
            Self::Auth { mechanism, initial: None } => write!(f, "AUTH {mechanism}"),
            Self::Auth { mechanism, initial: Some(line) } => write!(f, "AUTH {mechanism} {}", line.expose()),
            Self::Rset => f.write_str("RSET"),
            Self::Vrfy(inquiry) => write!(f, "VRFY {inquiry}"),
            Self::Expn(inquiry) => write!(f, "EXPN {inquiry}"),
            Self::Help(topic) => write!(f, "HELP {topic}"),
            Self::Noop => f.write_str("NOOP"),
            Self::Quit => f.write_str("QUIT"),
        }
    }
}

#[cfg(test)]
mod tests;
