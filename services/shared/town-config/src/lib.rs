//! The files that describe a town: `config.toml` (this module), the zone file (`zone`) and the ports file (`ports_file`).
//!
//! One configuration describes the whole town; each service takes the part of its stack.

mod aliases;
mod console;
pub mod descriptors;
#[cfg(test)]
mod documented;
mod faults;
mod file;
mod files;
mod hosts;
mod key_lines;
mod live;
mod overrides;
mod port_move;
pub mod ports_file;
mod relay;
mod reload;
mod schedule;
mod small_file;
mod tolerance;
mod toml_file;
mod trace;
mod values;
pub mod watched_file;
pub mod zone;

pub use aliases::Targets;
pub use console::{Console, ConsoleBounds};
pub use faults::FaultKeys;
pub use file::{AgentHosts, Limits, Pop3, Retention, TlsFiles};
pub use files::Files;
pub use hosts::{Hosts, OwnHosts, canonical_host};
pub use key_lines::KeyLines;
pub use live::{LiveConfig, LiveStack};
pub use overrides::Overrides;
pub use port_move::PortMove;
pub use relay::{Jitter, Patience, Relay, Smarthost, SmarthostTls, Timeouts};
pub use reload::Reload;
pub use schedule::Next;
pub use toml_file::FileError as ConfigError;
pub use trace::{Secrets, Trace};
pub use values::{Accept, Auth, ClockKind, LEASE_SECONDS, Password, Profile, Quota, RelayLookup, RelayTls};

use file::{File, Server};
use ipnet::IpNet;
use mail_proto::{AddressRules, Domain, Mailbox, smtp::Tolerance};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
};
use tolerance::ToleranceKeys;

/// The configuration of a town, valid in itself.
#[derive(Debug, Clone)]
pub struct Config {
    path: PathBuf,
    /// The stacks by server name.
    stacks: BTreeMap<Domain, Stack>,
    /// Which names the agents of a mail domain look up.
    pub agent: BTreeMap<Domain, AgentHosts>,
    /// The service that shows the town.
    pub console: Console,
    /// What time the services go by.
    pub clock: ClockKind,
}

/// The part of the configuration that concerns one stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stack {
    /// The server's name, as it greets.
    pub name: Domain,
    /// How the hand-out's and the RFCs' ways are chosen between.
    pub profile: Profile,
    /// How addresses of its own domains are compared.
    pub address_rules: AddressRules,
    /// What the first reply of SMTP begins with.
    pub greeting: String,
    /// The mail domains that are local here.
    pub domains: BTreeSet<Domain>,
    /// Who has a mailbox here.
    pub accounts: BTreeMap<Mailbox, Password>,
    /// The addresses of its domains that stand for others.
    pub aliases: BTreeMap<Mailbox, Targets>,
    /// Where mail goes that is for no other address of a domain.
    pub catch_all: BTreeMap<Domain, Targets>,
    /// Who may submit without authentication.
    pub trusted_networks: Vec<IpNet>,
    /// From where proxies connect, which tell the addresses of their clients.
    pub proxy_networks: Vec<IpNet>,
    /// Whether nobody may.
    pub require_auth: bool,
    /// Whether every client may send its password without TLS.
    pub auth_without_tls: bool,
    /// Whose logins are taken.
    pub auth: Auth,
    /// Which addresses of its domains have a mailbox.
    pub accept: Accept,
    /// The password of those that have no account; never empty.
    pub accept_password: Password,
    /// What a client may ask for.
    pub limits: Limits,
    /// How maildrops are read.
    pub pop3: Pop3,
    /// How queued mail is relayed.
    pub relay: Relay,
    /// How long mail is kept.
    pub retention: Retention,
    /// What is recorded of sessions.
    pub trace: Trace,
    /// What goes wrong on purpose.
    pub faults: FaultKeys,
    /// The mail domains of all servers of the town.
    pub town: Arc<BTreeMap<Domain, BTreeSet<Domain>>>,
    /// The names that its HTTP services may be called by: those of the town, and `[http] hosts`.
    pub http_hosts: OwnHosts,
    /// How long a record that has gone from the zone file is not denied.
    pub zone_grace: std::time::Duration,
    /// Which names the agents of its mail domains look up.
    pub agents: BTreeMap<Domain, AgentHosts>,
    /// Its own certificate, if it has one.
    pub tls: Option<TlsFiles>,
    /// The domains of the other servers, if it takes all but those.
    elsewhere: Option<BTreeSet<Domain>>,
    tolerance: ToleranceKeys,
    quota: Quota,
    quotas: BTreeMap<Mailbox, Quota>,
    /// The same in lower case.
    folded_quotas: BTreeMap<Mailbox, Quota>,
    ports: Server,
    port_move: PortMove,
    path: PathBuf,
}

/// The ports of a stack, by their keys in the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PortKey {
    /// SMTP.
    Smtp,
    /// POP3.
    Pop,
    /// The mailbox store's HTTP API.
    Store,
    /// DNS over UDP and TCP.
    Dns,
    /// pseudo-dns over HTTP.
    DnsHttp,
    /// The SMTP gateway's health and metrics.
    SmtpHttp,
    /// The POP3 gateway's health and metrics.
    PopHttp,
    /// SMTP for agents only (RFC 6409).
    Submission,
    /// The same over TLS from the first octet on (RFC 8314 §3.3).
    Submissions,
    /// POP3 over TLS from the first octet on (RFC 8314 §3.2).
    Pops,
}

impl PortKey {
    /// All of them, in the order of the configuration.
    pub const ALL: [Self; 10] = [
        Self::Smtp,
        Self::Pop,
        Self::Store,
        Self::Dns,
        Self::DnsHttp,
        Self::SmtpHttp,
        Self::PopHttp,
        Self::Submission,
        Self::Submissions,
        Self::Pops,
    ];

    /// The key under `[server."<name>"]`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Smtp => "smtp",
            Self::Pop => "pop",
            Self::Store => "store",
            Self::Dns => "dns",
            Self::DnsHttp => "dns_http",
            Self::SmtpHttp => "smtp_http",
            Self::PopHttp => "pop_http",
            Self::Submission => "submission",
            Self::Submissions => "submissions",
            Self::Pops => "pops",
        }
    }

    /// The service that listens there.
    pub fn service(self) -> &'static str {
        match self {
            Self::Smtp | Self::SmtpHttp | Self::Submission | Self::Submissions => "smtp-gateway",
            Self::Pop | Self::PopHttp | Self::Pops => "pop3-gateway",
            Self::Store => "mailbox-store",
            Self::Dns | Self::DnsHttp => "pseudo-dns",
        }
    }

    /// Whether HTTP is spoken there.
    pub fn is_http(self) -> bool {
        matches!(self, Self::Store | Self::DnsHttp | Self::SmtpHttp | Self::PopHttp)
    }
}

impl Stack {
    /// The port to listen on for this key, if the configuration has one; 0 when the system is to choose.
    pub fn port(&self, key: PortKey) -> Option<u16> {
        self.configured_port(key).map(|port| self.port_move.apply(port))
    }

    /// The port under this key as the configuration has it, whatever `--port-base` says.
    pub fn configured_port(&self, key: PortKey) -> Option<u16> {
        let port = match key {
            PortKey::Smtp => self.ports.smtp,
            PortKey::Pop => self.ports.pop,
            PortKey::Store => self.ports.store,
            PortKey::Dns => self.ports.dns,
            PortKey::DnsHttp => self.ports.dns_http,
            PortKey::SmtpHttp => self.ports.smtp_http,
            PortKey::PopHttp => self.ports.pop_http,
            PortKey::Submission => self.ports.submission,
            PortKey::Submissions => self.ports.submissions,
            PortKey::Pops => self.ports.pops,
        };
        port.map(u16::from)
    }

    /// The port to listen on for this key, without which the service cannot run.
    ///
    /// # Errors
    /// Names the key that is missing.
    pub fn require_port(&self, key: PortKey) -> Result<u16, ConfigError> {
        self.port(key).ok_or_else(|| {
            let (name, key) = (&self.name, key.as_str());
            meaning(&self.path, format!("server.\"{name}\".{key} is missing; add a port from 0 to 65535"))
        })
    }

    /// Where this stack was configured, for messages that tell what to change.
    pub fn config_path(&self) -> &Path {
        &self.path
    }

    /// A message about a key of the configuration, with the file and the line. Blocks.
    pub fn located(&self, key: &[&str], message: &str) -> String {
        let lines = small_file::read_to_string(&self.path).map(|text| KeyLines::of(&text)).unwrap_or_default();
        let line = lines.line(key).map(|line| format!("{line}:")).unwrap_or_default();
        format!("{}:{line} {message}", self.path.display())
    }

    /// The most that this mailbox may hold: what `quotas` says of it, or else `quota`. One without an account,
    /// such as the postmaster that every domain has, is not limited.
    pub fn quota(&self, address: &Mailbox) -> Quota {
        let default = if self.accounts.contains_key(address) { self.quota } else { Quota::default() };
        let folded = || self.folded_quotas.get(&address.folded()).filter(|_| self.address_rules.ignores_case);
        self.quotas.get(address).or_else(folded).copied().unwrap_or(default)
    }

    /// The most that a mailbox may hold of which `quotas` says nothing.
    pub fn default_quota(&self) -> Quota {
        self.quota
    }

    /// Whether any mailbox is limited.
    pub fn has_quotas(&self) -> bool {
        self.accounts.keys().any(|address| self.quota(address) != Quota::default())
    }

    /// The domain of our own messages and of `<postmaster>` alone: the first local one, or else the server's name.
    pub fn own_domain(&self) -> &Domain {
        self.domains.first().unwrap_or(&self.name)
    }

    /// Whether both give the same mailboxes: accounts, passwords, aliases, domains, quotas, and what addresses mean.
    pub fn has_mailboxes_of(&self, other: &Self) -> bool {
        self.accounts == other.accounts
            && self.address_rules == other.address_rules
            && self.aliases == other.aliases
            && self.catch_all == other.catch_all
            && self.domains == other.domains
            && self.quota == other.quota
            && self.quotas == other.quotas
    }

    /// The mailbox that a user means who logs in by this name. It may lack the domain where there is one domain only.
    pub fn mailbox_of_user(&self, name: &str) -> Option<Mailbox> {
        match (name.contains('@'), self.domains.len(), self.domains.first()) {
            (true, ..) => name.parse().ok(),
            (false, 1, Some(only)) => format!("{name}@{only}").parse().ok(),
            _ => None,
        }
    }

    /// Whether connections from this address begin with a header of the PROXY protocol.
    pub fn is_proxy(&self, peer: IpAddr) -> bool {
        self.proxy_networks.iter().any(|network| network.contains(&peer.to_canonical()))
    }

    /// Whether a client may send its password without TLS. `trusted` are the networks that are trusted whatever the
    /// configuration says.
    pub fn takes_passwords_in_clear(&self, peer: IpAddr, trusted: Option<&[IpNet]>) -> bool {
        let peer = peer.to_canonical();
        let is_trusted = |network: &IpNet| network.contains(&peer);
        self.auth_without_tls || peer.is_loopback() || trusted.unwrap_or(&self.trusted_networks).iter().any(is_trusted)
    }

    /// What is taken although the RFCs forbid it.
    pub fn tolerance(&self) -> Tolerance {
        self.tolerance.of(self.profile)
    }

    /// Whether its relay speaks TLS. The peers of the hand-out have none.
    pub fn relay_tls(&self) -> RelayTls {
        self.relay.tls.unwrap_or(match self.profile {
            Profile::Tutorial => RelayTls::Off,
            Profile::Rfc => RelayTls::Opportunistic,
        })
    }

    /// The file of the authorities that its relay trusts, if it has one.
    pub fn relay_authorities(&self) -> Option<PathBuf> {
        let directory = self.path.parent().unwrap_or(Path::new(""));
        self.relay.ca.as_ref().map(|file| directory.join(file))
    }

    /// The server of the town that has this mail domain.
    pub fn server_of(&self, domain: &Domain) -> Option<&Domain> {
        self.town.iter().find(|(_, domains)| domains.contains(domain)).map(|(server, _)| server)
    }

    /// Whether mail for this domain is delivered here.
    pub fn is_local(&self, domain: &Domain) -> bool {
        self.domains.contains(domain) || self.is_one_of_every(domain)
    }

    /// The domains whose mail is delivered here, for people.
    pub fn local_domains(&self) -> String {
        let every = self.takes_every_domain().then_some("every one that no other server has");
        self.domains.iter().map(Domain::as_str).chain(every).collect::<Vec<_>>().join(", ")
    }

    /// Whether it takes the mail of every domain that no other server has.
    pub fn takes_every_domain(&self) -> bool {
        self.accept == Accept::Any && self.elsewhere.is_some()
    }

    /// Whether it would take the mail of every domain, and does not because `accept` does not say so.
    pub fn has_a_star_in_vain(&self) -> bool {
        self.accept != Accept::Any && self.elsewhere.is_some()
    }

    /// The server's own name and addresses mean its own domain, and none of their own.
    fn is_one_of_every(&self, domain: &Domain) -> bool {
        let is_name = *domain != self.name && domain.address().is_none();
        let elsewhere = self.elsewhere.as_ref().filter(|_| self.takes_every_domain());
        is_name && elsewhere.is_some_and(|elsewhere| !elsewhere.contains(domain))
    }
}

impl Config {
    /// Reads and checks the file at `path`.
    ///
    /// # Errors
    /// [`ConfigError`], one line that names file, key and remedy.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Self::parse(&crate::toml_file::read(path, "config")?, path)
    }

    /// Checks the text of the file at `path`.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        Self::check(text, path).map_err(|mut faults| faults.swap_remove(0))
    }

    /// Reads the file at `path` and looks for everything that is wrong with it.
    ///
    /// # Errors
    /// As [`Config::check`].
    pub fn check_file(path: &Path) -> Result<Self, Vec<ConfigError>> {
        let text = crate::toml_file::read(path, "config").map_err(|error| vec![error])?;
        Self::check(&text, path)
    }

    /// Looks for everything that is wrong with the text of the file at `path`. While there are wrong keys, what refers to
    /// them is not checked.
    ///
    /// # Errors
    /// At least one, each as [`Config::load`] has it.
    pub fn check(text: &str, path: &Path) -> Result<Self, Vec<ConfigError>> {
        let (file, mut faults) = crate::toml_file::parse::<File>(text, path);
        let meanings = file.as_ref().map(|file| file.faults(faults.is_empty())).unwrap_or_default();
        let lines = if meanings.is_empty() { KeyLines::default() } else { KeyLines::of(text) };
        faults.extend(meanings.into_iter().map(|message| match lines.line_of_message(&message) {
            Some(line) => ConfigError::Text { path: path.to_owned(), line, message },
            None => meaning(path, message),
        }));
        match file {
            Some(file) if faults.is_empty() => {
                let town = Arc::new(file.server.keys().map(|name| (name.clone(), file.domains(name))).collect());
                let stacks = file.server.keys().map(|name| (name.clone(), stack(&file, (name, path), &town))).collect();
                Ok(Self {
                    path: path.to_owned(),
                    stacks,
                    console: file.console(),
                    clock: file.clock,
                    agent: file.agent,
                })
            }
            _ => Err(faults),
        }
    }

    /// All stacks, by name.
    pub fn stacks(&self) -> impl Iterator<Item = &Stack> {
        self.stacks.values()
    }

    /// The stack of this name.
    ///
    /// # Errors
    /// Names the stacks that there are.
    pub fn stack(&self, name: &str) -> Result<&Stack, ConfigError> {
        let found = name.parse().ok().and_then(|name: Domain| self.stacks.get(&name));
        found.ok_or_else(|| no_such_stack(&self.path, name, self.stacks.keys()))
    }
}

fn stack(file: &File, (name, path): (&Domain, &Path), town: &Arc<BTreeMap<Domain, BTreeSet<Domain>>>) -> Stack {
    let server = &file.server[name];
    let accounts = file.accounts.get(name).cloned().unwrap_or_default();
    let domains = file.domains(name);
    let catch_all = file.catch_all.iter().filter(|(domain, _)| domains.contains(*domain));
    let agents = file.agent.iter().filter(|(domain, _)| domains.contains(*domain));
    Stack {
        name: name.clone(),
        profile: file.profile,
        address_rules: file.address_rules(),
        greeting: server.greeting.clone().map_or_else(|| name.to_string(), String::from),
        agents: agents.map(|(domain, hosts)| (domain.clone(), hosts.clone())).collect(),
        catch_all: catch_all.map(|(domain, targets)| (domain.clone(), targets.clone())).collect(),
        aliases: file.aliases.get(name).cloned().unwrap_or_default(),
        domains,
        accounts,
        trusted_networks: file.trusted_networks.clone(),
        proxy_networks: file.proxy_networks.clone(),
        require_auth: server.require_auth.unwrap_or(file.require_auth),
        auth_without_tls: file.auth_without_tls,
        auth: file.auth,
        accept: file.accept,
        accept_password: file.accept_password.clone(),
        elsewhere: file.domains_elsewhere(name),
        limits: file.limits.clone(),
        pop3: file.pop3.clone(),
        relay: file.relay.clone(),
        retention: file.retention.clone(),
        trace: file.trace,
        faults: file.on_purpose.clone(),
        town: Arc::clone(town),
        http_hosts: http_hosts(file),
        zone_grace: file.zone_grace,
        tls: server.tls.as_ref().map(|files| files.beside(path)),
        tolerance: file.tolerance.clone(),
        quota: file.quota,
        quotas: file.quotas.clone(),
        folded_quotas: file.quotas.iter().map(|(address, quota)| (address.folded(), *quota)).collect(),
        ports: server.clone(),
        port_move: PortMove::default(),
        path: path.to_owned(),
    }
}

fn no_such_stack<'n>(path: &Path, name: &str, servers: impl Iterator<Item = &'n Domain>) -> ConfigError {
    let servers: Vec<_> = servers.map(Domain::as_str).collect();
    meaning(path, format!("no [server.\"{name}\"]; the servers are: {}", servers.join(", ")))
}

/// The servers' names, the names that agents look up, and what the file adds.
fn http_hosts(file: &File) -> OwnHosts {
    let servers = file.server.keys().map(Domain::as_str);
    let agents = file.agent.values().flat_map(|hosts| [hosts.smtp.as_str(), hosts.pop.as_str()]);
    servers.chain(agents).chain(file.http.hosts.iter().map(Domain::as_str)).collect()
}

fn meaning(path: &Path, message: String) -> ConfigError {
    ConfigError::Meaning { path: path.to_owned(), message }
}

#[cfg(test)]
mod tests;
