//! Asks a pseudo-dns over the DNS protocol: over UDP, and over TCP what does not fit (RFC 1035 §4.2, RFC 7766 §5).

#[cfg(test)]
mod tests;
mod transport;

use hickory_proto::{
    op::{Message, Query, ResponseCode},
    rr::{Name, RData, RecordType},
};
use mail_net::IoClock;
use mail_proto::MailExchange;
use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
};
use tokio::net::lookup_host;
use town_config::zone::{Lookup, P_RECORD_TYPE, Port};

/// A pseudo-dns.
#[derive(Debug, Clone)]
pub struct NameServer {
    address: String,
    tries: u32,
    io: IoClock,
}

/// A name server gave no usable answer, which says nothing about the name.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    /// The name cannot be asked for, because no domain name has this form (RFC 1035 §2.3.4).
    #[error("{0:?} is no domain name")]
    InvalidName(String),
    /// The server cannot be reached, or is silent.
    #[error(transparent)]
    Connection(#[from] io::Error),
    /// The server cannot tell (RFC 1035 §4.1.1).
    #[error("the name server said: {0}")]
    Refused(ResponseCode),
    /// The answer is not understood.
    #[error("the answer of the name server is malformed")]
    Malformed,
}

impl NameServer {
    /// The name server at `address`, which is `host:port`. A datagram may be lost, so a query is sent `tries` times at most,
    /// each time with a second for the answer.
    pub fn new(address: String, tries: u32, io: IoClock) -> Self {
        Self { address, tries, io }
    }

    /// The exchanges of a mail domain, the lowest preference first. A null MX (RFC 7505) is one exchange named `.`.
    ///
    /// # Errors
    /// [`LookupError`].
    pub async fn mail_exchanges(&self, domain: &str) -> Result<Lookup<Vec<MailExchange>>, LookupError> {
        let answer = self.ask(domain, RecordType::MX).await?;
        let exchanges = records(&answer, |data| match data {
            RData::MX(mx) => {
                Some(Ok(MailExchange { preference: mx.preference, exchange: mx.exchange.to_lowercase().to_ascii() }))
            }
            _ => None,
        })?;
        Ok(exchanges.map(|mut exchanges| {
            exchanges.sort();
            exchanges
        }))
    }

    /// Where a name listens: its P record.
    ///
    /// # Errors
    /// [`LookupError`].
    pub async fn port(&self, name: &str) -> Result<Lookup<Port>, LookupError> {
        let answer = self.ask(name, RecordType::from(P_RECORD_TYPE)).await?;
        let ports = records(&answer, |data| match data {
            RData::Unknown { code, rdata } if u16::from(*code) == P_RECORD_TYPE => {
                Some(Port::from_rdata(&rdata.anything).ok_or(LookupError::Malformed))
            }
            _ => None,
        })?;
        Ok(ports.map(|mut ports| ports.swap_remove(0)))
    }

    /// The IPv4 address of a name.
    ///
    /// # Errors
    /// [`LookupError`].
    pub async fn address(&self, name: &str) -> Result<Lookup<Ipv4Addr>, LookupError> {
        let answer = self.ask(name, RecordType::A).await?;
        let addresses = records(&answer, |data| match data {
            RData::A(address) => Some(Ok(address.0)),
            _ => None,
        })?;
        Ok(addresses.map(|mut addresses| addresses.swap_remove(0)))
    }

    async fn ask(&self, name: &str, record_type: RecordType) -> Result<Message, LookupError> {
        let absolute = format!("{}.", name.trim_end_matches('.'));
        let name = Name::from_ascii(absolute).map_err(|_| LookupError::InvalidName(name.to_owned()))?;
        let query = transport::question(Query::query(name, record_type));
        let server = self.socket_address().await?;
        let answer = transport::over_udp(server, &query, self.tries, self.io).await?;
        if answer.metadata.truncation {
            return Ok(transport::over_tcp(server, &query, self.io).await?);
        }
        Ok(answer)
    }

    /// Its first address: a container may have another one after a restart.
    async fn socket_address(&self) -> io::Result<SocketAddr> {
        let address = lookup_host(&self.address).await?.next();
        address.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no such host"))
    }
}

/// What `read` finds in the answer section; never an empty list.
fn records<T>(
    answer: &Message,
    read: impl Fn(&RData) -> Option<Result<T, LookupError>>,
) -> Result<Lookup<Vec<T>>, LookupError> {
    match answer.metadata.response_code {
        ResponseCode::NXDomain => Ok(Lookup::NameUnknown),
        ResponseCode::NoError => {
            let found: Vec<T> =
                answer.answers.iter().filter_map(|record| read(&record.data)).collect::<Result<_, _>>()?;
            Ok(if found.is_empty() { Lookup::NoRecords } else { Lookup::Found(found) })
        }
        code => Err(LookupError::Refused(code)),
    }
}
