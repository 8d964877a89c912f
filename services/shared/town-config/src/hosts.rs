//! The names that the HTTP services of a stack may be called by.

use std::{collections::BTreeSet, net::IpAddr, sync::Arc};

/// Returns the names that a service may be called by now.
pub type Hosts = Arc<dyn Fn() -> OwnHosts + Send + Sync>;

/// The names that a service may be called by, besides IP literals, localhost and names without a dot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OwnHosts(Arc<BTreeSet<String>>);

impl<S: AsRef<str>> FromIterator<S> for OwnHosts {
    fn from_iter<I: IntoIterator<Item = S>>(names: I) -> Self {
        Self(Arc::new(names.into_iter().map(|name| canonical_host(name.as_ref())).collect()))
    }
}

impl OwnHosts {
    /// Whether requests to this host are for this service.
    pub fn contains(&self, host: &str) -> bool {
        let host = canonical_host(host);
        let literal = host.trim_start_matches('[').trim_end_matches(']');
        literal.parse::<IpAddr>().is_ok() || !host.contains(['.', ':']) || self.0.contains(&host)
    }
}

/// Returns a host as it is compared: in lower case and without a final dot.
pub fn canonical_host(host: &str) -> String {
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}
