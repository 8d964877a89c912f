//! Mail addresses (RFC 5321 §4.1.2, §4.1.3).
//!
//! An address is parsed once and is valid from then on. No constructor lets a CR, a LF or any other
//! control character through, so neither a command nor a header can be injected by way of an address.
//!
//! A local part may hold UTF-8 (RFC 6531 §3.3). A domain is held in ASCII, as the name system has it (RFC 5890 §2.3.2.1), and
//! may be written in UTF-8.

mod rules;

pub use rules::AddressRules;

use icu_normalizer::ComposingNormalizerBorrowed;
use icu_properties::{
    CodePointMapData, CodePointSetData,
    props::{DefaultIgnorableCodePoint, GeneralCategory},
};
use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

/// RFC 5321 §4.5.3.1.2.
const DOMAIN_OCTETS: usize = 255;
/// RFC 5321 §4.5.3.1.3, the angle brackets included.
const PATH_OCTETS: usize = 256;
/// What is left in a path beside the brackets, the `@` and the shortest domain. RFC 5321 §4.5.3.1.1 promises 64 octets,
/// and asks servers to take more where they can (§4.5.3).
const LOCAL_PART_OCTETS: usize = PATH_OCTETS - 4;

/// What is wrong with an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Octets that nothing allows: control characters, or what is not UTF-8.
    #[error("an address is made of printable characters, in ASCII or UTF-8")]
    NotPrintable,
    /// Neither a dot-string nor a quoted string.
    #[error("invalid local part")]
    LocalPart,
    /// A dot-string with a dot at one of its ends, or with two side by side.
    #[error("a dot stands between two other characters of a local part; put the local part in quotes")]
    Dots,
    /// White space between a path and its angle brackets.
    #[error("put no space inside the angle brackets")]
    Spaces,
    /// Neither a domain name nor an address literal.
    #[error("invalid domain")]
    Domain,
    /// No `@` between local part and domain.
    #[error("an address has the form local-part@domain")]
    MissingDomain,
    /// Not enclosed in angle brackets.
    #[error("a path is enclosed in angle brackets")]
    Brackets,
    /// Longer than RFC 5321 §4.5.3.1 allows.
    #[error("address too long")]
    TooLong,
}

/// A mail domain: a host name, held in lower case, or an address literal such as `[127.0.0.1]`. A name that is written in
/// UTF-8 is held as the name system has it, with labels such as `xn--bcher-kva` (RFC 5891 §4).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Domain(String);

impl Domain {
    /// The domain as text, without a final dot.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is an address literal (RFC 5321 §4.1.3).
    pub fn is_literal(&self) -> bool {
        self.0.starts_with('[')
    }

    /// The address in an address literal.
    pub fn address(&self) -> Option<IpAddr> {
        let literal = self.0.strip_prefix('[')?.strip_suffix(']')?;
        match literal.strip_prefix("ipv6:") {
            Some(address) => address.parse().map(IpAddr::V6).ok(),
            None => literal.parse().map(IpAddr::V4).ok(),
        }
    }
}

impl FromStr for Domain {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if text.len() > DOMAIN_OCTETS {
            return Err(AddressError::TooLong);
        }
        if !text.is_ascii() {
            let ascii = idna::domain_to_ascii_strict(text).map_err(|_| AddressError::Domain)?;
            return if ascii.is_ascii() { ascii.parse() } else { Err(AddressError::Domain) };
        }
        let valid = match text.strip_prefix('[') {
            Some(literal) => literal.strip_suffix(']').is_some_and(is_address_literal),
            None => text.split('.').all(is_label),
        };
        if valid { Ok(Self(text.to_ascii_lowercase())) } else { Err(AddressError::Domain) }
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// RFC 5321 §4.1.2 `sub-domain`, at most 63 octets (RFC 1035 §2.3.4).
fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

/// The inside of the square brackets: IPv4, `IPv6:…`, or a general `tag:content`. No tag but IPv6 is registered, and commands
/// with another are refused; but stores may hold such addresses.
fn is_address_literal(literal: &str) -> bool {
    match literal.split_once(':') {
        None => literal.parse::<Ipv4Addr>().is_ok(),
        Some((tag, address)) if tag.eq_ignore_ascii_case("IPv6") => address.parse::<Ipv6Addr>().is_ok(),
        Some((tag, content)) => {
            is_label(tag)
                && !content.is_empty()
                && content.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'[' | b'\\' | b']'))
        }
    }
}

/// What stands before the `@`, held without quoting. Case-sensitive, except that every spelling of
/// `postmaster` is the same (RFC 5321 §2.4, §4.5.1).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LocalPart(String);

impl LocalPart {
    /// The reserved local part that every server accepts mail for.
    pub const POSTMASTER: &'static str = "postmaster";

    /// The local part without quotes or backslashes.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Beyond ASCII it is held in the normal form of Unicode that RFC 6532 §3.1 asks for: what looks the same is the same.
    fn new(mut unquoted: String) -> Result<Self, AddressError> {
        if !unquoted.is_ascii() {
            unquoted = ComposingNormalizerBorrowed::new_nfc().normalize(&unquoted).into_owned();
        }
        if unquoted.len() > LOCAL_PART_OCTETS {
            return Err(AddressError::TooLong);
        }
        if unquoted.eq_ignore_ascii_case(Self::POSTMASTER) {
            return Ok(Self(Self::POSTMASTER.to_owned()));
        }
        Ok(Self(unquoted))
    }

    /// Takes a local part off the front of `text`, and returns the rest too.
    fn take(text: &str, odd_dots: bool) -> Result<(Self, &str), AddressError> {
        let Some(quoted) = text.strip_prefix('"') else {
            let end = text.find(|c: char| !is_atext(c) && c != '.').unwrap_or(text.len());
            let (local, rest) = text.split_at(end);
            if local.split('.').any(str::is_empty) && !(odd_dots && local.contains(is_atext)) {
                let has_dots = local.contains(is_atext) && rest.starts_with('@');
                return Err(if has_dots { AddressError::Dots } else { AddressError::LocalPart });
            }
            return Ok((Self::new(local.to_owned())?, rest));
        };
        let mut local = String::new();
        let mut characters = quoted.char_indices();
        while let Some((at, character)) = characters.next() {
            match character {
                '"' => return Ok((Self::new(local)?, &quoted[at + 1..])),
                '\\' => match characters.next() {
                    Some((_, escaped)) if is_quotable(escaped) => local.push(escaped),
                    _ => return Err(AddressError::LocalPart),
                },
                character if is_quotable(character) => local.push(character),
                _ => return Err(AddressError::LocalPart),
            }
        }
        Err(AddressError::LocalPart)
    }
}

/// RFC 5322 §3.2.3 `atext`, and beyond ASCII what [`is_international`] says.
fn is_atext(character: char) -> bool {
    character.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(character) || is_international(character)
}

/// What may stand in quotes (RFC 5321 §4.1.2 `QcontentSMTP`).
fn is_quotable(character: char) -> bool {
    matches!(character, ' '..='~') || is_international(character)
}

/// RFC 6531 §3.3 `UTF8-non-ascii`, without what nobody can see, such as control characters and white space, and without the
/// character that stands for octets that were no UTF-8.
fn is_international(character: char) -> bool {
    let is_invisible = character.is_control()
        || character.is_whitespace()
        || CodePointMapData::<GeneralCategory>::new().get(character) == GeneralCategory::Format
        || CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(character);
    !character.is_ascii() && !is_invisible && character != char::REPLACEMENT_CHARACTER
}

impl fmt::Display for LocalPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.split('.').all(|atom| !atom.is_empty() && atom.chars().all(is_atext)) {
            return f.write_str(&self.0);
        }
        f.write_str("\"")?;
        for character in self.0.chars() {
            if matches!(character, '"' | '\\') {
                f.write_str("\\")?;
            }
            write!(f, "{character}")?;
        }
        f.write_str("\"")
    }
}

/// A mailbox: `local-part@domain` (RFC 5321 §4.1.2).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mailbox {
    local_part: LocalPart,
    domain: Domain,
}

impl Mailbox {
    /// The reserved mailbox of a domain (RFC 5321 §4.5.1).
    pub fn postmaster(domain: Domain) -> Self {
        Self { local_part: LocalPart(LocalPart::POSTMASTER.to_owned()), domain }
    }

    /// What stands before the `@`.
    pub fn local_part(&self) -> &LocalPart {
        &self.local_part
    }

    /// What stands after the `@`.
    pub fn domain(&self) -> &Domain {
        &self.domain
    }

    fn parse(text: &str, odd_dots: bool) -> Result<Self, AddressError> {
        let (local_part, rest) = LocalPart::take(text, odd_dots)?;
        match rest.strip_prefix('@') {
            Some(domain) => Ok(Self { local_part, domain: domain.parse()? }),
            None if rest.is_empty() => Err(AddressError::MissingDomain),
            None => Err(AddressError::LocalPart),
        }
    }

    /// The mailbox with the same local part in another domain.
    #[must_use]
    pub fn in_domain(self, domain: Domain) -> Self {
        Self { domain, ..self }
    }

    /// Whether it can be written without SMTPUTF8 (RFC 6531).
    pub fn is_ascii(&self) -> bool {
        self.local_part.0.is_ascii()
    }

    /// Whether this is the reserved mailbox of its domain.
    pub fn is_postmaster(&self) -> bool {
        self.local_part.as_str() == LocalPart::POSTMASTER
    }
}

impl FromStr for Mailbox {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        Self::parse(text, false)
    }
}

impl fmt::Display for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.local_part, self.domain)
    }
}

/// Who a message comes from: the argument of MAIL FROM (RFC 5321 §4.1.1.2).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ReversePath {
    /// `<>`: the sender of failure messages, to whom none is ever sent (RFC 5321 §4.5.5).
    Null,
    /// The mailbox that failure messages go to.
    Mailbox(Mailbox),
}

impl ReversePath {
    /// Whether it can be written without SMTPUTF8 (RFC 6531).
    pub fn is_ascii(&self) -> bool {
        self.mailbox().is_none_or(Mailbox::is_ascii)
    }

    /// Without brackets; empty when the path is null.
    pub fn bare(&self) -> String {
        self.mailbox().map(ToString::to_string).unwrap_or_default()
    }

    /// The mailbox, unless the path is null.
    pub fn mailbox(&self) -> Option<&Mailbox> {
        match self {
            Self::Null => None,
            Self::Mailbox(mailbox) => Some(mailbox),
        }
    }
}

impl ReversePath {
    /// As [`ReversePath::from_str`]; with `odd_dots`, dots may stand anywhere in a local part.
    pub(crate) fn parse(text: &str, odd_dots: bool) -> Result<Self, AddressError> {
        match inside_brackets(text)? {
            "" => Ok(Self::Null),
            inside => Ok(Self::Mailbox(mailbox_of_path(inside, odd_dots)?)),
        }
    }
}

impl FromStr for ReversePath {
    type Err = AddressError;

    /// Parses the form with angle brackets; a source route is dropped (RFC 5321 §4.1.2, appendix C).
    fn from_str(text: &str) -> Result<Self, AddressError> {
        Self::parse(text, false)
    }
}

impl fmt::Display for ReversePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("<>"),
            Self::Mailbox(mailbox) => write!(f, "<{mailbox}>"),
        }
    }
}

/// Who a message goes to: the argument of RCPT TO (RFC 5321 §4.1.1.3).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ForwardPath {
    /// `<postmaster>` without a domain: this server's own.
    Postmaster,
    /// A mailbox, local or not.
    Mailbox(Mailbox),
}

impl ForwardPath {
    /// The mailbox, unless it is this server's own postmaster.
    pub(crate) fn mailbox(&self) -> Option<&Mailbox> {
        match self {
            Self::Postmaster => None,
            Self::Mailbox(mailbox) => Some(mailbox),
        }
    }

    /// As [`ForwardPath::from_str`]; with `odd_dots`, dots may stand anywhere in a local part.
    pub(crate) fn parse(text: &str, odd_dots: bool) -> Result<Self, AddressError> {
        let inside = inside_brackets(text)?;
        if inside.eq_ignore_ascii_case(LocalPart::POSTMASTER) {
            return Ok(Self::Postmaster);
        }
        Ok(Self::Mailbox(mailbox_of_path(inside, odd_dots)?))
    }
}

impl FromStr for ForwardPath {
    type Err = AddressError;

    /// Parses the form with angle brackets; a source route is dropped (RFC 5321 §4.1.2, appendix C).
    fn from_str(text: &str) -> Result<Self, AddressError> {
        Self::parse(text, false)
    }
}

impl fmt::Display for ForwardPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Postmaster => write!(f, "<{}>", LocalPart::POSTMASTER),
            Self::Mailbox(mailbox) => write!(f, "<{mailbox}>"),
        }
    }
}

/// Addresses travel as text in every format.
macro_rules! serde_as_text {
    ($($type:ty),*) => {$(
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(|error| serde::de::Error::custom(format_args!("{error}: {text:?}")))
            }
        }
    )*};
}

pub(crate) use serde_as_text;

serde_as_text!(Domain, Mailbox, ReversePath);

fn inside_brackets(text: &str) -> Result<&str, AddressError> {
    if text.len() > PATH_OCTETS {
        return Err(AddressError::TooLong);
    }
    text.strip_prefix('<').and_then(|rest| rest.strip_suffix('>')).ok_or(AddressError::Brackets)
}

/// The mailbox of a path. A local part with odd dots is quoted from here on, and a domain is in ASCII from here on: then the
/// path must not be too long.
fn mailbox_of_path(inside: &str, odd_dots: bool) -> Result<Mailbox, AddressError> {
    let mailbox = Mailbox::parse(without_route(inside)?, odd_dots)?;
    let may_grow = odd_dots || !inside.is_ascii();
    if may_grow && mailbox.to_string().len() + "<>".len() > PATH_OCTETS {
        return Err(AddressError::TooLong);
    }
    Ok(mailbox)
}

/// What a command may name: no address literal but IPv4 and IPv6 (RFC 5321 §4.1.3).
pub(crate) fn in_command(mailbox: Option<&Mailbox>) -> Result<(), AddressError> {
    let domain = mailbox.map(Mailbox::domain).filter(|domain| domain.is_literal());
    if domain.is_some_and(|domain| domain.address().is_none()) { Err(AddressError::Domain) } else { Ok(()) }
}

/// Drops `@one,@two:` from the front; the hosts must still be well formed.
fn without_route(path: &str) -> Result<&str, AddressError> {
    if !path.starts_with('@') {
        return Ok(path);
    }
    let (route, mailbox) = split_route(path).ok_or(AddressError::Domain)?;
    for hop in route.split(',') {
        hop.strip_prefix('@').ok_or(AddressError::Domain)?.parse::<Domain>()?;
    }
    Ok(mailbox)
}

/// Splits at the first `:` outside square brackets: an IPv6 literal has colons of its own.
fn split_route(path: &str) -> Option<(&str, &str)> {
    let mut in_literal = false;
    for (at, character) in path.char_indices() {
        match character {
            '[' => in_literal = true,
            ']' => in_literal = false,
            ':' if !in_literal => return Some((&path[..at], &path[at + 1..])),
            _ => {}
        }
    }
    None
}

/// Splits `text` after a path in angle brackets; `>` inside a quoted local part does not end it.
/// `None` when the path never ends.
pub(crate) fn split_path(text: &str) -> Option<(&str, &str)> {
    let mut quoted = false;
    let mut escaped = false;
    for (at, character) in text.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '>' if !quoted => return Some(text.split_at(at + 1)),
            _ => {}
        }
    }
    None
}

/// Splits `text` after a path that has no angle brackets: before the first space outside quotes.
pub(crate) fn split_bare_path(text: &str) -> (&str, &str) {
    let (mut quoted, mut escaped) = (false, false);
    let end = text.find(|character| {
        match character {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ' ' if !quoted => return true,
            _ => {}
        }
        false
    });
    text.split_at(end.unwrap_or(text.len()))
}

#[cfg(test)]
mod tests;
