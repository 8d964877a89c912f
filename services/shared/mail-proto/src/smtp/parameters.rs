//! Parameters of MAIL and RCPT (RFC 5321 §4.1.1.11), as values.

use super::{CommandError, xtext};
use crate::address::{Mailbox, ReversePath, serde_as_text};
use serde::{Deserialize, Serialize};
use std::{
    fmt::{self, Write},
    str::FromStr,
};

/// The longest ENVID as it travels (RFC 3461 §4.4), in octets.
const ENVID_OCTETS: usize = 100;
/// The longest ORCPT as it travels (RFC 3461 §4.2), in octets.
const ORCPT_OCTETS: usize = 500;

/// The value of a parameter is not what its RFC says; tells what is expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ParameterError(&'static str);

/// The name of a parameter as replies repeat it: in capitals, short, and printable ASCII only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParameterName(Box<str>);

impl ParameterName {
    /// The longest that is repeated, in characters.
    const CHARACTERS: usize = 40;

    /// The first parameter that was asked for and is not permitted. Both are written as they travel.
    pub(super) fn of_refused(asked: &impl fmt::Display, permitted: &impl fmt::Display) -> Self {
        let (asked, permitted) = (asked.to_string(), permitted.to_string());
        let is_refused = |parameter: &&str| permitted.split(' ').all(|other| other != *parameter);
        let refused = asked.split(' ').find(is_refused).unwrap_or_default();
        refused.split('=').next().unwrap_or_default().into()
    }
}

impl From<&str> for ParameterName {
    fn from(written: &str) -> Self {
        let printable = |sign: char| if sign.is_ascii_graphic() { sign.to_ascii_uppercase() } else { '?' };
        let mut signs = written.chars();
        let mut name: String = signs.by_ref().take(Self::CHARACTERS).map(printable).collect();
        if signs.next().is_some() {
            name.push_str("...");
        }
        Self(name.into())
    }
}

impl fmt::Display for ParameterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<ParameterError> for CommandError {
    fn from(ParameterError(expected): ParameterError) -> Self {
        Self::Argument(expected)
    }
}

/// The parameters of MAIL. Those that stay with the message are also what the internal API and the store keep of them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct MailParameters {
    /// SIZE: the message's octets, as the client estimates them (RFC 1870 §6). It does not stay with the message.
    #[serde(skip)]
    pub size_octets: Option<u64>,
    /// BODY: the kind of its octets (RFC 6152).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<BodyType>,
    /// SMTPUTF8: addresses or header fields may hold UTF-8 (RFC 6531 §3.4).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub smtputf8: bool,
    /// RET: how much of the message a failure message returns (RFC 3461 §4.3).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ret: Option<Ret>,
    /// ENVID: the sender's name for this envelope (RFC 3461 §4.4).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub envid: Option<EnvelopeId>,
    /// REQUIRETLS: the message must not travel without verified TLS (RFC 8689 §2).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub requiretls: bool,
    /// AUTH: who has submitted the message at first, or nobody who is known (RFC 4954 §5).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub submitter: Option<ReversePath>,
}

impl MailParameters {
    /// Whether nothing of them stays with the message.
    pub fn leave_nothing(&self) -> bool {
        let passing = Self { size_octets: self.size_octets, ..Self::default() };
        *self == passing
    }

    /// Sets the parameter that a client has written as `keyword` or `keyword=value`.
    ///
    /// # Errors
    /// [`CommandError`] for an unknown keyword, a malformed value, or a parameter that is given twice.
    pub fn set(&mut self, keyword: &str, value: Option<&str>) -> Result<(), CommandError> {
        let text = value.unwrap_or_default();
        let repeated = match keyword.to_ascii_uppercase().as_str() {
            "SIZE" => self.size_octets.replace(size(text)?).is_some(),
            // RFC 3030 §3, which is not announced: POP3 could not give such a message back.
            "BODY" if text.eq_ignore_ascii_case("BINARYMIME") => {
                return Err(CommandError::UnknownParameter("BODY=BINARYMIME".into()));
            }
            "BODY" => self.body.replace(text.parse()?).is_some(),
            "SMTPUTF8" => flag(&mut self.smtputf8, value, "SMTPUTF8 takes no value")?,
            "RET" => self.ret.replace(text.parse()?).is_some(),
            "ENVID" => self.envid.replace(EnvelopeId::from_xtext(text)?).is_some(),
            "REQUIRETLS" => flag(&mut self.requiretls, value, "REQUIRETLS takes no value")?,
            "AUTH" => self.submitter.replace(submitter(text)?).is_some(),
            _ => return Err(CommandError::UnknownParameter(keyword.into())),
        };
        once(repeated)
    }
}

/// As they travel, each after a space.
impl fmt::Display for MailParameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(octets) = self.size_octets {
            write!(f, " SIZE={octets}")?;
        }
        if let Some(body) = self.body {
            write!(f, " BODY={body}")?;
        }
        if self.smtputf8 {
            f.write_str(" SMTPUTF8")?;
        }
        if let Some(ret) = self.ret {
            write!(f, " RET={ret}")?;
        }
        if let Some(envid) = &self.envid {
            write!(f, " ENVID={}", xtext::encode(envid.as_str()))?;
        }
        if self.requiretls {
            f.write_str(" REQUIRETLS")?;
        }
        match &self.submitter {
            Some(ReversePath::Mailbox(mailbox)) if mailbox.is_ascii() => {
                write!(f, " AUTH={}", xtext::encode(&mailbox.to_string()))
            }
            // xtext has no characters beyond ASCII.
            Some(_) => f.write_str(" AUTH=<>"),
            None => Ok(()),
        }
    }
}

/// The parameters of RCPT.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RecipientParameters {
    /// ORCPT: whom the sender has named at first (RFC 3461 §4.2).
    pub original: Option<OriginalRecipient>,
    /// NOTIFY: what the sender wants to be told of (RFC 3461 §4.1).
    pub notify: Option<Notify>,
}

impl RecipientParameters {
    /// As [`MailParameters::set`].
    ///
    /// # Errors
    /// As there.
    pub fn set(&mut self, keyword: &str, value: Option<&str>) -> Result<(), CommandError> {
        let text = value.unwrap_or_default();
        once(match keyword.to_ascii_uppercase().as_str() {
            "ORCPT" => self.original.replace(OriginalRecipient::from_parameter(text)?).is_some(),
            "NOTIFY" => self.notify.replace(text.parse()?).is_some(),
            _ => return Err(CommandError::UnknownParameter(keyword.into())),
        })
    }
}

/// As they travel, each after a space.
impl fmt::Display for RecipientParameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(notify) = self.notify {
            write!(f, " NOTIFY={notify}")?;
        }
        match &self.original {
            Some(original) => write!(f, " ORCPT={}", original.to_parameter()),
            None => Ok(()),
        }
    }
}

fn once(repeated: bool) -> Result<(), CommandError> {
    if repeated { Err(CommandError::Argument("a parameter is given twice")) } else { Ok(()) }
}

/// Sets a parameter without value; returns whether it was set already.
fn flag(flag: &mut bool, value: Option<&str>, usage: &'static str) -> Result<bool, CommandError> {
    match value {
        Some(_) => Err(CommandError::Argument(usage)),
        None => Ok(std::mem::replace(flag, true)),
    }
}

/// RFC 4954 §5: a mailbox in xtext, or `<>`. One beyond ASCII may come from a server that takes it for xtext all the same.
fn submitter(value: &str) -> Result<ReversePath, ParameterError> {
    if value == "<>" {
        return Ok(ReversePath::Null);
    }
    let mailbox = xtext::decode_utf8(value).and_then(|text| text.parse().ok());
    mailbox.map(ReversePath::Mailbox).ok_or(ParameterError("AUTH takes a mailbox in xtext, or <>"))
}

/// RFC 1870 §5: up to 20 digits. What does not fit 64 bits is over every limit anyhow.
fn size(value: &str) -> Result<u64, ParameterError> {
    if (1..=20).contains(&value.len()) && value.bytes().all(|b| b.is_ascii_digit()) {
        Ok(value.parse().unwrap_or(u64::MAX))
    } else {
        Err(ParameterError("SIZE takes a number of octets"))
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

impl FromStr for BodyType {
    type Err = ParameterError;

    fn from_str(text: &str) -> Result<Self, ParameterError> {
        match text.to_ascii_uppercase().as_str() {
            "7BIT" => Ok(Self::SevenBit),
            "8BITMIME" => Ok(Self::EightBitMime),
            _ => Err(ParameterError("BODY is 7BIT or 8BITMIME")),
        }
    }
}

impl fmt::Display for BodyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SevenBit => "7BIT",
            Self::EightBitMime => "8BITMIME",
        })
    }
}

/// How much of the message a failure message returns (RFC 3461 §4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ret {
    /// All of it.
    Full,
    /// Its header section.
    Headers,
}

impl FromStr for Ret {
    type Err = ParameterError;

    fn from_str(text: &str) -> Result<Self, ParameterError> {
        match text.to_ascii_uppercase().as_str() {
            "FULL" => Ok(Self::Full),
            "HDRS" => Ok(Self::Headers),
            _ => Err(ParameterError("RET is FULL or HDRS")),
        }
    }
}

impl fmt::Display for Ret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "FULL",
            Self::Headers => "HDRS",
        })
    }
}

/// The sender's name for an envelope, without xtext: printable ASCII and spaces (RFC 3461 §4.4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvelopeId(String);

impl EnvelopeId {
    /// What failure messages say in `Original-Envelope-Id:` (RFC 3464 §2.2.1).
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Parses the value of ENVID.
    ///
    /// # Errors
    /// [`ParameterError`].
    pub fn from_xtext(xtext: &str) -> Result<Self, ParameterError> {
        let text = Some(xtext).filter(|xtext| xtext.len() <= ENVID_OCTETS).and_then(xtext::decode);
        text.and_then(|text| text.parse().ok()).ok_or(ParameterError("ENVID takes 1 to 100 octets of xtext"))
    }
}

impl FromStr for EnvelopeId {
    type Err = ParameterError;

    fn from_str(text: &str) -> Result<Self, ParameterError> {
        let is_good = !text.is_empty() && text.len() <= ENVID_OCTETS && is_printable(text);
        if is_good { Ok(Self(text.to_owned())) } else { Err(ParameterError("an envelope id is printable ASCII")) }
    }
}

impl fmt::Display for EnvelopeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_printable(text: &str) -> bool {
    text.bytes().all(|octet| matches!(octet, b' '..=b'~'))
}

/// What the sender wants to be told of a recipient (RFC 3461 §4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notify {
    /// Nothing.
    Never,
    /// These; at least one.
    Of(Occasions),
}

/// What a sender may be told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Occasions {
    /// The message was delivered.
    pub success: bool,
    /// It will not be delivered.
    pub failure: bool,
    /// It takes longer than usual.
    pub delay: bool,
}

impl From<Occasions> for Notify {
    fn from(occasions: Occasions) -> Self {
        if occasions == Occasions::default() { Self::Never } else { Self::Of(occasions) }
    }
}

impl FromStr for Notify {
    type Err = ParameterError;

    fn from_str(text: &str) -> Result<Self, ParameterError> {
        if text.eq_ignore_ascii_case("NEVER") {
            return Ok(Self::Never);
        }
        let mut occasions = Occasions::default();
        for occasion in text.split(',') {
            match occasion.to_ascii_uppercase().as_str() {
                "SUCCESS" => occasions.success = true,
                "FAILURE" => occasions.failure = true,
                "DELAY" => occasions.delay = true,
                _ => return Err(ParameterError("NOTIFY is NEVER, or of SUCCESS, FAILURE and DELAY, comma separated")),
            }
        }
        Ok(Self::Of(occasions))
    }
}

impl fmt::Display for Notify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Of(Occasions { success, failure, delay }) = self else { return f.write_str("NEVER") };
        let names = [(success, "SUCCESS"), (failure, "FAILURE"), (delay, "DELAY")];
        let names: Vec<_> = names.into_iter().filter(|(wanted, _)| **wanted).map(|(_, name)| name).collect();
        f.write_str(&names.join(","))
    }
}

/// Whom the sender has named at first: `type;address`, without xtext (RFC 3461 §4.2). An address of type `utf-8` may
/// hold any characters but control characters (RFC 6533 §3), any other is printable ASCII.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OriginalRecipient {
    kind: String,
    address: String,
}

impl OriginalRecipient {
    /// The type of the address, mostly `rfc822`.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// The address.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The address that a sender named without ORCPT; none where it is too long for ORCPT (RFC 3461 §4.2).
    pub fn of(address: &Mailbox) -> Option<Self> {
        let kind = if address.is_ascii() { "rfc822" } else { "utf-8" };
        let named = format!("{kind};{address}").parse::<Self>().ok();
        named.filter(|named| named.to_parameter().len() <= ORCPT_OCTETS)
    }

    /// Parses the value of ORCPT.
    ///
    /// # Errors
    /// [`ParameterError`].
    pub fn from_parameter(value: &str) -> Result<Self, ParameterError> {
        let parsed = Some(value).filter(|value| value.len() <= ORCPT_OCTETS).and_then(|value| {
            let (kind, address) = value.split_once(';')?;
            if is_utf8(kind) {
                return Self::new(kind, decode_unicode(address)?);
            }
            // Postfix writes an address beyond ASCII like this.
            let address = xtext::decode_utf8(address)?;
            let is_misnamed = kind.eq_ignore_ascii_case("rfc822") && !address.is_ascii();
            Self::new(if is_misnamed { "utf-8" } else { kind }, address)
        });
        parsed.ok_or(ParameterError("ORCPT takes a type, a semicolon and an address in xtext"))
    }

    /// The value of ORCPT, in ASCII.
    pub fn to_parameter(&self) -> String {
        let encode = if is_utf8(&self.kind) { encode_unicode } else { xtext::encode };
        format!("{};{}", self.kind, encode(&self.address))
    }

    /// The value of `Original-Recipient:`, in ASCII. It is xtext only for an address of type `utf-8` (RFC 3464 §2.3.1,
    /// RFC 6533 §3).
    pub fn to_field(&self) -> String {
        let address = if is_utf8(&self.kind) { encode_unicode(&self.address) } else { self.address.clone() };
        format!("{}; {address}", self.kind)
    }

    fn new(kind: &str, address: String) -> Option<Self> {
        let fits = if is_utf8(kind) { !address.contains(char::is_control) } else { is_printable(&address) };
        let is_good = is_atom(kind) && !address.is_empty() && fits;
        is_good.then(|| Self { kind: kind.to_owned(), address })
    }
}

impl FromStr for OriginalRecipient {
    type Err = ParameterError;

    fn from_str(text: &str) -> Result<Self, ParameterError> {
        let parsed = text.split_once(';').and_then(|(kind, address)| Self::new(kind, address.to_owned()));
        parsed.ok_or(ParameterError("an original recipient is a type, a semicolon and an address"))
    }
}

impl fmt::Display for OriginalRecipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{};{}", self.kind, self.address)
    }
}

fn is_utf8(kind: &str) -> bool {
    kind.eq_ignore_ascii_case("utf-8")
}

/// RFC 5322 §3.2.3.
fn is_atom(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&octet))
}

/// RFC 6533 §3 `utf-8-addr-xtext`: whatever is not printable ASCII, and `+`, `=` and `\`, become `\x{HEX}`.
fn encode_unicode(address: &str) -> String {
    let mut encoded = String::with_capacity(address.len());
    for character in address.chars() {
        match character {
            '!'..='~' if !"+=\\".contains(character) => encoded.push(character),
            character => {
                let _ = write!(encoded, "\\x{{{:02X}}}", u32::from(character));
            }
        }
    }
    encoded
}

/// RFC 6533 §3: `utf-8-addr-xtext`, or `utf-8-addr-unitext`, in which characters beyond ASCII stand for themselves.
fn decode_unicode(encoded: &str) -> Option<String> {
    let mut address = String::with_capacity(encoded.len());
    let mut rest = encoded;
    while let Some(character) = rest.chars().next() {
        rest = &rest[character.len_utf8()..];
        address.push(match character {
            '\\' => {
                let (digits, after) = rest.strip_prefix("x{")?.split_once('}')?;
                rest = after;
                let is_hexadecimal = (2..=6).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_hexdigit());
                char::from_u32(u32::from_str_radix(digits, 16).ok().filter(|_| is_hexadecimal)?)?
            }
            '+' | '=' | '\0'..=' ' | '\x7f' => return None,
            character => character,
        });
    }
    Some(address)
}

serde_as_text!(BodyType, Ret, EnvelopeId, Notify, OriginalRecipient);

#[cfg(test)]
mod tests;
