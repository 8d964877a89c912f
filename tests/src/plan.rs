//! What a town under test is to be like.

use crate::{EXMAIL, GMAIL, PortBlock, Site, USR, USR1, USR2};
use std::{collections::BTreeMap, fmt::Write, fs, path::PathBuf};
use town_config::PortKey;

/// The default town's two stacks and three users on ports of their own, with changes.
#[derive(Debug)]
pub struct Plan {
    ports: PortBlock,
    profile: &'static str,
    settings: String,
    tables: String,
    servers: BTreeMap<String, String>,
    limits: String,
    relay: String,
    console: String,
    accounts: String,
    mx: BTreeMap<String, String>,
    p: BTreeMap<String, String>,
}

impl Default for Plan {
    fn default() -> Self {
        let ports = PortBlock::find();
        let mut plan = Self {
            ports,
            profile: "tutorial",
            settings: String::new(),
            tables: String::new(),
            servers: BTreeMap::new(),
            limits: String::new(),
            relay: String::new(),
            console: String::new(),
            accounts: String::new(),
            mx: BTreeMap::new(),
            p: BTreeMap::new(),
        };
        for (server, exchange) in [(EXMAIL, "mxbiz1.qq.com"), (GMAIL, "gmail-smtp-in.l.google.com")] {
            let [smtp, pop] = [PortKey::Smtp, PortKey::Pop].map(|key| plan.port(server, key));
            plan = plan.p(exchange, smtp).p(&format!("smtp.{server}"), smtp).p(&format!("pop.{server}"), pop);
        }
        plan.mx("mail.sustech.edu.cn", "\"mxbiz1.qq.com.\"").mx("gmail.com", "\"gmail-smtp-in.l.google.com.\"")
    }
}

impl Plan {
    /// In profile `rfc` instead of `tutorial`.
    #[must_use]
    pub fn rfc(mut self) -> Self {
        self.profile = "rfc";
        self
    }

    /// Adds a line of TOML before the tables.
    #[must_use]
    pub fn setting(mut self, line: &str) -> Self {
        let _ = writeln!(self.settings, "{line}");
        self
    }

    /// Adds tables in TOML.
    #[must_use]
    pub fn tables(mut self, tables: &str) -> Self {
        let _ = writeln!(self.tables, "{tables}");
        self
    }

    /// Adds a line of TOML to the table of a server.
    #[must_use]
    pub fn server(mut self, name: &str, line: &str) -> Self {
        let _ = writeln!(self.servers.entry(name.to_owned()).or_default(), "{line}");
        self
    }

    /// Adds lines of TOML to `[limits]`.
    #[must_use]
    pub fn limits(mut self, lines: &str) -> Self {
        let _ = writeln!(self.limits, "{lines}");
        self
    }

    /// Adds an account to gmail.com.
    #[must_use]
    pub fn account(mut self, address: &str, password: &str) -> Self {
        let _ = writeln!(self.accounts, "\"{address}\" = \"{password}\"");
        self
    }

    /// Adds n accounts to gmail.com: `many0@gmail.com` with the password `many0`, and so on.
    #[must_use]
    pub fn accounts(self, count: usize) -> Self {
        (0..count).fold(self, |plan, number| plan.account(&format!("many{number}@gmail.com"), &format!("many{number}")))
    }

    /// Adds lines of TOML to `[relay]`.
    #[must_use]
    pub fn relay(mut self, lines: &str) -> Self {
        let _ = writeln!(self.relay, "{lines}");
        self
    }

    /// Adds lines of TOML to `[console]`.
    #[must_use]
    pub fn console(mut self, lines: &str) -> Self {
        let _ = writeln!(self.console, "{lines}");
        self
    }

    /// Sets the MX of a domain to a value in TOML.
    #[must_use]
    pub fn mx(mut self, domain: &str, value: &str) -> Self {
        self.mx.insert(domain.to_owned(), value.to_owned());
        self
    }

    /// Sets the P of a name.
    #[must_use]
    pub fn p(mut self, name: &str, port: u16) -> Self {
        self.p.insert(name.to_owned(), format!("\"{port}\""));
        self
    }

    /// Sets the P of a name to `host:port`.
    #[must_use]
    pub fn p_elsewhere(mut self, name: &str, address: &str) -> Self {
        self.p.insert(name.to_owned(), format!("\"{address}\""));
        self
    }

    /// Makes a domain its own exchange (RFC 5321 §5.1), on this port.
    #[must_use]
    pub fn peer(self, domain: &str, port: u16) -> Self {
        self.p(domain, port)
    }

    /// The port of a service.
    pub fn port(&self, server: &str, key: PortKey) -> u16 {
        self.ports.port(index(server, key))
    }

    /// A port on which nobody listens.
    pub fn silent_port(&self) -> u16 {
        self.ports.port(PortBlock::PORTS - 1)
    }

    /// The text of `config.toml`.
    pub fn config(&self) -> String {
        let Self { profile, settings, limits, relay, .. } = self;
        let mut text = format!("profile = \"{profile}\"\n{settings}[limits]\n{limits}[relay]\njitter = 0\n{relay}");
        for server in [EXMAIL, GMAIL] {
            let _ = writeln!(text, "[server.\"{server}\"]");
            for key in PortKey::ALL {
                let _ = writeln!(text, "{} = {}", key.as_str(), self.port(server, key));
            }
            text += self.servers.get(server).map_or("", String::as_str);
        }
        let _ = writeln!(text, "[accounts.\"{EXMAIL}\"]\n\"{USR1}\" = \"pass1\"\n\"{USR2}\" = \"pass2\"");
        let _ = writeln!(text, "[accounts.\"{GMAIL}\"]\n\"{USR}\" = \"pass\"\n{}", self.accounts);
        for (domain, server) in [("mail.sustech.edu.cn", EXMAIL), ("gmail.com", GMAIL)] {
            let _ = writeln!(text, "[agent.\"{domain}\"]\nsmtp = \"smtp.{server}\"\npop = \"pop.{server}\"");
        }
        let _ = writeln!(text, "[console]\nport = {}\n{}", self.ports.port(CONSOLE), self.console);
        text + &self.tables
    }

    /// The text of `fdns.toml`.
    pub fn zone(&self) -> String {
        let mut text = String::new();
        for (table, records) in [("MX", &self.mx), ("P", &self.p)] {
            let _ = writeln!(text, "[{table}]");
            for (name, value) in records {
                let _ = writeln!(text, "\"{name}.\" = {value}");
            }
        }
        text
    }

    /// Writes both files into a new directory.
    ///
    /// # Panics
    /// When they cannot be written.
    pub fn write(self) -> Site {
        let directory = tempfile::Builder::new().prefix("mailtown-test-").tempdir().unwrap();
        let write = |name: &str, text: String| -> PathBuf {
            let path = directory.path().join(name);
            fs::write(&path, text).unwrap();
            path
        };
        let (config, zone) = (write("config.toml", self.config()), write("fdns.toml", self.zone()));
        Site::new(directory, config, zone, self.ports)
    }
}

/// Where the console's port stands in the block, behind those of the stacks.
pub(crate) const CONSOLE: u16 = 2 * PortKey::ALL.len() as u16;

/// Where a service's port stands in the block.
pub(crate) fn index(server: &str, key: PortKey) -> u16 {
    let stack = match server {
        EXMAIL => 0,
        GMAIL => 1,
        _ => panic!("no server {server}"),
    };
    (stack * PortKey::ALL.len() + key as usize) as u16
}
