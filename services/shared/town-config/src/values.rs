//! The values that stand in the configuration.

use ipnet::IpNet;
use mail_proto::Domain;
use serde::{Deserialize, Deserializer, de::Error};
use std::{fmt, net::IpAddr, ops::RangeInclusive, str::FromStr, time::Duration};

/// How many seconds a lease on a maildrop or on queued mail may last.
pub const LEASE_SECONDS: RangeInclusive<u32> = 1..=3600;

/// Where the course's hand-out and the RFCs differ, which is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// Messages are kept byte for byte, sizes include the closing `.CRLF`, unknown local recipients bounce.
    Tutorial,
    /// Trace headers are added (RFC 5321 §4.4), sizes are the messages' own (RFC 1939 §11), unknown local
    /// recipients are refused at RCPT.
    #[default]
    Rfc,
}

/// What time the services go by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClockKind {
    /// That of the machine.
    #[default]
    Real,
    /// One that stands still until it is moved, for tests.
    Virtual,
}

/// Whose logins are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Auth {
    /// Those of the accounts, with their passwords.
    #[default]
    Accounts,
    /// Every user's with every password, for test-beds. Who is logged in sends as anybody.
    Any,
}

impl FromStr for Auth {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        accounts_or_any(text, Self::Accounts, Self::Any)
    }
}

/// Which addresses of the local domains have a mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accept {
    /// Those of the accounts.
    #[default]
    Accounts,
    /// Every address, from its first mail on, for test-beds.
    Any,
}

impl FromStr for Accept {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        accounts_or_any(text, Self::Accounts, Self::Any)
    }
}

fn accounts_or_any<T>(text: &str, accounts: T, any: T) -> Result<T, String> {
    match text {
        "accounts" => Ok(accounts),
        "any" => Ok(any),
        _ => Err("give accounts or any".to_owned()),
    }
}

/// A mail domain that is local to a server: by its name, or with `*` every one that no other server has.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum LocalDomain {
    Every,
    Named(Domain),
}

impl<'de> Deserialize<'de> for LocalDomain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "*" {
            return Ok(Self::Every);
        }
        text.parse().map(Self::Named).map_err(|error| D::Error::custom(format_args!("{text:?}: {error}")))
    }
}

/// How the relay asks its pseudo-dns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RelayLookup {
    /// Over the internal HTTP API.
    #[default]
    Http,
    /// Over the DNS protocol, as a capture shows it.
    Dns,
}

/// Whether the relay speaks TLS with other servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RelayTls {
    /// Where the other server offers it, whatever its certificate; in the clear where that fails.
    Opportunistic,
    /// Always, with a certificate that is verified; otherwise the mail waits.
    Verify,
    /// Never.
    Off,
}

/// A password as configured: plain text, or an argon2 PHC string. Never displayed.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Password(String);

impl Password {
    /// The text as configured.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Password {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

/// What a server's first reply begins with: printable ASCII, so that the reply is one line (RFC 5321 §4.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Greeting(String);

impl Greeting {
    /// The longest greeting in octets. The whole reply has at most 512 (RFC 5321 §4.5.3.1.5).
    const MAX_OCTETS: usize = 255;
}

impl From<Greeting> for String {
    fn from(greeting: Greeting) -> Self {
        greeting.0
    }
}

impl<'de> Deserialize<'de> for Greeting {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let is_printable = text.bytes().all(|octet| octet == b' ' || octet.is_ascii_graphic());
        if is_printable && text.trim() == text && (1..=Self::MAX_OCTETS).contains(&text.len()) {
            return Ok(Self(text));
        }
        Err(D::Error::custom(format_args!("{text:?} is no greeting; give 1 to 255 printable ASCII characters")))
    }
}

/// What separates a detail from the name of a mailbox; the empty text separates nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Delimiter(pub(super) Option<char>);

impl<'de> Deserialize<'de> for Delimiter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let mut characters = text.chars();
        // A sign that stands in a local part without quotes, and not in every second one as a letter or a dot does.
        let can_separate = |sign: &char| "!#$%&'*+-/=?^_`{|}~".contains(*sign);
        match (characters.next(), characters.next()) {
            (None, _) => Ok(Self(None)),
            (Some(sign), None) if can_separate(&sign) => Ok(Self(Some(sign))),
            _ => Err(D::Error::custom(format_args!(
                "{text:?} is no delimiter; give one sign such as \"+\" or \"-\", or \"\" for none"
            ))),
        }
    }
}

/// The most that a mailbox may hold. An absent key is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Quota {
    /// In messages.
    pub messages: Option<u64>,
    /// In octets, as POP3 lists them.
    pub octets: Option<u64>,
}

/// A TCP or UDP port to listen on. 0 lets the system choose a free one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Port(u16);

impl From<u16> for Port {
    fn from(port: u16) -> Self {
        Self(port)
    }
}

impl From<Port> for u16 {
    fn from(port: Port) -> Self {
        port.0
    }
}

impl<'de> Deserialize<'de> for Port {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = toml::Value::deserialize(deserializer)?;
        let port = value.as_integer().and_then(|number| u16::try_from(number).ok());
        port.map(Self)
            .ok_or_else(|| D::Error::custom(format_args!("{value} is no port; give a number from 0 to 65535")))
    }
}

/// A network of IP addresses.
struct Network(IpNet);

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let fault = |cure: &str| D::Error::custom(format_args!("{text:?} is no network; {cure}"));
        match (text.parse(), text.parse::<IpAddr>()) {
            (Ok(network), _) => Ok(Self(network)),
            (_, Ok(address)) => Err(fault(&format!("for this address alone write \"{}\"", IpNet::from(address)))),
            _ => Err(fault(
                "give an address and the number of its leading bits, such as \"192.0.2.0/24\" or \"2001:db8::/32\"",
            )),
        }
    }
}

/// Reads a list of networks.
pub(super) fn networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    let networks = Vec::<Network>::deserialize(deserializer)?;
    Ok(networks.into_iter().map(|Network(network)| network).collect())
}

/// Reads `"90s"`, `"1h 30m"` or a list of such.
pub(super) fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    parse_duration(&String::deserialize(deserializer)?)
}

/// Reads a duration that may be zero.
pub(super) fn duration_or_zero<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    match humantime::parse_duration(&text) {
        Ok(duration) if duration.is_zero() => Ok(duration),
        _ => parse_duration(&text),
    }
}

pub(super) fn optional_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    duration(deserializer).map(Some)
}

pub(super) fn durations<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Duration>, D::Error> {
    Vec::<String>::deserialize(deserializer)?.iter().map(|text| parse_duration(text)).collect()
}

/// Reads a duration that a lease may have, in seconds.
pub(super) fn lease_seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let text = String::deserialize(deserializer)?;
    let seconds = u32::try_from(parse_duration::<D::Error>(&text)?.as_secs()).unwrap_or(u32::MAX);
    if LEASE_SECONDS.contains(&seconds) {
        return Ok(seconds);
    }
    let (least, most) = LEASE_SECONDS.into_inner();
    Err(D::Error::custom(format_args!("{text:?} is no lease; give one from \"{least}s\" to \"{most}s\"")))
}

fn parse_duration<E: Error>(text: &str) -> Result<Duration, E> {
    match humantime::parse_duration(text) {
        Ok(duration) if duration.is_zero() => {
            Err(E::custom(format_args!("{text:?} is no time at all; give more, such as \"15s\" or \"5m\"")))
        }
        Ok(duration) => Ok(duration),
        _ => Err(E::custom(format_args!("{text:?} is no duration; give one such as \"15s\", \"5m\" or \"1h 30m\""))),
    }
}
