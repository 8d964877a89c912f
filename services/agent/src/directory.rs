//! Finds the servers: which name to look up is configured, where it listens is a P record.

use crate::{Args, connection::Location};
use anyhow::{Context, bail};
use hickory_proto::{
    op::{Message, Query, ResponseCode},
    rr::{Name, RData, RecordType},
};
use mail_proto::Domain;
use service_kit::{
    config::{Config, PortKey},
    zone::{Host, Lookup, P_RECORD_TYPE, Port, Zone},
};
use std::{
    io,
    net::{Ipv4Addr, SocketAddr, ToSocketAddrs, UdpSocket},
    path::PathBuf,
    time::{Duration, Instant},
};

/// A pseudo-dns on this machine answers in less than a millisecond, or is not there.
const DNS_TIMEOUT: Duration = Duration::from_millis(300);

/// What is needed to find a server.
#[derive(Debug)]
pub(crate) struct Directory {
    smtp: Option<String>,
    pop: Option<String>,
    /// What to do when there is no name to look up.
    remedy: String,
    name_servers: Vec<SocketAddr>,
    zone: PathBuf,
}

impl Directory {
    pub(crate) fn open(args: &Args) -> anyhow::Result<Self> {
        let domain = args.address.domain();
        let named = args.smtp.is_some() && args.pop.is_some();
        // Those who name both servers need no configuration.
        let config = if named && !args.config.exists() { None } else { Some(Config::load(&args.config)?) };
        let hosts = config.as_ref().and_then(|config| config.agent.get(domain));
        let name_servers = match &args.dns {
            Some(dns) => dns.to_socket_addrs().with_context(|| format!("--dns {dns}"))?.collect(),
            None => config.as_ref().map(|config| name_servers(config, domain)).unwrap_or_default(),
        };
        let config = args.config.display();
        Ok(Self {
            smtp: args.smtp.clone().or_else(|| hosts.map(|hosts| hosts.smtp.clone())),
            pop: args.pop.clone().or_else(|| hosts.map(|hosts| hosts.pop.clone())),
            remedy: format!("{config}: no [agent.\"{domain}\"]; add it, or give --smtp NAME and --pop NAME"),
            name_servers,
            zone: args.zone.clone(),
        })
    }

    pub(crate) fn smtp(&self) -> anyhow::Result<Location> {
        self.locate(self.smtp.as_deref())
    }

    pub(crate) fn pop(&self) -> anyhow::Result<Location> {
        self.locate(self.pop.as_deref())
    }

    fn locate(&self, name: Option<&str>) -> anyhow::Result<Location> {
        let Some(name) = name else { bail!("{}", self.remedy) };
        match self.look_up(name)? {
            Lookup::Found(Port { host, number }) => {
                let host = match host {
                    Host::Local => Ipv4Addr::LOCALHOST.to_string(),
                    Host::Name(name) => name,
                    Host::Address(address) => address.to_string(),
                };
                Ok(Location { name: name.to_owned(), host, port: number.get() })
            }
            Lookup::NoRecords => bail!("{name} has no P record; add one to the zone file"),
            Lookup::NameUnknown => bail!("no such name: {name}; add a P record to the zone file"),
        }
    }

    fn look_up(&self, name: &str) -> anyhow::Result<Lookup<Port>> {
        let wire_name = Name::from_ascii(name.trim_end_matches('.').to_owned() + ".");
        let query = Query::query(wire_name.with_context(|| format!("{name:?} is no domain name"))?, p());
        let answered = self.name_servers.iter().find_map(|&server| ask(server, &query).ok().flatten());
        match answered {
            Some(answer) => Ok(answer),
            None => Ok(Zone::load(&self.zone).context("no pseudo-dns answers")?.ports(name)),
        }
    }
}

fn p() -> RecordType {
    RecordType::from(P_RECORD_TYPE)
}

/// Every pseudo-dns knows the whole town; that of the own stack is asked first.
fn name_servers(config: &Config, domain: &Domain) -> Vec<SocketAddr> {
    let mut stacks: Vec<_> = config.stacks().collect();
    stacks.sort_by_key(|stack| !stack.is_local(domain));
    stacks
        .iter()
        .filter_map(|stack| stack.port(PortKey::Dns))
        .map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
        .collect()
}

/// `None` when the server answers that it cannot tell.
fn ask(server: SocketAddr, query: &Query) -> io::Result<Option<Lookup<Port>>> {
    let mut question = Message::query();
    question.add_query(query.clone());
    // Connected, so that only the server's datagrams arrive, and a closed port is told at once.
    let socket = UdpSocket::bind(if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
    socket.connect(server)?;
    socket.send(&question.to_vec().map_err(io::Error::other)?)?;
    let deadline = Instant::now() + DNS_TIMEOUT;
    let mut datagram = [0; 4096];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        // A time-out of zero would mean none.
        socket.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        let length = socket.recv(&mut datagram)?;
        match Message::from_vec(&datagram[..length]) {
            Ok(answer) if answer.metadata.id == question.metadata.id => return Ok(understand(&answer)),
            _ if left.is_zero() => return Err(io::ErrorKind::TimedOut.into()),
            _ => {}
        }
    }
}

fn understand(answer: &Message) -> Option<Lookup<Port>> {
    match answer.metadata.response_code {
        ResponseCode::NXDomain => Some(Lookup::NameUnknown),
        ResponseCode::NoError => {
            let rdata = answer.answers.iter().find_map(|record| match &record.data {
                RData::Unknown { code, rdata } if *code == p() => Some(&rdata.anything),
                _ => None,
            });
            match rdata {
                Some(rdata) => Port::from_rdata(rdata).map(Lookup::Found),
                None => Some(Lookup::NoRecords),
            }
        }
        _ => None,
    }
}
