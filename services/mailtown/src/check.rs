//! Whether configuration and zone fit together and can be used, each being valid in itself.

mod named_files;
mod targets;

use crate::{FileArgs, output::say};
use mail_proto::MailExchange;
use mailbox_store::accounts;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};
use town_config::{
    Config, KeyLines, PortKey, RelayLookup, Stack,
    zone::{Host, Lookup, Port, Zone},
};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Severity {
    /// A service would not start, or no mail would flow.
    Error,
    /// It may be meant so.
    Warning,
}

/// Where something is wrong: a file, and the path of a key in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    Config(Vec<String>),
    Zone(Vec<String>),
}

impl Place {
    fn config<const N: usize>(path: [&str; N]) -> Self {
        Self::Config(path.map(str::to_owned).into())
    }

    /// The record of a name, which ends with a dot in the file.
    fn record(table: &str, name: &str) -> Self {
        Self::Zone(vec![table.to_owned(), format!("{}.", name.trim_end_matches('.').to_ascii_lowercase())])
    }
}

/// Something that is wrong, in one line that says what to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// Where it is.
    pub place: Place,
    /// What it is.
    pub text: String,
}

/// The two files, as messages name them.
struct Sources {
    config: (PathBuf, KeyLines),
    zone: (PathBuf, KeyLines),
}

impl Sources {
    /// A finding with its file, and its line unless the file has neither the key nor its table.
    fn located(&self, finding: &Finding) -> String {
        let ((file, lines), path) = match &finding.place {
            Place::Config(path) => (&self.config, path),
            Place::Zone(path) => (&self.zone, path),
        };
        let line = lines.line(path).map(|line| format!("{line}:")).unwrap_or_default();
        format!("{}:{line} {}", file.display(), finding.text)
    }
}

/// Checks the files, and prints what it finds.
///
/// # Errors
/// All faults, one a line.
pub(crate) fn run(files: &FileArgs) -> anyhow::Result<()> {
    let sources = files.files();
    // Each file is read, whatever is wrong with the other.
    let (config, zone) = match (sources.check_config(), sources.check_zone()) {
        (Ok(config), Ok(zone)) => (config, zone),
        (config, zone) => {
            let errors = config.err().into_iter().chain(zone.err()).flatten();
            let errors: Vec<_> = errors.map(|error| error.to_string()).collect();
            anyhow::bail!("{}", errors.join("\nerror: "));
        }
    };
    files.check_port_base(&config)?;
    let (errors, warnings): (Vec<_>, Vec<_>) =
        findings(&config, &zone).into_iter().partition(|finding| finding.severity == Severity::Error);
    let sources = Sources {
        config: (sources.config_name(), sources.config_lines()),
        zone: (sources.zone_name(), sources.zone_lines()),
    };
    warnings.iter().for_each(|warning| eprintln!("warning: {}", sources.located(warning)));
    let errors: Vec<_> = errors.iter().map(|error| sources.located(error)).collect();
    anyhow::ensure!(errors.is_empty(), "{}", errors.join("\nerror: "));
    let (config, zone) = (sources.config.0.display(), sources.zone.0.display());
    say(&match warnings.len() {
        0 => format!("{config} and {zone} are valid and fit together"),
        warnings => format!("{config} and {zone} are valid; warnings: {warnings}"),
    })
}

/// Everything that is wrong: errors first; empty when all is well.
pub(crate) fn findings(config: &Config, zone: &Zone) -> Vec<Finding> {
    let mut check = Check { config, zone, listeners: listeners(config), findings: Vec::new() };
    for stack in config.stacks() {
        check.stack(stack);
    }
    check.relay_files();
    check.agents();
    check.records();
    check.findings.sort_by_key(|finding| finding.severity);
    check.findings
}

/// Who listens on which TCP port of this machine.
type Listeners<'a> = BTreeMap<u16, Vec<(&'a Stack, PortKey)>>;

fn listeners(config: &Config) -> Listeners<'_> {
    let mut listeners = Listeners::new();
    for stack in config.stacks() {
        for key in PortKey::ALL {
            if let Some(port) = stack.port(key).filter(|&port| port != 0) {
                listeners.entry(port).or_default().push((stack, key));
            }
        }
    }
    listeners
}

/// Who refers to a name, and where.
struct Referrer {
    place: Place,
    what: String,
}

struct Check<'a> {
    config: &'a Config,
    zone: &'a Zone,
    listeners: Listeners<'a>,
    findings: Vec<Finding>,
}

impl Check<'_> {
    fn error(&mut self, place: Place, text: String) {
        self.findings.push(Finding { severity: Severity::Error, place, text });
    }

    fn warn(&mut self, place: Place, text: String) {
        self.findings.push(Finding { severity: Severity::Warning, place, text });
    }

    fn stack(&mut self, stack: &Stack) {
        let name = stack.name.as_str();
        if stack.domains.is_empty() && !stack.takes_every_domain() {
            let text = format!("server.\"{name}\" has no mail domain; give it an account or a `domains` list");
            self.error(Place::config(["server", name]), text);
        }
        if stack.has_a_star_in_vain() {
            let text = format!(
                "server.\"{name}\".domains has \"*\", which counts only with accept = \"any\"; add that at the top of the file"
            );
            self.warn(Place::config(["server", name, "domains"]), text);
        }
        self.certificate(stack);
        self.targets(stack);
        for (address, password) in &stack.accounts {
            if let Err(error) = accounts::check(address, password) {
                let text = format!("accounts.\"{name}\".\"{address}\": {error}");
                self.error(Place::config(["accounts", name, &address.to_string()]), text);
            }
        }
        if stack.relay.lookup == RelayLookup::Dns && stack.port(PortKey::Dns).is_none() {
            let text = format!(
                "{} is missing; add it, because relay.lookup is \"dns\": an smtp-gateway that runs by itself needs it",
                key_of(stack, PortKey::Dns)
            );
            self.warn(Place::config(["server", name, "dns"]), text);
        }
        for domain in &stack.domains {
            self.mail_domain(stack, domain.as_str());
            let has_account = stack.accounts.keys().any(|address| address.domain() == domain);
            if has_account && !self.config.agent.contains_key(domain) {
                let text = format!(
                    "agent.\"{domain}\" is missing, but {domain} has accounts: their agents find no server; add it with \
                     smtp and pop"
                );
                self.warn(Place::config(["accounts", name]), text);
            }
        }
    }

    /// Whether mail for a domain of this stack reaches it (RFC 5321 §5.1).
    fn mail_domain(&mut self, stack: &Stack, domain: &str) {
        let mx = Place::record("MX", domain);
        let exchanges = match self.zone.mail_exchanges(domain) {
            Lookup::Found(exchanges) if is_null(&exchanges) => {
                let name = &stack.name;
                let text = format!(
                    "{domain} takes no mail: it has a null MX, though it is a domain of server.\"{name}\"; name an exchange"
                );
                return self.warn(mx, text);
            }
            Lookup::Found(exchanges) => exchanges.into_iter().map(|exchange| exchange.exchange).collect(),
            // mailtown gives a P record to each exchange of a stack with port 0, but no exchange to a domain.
            _ if self.zone.ports(domain).found().is_some() => vec![domain.to_owned()],
            _ => {
                let text = format!("{domain} cannot get mail: it has no MX and no P record; add an MX to the zone");
                return self.error(mx, text);
            }
        };
        let is_free = stack.port(PortKey::Smtp) == Some(0);
        if !is_free && !exchanges.iter().any(|exchange| self.zone.ports(exchange).found().is_some()) {
            let exchanges = exchanges.join(", ");
            let text = format!(
                "{domain} cannot get mail: none of its exchanges ({exchanges}) has a P record; add one to the zone"
            );
            return self.error(mx, text);
        }
        for exchange in exchanges {
            let what = format!("the exchange {exchange} of {domain}");
            self.leads_to(stack, PortKey::Smtp, &exchange, Referrer { place: mx.clone(), what });
        }
    }

    /// Warns unless the P record of `name` is the port under `key` of this stack. For port 0 mailtown makes the record,
    /// unless the zone has one that leads to another server.
    fn leads_to(&mut self, stack: &Stack, key: PortKey, name: &str, Referrer { place, what }: Referrer) {
        let wanted = key_of(stack, key);
        let is_free = stack.port(key) == Some(0);
        let cure = match stack.port(key) {
            Some(port) if port != 0 => format!("make its P record \"{port}\""),
            _ => "remove its P record".to_owned(),
        };
        let record = Place::record("P", name);
        match self.zone.ports(name).found() {
            None if is_free => {}
            None => self.warn(place, format!("{what} has no P record; add one to the zone")),
            Some(port) if !is_local(&port) => {
                let text = format!("{what} leads to {port} on another host, and not to {wanted} on this one; {cure}");
                self.warn(record, text);
            }
            Some(Port { host, number }) => {
                let number = number.get();
                let listeners = self.listeners.get(&number).map(Vec::as_slice).unwrap_or_default();
                if listeners.iter().any(|(other, found)| *found == key && other.name == stack.name) {
                    return;
                }
                if is_free && listeners.is_empty() && host == Host::Local {
                    return;
                }
                let found: Vec<_> = listeners.iter().map(|(stack, key)| key_of(stack, *key)).collect();
                let found = if found.is_empty() { "where no server listens".to_owned() } else { found.join(", ") };
                self.warn(record, format!("{what} leads to port {number} ({found}), and not to {wanted}; {cure}"));
            }
        }
    }

    /// Whether the P record of `name` is the port for submissions of this stack, which is for agents as well.
    fn leads_to_submission(&self, stack: &Stack, name: &str) -> bool {
        let port = self.zone.ports(name).found().filter(is_local);
        port.is_some_and(|port| stack.port(PortKey::Submission) == Some(port.number.get()))
    }

    fn agents(&mut self) {
        for (domain, hosts) in &self.config.agent {
            let Some(stack) = self.config.stacks().find(|stack| stack.is_local(domain)) else {
                let text = format!(
                    "agent.\"{domain}\" is for a mail domain that no server has; remove it, or give the domain to a server"
                );
                self.warn(Place::config(["agent", domain.as_str()]), text);
                continue;
            };
            for (key, name, host) in [(PortKey::Smtp, "smtp", &hosts.smtp), (PortKey::Pop, "pop", &hosts.pop)] {
                let what = format!("agent.\"{domain}\".{name}, which is \"{host}\",");
                let place = Place::config(["agent", domain.as_str(), name]);
                if stack.port(key) != Some(0) && self.zone.ports(host).found().is_none() {
                    self.error(place, format!("{what} has no P record; add one to the zone"));
                } else if key != PortKey::Smtp || !self.leads_to_submission(stack, host) {
                    self.leads_to(stack, key, host, Referrer { place, what });
                }
            }
        }
    }

    /// The records of the zone that nothing in the configuration refers to.
    fn records(&mut self) {
        let own: BTreeSet<_> =
            self.config.stacks().flat_map(|stack| &stack.domains).map(|name| format!("{name}.")).collect();
        for (domain, exchanges) in self.zone.all_mail_exchanges().filter(|(domain, _)| !own.contains(*domain)) {
            let lost = |exchange: &&MailExchange| self.zone.ports(&exchange.exchange).found().is_none();
            if !is_null(exchanges) && exchanges.iter().all(|exchange| lost(&exchange)) {
                let exchanges: Vec<_> = exchanges.iter().map(|exchange| exchange.exchange.as_str()).collect();
                let exchanges = exchanges.join(", ");
                let text = format!(
                    "nobody can send mail to {domain}: none of its exchanges ({exchanges}) has a P record; add one, or \
                     remove the MX"
                );
                self.warn(Place::record("MX", domain), text);
            }
        }
        for (name, port) in self.zone.all_ports().filter(|(_, port)| is_local(port)) {
            let place = Place::record("P", name);
            let is_known = self.findings.iter().any(|finding| finding.place == place);
            if !is_known && !self.listeners.contains_key(&port.number.get()) && !self.has_free_ports() {
                let text = format!(
                    "the P record of {name} leads to port {port}, where no server listens; make it the port of one, or \
                     remove it"
                );
                self.warn(place, text);
            }
        }
    }

    /// Whether some port is chosen by the system when the server starts.
    fn has_free_ports(&self) -> bool {
        self.config.stacks().any(|stack| PortKey::ALL.into_iter().any(|key| stack.port(key) == Some(0)))
    }
}

fn key_of(stack: &Stack, key: PortKey) -> String {
    format!("server.\"{}\".{}", stack.name, key.as_str())
}

fn is_null(exchanges: &[MailExchange]) -> bool {
    exchanges.iter().any(|exchange| exchange.exchange == ".")
}

fn is_local(port: &Port) -> bool {
    match &port.host {
        Host::Local => true,
        Host::Address(address) => address.is_loopback(),
        Host::Name(name) => name == "localhost",
    }
}

#[cfg(test)]
mod tests;
