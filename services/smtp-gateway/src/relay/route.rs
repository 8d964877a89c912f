//! From a domain to the sockets of its exchanges (RFC 5321 §5.1).

use super::{Context, names::NoAnswer};
use mail_proto::MailExchange;
use mail_proto::{Domain, smtp::Reply};
use std::{
    fmt,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};
use town_config::Relay;

/// After so long with a name server that does not answer, the other exchanges are not looked up any more.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where the hosts of the zone are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Hosts {
    /// All on this machine.
    Loopback,
    /// Each under its own name, as containers on one network are.
    Names,
}

/// An exchange that can be connected to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Exchange {
    /// Lower is tried first.
    pub(crate) preference: u16,
    /// Its name, without a final dot.
    pub(crate) name: String,
    /// `host:port`.
    pub(crate) address: String,
    /// Whether nobody can have forged that mail goes there. The zone over the internal API stands for DNSSEC, and so does
    /// the configuration (RFC 8689 §4.2.1).
    pub(crate) is_proven: bool,
}

/// Where mail for a domain can go, as far as that is known now.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// The most preferred first; never empty.
    pub(crate) exchanges: Vec<Exchange>,
    /// The most preferred of the exchanges whose names could not be looked up.
    pub(crate) unanswered: Option<Unanswered>,
}

/// An exchange whose name could not be looked up. It may be there, and take the mail.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unanswered {
    /// As in [`Exchange`].
    pub(crate) preference: u16,
    /// What that means for the mail: it is temporary.
    pub(crate) reply: Reply,
}

/// What connections lead to: who shares one destination shares its connections and their limits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Destination {
    /// The exchanges of a mail domain.
    Domain(Domain),
    /// The smarthost of this name or address, for all domains.
    Smarthost(String),
}

impl Destination {
    /// Where mail for this domain goes.
    pub(crate) fn of(domain: &Domain, relay: &Relay) -> Self {
        Self::smarthost(relay).unwrap_or_else(|| Self::Domain(domain.clone()))
    }

    /// Where all mail goes, if it does.
    pub(crate) fn smarthost(relay: &Relay) -> Option<Self> {
        relay.smarthost.as_ref().map(|smarthost| Self::Smarthost(smarthost.host.clone()))
    }

    /// The mail domain whose mail alone goes there.
    pub(crate) fn into_domain(self) -> Option<Domain> {
        match self {
            Self::Domain(domain) => Some(domain),
            Self::Smarthost(_) => None,
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Domain(domain) => domain.fmt(f),
            Self::Smarthost(host) => f.write_str(host),
        }
    }
}

#[cfg(test)]
impl std::str::FromStr for Destination {
    type Err = mail_proto::AddressError;

    fn from_str(domain: &str) -> Result<Self, Self::Err> {
        domain.parse().map(Self::Domain)
    }
}

/// The exchanges of `domain`.
///
/// # Errors
/// The reply that decides over the recipients: permanent when the answer was no, temporary without one.
pub(crate) async fn exchanges(context: &Context, domain: &Domain) -> Result<Found, Reply> {
    if let Some(smarthost) = &context.stack.current().relay.smarthost {
        let (name, address) = (smarthost.host.clone(), smarthost.address());
        let exchanges = vec![Exchange { preference: 0, name, address, is_proven: true }];
        return Ok(Found { exchanges, unanswered: None });
    }
    if domain.is_literal() {
        return Err(Reply::new(550, (1, 2), format!("{domain}: mail is not relayed to address literals")));
    }
    // The configuration may change between two look-ups.
    let is_proven = context.names.are_proven();
    let records = match context.names.mail_exchanges(domain).await {
        Err(error) => return Err(no_answer(domain.as_str(), &error)),
        Ok(None) => return Err(Reply::new(550, (1, 2), format!("{domain}: no such domain"))),
        Ok(Some(records)) => records,
    };
    if records.iter().any(|record| record.exchange == ".") {
        return Err(Reply::new(556, (1, 10), format!("{domain} takes no mail (null MX, RFC 7505)")));
    }
    if records.is_empty() {
        // RFC 5321 §5.1: a domain without MX is its own exchange.
        let implicit = MailExchange { preference: 0, exchange: domain.to_string() };
        let nothing =
            |_: &[String]| Reply::new(550, (4, 4), format!("{domain} has neither an MX record nor a P record"));
        return resolve(context, domain, (vec![implicit], is_proven), nothing).await;
    }
    let nothing = |missing: &[String]| {
        Reply::new(550, (4, 4), format!("{domain}: no exchange has a P record: {}", missing.join(", ")))
    };
    resolve(context, domain, (records, is_proven), nothing).await
}

async fn resolve(
    context: &Context,
    domain: &Domain,
    (mut records, is_proven): (Vec<MailExchange>, bool),
    nothing: impl FnOnce(&[String]) -> Reply,
) -> Result<Found, Reply> {
    // Those of one preference in a new order each time, which spreads the load (RFC 5321 §5.1).
    records.sort_by_cached_key(|record| (record.preference, uuid::Uuid::new_v4()));
    let mut exchanges = Vec::new();
    let (mut missing, mut unanswered) = (Vec::new(), None::<Unanswered>);
    let started = context.clock.io.instant();
    for record in records {
        let name = record.exchange.trim_end_matches('.').to_ascii_lowercase();
        match locate(context, &name).await {
            Ok(Location::At(addresses)) => exchanges.extend(addresses.into_iter().map(|address| Exchange {
                preference: record.preference,
                name: name.clone(),
                address,
                is_proven: is_proven && context.names.are_proven(),
            })),
            Ok(Location::Nowhere(why)) => missing.push(format!("{name}{why}")),
            Ok(Location::Here) => {
                // What is not preferred to ourselves would send the mail in a circle.
                exchanges.retain(|exchange: &Exchange| exchange.preference < record.preference);
                let unanswered = unanswered.filter(|unanswered| unanswered.preference < record.preference);
                return decide(exchanges, unanswered, || loops_back(domain, &name));
            }
            Err(error) => {
                let reply = no_answer(&name, &error);
                unanswered.get_or_insert(Unanswered { preference: record.preference, reply });
                if context.clock.io.since(started) > PATIENCE {
                    break;
                }
            }
        }
    }
    decide(exchanges, unanswered, || nothing(&missing))
}

/// The exchanges that there are; without any, it is over only when every look-up was answered.
fn decide(
    exchanges: Vec<Exchange>,
    unanswered: Option<Unanswered>,
    over: impl FnOnce() -> Reply,
) -> Result<Found, Reply> {
    if exchanges.is_empty() {
        return Err(unanswered.map_or_else(over, |unanswered| unanswered.reply));
    }
    Ok(Found { exchanges, unanswered })
}

/// Where an exchange listens.
enum Location {
    /// Each as `host:port`.
    At(Vec<String>),
    /// It is this server.
    Here,
    /// There is no P record, with what to add to its name.
    Nowhere(&'static str),
}

async fn locate(context: &Context, name: &str) -> Result<Location, NoAnswer> {
    let ports = match context.names.ports(name).await? {
        None => return Ok(Location::Nowhere(" (no such name)")),
        Some(ports) if ports.is_empty() => return Ok(Location::Nowhere("")),
        Some(ports) => ports,
    };
    if ports.iter().any(|port| is_self(context.listener, port)) {
        return Ok(Location::Here);
    }
    let mut addresses = Vec::with_capacity(ports.len());
    for port in ports {
        addresses.push(address(context, name, port).await?);
    }
    Ok(Location::At(addresses))
}

/// `port` is on the exchange's own host; `host:port` names another one.
async fn address(context: &Context, name: &str, port: String) -> Result<String, NoAnswer> {
    Ok(match context.hosts {
        _ if port.contains(':') => port,
        Hosts::Loopback => format!("{}:{port}", context.names.address(name).await?),
        Hosts::Names => format!("{name}:{port}"),
    })
}

/// Each port of a town belongs to one server, so a port without a host says which it is. The records of a town that does
/// not listen on 127.0.0.1 have its address. Any other address may lead here too, which only a connection shows.
pub(crate) fn is_self(listener: SocketAddr, port: &str) -> bool {
    port == listener.port().to_string() || (listener.ip() != Ipv4Addr::LOCALHOST && port == listener.to_string())
}

fn loops_back(domain: &Domain, exchange: &str) -> Reply {
    Reply::new(554, (4, 6), format!("mail for {domain} loops back: its exchange {exchange} is this server"))
}

fn no_answer(name: &str, error: &NoAnswer) -> Reply {
    facts::RelayLookupFailed { name, error }.log();
    Reply::new(451, (4, 3), format!("{name}: the name cannot be looked up now"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_that_is_listened_on_is_ours() {
        let table = [
            ("127.0.0.1:2025", "2025", true),
            ("127.0.0.1:2025", "127.0.0.1:2025", false),
            ("127.0.0.2:2025", "127.0.0.2:2025", true),
            ("[::1]:2025", "[::1]:2025", true),
            ("127.0.0.1:2025", "1025", false),
            ("127.0.0.1:2025", "192.0.2.1:2025", false),
        ];
        for (listener, port, expected) in table {
            assert_eq!(is_self(listener.parse().unwrap(), port), expected, "{listener} {port}");
        }
    }
}
