//! The sockets of one stack.

use service_kit::cli;
use std::{
    collections::BTreeMap,
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
    /// Binds every port of the configuration. What every town needs gets a free port for a key that it lacks.
    pub(crate) async fn bind(stack: &Stack, bind: IpAddr, http_bind: IpAddr) -> anyhow::Result<Self> {
        let listen = async |key: PortKey| {
            let address = SocketAddr::new(if key.is_http() { http_bind } else { bind }, stack.port(key).unwrap_or(0));
            TcpListener::bind(address).await.map_err(|error| {
                let message = cli::cannot_listen(&error, stack, key, address, "TCP");
                anyhow::Error::new(error).context(message)
            })
        };
        let listen_if_configured = async |key: PortKey| match stack.port(key) {
            Some(_) => listen(key).await.map(Some),
            None => Ok(None),
        };
        let dns = SocketAddr::new(bind, stack.port(PortKey::Dns).unwrap_or(0));
        let (dns_tcp, dns_udp) = cli::listen_dns(stack, dns).await?;
        Ok(Self {
            smtp: smtp_gateway::Listeners {
                smtp: listen(PortKey::Smtp).await?,
                submission: listen_if_configured(PortKey::Submission).await?,
                submissions: listen_if_configured(PortKey::Submissions).await?,
                http: listen(PortKey::SmtpHttp).await?.into(),
            },
            pop: pop3_gateway::Listeners {
                pop3: listen(PortKey::Pop).await?,
                pops: listen_if_configured(PortKey::Pops).await?,
                http: listen(PortKey::PopHttp).await?.into(),
            },
            store: mailbox_store::Listeners { http: listen(PortKey::Store).await?.into() },
            dns: pseudo_dns::Listeners { http: listen(PortKey::DnsHttp).await?.into(), dns_tcp, dns_udp },
        })
    }

    /// Where they are; nowhere for a key that the configuration lacks.
    pub(crate) fn addresses(&self) -> io::Result<BTreeMap<PortKey, SocketAddr>> {
        let address = |key| match key {
            PortKey::Smtp => Some(self.smtp.smtp.local_addr()),
            PortKey::Pop => Some(self.pop.pop3.local_addr()),
            PortKey::Store => Some(self.store.http.local_addr()),
            PortKey::Dns => Some(self.dns.dns_tcp.local_addr()),
            PortKey::DnsHttp => Some(self.dns.http.local_addr()),
            PortKey::SmtpHttp => Some(self.smtp.http.local_addr()),
            PortKey::PopHttp => Some(self.pop.http.local_addr()),
            PortKey::Submission => self.smtp.submission.as_ref().map(TcpListener::local_addr),
            PortKey::Submissions => self.smtp.submissions.as_ref().map(TcpListener::local_addr),
            PortKey::Pops => self.pop.pops.as_ref().map(TcpListener::local_addr),
        };
        let bound = PortKey::ALL.into_iter().filter_map(|key| Some((key, address(key)?)));
        bound.map(|(key, address)| Ok((key, address?))).collect()
    }
}
