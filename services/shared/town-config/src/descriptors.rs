//! The limit of open file descriptors: raised at the start, and named where it is too low.

use crate::{PortKey, Stack};
use mail_net::ConnectionLimits;
pub use mail_net::descriptors::{is_exhausted, limit, remedy};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// For what does not depend on the configuration: listeners, files, HTTP connections.
const FILES_AND_HTTP: usize = 200;

/// Raises the soft limit of this process to the hard one.
pub fn raise() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        facts::ServiceDescriptorsFixed { error }.log();
    }
}

/// How many a service may need: for its clients, for its neighbours on behalf of these, and for its files.
pub fn needed(stack: &Stack, service: PortKey) -> usize {
    let clients = match service {
        PortKey::Dns | PortKey::DnsHttp => ConnectionLimits::DNS.total,
        _ => stack.limits.connections.saturating_mul(2),
    };
    let exchanges = if matches!(service, PortKey::Smtp | PortKey::SmtpHttp) { stack.relay.connections } else { 0 };
    clients.saturating_add(exchanges).saturating_add(FILES_AND_HTTP)
}

/// Warns when this process may need more descriptors than it may have.
pub fn expect(needed: usize) {
    let limit = limit();
    if limit < needed {
        let remedy = format!("raise it with `ulimit -n {needed}` or LimitNOFILE={needed}");
        facts::ServiceDescriptorsShort { limit, needed, remedy }.log();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        raise();
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        assert_eq!(current, maximum);
    }
}
