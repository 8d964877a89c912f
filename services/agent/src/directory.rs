//! Finds the servers: which name to look up is configured, where it listens is a P record.

use crate::{Args, Hosts, connection::Location, printable};
use anyhow::{Context, bail, ensure};
use dns_client::{LookupError, NameServer};
use mail_net::{Clock, IoClock};
use mail_proto::Domain;
use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
};
use town_config::{
    Config, ConfigError, Files, PortKey, Profile,
    ports_file::Ports,
    zone::{Host, Lookup, Port},
};

/// How often a name server is asked: a pseudo-dns on this machine answers at once, or is not there.
const TRIES: u32 = 1;

/// What is needed to find a server.
#[derive(Debug)]
pub(crate) struct Directory {
    smtp: Option<String>,
    pop: Option<String>,
    /// What to do when there is no name to look up.
    remedy: String,
    /// Each as `host:port`.
    name_servers: Vec<String>,
    /// Whether an option says which town is asked. The zone file may be that of another town.
    is_town_named: bool,
    files: Files,
    hosts: Hosts,
    /// Whose ways messages follow.
    pub(crate) profile: Profile,
    pub(crate) clock: Clock,
}

/// A P record, or its absence, and who said so.
struct Answer {
    lookup: Lookup<Port>,
    source: String,
}

impl Directory {
    pub(crate) fn open(args: &Args, clock: Clock) -> anyhow::Result<Self> {
        let domain = args.address.domain();
        let named = args.smtp.is_some() && args.pop.is_some();
        // Those who name both servers need no configuration.
        let files = Files { config: args.config.clone(), zone: args.zone.clone() };
        let config = if named && !files.config_path().exists() { None } else { Some(load(&files)?) };
        let names = config.as_ref().and_then(|config| config.agent.get(domain));
        let name_servers = match (&config, &args.ports_file) {
            _ if !args.dns.is_empty() => args.dns.clone(),
            (config, Some(file)) => {
                let servers = name_servers_of(&Ports::read(file)?, config.as_ref(), domain);
                ensure!(!servers.is_empty(), "{}: no pseudo-dns is in it; give --dns HOST:PORT", file.display());
                servers
            }
            (Some(config), None) => name_servers(config, domain, &files.config_name())?,
            (None, None) => Vec::new(),
        };
        // Every stack has the profile of the whole configuration.
        let profile = config.as_ref().and_then(|config| config.stacks().next()).map(|stack| stack.profile);
        let config = files.config_name();
        let add = if files.is_built_in() { "give --config FILE" } else { "add it" };
        Ok(Self {
            smtp: args.smtp.clone().or_else(|| names.map(|names| names.smtp.clone())),
            pop: args.pop.clone().or_else(|| names.map(|names| names.pop.clone())),
            remedy: format!("{}: no [agent.\"{domain}\"]; {add}, or give --smtp NAME and --pop NAME", config.display()),
            name_servers,
            is_town_named: !args.dns.is_empty() || args.ports_file.is_some(),
            files,
            hosts: args.hosts,
            profile: profile.unwrap_or_default(),
            clock,
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
        let Answer { lookup, source } = self.look_up(name)?;
        match lookup {
            Lookup::Found(record) => {
                let host = match &record.host {
                    Host::Local if self.hosts == Hosts::Names => name.trim_end_matches('.').to_owned(),
                    Host::Local => Ipv4Addr::LOCALHOST.to_string(),
                    Host::Name(name) => name.clone(),
                    Host::Address(address) => address.to_string(),
                };
                Ok(Location { name: name.to_owned(), record, source, host })
            }
            Lookup::NoRecords => bail!("{name} has no P record, says {source}; add one to the zone file"),
            Lookup::NameUnknown => bail!("no such name: {name}, says {source}; add a P record to the zone file"),
        }
    }

    /// Asks each pseudo-dns, then the zone file, unless an option names the town. Says so when it is the file, since
    /// somebody may have stopped pseudo-dns to see what that does.
    fn look_up(&self, name: &str) -> anyhow::Result<Answer> {
        let mut failures = Vec::new();
        for server in &self.name_servers {
            match ask(server, name, self.clock.io)? {
                Ok(lookup) => return Ok(Answer { lookup, source: format!("pseudo-dns {server}") }),
                Err(error @ LookupError::InvalidName(_)) => return Err(error.into()),
                Err(LookupError::Connection(error)) => failures.push((server, error.to_string())),
                Err(_) => failures.push((server, "cannot tell".to_owned())),
            }
        }
        let failures: Vec<_> = failures.iter().map(|(server, why)| format!("{server} ({why})")).collect();
        let failures = if failures.is_empty() {
            " (none is configured)".to_owned()
        } else {
            format!(" at {}", failures.join(", "))
        };
        ensure!(!self.is_town_named, "no pseudo-dns answers{failures}: is that town running?");
        let zone = self.files.load_zone().with_context(|| format!("no pseudo-dns answers{failures}"))?;
        let file = self.files.zone_name();
        let file = file.display();
        if !self.name_servers.is_empty() {
            eprintln!("{}", printable(&format!("no pseudo-dns answers{failures}; {name} is looked up in {file}")));
        }
        Ok(Answer { lookup: zone.ports(name), source: file.to_string() })
    }
}

fn load(files: &Files) -> anyhow::Result<Config> {
    let hint = "; run the agent in the directory of mailtown's sources, or give --config FILE and --zone FILE";
    files.load_config().map_err(|error| match &error {
        ConfigError::Read { path, reason, .. } if reason.kind() == io::ErrorKind::NotFound && path.is_relative() => {
            anyhow::anyhow!("{}: {reason}{hint}", path.display())
        }
        _ => error.into(),
    })
}

/// Asks `server`, which is `host:port`, and waits for the answer.
fn ask(server: &str, name: &str, io: IoClock) -> anyhow::Result<Result<Lookup<Port>, LookupError>> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start the runtime")?;
    Ok(runtime.block_on(NameServer::new(server.to_owned(), TRIES, io).port(name)))
}

/// Every pseudo-dns of a town that runs, that of the own stack first.
fn name_servers_of(ports: &Ports, config: Option<&Config>, domain: &Domain) -> Vec<String> {
    let is_own = |server: &str| config.and_then(|config| config.stack(server).ok()).is_some_and(|s| s.is_local(domain));
    let mut servers: Vec<_> = ports.servers().collect();
    servers.sort_by_key(|server| !is_own(server));
    servers.iter().filter_map(|server| Some(ports.address(server, PortKey::Dns)?.to_string())).collect()
}

/// Every pseudo-dns knows the whole town; that of the own stack is asked first. One with port 0 cannot be found, and
/// then the ports of the zone file are not those of the town.
fn name_servers(config: &Config, domain: &Domain, file: &Path) -> anyhow::Result<Vec<String>> {
    let mut stacks: Vec<_> = config.stacks().collect();
    stacks.sort_by_key(|stack| !stack.is_local(domain));
    let (free, ports): (Vec<_>, Vec<_>) =
        stacks.iter().filter_map(|stack| stack.port(PortKey::Dns)).partition(|&port| port == 0);
    ensure!(
        free.is_empty() || !ports.is_empty(),
        "{}: the port of pseudo-dns is 0; give --ports-file FILE, as the town has it",
        file.display()
    );
    Ok(ports.iter().map(|&port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)).to_string()).collect())
}
