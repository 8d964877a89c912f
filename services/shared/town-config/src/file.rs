//! The configuration file as it is written.

use super::{
    Accept, Auth, FaultKeys, Password, Profile, Quota, Relay, Targets, Trace,
    console::{Console, ConsoleKeys},
    tolerance::ToleranceKeys,
    values::{ClockKind, Delimiter, Greeting, LocalDomain, Port, duration, lease_seconds, networks, optional_duration},
};
use ipnet::IpNet;
use mail_net::ConnectionLimits;
use mail_proto::{AddressRules, Domain, Mailbox};
use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::Duration,
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    #[serde(default)]
    pub(super) profile: Profile,
    #[serde(default)]
    pub(super) clock: ClockKind,
    #[serde(default = "loopback", deserialize_with = "networks")]
    pub(super) trusted_networks: Vec<IpNet>,
    #[serde(default)]
    pub(super) require_auth: bool,
    #[serde(default, deserialize_with = "networks")]
    pub(super) proxy_networks: Vec<IpNet>,
    #[serde(default)]
    pub(super) auth_without_tls: bool,
    #[serde(default)]
    pub(super) auth: Auth,
    #[serde(default)]
    pub(super) accept: Accept,
    #[serde(default = "accept_password")]
    pub(super) accept_password: Password,
    /// Without it, that of the profile.
    pub(super) recipient_delimiter: Option<Delimiter>,
    #[serde(default)]
    pub(super) server: BTreeMap<Domain, Server>,
    #[serde(default)]
    pub(super) accounts: BTreeMap<Domain, BTreeMap<Mailbox, Password>>,
    #[serde(default)]
    pub(super) aliases: BTreeMap<Domain, BTreeMap<Mailbox, Targets>>,
    #[serde(default)]
    pub(super) catch_all: BTreeMap<Domain, Targets>,
    #[serde(default)]
    pub(super) agent: BTreeMap<Domain, AgentHosts>,
    #[serde(default)]
    pub(super) limits: Limits,
    #[serde(default)]
    pub(super) pop3: Pop3,
    #[serde(default)]
    pub(super) relay: Relay,
    #[serde(default)]
    pub(super) tolerance: ToleranceKeys,
    #[serde(default)]
    pub(super) http: Http,
    #[serde(default)]
    pub(super) console: ConsoleKeys,
    /// For every account but those that `quotas` names.
    #[serde(default)]
    pub(super) quota: Quota,
    #[serde(default)]
    pub(super) quotas: BTreeMap<Mailbox, Quota>,
    #[serde(default)]
    pub(super) retention: Retention,
    #[serde(default)]
    pub(super) trace: Trace,
    #[serde(default, rename = "faults")]
    pub(super) on_purpose: FaultKeys,
    #[serde(default = "zone_grace", deserialize_with = "duration")]
    pub(super) zone_grace: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Server {
    pub(super) smtp: Option<Port>,
    pub(super) pop: Option<Port>,
    pub(super) store: Option<Port>,
    pub(super) dns: Option<Port>,
    pub(super) dns_http: Option<Port>,
    pub(super) smtp_http: Option<Port>,
    pub(super) pop_http: Option<Port>,
    pub(super) submission: Option<Port>,
    pub(super) submissions: Option<Port>,
    pub(super) pops: Option<Port>,
    /// Without it, the domains of the accounts.
    pub(super) domains: Option<BTreeSet<LocalDomain>>,
    pub(super) require_auth: Option<bool>,
    /// Without it, the server's name.
    pub(super) greeting: Option<Greeting>,
    /// Without it, the certificate that the town's authority issues.
    pub(super) tls: Option<TlsFiles>,
}

/// `tls` of a server: its certificate. Relative paths begin at the configuration's directory.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsFiles {
    /// The certificate and its chain, in PEM.
    pub cert: PathBuf,
    /// Its private key, in PEM.
    pub key: PathBuf,
}

/// The names that the agents of a mail domain look up.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentHosts {
    /// Where to submit mail.
    pub smtp: String,
    /// Where to read it.
    pub pop: String,
}

impl TlsFiles {
    /// The same files, seen from where the configuration is.
    pub(super) fn beside(&self, config: &Path) -> Self {
        let directory = config.parent().unwrap_or(Path::new(""));
        Self { cert: directory.join(&self.cert), key: directory.join(&self.key) }
    }
}

/// How many recipients fit into one request to the store, with what an exchange says about each.
const MOST_RECIPIENTS: usize = 2000;

/// `[limits]`: what a client may ask for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// The longest SMTP command line in octets, its CRLF included (RFC 5321 §4.5.3.1.4).
    pub smtp_line_octets: usize,
    /// The longest POP3 command line in octets, its CRLF included (RFC 2449 §4).
    pub pop3_line_octets: usize,
    /// The largest message in octets (RFC 1870).
    pub message_octets: u64,
    /// The most recipients of one transaction (RFC 5321 §4.5.3.1.8).
    pub recipients: usize,
    /// The most connections of a gateway.
    pub connections: usize,
    /// The most connections of a gateway from one address.
    pub connections_per_peer: usize,
    /// The most connections that a client outside the trusted networks may begin in a minute at the SMTP gateway.
    /// 0 is no limit, here and in the next two.
    pub connections_per_minute: u32,
    /// The most messages that it may begin in a minute.
    pub messages_per_minute: u32,
    /// The most recipients that it may name in a minute.
    pub recipients_per_minute: u32,
    /// How many logins of a client may fail before the next ones are delayed. 0 is no limit.
    pub login_failures: u32,
    /// How long an SMTP client may say nothing (RFC 5321 §4.5.3.2.7).
    #[serde(deserialize_with = "duration")]
    pub smtp_idle: Duration,
    /// How long a POP3 client may say nothing (RFC 1939 §3).
    #[serde(deserialize_with = "duration")]
    pub pop3_idle: Duration,
    /// How long a maildrop stays locked when its gateway dies.
    #[serde(rename = "pop3_lease", deserialize_with = "lease_seconds")]
    pub pop3_lease_seconds: u32,
    /// How many bad commands end the connection.
    pub bad_commands: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            smtp_line_octets: 2048,
            pop3_line_octets: 512,
            message_octets: 25 * 1024 * 1024,
            recipients: 1000,
            connections: 1000,
            connections_per_peer: 100,
            connections_per_minute: 60,
            messages_per_minute: 300,
            recipients_per_minute: 1000,
            login_failures: 10,
            smtp_idle: Duration::from_secs(5 * 60),
            pop3_idle: Duration::from_secs(10 * 60),
            pop3_lease_seconds: 60,
            bad_commands: 10,
        }
    }
}

impl From<&Limits> for ConnectionLimits {
    fn from(limits: &Limits) -> Self {
        Self { total: limits.connections, per_peer: limits.connections_per_peer }
    }
}

/// `[pop3]`: how maildrops are read.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Pop3 {
    /// Whether a client must speak TLS before it sends a password, wherever it is.
    pub require_tls: bool,
    /// How long a user waits from one login to the next (RFC 2449 §6.5); not at all without.
    #[serde(deserialize_with = "optional_duration")]
    pub login_delay: Option<Duration>,
}

/// `[http]`: how the HTTP services are called.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Http {
    /// Names that they are called by, besides those of the town.
    pub(super) hosts: Vec<Domain>,
}

fn accept_password() -> Password {
    Password::from("test")
}

fn zone_grace() -> Duration {
    Duration::from_secs(30)
}

/// `[retention]`: how long mail, and what is known of it, is kept.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retention {
    /// How long a message stays in a maildrop; for ever without.
    #[serde(deserialize_with = "optional_duration")]
    pub messages: Option<Duration>,
    /// How long the events of messages are kept.
    #[serde(deserialize_with = "duration")]
    pub events: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        Self { messages: None, events: Duration::from_secs(7 * 24 * 60 * 60) }
    }
}

impl Server {
    /// Whether it takes the mail of every domain that no other server has, with `accept = "any"`.
    pub(super) fn takes_every_domain(&self) -> bool {
        self.domains.as_ref().is_some_and(|domains| domains.contains(&LocalDomain::Every))
    }

    /// The ports by their keys.
    fn ports(&self) -> [(&'static str, Option<Port>); 10] {
        [
            ("smtp", self.smtp),
            ("pop", self.pop),
            ("store", self.store),
            ("dns", self.dns),
            ("dns_http", self.dns_http),
            ("smtp_http", self.smtp_http),
            ("pop_http", self.pop_http),
            ("submission", self.submission),
            ("submissions", self.submissions),
            ("pops", self.pops),
        ]
    }
}

impl File {
    /// What no single value can be blamed for; each begins with its key, if there is one. Where keys were left out because they are wrong, the file is not whole, and
    /// what refers to another key is not checked.
    pub(super) fn faults(&self, is_whole: bool) -> Vec<String> {
        let mut faults = Vec::new();
        self.relay.faults(&mut faults);
        self.check_limits(&mut faults);
        self.console.faults(&mut faults);
        self.check_ports(&mut faults);
        if is_whole {
            self.check_servers(&mut faults);
            self.check_accounts(&mut faults);
            self.check_spellings(&mut faults);
            self.check_quotas(&mut faults);
            self.check_what_goes_wrong(&mut faults);
            self.check_domains(&mut faults);
            self.check_aliases(&mut faults);
        }
        faults
    }

    fn check_servers(&self, faults: &mut Vec<String>) {
        if self.server.is_empty() {
            faults.push("no server; add a [server.\"<name>\"] table".to_owned());
        }
        for (name, server) in &self.server {
            for (key, port) in [("smtp", server.smtp), ("pop", server.pop)] {
                if port.is_none() {
                    faults.push(format!("server.\"{name}\".{key} is missing; add a port from 0 to 65535"));
                }
            }
        }
    }

    fn check_limits(&self, faults: &mut Vec<String>) {
        let limits = &self.limits;
        // The least that RFC 5321 §4.5.3.1 and RFC 2449 §4 let a server have.
        let least = [
            ("limits.smtp_line_octets", limits.smtp_line_octets as u64, 512),
            ("limits.pop3_line_octets", limits.pop3_line_octets as u64, 255),
            ("limits.message_octets", limits.message_octets, 65_536),
            ("limits.recipients", limits.recipients as u64, 100),
            ("limits.connections", limits.connections as u64, 1),
            ("limits.connections_per_peer", limits.connections_per_peer as u64, 1),
            ("limits.bad_commands", u64::from(limits.bad_commands), 1),
            ("relay.connections", self.relay.connections as u64, 1),
            ("relay.connections_per_domain", self.relay.connections_per_domain as u64, 1),
        ];
        let too_little = least.into_iter().filter(|(_, value, least)| value < least);
        faults.extend(too_little.map(|(key, value, least)| format!("{key} is {value}; give at least {least}")));
        if limits.recipients > MOST_RECIPIENTS {
            faults.push(format!("limits.recipients is {}; give at most {MOST_RECIPIENTS}", limits.recipients));
        }
    }

    fn check_accounts(&self, faults: &mut Vec<String>) {
        let password = self.accept_password.expose();
        if password.is_empty() || password.starts_with("$argon2") {
            faults.push("accept_password is empty or a hash; give plain text".to_owned());
        }
        for (name, accounts) in &self.accounts {
            let Some(server) = self.server.get(name) else {
                faults.push(format!("accounts.\"{name}\": no such server; the servers are: {}", self.server_names()));
                continue;
            };
            for (address, _) in accounts.iter().filter(|(_, password)| password.expose().is_empty()) {
                faults.push(format!(
                    "accounts.\"{name}\".\"{address}\": the password is empty; give one, or a hash from `mailtown accounts \
                     hash`"
                ));
            }
            if server.takes_every_domain() {
                continue;
            }
            let domains = self.domains(name);
            for address in accounts.keys().filter(|address| !domains.contains(address.domain())) {
                let domain = address.domain();
                faults.push(format!(
                    "accounts.\"{name}\".\"{address}\": {domain} is no domain of this server; add it to \
                     server.\"{name}\".domains"
                ));
            }
        }
    }

    /// Each address has one account, one alias and one quota, however it is spelled.
    fn check_spellings(&self, faults: &mut Vec<String>) {
        let table = |key: &str, name: &Domain, address: &Mailbox| format!("{key}.\"{name}\".\"{address}\"");
        let accounts = self.accounts.iter().flat_map(|(name, accounts)| accounts.keys().map(move |key| (name, key)));
        let accounts = accounts.map(|(name, address)| (table("accounts", name, address), address));
        let aliases = self.aliases.iter().flat_map(|(name, aliases)| aliases.keys().map(move |key| (name, key)));
        let aliases = aliases.map(|(name, address)| (table("aliases", name, address), address));
        let quotas = self.quotas.keys().map(|address| (format!("quotas.\"{address}\""), address));
        self.check_spellings_of(accounts, faults);
        self.check_spellings_of(aliases, faults);
        self.check_spellings_of(quotas, faults);
    }

    fn check_spellings_of<'a>(&self, keys: impl Iterator<Item = (String, &'a Mailbox)>, faults: &mut Vec<String>) {
        let (rules, mut known) = (self.address_rules(), BTreeMap::<Mailbox, (String, &Mailbox)>::new());
        for (key, address) in keys {
            match known.get(&rules.key(address)) {
                // The same spelling in the tables of two servers is found with their domains.
                Some((other, spelled)) if *spelled != address => {
                    faults.push(format!("{other} and {key} are one address, because case is ignored; remove one"));
                }
                _ => drop(known.insert(rules.key(address), (key, address))),
            }
        }
    }

    /// How addresses of the servers' own domains are compared.
    pub(super) fn address_rules(&self) -> AddressRules {
        let is_rfc = self.profile == Profile::Rfc;
        let delimiter = self.recipient_delimiter.map_or(is_rfc.then_some('+'), |Delimiter(delimiter)| delimiter);
        AddressRules { ignores_case: is_rfc, delimiter }
    }

    fn check_what_goes_wrong(&self, faults: &mut Vec<String>) {
        let servers: Vec<_> = self.server.keys().map(Domain::as_str).collect();
        for (name, fault) in &self.on_purpose.at_start {
            let checked = ::faults::check_name(name).and_then(|()| fault.check());
            let wrong = checked.and_then(|()| fault.check_stacks(&servers)).err();
            faults.extend(wrong.map(|error| format!("faults.at_start.\"{name}\": {error}")));
        }
    }

    fn check_quotas(&self, faults: &mut Vec<String>) {
        let rules = self.address_rules();
        let accounts: BTreeSet<Mailbox> =
            self.accounts.values().flat_map(BTreeMap::keys).map(|a| rules.key(a)).collect();
        for address in self.quotas.keys().filter(|address| !accounts.contains(&rules.key(address))) {
            faults.push(format!("quotas.\"{address}\": no such account; add it to an [accounts] table"));
        }
    }

    /// Each mail domain is local to one stack, or mail would be delivered to whoever is asked first.
    fn check_domains(&self, faults: &mut Vec<String>) {
        let mut owners: BTreeMap<Domain, &Domain> = BTreeMap::new();
        for name in self.server.keys() {
            for domain in self.domains(name) {
                if let Some(other) = owners.get(&domain) {
                    faults.push(format!(
                        "server.\"{name}\" and server.\"{other}\" both have the domain {domain}; give its accounts to one"
                    ));
                }
                owners.insert(domain, name);
            }
        }
        let mut takers = self.server.iter().filter(|(_, server)| server.takes_every_domain()).map(|(name, _)| name);
        if let (Some(one), Some(other)) = (takers.next(), takers.next()) {
            faults.push(format!(
                "server.\"{other}\".domains and server.\"{one}\".domains both have \"*\"; leave it to one of them"
            ));
        }
    }

    /// The mail domains of a server that have a name: those that it lists, or else those of its accounts. Who takes every
    /// domain has both.
    pub(super) fn domains(&self, name: &Domain) -> BTreeSet<Domain> {
        let accounts = self.accounts.get(name).into_iter().flat_map(BTreeMap::keys);
        let of_accounts = accounts.map(|address| address.domain().clone());
        let Some(Server { domains: Some(listed), .. }) = self.server.get(name) else { return of_accounts.collect() };
        let named = listed.iter().filter_map(|domain| match domain {
            LocalDomain::Named(domain) => Some(domain.clone()),
            LocalDomain::Every => None,
        });
        if listed.contains(&LocalDomain::Every) { named.chain(of_accounts).collect() } else { named.collect() }
    }

    /// The domains of the other servers, if this one takes all but those.
    pub(super) fn domains_elsewhere(&self, name: &Domain) -> Option<BTreeSet<Domain>> {
        let others = || self.server.keys().filter(|other| *other != name);
        let taken = || others().flat_map(|other| self.domains(other)).collect();
        self.server.get(name).filter(|server| server.takes_every_domain()).map(|_| taken())
    }

    /// The console. It gets a free port where a server has its default port, and where the system chooses all other ports.
    pub(super) fn console(&self) -> Console {
        let console = Console::from(&self.console);
        let ports = self.server.values().flat_map(|server| server.ports().map(|(_, port)| port));
        let ports: Vec<_> = ports.flatten().map(u16::from).collect();
        let is_default = console.port == Console::default().port;
        let gets_free_port = is_default && (ports.contains(&console.port) || ports.iter().all(|port| *port == 0));
        if gets_free_port { Console { port: 0, ..console } } else { console }
    }

    /// Every service of a town is on one machine, so each port has one owner. Only 0, a free port, may stand twice.
    fn check_ports(&self, faults: &mut Vec<String>) {
        let mut owners: BTreeMap<Port, String> = BTreeMap::new();
        for (name, server) in &self.server {
            let given = server.ports().into_iter().filter_map(|(key, port)| Some((key, port?)));
            for (key, port) in given.filter(|(_, port)| u16::from(*port) != 0) {
                let key = format!("server.\"{name}\".{key}");
                if let Some(other) = owners.get(&port) {
                    let port = u16::from(port);
                    faults.push(format!("{other} and {key} are both {port}; give each its own port"));
                } else {
                    owners.insert(port, key);
                }
            }
        }
        let port = self.console.port;
        // One that stands nowhere is in nobody's way: the console gets a free port then.
        let is_given = self.console.enabled && port != ConsoleKeys::default().port;
        if let Some(other) = owners.get(&port).filter(|_| is_given) {
            let port = u16::from(port);
            faults.push(format!("console.port and {other} are both {port}; give each its own port"));
        }
    }
}

/// This machine (RFC 1122 §3.2.1.3, RFC 4291 §2.5.3).
fn loopback() -> Vec<IpNet> {
    ["127.0.0.0/8", "::1/128"].iter().filter_map(|network| network.parse().ok()).collect()
}
