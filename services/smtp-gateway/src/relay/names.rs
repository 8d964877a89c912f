//! Asks the stack's pseudo-dns, over HTTP or DNS as the configuration says.

use dns_client::{LookupError, NameServer};
use internal_api::{ApiError, DnsClient};
use mail_net::IoClock;
use mail_proto::{Domain, MailExchange};
use std::net::Ipv4Addr;
use town_config::{LiveStack, RelayLookup, zone::Lookup};

/// How often a query over UDP is sent at most: a busy machine loses datagrams.
const TRIES: u32 = 3;

/// The stack's pseudo-dns. Both ways to ask it give the same answers.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    stack: LiveStack,
    http: DnsClient,
    dns: Option<NameServer>,
}

/// There is no usable answer, which says nothing about the name.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoAnswer {
    #[error(transparent)]
    Http(#[from] ApiError),
    #[error(transparent)]
    Dns(#[from] LookupError),
    #[error("there is no port `dns` in the configuration of this server; add one, and start it again")]
    NoPort,
    #[error("the name has a P record without a host, and no address")]
    NoAddress,
}

impl Names {
    /// `name_server` is where the pseudo-dns speaks DNS.
    pub(crate) fn new(stack: LiveStack, http: DnsClient, name_server: Option<String>, io: IoClock) -> Self {
        Self { stack, http, dns: name_server.map(|address| NameServer::new(address, TRIES, io)) }
    }

    /// The exchanges of `domain`, the lowest preference first; `None` when the name does not exist.
    ///
    /// # Errors
    /// [`NoAnswer`].
    pub(crate) async fn mail_exchanges(&self, domain: &Domain) -> Result<Option<Vec<MailExchange>>, NoAnswer> {
        match self.dns()? {
            None => Ok(self.http.mail_exchanges(domain).await?),
            Some(dns) => all(dns.mail_exchanges(domain.as_str()).await),
        }
    }

    /// The port records of `name`; `None` when the name does not exist.
    ///
    /// # Errors
    /// As [`Names::mail_exchanges`].
    pub(crate) async fn ports(&self, name: &str) -> Result<Option<Vec<String>>, NoAnswer> {
        match self.dns()? {
            None => Ok(self.http.ports(name).await?),
            Some(dns) => all(dns.port(name).await.map(|found| found.map(|port| vec![port.to_string()]))),
        }
    }

    /// The address of a name that is a host of this machine.
    ///
    /// # Errors
    /// As [`Names::mail_exchanges`].
    pub(crate) async fn address(&self, name: &str) -> Result<Ipv4Addr, NoAnswer> {
        match self.dns()? {
            None => Ok(Ipv4Addr::LOCALHOST),
            Some(dns) => dns.address(name).await?.found().ok_or(NoAnswer::NoAddress),
        }
    }

    /// Whether nobody on the way can forge an answer now, as everybody can over plain DNS.
    pub(crate) fn are_proven(&self) -> bool {
        self.stack.current().relay.lookup == RelayLookup::Http
    }

    /// Whom to ask over DNS; `None` when HTTP is to be used.
    fn dns(&self) -> Result<Option<&NameServer>, NoAnswer> {
        match self.stack.current().relay.lookup {
            RelayLookup::Http => Ok(None),
            RelayLookup::Dns => self.dns.as_ref().map(Some).ok_or(NoAnswer::NoPort),
        }
    }
}

/// What cannot be a domain name does not exist, as the HTTP API says too.
fn all<T>(found: Result<Lookup<Vec<T>>, LookupError>) -> Result<Option<Vec<T>>, NoAnswer> {
    match found {
        Ok(Lookup::Found(records)) => Ok(Some(records)),
        Ok(Lookup::NoRecords) => Ok(Some(Vec::new())),
        Ok(Lookup::NameUnknown) | Err(LookupError::InvalidName(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
