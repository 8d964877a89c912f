//! The sockets of one stack.

use service_kit::cli;
use std::{
    io,
    net::{IpAddr, SocketAddr},
};
use tokio::net::TcpListener;
use town_config::{PortKey, Stack};

/// Where a port is in use, it is most likely by a town that was started before.
pub(crate) fn with_hint(error: anyhow::Error) -> anyhow::Error {
    let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
    if kind != Some(io::ErrorKind::AddrInUse) {
        return error;
    }
    anyhow::anyhow!("{error:#}; a town may be running already: --port-base N and --state DIR start a second one")
}

/// The sockets of a stack's four services, bound.
pub(crate) struct StackListeners {
    pub(crate) smtp: smtp_gateway::Listeners,
    pub(crate) pop: pop3_gateway::Listeners,
    pub(crate) store: mailbox_store::Listeners,
    pub(crate) dns: pseudo_dns::Listeners,
}

impl StackListeners {
    /// Binds every port of the configuration, and any free one for a key that it lacks.
    pub(crate) async fn bind(stack: &Stack, bind: IpAddr, http_bind: IpAddr) -> anyhow::Result<Self> {
        let listen = async |key: PortKey| {
            let address = SocketAddr::new(if key.is_http() { http_bind } else { bind }, stack.port(key).unwrap_or(0));
            TcpListener::bind(address).await.map_err(|error| {
                let message = cli::cannot_listen(&error, stack, key, address, "TCP");
                anyhow::Error::new(error).context(message)
            })
        };
        let dns = SocketAddr::new(bind, stack.port(PortKey::Dns).unwrap_or(0));
        let (dns_tcp, dns_udp) = cli::listen_dns(stack, dns).await?;
        Ok(Self {
            smtp: smtp_gateway::Listeners {
                smtp: listen(PortKey::Smtp).await?,
                http: listen(PortKey::SmtpHttp).await?,
            },
            pop: pop3_gateway::Listeners { pop3: listen(PortKey::Pop).await?, http: listen(PortKey::PopHttp).await? },
            store: mailbox_store::Listeners { http: listen(PortKey::Store).await? },
            dns: pseudo_dns::Listeners { http: listen(PortKey::DnsHttp).await?, dns_tcp, dns_udp },
        })
    }

    /// Where they are, in the order of [`PortKey::ALL`].
    pub(crate) fn addresses(&self) -> io::Result<[SocketAddr; PortKey::ALL.len()]> {
        Ok([
            self.smtp.smtp.local_addr()?,
            self.pop.pop3.local_addr()?,
            self.store.http.local_addr()?,
            self.dns.dns_tcp.local_addr()?,
            self.dns.http.local_addr()?,
            self.smtp.http.local_addr()?,
            self.pop.http.local_addr()?,
        ])
    }
}
