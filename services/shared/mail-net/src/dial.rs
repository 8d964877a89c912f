//! Connections to others: over TCP, or in memory.

mod memory;

pub use memory::{MemoryListener, MemoryNetwork, pair};

use crate::{IoClock, io::Io};
use std::{fmt, future::Future, io, pin::Pin, str::FromStr, time::Duration};
use tokio::net::{TcpStream, lookup_host};

/// An edge of the town: who connects to whom. Records and faults are keyed by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Hop {
    /// An agent, or any other client, to an SMTP gateway.
    AgentToSmtp,
    /// The relay of an SMTP gateway to another server.
    SmtpToPeer,
    /// A gateway to its mailbox store.
    GatewayToStore,
    /// A gateway to its pseudo-dns.
    GatewayToDns,
    /// An agent, or any other client, to a POP3 gateway.
    ClientToPop3,
}

impl Hop {
    /// The name in the configuration, in records and in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AgentToSmtp => "agent-smtp",
            Self::SmtpToPeer => "smtp-peer",
            Self::GatewayToStore => "gateway-store",
            Self::GatewayToDns => "gateway-dns",
            Self::ClientToPop3 => "client-pop3",
        }
    }
}

impl fmt::Display for Hop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A host and a port. It is written `host:port`, an IPv6 address in brackets.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Address {
    /// A name or an IP address.
    pub host: String,
    /// A TCP port.
    pub port: u16,
}

/// The text is not of the form `host:port`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not of the form host:port")]
pub struct InvalidAddress(String);

impl FromStr for Address {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidAddress(text.to_owned());
        let (host, port) = text.rsplit_once(':').ok_or_else(invalid)?;
        let port = port.parse().map_err(|_| invalid())?;
        let host = match host.strip_prefix('[').map(|host| host.strip_suffix(']')) {
            Some(bracketed) => bracketed.ok_or_else(invalid)?,
            None if host.is_empty() || host.contains(':') => return Err(invalid()),
            None => host,
        };
        Ok(Self { host: host.to_owned(), port })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

/// A connection that is being made.
pub type Dialing<'a> = Pin<Box<dyn Future<Output = io::Result<Box<dyn Io>>> + Send + 'a>>;

/// Makes connections. A service that connects to others is given one of these, so that it can be over TCP, in memory, or
/// fail on purpose.
pub trait Dial: fmt::Debug + Send + Sync {
    /// Connects to `to`, over this edge of the town. Has no time limit of its own.
    ///
    /// # Errors
    /// Those of the connection; [`io::ErrorKind::NotFound`] for a host that is not known.
    fn dial<'a>(&'a self, hop: Hop, to: &'a Address) -> Dialing<'a>;
}

/// Connects over TCP.
#[derive(Debug, Clone, Copy, Default)]
pub struct TcpDial {
    limit_per_address: Option<(Duration, IoClock)>,
}

impl TcpDial {
    /// Tries each address of a host for `limit` at most.
    #[must_use]
    pub fn with_limit_per_address(self, limit: Duration, clock: IoClock) -> Self {
        Self { limit_per_address: Some((limit, clock)) }
    }

    async fn connect(self, to: &Address) -> io::Result<TcpStream> {
        let unknown = |error| {
            let text = format!("no such host ({error}); a container's name is known only while the container runs");
            io::Error::new(io::ErrorKind::NotFound, text)
        };
        let mut failure = None;
        for address in lookup_host((to.host.as_str(), to.port)).await.map_err(unknown)? {
            let connecting = TcpStream::connect(address);
            let connected = match self.limit_per_address {
                Some((limit, clock)) => clock.timeout(limit, connecting).await.unwrap_or_else(|late| Err(late.into())),
                None => connecting.await,
            };
            match connected {
                Ok(stream) => {
                    // What is sent is written whole, so there is nothing for Nagle's algorithm to gather.
                    stream.set_nodelay(true)?;
                    return Ok(stream);
                }
                Err(error) => failure = Some(error),
            }
        }
        Err(failure.unwrap_or_else(|| io::ErrorKind::NotFound.into()))
    }
}

impl Dial for TcpDial {
    fn dial<'a>(&'a self, _hop: Hop, to: &'a Address) -> Dialing<'a> {
        Box::pin(async move { Ok(Box::new(self.connect(to).await?) as Box<dyn Io>) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    #[test]
    fn addresses_as_they_are_written() {
        for (text, host, port) in
            [("mx.test:25", "mx.test", 25), ("127.0.0.1:1", "127.0.0.1", 1), ("[::1]:25", "::1", 25)]
        {
            let address: Address = text.parse().unwrap();
            assert_eq!((address.host.as_str(), address.port), (host, port));
            assert_eq!(address.to_string(), text);
        }
        for text in ["", "mx.test", "mx.test:", "mx.test:smtp", "mx.test:65536", ":25", "::1:25", "[::1:25"] {
            assert_eq!(text.parse::<Address>(), Err(InvalidAddress(text.to_owned())));
        }
    }

    #[tokio::test]
    async fn over_tcp_both_ends_know_each_other() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let to = address.to_string().parse().unwrap();
        let client = TcpDial::default().dial(Hop::SmtpToPeer, &to).await.unwrap();
        let (server, peer) = listener.accept().await.unwrap();
        let (client, server) = (client.ends().unwrap(), server.ends().unwrap());
        assert_eq!((client.peer, server.local, client.local, server.peer), (address, address, peer, peer));
    }

    #[tokio::test]
    async fn an_unknown_host_is_explained() {
        let to = "mx.invalid:25".parse().unwrap();
        let error = TcpDial::default().dial(Hop::SmtpToPeer, &to).await.err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(error.to_string().starts_with("no such host ("), "{error}");
    }

    #[tokio::test]
    async fn in_memory_only_who_listens_is_reached() {
        let network = MemoryNetwork::default();
        let to: Address = "mx.test:25".parse().unwrap();
        let refused = network.dial(Hop::SmtpToPeer, &to).await.err().unwrap();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);

        let mut listener = network.listen(to.clone());
        let mut client = network.dial(Hop::SmtpToPeer, &to).await.unwrap();
        let (hop, mut server) = listener.accept().await.unwrap();
        assert_eq!(hop, Hop::SmtpToPeer);
        let (ours, theirs) = (client.ends().unwrap(), server.ends().unwrap());
        assert_eq!((ours.local, ours.peer), (theirs.peer, theirs.local));
        client.write_all(b"EHLO").await.unwrap();
        let mut heard = [0; 4];
        server.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"EHLO");

        drop(listener);
        assert!(network.dial(Hop::SmtpToPeer, &to).await.is_err(), "nobody listens any more");
    }
}
