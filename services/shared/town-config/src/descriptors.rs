//! The limit of open file descriptors: raised at the start, and named where it is too low.

use crate::{PortKey, Stack};
use rustix::{
    io::Errno,
    process::{Resource, Rlimit, getrlimit, setrlimit},
};
use std::io;

/// How many connections a pseudo-dns serves over TCP, which is for the few answers that are too large for UDP.
pub const DNS_CONNECTIONS: usize = 100;

/// For what does not depend on the configuration: listeners, files, HTTP connections.
const FILES_AND_HTTP: usize = 200;

/// Raises the soft limit of this process to the hard one.
pub fn raise() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::warn!(%error, "the limit of open file descriptors cannot be raised");
    }
}

/// How many descriptors this process may have open.
pub fn limit() -> usize {
    getrlimit(Resource::Nofile).current.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX))
}

/// How many a service may need: for its clients, for its neighbours on behalf of these, and for its files.
pub fn needed(stack: &Stack, service: PortKey) -> usize {
    let clients = match service {
        PortKey::Dns | PortKey::DnsHttp => DNS_CONNECTIONS,
        _ => stack.limits.connections.saturating_mul(2),
    };
    let exchanges = if matches!(service, PortKey::Smtp | PortKey::SmtpHttp) { stack.relay.connections } else { 0 };
    clients.saturating_add(exchanges).saturating_add(FILES_AND_HTTP)
}

/// Warns when this process may need more descriptors than it may have.
pub fn expect(needed: usize) {
    let limit = limit();
    if limit < needed {
        tracing::warn!(
            limit,
            needed,
            "the limit of open file descriptors is too low for the configured numbers of connections; \
             raise it with `ulimit -n {needed}` or LimitNOFILE={needed}"
        );
    }
}

/// What to do about an error that the limit has caused.
pub fn remedy(error: &io::Error) -> Option<String> {
    is_exhausted(error).then(|| {
        let limit = limit();
        format!("raise the limit of open file descriptors, which is {limit}, with `ulimit -n` or LimitNOFILE=")
    })
}

/// Whether there was no descriptor left, in this process or on this machine.
pub fn is_exhausted(error: &io::Error) -> bool {
    [Errno::MFILE, Errno::NFILE].map(|errno| Some(errno.raw_os_error())).contains(&error.raw_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_exhaustion_is_blamed_on_the_limit() {
        for (errno, expected) in [(Errno::MFILE, true), (Errno::NFILE, true), (Errno::NOENT, false)] {
            let error = io::Error::from(errno);
            assert_eq!(is_exhausted(&error), expected, "{error}");
            assert_eq!(remedy(&error).is_some(), expected, "{error}");
        }
    }

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        raise();
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        assert_eq!(current, maximum);
    }
}
