//! The id of a client's connection, which goes with every call that a gateway makes for it.

use std::{
    fmt,
    future::Future,
    hash::{BuildHasher, Hasher, RandomState},
};

/// The header with the id.
pub const CONNECTION_HEADER: &str = "mailtown-connection";
/// Carries the name of the service that calls, where its calls are no part of the mail system: `console`.
pub const CALLER_HEADER: &str = "mailtown-caller";

/// How many of the random bits are used.
const BITS: u32 = 48;
/// How long an id of another service may be.
const LONGEST: usize = 32;

tokio::task_local! {
    static CURRENT: ConnectionId;
}

/// Names one connection of a gateway in the logs of all services: 12 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionId(Box<str>);

impl ConnectionId {
    /// A new id, which no other connection is likely to have.
    pub fn random() -> Self {
        // The standard library's keys are random, and different each time.
        let random = RandomState::new().build_hasher().finish() >> (u64::BITS - BITS);
        Self(format!("{random:012x}").into())
    }

    /// The id in a header, if it is one.
    pub fn from_header(value: &[u8]) -> Option<Self> {
        let is_id = (1..=LONGEST).contains(&value.len()) && value.iter().all(u8::is_ascii_alphanumeric);
        std::str::from_utf8(value).ok().filter(|_| is_id).map(|id| Self(id.into()))
    }

    /// The ids of a batch's messages, in their order; `None` for one that has none. Empty unless there are `messages`.
    pub fn list_from_header(value: &[u8], messages: usize) -> Vec<Option<Self>> {
        let ids: Vec<_> = value.split(|octet| *octet == b',').map(Self::from_header).collect();
        if ids.len() == messages { ids } else { Vec::new() }
    }

    /// The connection that the running task works for.
    pub fn current() -> Option<Self> {
        CURRENT.try_with(Self::clone).ok()
    }

    /// Runs `work` for this connection: calls made meanwhile carry its id.
    pub fn scope<T>(self, work: impl Future<Output = T>) -> impl Future<Output = T> {
        CURRENT.scope(self, work)
    }

    /// The number behind the last 12 digits of the id; 0 for an id of another service that ends otherwise.
    pub fn number(&self) -> u64 {
        let digits = self.0.get(self.0.len().saturating_sub(12)..).unwrap_or_default();
        u64::from_str_radix(digits, 16).unwrap_or(0)
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_pass_through_the_header_and_nothing_else_does() {
        let (one, other) = (ConnectionId::random(), ConnectionId::random());
        assert_ne!(one, other);
        assert_eq!(one.as_str().len(), 12);
        let list = format!("{one},,{other}");
        let ids = [Some(one.clone()), None, Some(other)];
        assert_eq!(ConnectionId::list_from_header(list.as_bytes(), 3), ids);
        assert_eq!(ConnectionId::list_from_header(list.as_bytes(), 2), []);
        assert_eq!(ConnectionId::from_header(one.as_str().as_bytes()), Some(one));
        for bad in [&b""[..], b"a b", b"a\n", "é".as_bytes(), &[b'a'; 33]] {
            assert_eq!(ConnectionId::from_header(bad), None, "{bad:?}");
        }
    }
}
