//! Where the servers of a lesson are.

use crate::StackAddresses;
use anyhow::Context;
use lessons::Protocol;
use std::{collections::BTreeMap, net::SocketAddr, str::FromStr};
use town_config::{LiveConfig, PortKey};

/// One value of `--against`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Against {
    /// Which service; without this, all.
    service: Option<Service>,
    host: String,
    port: u16,
}

/// A service of a server; without a name, of the first one.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Service {
    server: Option<String>,
    protocol: Protocol,
}

impl FromStr for Against {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (service, place) = match text.split_once('=') {
            None => (None, text),
            Some((service, place)) => (Some(service.parse()?), place),
        };
        let (host, port) = place.rsplit_once(':').ok_or("HOST:PORT is wanted, such as 127.0.0.1:1025")?;
        let port = port.parse().map_err(|_| format!("`{port}` is no port"))?;
        Ok(Self { service, host: host.trim_matches(['[', ']']).to_owned(), port })
    }
}

impl FromStr for Service {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (server, protocol) = match text.split_once('/') {
            None => (None, text),
            Some((server, protocol)) => (Some(server.to_owned()), protocol),
        };
        let protocol = match protocol {
            "smtp" => Protocol::Smtp,
            "pop" => Protocol::Pop,
            _ => return Err(format!("`{protocol}` is neither smtp nor pop")),
        };
        Ok(Self { server, protocol })
    }
}

/// Where each server of a lesson is reached.
#[derive(Debug, Clone, Default)]
pub(super) struct Servers {
    /// The server that is meant without a name.
    first: String,
    places: BTreeMap<(String, Protocol), (String, u16)>,
    console: Option<SocketAddr>,
}

const SERVICES: [(Protocol, PortKey); 2] = [(Protocol::Smtp, PortKey::Smtp), (Protocol::Pop, PortKey::Pop)];

impl Servers {
    /// Servers somewhere, with the names and ports of this configuration.
    ///
    /// # Errors
    /// When a port would be beyond 65535.
    pub(super) fn new(config: &LiveConfig, against: &[Against]) -> anyhow::Result<Self> {
        let stacks: Vec<_> = config.stacks().map(|stack| stack.current()).collect();
        // The first of the file is the one that has the lowest port: a configuration keeps no order.
        let smtp = |stack: &town_config::Stack| stack.configured_port(PortKey::Smtp).unwrap_or(u16::MAX);
        let first = stacks.iter().min_by_key(|stack| smtp(stack)).context("the configuration has no server")?;
        let mut servers = Self { first: first.name.to_string(), ..Self::default() };
        let all = stacks.iter().flat_map(|stack| PortKey::ALL.into_iter().filter_map(|key| stack.configured_port(key)));
        let lowest = all.filter(|&port| port != 0).min().unwrap_or(0);
        for value in against {
            match &value.service {
                Some(Service { server, protocol }) => {
                    let server = server.clone().unwrap_or_else(|| servers.first.clone());
                    servers.places.insert((server, *protocol), (value.host.clone(), value.port));
                }
                None => {
                    for (stack, (protocol, key)) in stacks.iter().flat_map(|stack| SERVICES.map(|both| (stack, both))) {
                        let Some(port) = stack.configured_port(key) else { continue };
                        let port = u16::try_from(u32::from(port) - u32::from(lowest) + u32::from(value.port));
                        let port = port.context("--against: a port would be beyond 65535")?;
                        let key = (stack.name.to_string(), protocol);
                        servers.places.entry(key).or_insert((value.host.clone(), port));
                    }
                }
            }
        }
        Ok(servers)
    }

    /// The servers of a running town.
    pub(super) fn of_town(first: &str, stacks: &[StackAddresses], console: Option<SocketAddr>) -> Self {
        let mut servers = Self { first: first.to_owned(), console, ..Self::default() };
        for (stack, (protocol, key)) in stacks.iter().flat_map(|stack| SERVICES.map(|both| (stack, both))) {
            if let Some(address) = stack.address(key) {
                let place = (address.ip().to_string(), address.port());
                servers.places.insert((stack.stack.name.to_string(), protocol), place);
            }
        }
        servers
    }

    /// Host and port of a service; of the first server without a name.
    ///
    /// # Errors
    /// When nothing is known of it.
    pub(super) fn place(&self, server: Option<&str>, protocol: Protocol) -> anyhow::Result<(&str, u16)> {
        let server = server.unwrap_or(&self.first);
        let place = self.places.get(&(server.to_owned(), protocol));
        let (host, port) = place.with_context(|| format!("where is {server}? Say it with --against"))?;
        Ok((host, *port))
    }

    /// Where the console is, if there is one.
    pub(super) fn console(&self) -> Option<SocketAddr> {
        self.console
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_found_by_their_distance_or_one_by_one() {
        let config = town_config::Files::default().load_config();
        let config = LiveConfig::from(config.unwrap());
        let values = ["gmail.com/smtp=127.0.0.2:25", "[::1]:11025"].map(|text| text.parse().unwrap());
        let servers = Servers::new(&config, &values).unwrap();
        for (server, protocol, expected) in [
            (None, Protocol::Smtp, ("::1", 11025)),
            (None, Protocol::Pop, ("::1", 13110)),
            (Some("gmail.com"), Protocol::Pop, ("::1", 12110)),
            (Some("gmail.com"), Protocol::Smtp, ("127.0.0.2", 25)),
        ] {
            assert_eq!(servers.place(server, protocol).unwrap(), expected);
        }
        assert!(servers.place(Some("other"), Protocol::Pop).is_err());
        for wrong in ["host", "imap=host:1", "host:port"] {
            assert!(wrong.parse::<Against>().is_err(), "{wrong}");
        }
    }
}
