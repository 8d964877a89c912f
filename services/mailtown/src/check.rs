//! Whether configuration and zone fit together and can be used, each being valid in itself.

use crate::FileArgs;
use mail_proto::MailExchange;
use mailbox_store::accounts;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};
use town_config::{
    Config, PortKey, RelayLookup, Stack,
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

/// Something that is wrong, in one line that says what to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What it is.
    pub text: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, "{severity}: {}", self.text)
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
    warnings.iter().for_each(|warning| eprintln!("{warning}"));
    let errors: Vec<_> = errors.into_iter().map(|error| error.text).collect();
    anyhow::ensure!(errors.is_empty(), "{}", errors.join("\nerror: "));
    let (config, zone) = (sources.config_name(), sources.zone_name());
    let (config, zone) = (config.display(), zone.display());
    match warnings.len() {
        0 => println!("{config} and {zone} are valid and fit together"),
        warnings => println!("{config} and {zone} are valid; warnings: {warnings}"),
    }
    Ok(())
}

/// Everything that is wrong: errors first; empty when all is well.
pub(crate) fn findings(config: &Config, zone: &Zone) -> Vec<Finding> {
    let mut check = Check { config, zone, listeners: listeners(config), findings: Vec::new() };
    for stack in config.stacks() {
        check.stack(stack);
    }
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

struct Check<'a> {
    config: &'a Config,
    zone: &'a Zone,
    listeners: Listeners<'a>,
    findings: Vec<Finding>,
}

impl Check<'_> {
    fn error(&mut self, text: String) {
        self.findings.push(Finding { severity: Severity::Error, text });
    }

    fn warn(&mut self, text: String) {
        self.findings.push(Finding { severity: Severity::Warning, text });
    }

    fn stack(&mut self, stack: &Stack) {
        let name = &stack.name;
        if stack.domains.is_empty() && !stack.takes_every_domain() {
            self.error(format!("server \"{name}\" has no mail domain; give it an account or a `domains` list"));
        }
        if stack.has_a_star_in_vain() {
            self.warn(format!(
                "server.\"{name}\".domains has \"*\", which counts only with accept = \"any\"; add that at the top of the file"
            ));
        }
        for (address, password) in &stack.accounts {
            if let Err(error) = accounts::check(address, password) {
                self.error(format!("{}: {error}", stack.config_path().display()));
            }
        }
        if stack.relay.lookup == RelayLookup::Dns && stack.port(PortKey::Dns).is_none() {
            self.warn(format!(
                "{} is missing: an smtp-gateway that runs by itself needs it, because relay.lookup is \"dns\"",
                key_of(stack, PortKey::Dns)
            ));
        }
        for domain in &stack.domains {
            self.mail_domain(stack, domain.as_str());
            let has_account = stack.accounts.keys().any(|address| address.domain() == domain);
            if has_account && !self.config.agent.contains_key(domain) {
                self.warn(format!(
                    "{domain} has accounts and no [agent.\"{domain}\"]: its users' agents find no server"
                ));
            }
        }
    }

    /// Whether mail for a domain of this stack reaches it (RFC 5321 §5.1).
    fn mail_domain(&mut self, stack: &Stack, domain: &str) {
        let exchanges = match self.zone.mail_exchanges(domain) {
            Lookup::Found(exchanges) if is_null(&exchanges) => {
                let name = &stack.name;
                return self
                    .warn(format!("{domain} takes no mail: it has a null MX, though server \"{name}\" is its own"));
            }
            Lookup::Found(exchanges) => exchanges.into_iter().map(|exchange| exchange.exchange).collect(),
            // mailtown gives a P record to each exchange of a stack with port 0, but no exchange to a domain.
            _ if self.zone.ports(domain).found().is_some() => vec![domain.to_owned()],
            _ => {
                return self
                    .error(format!("{domain} cannot get mail: it has no MX and no P record; add an MX to the zone"));
            }
        };
        let is_free = stack.port(PortKey::Smtp) == Some(0);
        if !is_free && !exchanges.iter().any(|exchange| self.zone.ports(exchange).found().is_some()) {
            let exchanges = exchanges.join(", ");
            return self.error(format!(
                "{domain} cannot get mail: none of its exchanges ({exchanges}) has a P record; add one to the zone"
            ));
        }
        for exchange in exchanges {
            self.leads_to(stack, PortKey::Smtp, &exchange, &format!("the exchange {exchange} of {domain}"));
        }
    }

    /// Warns unless the P record of `name` is the port under `key` of this stack. For port 0 mailtown makes the record,
    /// unless the zone has one that leads to another server.
    fn leads_to(&mut self, stack: &Stack, key: PortKey, name: &str, what: &str) {
        let wanted = key_of(stack, key);
        let is_free = stack.port(key) == Some(0);
        match self.zone.ports(name).found() {
            None if is_free => {}
            None => self.warn(format!("{what} has no P record; add one to the zone")),
            Some(port) if !is_local(&port) => {
                self.warn(format!("{what} leads to {port} on another host, and not to {wanted} on this one"));
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
                self.warn(format!("{what} leads to port {number} ({found}), and not to {wanted}"));
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
                self.warn(format!("agent.\"{domain}\" is for a mail domain that no server has"));
                continue;
            };
            for (key, name, host) in [(PortKey::Smtp, "smtp", &hosts.smtp), (PortKey::Pop, "pop", &hosts.pop)] {
                let what = format!("agent.\"{domain}\".{name}, which is \"{host}\",");
                if stack.port(key) != Some(0) && self.zone.ports(host).found().is_none() {
                    self.error(format!("{what} has no P record; add one to the zone"));
                } else if key != PortKey::Smtp || !self.leads_to_submission(stack, host) {
                    self.leads_to(stack, key, host, &what);
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
                self.warn(format!(
                    "nobody can send mail to {domain}: none of its exchanges ({exchanges}) has a P record"
                ));
            }
        }
        for (name, port) in self.zone.all_ports().filter(|(_, port)| is_local(port)) {
            if !self.listeners.contains_key(&port.number.get()) && !self.has_free_ports() {
                self.warn(format!("the P record of {name} leads to port {port}, where no server listens"));
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
mod tests {
    use super::*;
    use std::path::Path;

    const CONFIG: &str = include_str!("../../../data/config.toml");
    const ZONE: &str = include_str!("../../../data/fdns.toml");

    /// What is found after changes of the shipped files, as pairs of old and new text.
    fn found(config: &[(&str, &str)], zone: &[(&str, &str)]) -> Vec<String> {
        let change = |text: &str, changes: &[(&str, &str)]| {
            changes.iter().fold(text.to_owned(), |text, (old, new)| {
                assert!(text.contains(old), "{old}");
                text.replace(old, new)
            })
        };
        let config = Config::parse(&change(CONFIG, config), Path::new("config.toml")).unwrap();
        let zone = Zone::parse(&change(ZONE, zone), Path::new("fdns.toml")).unwrap();
        findings(&config, &zone).iter().map(Finding::to_string).collect()
    }

    #[test]
    fn the_shipped_files_fit_together() {
        assert_eq!(found(&[], &[]), Vec::<String>::new());
    }

    #[test]
    fn a_password_that_nobody_could_log_in_with_is_named() {
        let found = found(&[("pass2", "$argon2id$nonsense")], &[]);
        let [finding] = &found[..] else { panic!("{found:?}") };
        let expected = "error: config.toml: the password of usr2@mail.sustech.edu.cn is no valid argon2 PHC string (";
        assert!(finding.starts_with(expected), "{finding}");
    }

    #[test]
    fn a_record_that_leads_elsewhere_is_named() {
        let exchange = ("\"gmail-smtp-in.l.google.com.\" = \"2025\"", "\"gmail-smtp-in.l.google.com.\" = ");
        let table = [
            ("\"2110\"", "to port 2110 (server.\"gmail.com\".pop), and not to server.\"gmail.com\".smtp"),
            ("\"1025\"", "to port 1025 (server.\"exmail.qq.com\".smtp), and not to server.\"gmail.com\".smtp"),
            (
                "\"127.0.0.1:2026\"",
                "to port 2026 (server.\"gmail.com\".smtp_http), and not to server.\"gmail.com\".smtp",
            ),
            (
                "\"mx.other.example:25\"",
                "to mx.other.example:25 on another host, and not to server.\"gmail.com\".smtp on this one",
            ),
        ];
        for (port, expected) in table {
            let found = found(&[], &[(exchange.0, &format!("{}{port}", exchange.1))]);
            let what = "warning: the exchange gmail-smtp-in.l.google.com. of gmail.com leads";
            assert_eq!(found, [format!("{what} {expected}")], "{port}");
        }
        let nobody = found(&[], &[("\"pop.gmail.com.\" = \"2110\"", "\"pop.gmail.com.\" = \"9999\"")]);
        assert_eq!(
            nobody,
            [
                "warning: agent.\"gmail.com\".pop, which is \"pop.gmail.com\", leads to port 9999 (where no server listens), \
                 and not to server.\"gmail.com\".pop",
                "warning: the P record of pop.gmail.com. leads to port 9999, where no server listens",
            ]
        );
    }

    #[test]
    fn an_agent_may_send_to_the_port_for_submissions() {
        let submission = |record: &str| found(&[], &[(record, &record.replace("\"2025\"", "\"2587\""))]);
        assert_eq!(submission("\"smtp.gmail.com.\" = \"2025\""), Vec::<String>::new());
        let exchange = "warning: the exchange gmail-smtp-in.l.google.com. of gmail.com leads to port 2587 \
                        (server.\"gmail.com\".submission), and not to server.\"gmail.com\".smtp";
        assert_eq!(submission("\"gmail-smtp-in.l.google.com.\" = \"2025\""), [exchange]);
    }

    #[test]
    fn a_lookup_over_dns_needs_its_port() {
        let lookup = ("[server.\"gmail.com\"]", "[relay]\nlookup = \"dns\"\n[server.\"gmail.com\"]");
        assert_eq!(found(&[lookup], &[]), Vec::<String>::new());
        assert_eq!(
            found(&[lookup, ("dns = 2053\n", "")], &[]),
            ["warning: server.\"gmail.com\".dns is missing: an smtp-gateway that runs by itself needs it, because \
              relay.lookup is \"dns\""]
        );
    }

    #[test]
    fn what_keeps_mail_away_is_told_apart() {
        let mx = "\"gmail.com.\" = \"gmail-smtp-in.l.google.com.\"\n";
        let p = "\"gmail-smtp-in.l.google.com.\" = \"2025\"\n";
        assert_eq!(
            found(&[], &[(mx, "")]),
            ["error: gmail.com cannot get mail: it has no MX and no P record; add an MX to the zone"]
        );
        assert_eq!(
            found(&[], &[(mx, "\"gmail.com.\" = \".\"\n")]),
            ["warning: gmail.com takes no mail: it has a null MX, though server \"gmail.com\" is its own"]
        );
        assert_eq!(
            found(&[], &[(p, "")]),
            ["error: gmail.com cannot get mail: none of its exchanges (gmail-smtp-in.l.google.com.) has a P record; \
              add one to the zone"]
        );
        // Its own exchange.
        assert_eq!(found(&[], &[(mx, ""), (p, "\"gmail.com.\" = \"2025\"\n")]), Vec::<String>::new());
        let elsewhere = found(&[], &[(mx, &format!("{mx}\"x.example.\" = \"mx.x.example.\"\n"))]);
        assert_eq!(
            elsewhere,
            ["warning: nobody can send mail to x.example.: none of its exchanges (mx.x.example.) has a P record"]
        );
    }

    #[test]
    fn port_0_needs_no_records_but_is_not_where_others_listen() {
        let free = [("smtp = 2025", "smtp = 0"), ("pop = 2110", "pop = 0")];
        assert_eq!(found(&free, &[]), Vec::<String>::new());
        let (exchange, agent) = ("\"gmail-smtp-in.l.google.com.\" = \"2025\"\n", "\"pop.gmail.com.\" = \"2110\"\n");
        assert_eq!(found(&free, &[(exchange, ""), (agent, "")]), Vec::<String>::new());
        let another = exchange.replace("2025", "1025");
        let elsewhere = exchange.replace("2025", "127.0.0.1:9999");
        let what = "warning: the exchange gmail-smtp-in.l.google.com. of gmail.com leads to port";
        for (record, port) in
            [(another, "1025 (server.\"exmail.qq.com\".smtp)"), (elsewhere, "9999 (where no server listens)")]
        {
            let expected = format!("{what} {port}, and not to server.\"gmail.com\".smtp");
            assert_eq!(found(&free, &[(exchange, &record)]), [expected]);
        }
        // A domain that the zone does not have stays unknown.
        let mx = "\"gmail.com.\" = \"gmail-smtp-in.l.google.com.\"\n";
        let expected = "error: gmail.com cannot get mail: it has no MX and no P record; add an MX to the zone";
        assert_eq!(found(&free, &[(mx, "")]), [expected]);
    }

    #[test]
    fn all_findings_are_told_at_once_and_errors_first() {
        let agent = "[agent.\"gmail.com\"]\nsmtp = \"smtp.gmail.com\"\npop = \"pop.gmail.com\"\n";
        let found = found(
            &[(agent, "[agent.\"x.example\"]\nsmtp = \"a\"\npop = \"b\"\n")],
            &[("\"smtp.exmail.qq.com.\" = \"1025\"\n", "")],
        );
        assert_eq!(
            found,
            [
                "error: agent.\"mail.sustech.edu.cn\".smtp, which is \"smtp.exmail.qq.com\", has no P record; \
                 add one to the zone",
                "warning: gmail.com has accounts and no [agent.\"gmail.com\"]: its users' agents find no server",
                "warning: agent.\"x.example\" is for a mail domain that no server has",
            ]
        );
    }
}
