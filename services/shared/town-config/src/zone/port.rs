//! The value of a P record.

use super::parse::is_host_name;
use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    num::NonZeroU16,
    str::FromStr,
};

/// Which host a P record means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// The host that carries the record's own name: this machine, or in compose a container.
    Local,
    /// Another machine, by its name in the world's DNS; without final dot.
    Name(String),
    /// Another machine, by its address.
    Address(IpAddr),
}

/// The value of a P record: `port`, or `host:port` for a server on another machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// The host.
    pub host: Host,
    /// The TCP port.
    pub number: NonZeroU16,
}

/// The text is no value of a P record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPort {
    /// The port is no number from 1 to 65535.
    #[error("no TCP port; write a number from 1 to 65535")]
    Number,
    /// What stands before the last colon is no host.
    #[error("no host before the port; write \"host:port\", an IPv6 address in square brackets")]
    Host,
}

impl Port {
    /// The RDATA of the record: the text as one or more character-strings, like TXT (RFC 1035 §3.3.14).
    pub fn to_rdata(&self) -> Vec<u8> {
        let mut rdata = Vec::new();
        for part in self.to_string().as_bytes().chunks(usize::from(u8::MAX)) {
            // `chunks` sees to it that the length fits.
            rdata.push(part.len() as u8);
            rdata.extend_from_slice(part);
        }
        rdata
    }

    /// Reads RDATA; `None` when it is not of the form that [`Port::to_rdata`] gives.
    pub fn from_rdata(mut rdata: &[u8]) -> Option<Self> {
        let mut text = Vec::new();
        while let Some((&length, rest)) = rdata.split_first() {
            let (part, rest) = rest.split_at_checked(usize::from(length))?;
            text.extend_from_slice(part);
            rdata = rest;
        }
        String::from_utf8(text).ok()?.parse().ok()
    }
}

impl FromStr for Port {
    type Err = InvalidPort;

    fn from_str(text: &str) -> Result<Self, InvalidPort> {
        let (host, number) = match text.rsplit_once(':') {
            None => (Host::Local, text),
            Some((host, number)) => (parse_host(host).ok_or(InvalidPort::Host)?, number),
        };
        // `parse` takes a leading plus sign, and Python's int() takes much more: digits are what both mean alike.
        if !number.bytes().all(|octet| octet.is_ascii_digit()) {
            return Err(InvalidPort::Number);
        }
        Ok(Self { host, number: number.parse().map_err(|_| InvalidPort::Number)? })
    }
}

fn parse_host(text: &str) -> Option<Host> {
    if let Some(literal) = text.strip_prefix('[') {
        let address: Ipv6Addr = literal.strip_suffix(']')?.parse().ok()?;
        return Some(Host::Address(address.into()));
    }
    if let Ok(address) = text.parse() {
        // An IPv6 address without brackets cannot be told from one that has lost its last group.
        return matches!(address, IpAddr::V4(_)).then_some(Host::Address(address));
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    // 192.168.1 or 300.1.1.1 are slips of the pen, and no top-level domain is a number (RFC 3696 §2).
    let numeric = name.rsplit('.').next().is_some_and(|label| label.bytes().all(|octet| octet.is_ascii_digit()));
    (is_host_name(name) && !numeric).then(|| Host::Name(name.to_ascii_lowercase()))
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Local => write!(f, "{}", self.number),
            Host::Name(name) => write!(f, "{name}:{}", self.number),
            Host::Address(IpAddr::V4(address)) => write!(f, "{address}:{}", self.number),
            Host::Address(IpAddr::V6(address)) => write!(f, "[{address}]:{}", self.number),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        let table: &[(&str, Result<&str, InvalidPort>)] = &[
            ("1025", Ok("1025")),
            ("1", Ok("1")),
            ("65535", Ok("65535")),
            ("01025", Ok("1025")),
            ("192.168.1.5:25", Ok("192.168.1.5:25")),
            ("[::1]:25", Ok("[::1]:25")),
            ("[2001:DB8::5]:25", Ok("[2001:db8::5]:25")),
            ("Alice-Laptop.Local:2025", Ok("alice-laptop.local:2025")),
            ("alice.example.:2025", Ok("alice.example:2025")),
            ("laptop:2025", Ok("laptop:2025")),
            ("0", Err(InvalidPort::Number)),
            ("65536", Err(InvalidPort::Number)),
            ("70000", Err(InvalidPort::Number)),
            ("99999999999999999999", Err(InvalidPort::Number)),
            ("abc", Err(InvalidPort::Number)),
            ("", Err(InvalidPort::Number)),
            ("-1", Err(InvalidPort::Number)),
            ("+25", Err(InvalidPort::Number)),
            (" 25", Err(InvalidPort::Number)),
            ("host:", Err(InvalidPort::Number)),
            ("host:0", Err(InvalidPort::Number)),
            (":25", Err(InvalidPort::Host)),
            ("a b:25", Err(InvalidPort::Host)),
            ("::1:25", Err(InvalidPort::Host)),
            ("[::1:25", Err(InvalidPort::Host)),
            ("[127.0.0.1]:25", Err(InvalidPort::Host)),
            ("300.1.1.1:25", Err(InvalidPort::Host)),
            ("http://host:25", Err(InvalidPort::Host)),
        ];
        for (text, expected) in table {
            let parsed = text.parse::<Port>();
            assert_eq!(parsed.clone().map(|port| port.to_string()), expected.map(str::to_owned), "{text:?}");
            if let Ok(port) = parsed {
                assert_eq!(Port::from_rdata(&port.to_rdata()), Some(port), "{text:?}");
            }
        }
    }

    #[test]
    fn rdata_is_character_strings() {
        assert_eq!("1025".parse::<Port>().unwrap().to_rdata(), b"\x041025");
        let host = ["a".repeat(61).as_str(), &"b".repeat(63), &"c".repeat(63), &"d".repeat(63)].join(".");
        let port: Port = format!("{host}:65535").parse().unwrap();
        assert_eq!(Port::from_rdata(&port.to_rdata()), Some(port));
        for rdata in [&b""[..], b"\x05102", b"\x0410255", b"\x00", b"\x02\xff\xff"] {
            assert_eq!(Port::from_rdata(rdata), None, "{rdata:?}");
        }
    }
}
