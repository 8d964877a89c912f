//! mailtown under test: two stacks, `one.bench` and `two.bench`.

use crate::{
    ports::{Ports, loopback},
    process::{Binaries, Process},
    target::{Maildrops, Target},
};
use anyhow::Context;
use internal_api::{Endpoint, StoreClient};
use mail_net::Clock;
use std::{
    fmt::Write,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// The domains; also the names of the servers.
pub(crate) const DOMAINS: [&str; 2] = ["one.bench", "two.bench"];
/// Everybody's password.
pub(crate) const PASSWORD: &str = "pass";
/// Its hash, with the parameters that mailtown uses.
pub(crate) const PASSWORD_HASH: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$hdiwMf9W9ziDSGRNECZ8NA$pzaRjkn2czL+VVxTNPIxciwe7k9M2CoRebmlvMwSjDU";

/// What a town is to be like.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    /// How many mailboxes each domain has: `u0`, `u1`…
    pub(crate) mailboxes: usize,
    /// How many connections a gateway takes.
    pub(crate) connections: usize,
    /// How [`PASSWORD`] is written: by itself, or as its hash.
    pub(crate) password: &'static str,
}

impl Shape {
    /// What mail is sent to.
    pub(crate) const LOADED: Self = Self { mailboxes: 8, connections: 1000, password: PASSWORD };
    /// Two stacks with three accounts in all, more or less as mailtown is shipped.
    pub(crate) const SHIPPED: Self = Self { mailboxes: 2, connections: 1000, password: PASSWORD };
}

/// The files that describe a town, and where they say that it is.
#[derive(Debug)]
pub(crate) struct Plan {
    directory: PathBuf,
    stacks: [StackPorts; 2],
}

/// The ports of one stack.
#[derive(Debug, Clone, Copy)]
struct StackPorts {
    smtp: u16,
    pop: u16,
    store: u16,
    dns: u16,
    dns_http: u16,
    smtp_http: u16,
    pop_http: u16,
}

impl StackPorts {
    fn take(ports: &Ports) -> anyhow::Result<Self> {
        Ok(Self {
            smtp: ports.take()?,
            pop: ports.take()?,
            store: ports.take()?,
            dns: ports.take()?,
            dns_http: ports.take()?,
            smtp_http: ports.take()?,
            pop_http: ports.take()?,
        })
    }
}

impl Plan {
    /// Writes configuration and zone into a new directory, for a town of these binaries.
    ///
    /// # Errors
    /// When they cannot be written.
    pub(crate) fn write(directory: PathBuf, ports: &Ports, shape: Shape, binaries: &Binaries) -> anyhow::Result<Self> {
        fs::create_dir_all(&directory).with_context(|| format!("{} cannot be created", directory.display()))?;
        let plan = Self { directory, stacks: [StackPorts::take(ports)?, StackPorts::take(ports)?] };
        fs::write(plan.config_path(), plan.config(shape) + &binaries.settings)?;
        fs::write(plan.zone_path(), plan.zone())?;
        Ok(plan)
    }

    /// The configuration file.
    pub(crate) fn config_path(&self) -> PathBuf {
        self.directory.join("config.toml")
    }

    fn zone_path(&self) -> PathBuf {
        self.directory.join("fdns.toml")
    }

    /// Where everything else about this town goes.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    fn config(&self, Shape { mailboxes, connections, password }: Shape) -> String {
        let mut text = format!(
            "profile = \"rfc\"\n\n[limits]\nconnections = {connections}\nconnections_per_peer = {connections}\n"
        );
        for (domain, ports) in DOMAINS.iter().zip(&self.stacks) {
            let StackPorts { smtp, pop, store, dns, dns_http, smtp_http, pop_http } = ports;
            let _ = write!(
                text,
                "\n[server.\"{domain}\"]\nsmtp = {smtp}\npop = {pop}\nstore = {store}\ndns = {dns}\n\
                 dns_http = {dns_http}\nsmtp_http = {smtp_http}\npop_http = {pop_http}\n\n[accounts.\"{domain}\"]\n"
            );
            for address in addresses(domain, mailboxes) {
                let _ = writeln!(text, "\"{address}\" = \"{password}\"");
            }
        }
        text
    }

    fn zone(&self) -> String {
        let (mut exchanges, mut ports) = ("[MX]\n".to_owned(), "\n[P]\n".to_owned());
        for (domain, stack) in DOMAINS.iter().zip(&self.stacks) {
            let _ = writeln!(exchanges, "\"{domain}.\" = \"mx.{domain}.\"");
            let _ = writeln!(ports, "\"mx.{domain}.\" = \"{}\"", stack.smtp);
        }
        exchanges + &ports
    }

    /// The SMTP port of a domain.
    pub(crate) fn smtp(&self, domain: usize) -> SocketAddr {
        loopback(self.stacks[domain].smtp)
    }

    /// The POP3 port of a domain.
    pub(crate) fn pop(&self, domain: usize) -> SocketAddr {
        loopback(self.stacks[domain].pop)
    }

    /// The mailbox store of a domain.
    pub(crate) fn store(&self, domain: usize) -> SocketAddr {
        loopback(self.stacks[domain].store)
    }
}

fn addresses(domain: &str, mailboxes: usize) -> Vec<String> {
    (0..mailboxes).map(|number| format!("u{number}@{domain}")).collect()
}

/// A running town.
#[derive(Debug)]
pub(crate) struct Town {
    plan: Plan,
    process: Process,
    /// How long it took from nothing to every service ready.
    pub(crate) started_in: Duration,
}

impl Town {
    /// Starts a town that was planned, in one process.
    ///
    /// # Errors
    /// When it does not start.
    pub(crate) fn start(plan: Plan, binaries: &Binaries) -> anyhow::Result<Self> {
        let mut command = binaries.command("mailtown");
        command.arg("--config").arg(plan.config_path()).arg("--zone").arg(plan.zone_path());
        command.arg("--state").arg(plan.directory.join("state"));
        let begun = Instant::now();
        let mut process = Process::start_speaking("mailtown", &mut command, plan.directory.join("log"))?;
        // The table of addresses, printed once all services have said that they are ready.
        process.first_line()?;
        let started_in = begun.elapsed();
        Ok(Self { plan, process, started_in })
    }

    /// Plans a town, and starts it.
    ///
    /// # Errors
    /// When it does not start.
    pub(crate) fn new(directory: PathBuf, ports: &Ports, shape: Shape, binaries: &Binaries) -> anyhow::Result<Self> {
        Self::start(Plan::write(directory, ports, shape, binaries)?, binaries)
    }

    /// Stops it; the plan can be started again.
    pub(crate) fn stop(self) -> Plan {
        let Self { plan, process, .. } = self;
        drop(process);
        plan
    }

    /// What it was made from.
    pub(crate) fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Waits until it computes nothing any more.
    ///
    /// # Errors
    /// When it is gone, or does not come to rest.
    pub(crate) async fn rest(&self) -> anyhow::Result<()> {
        self.process.rest().await
    }

    /// The memory it has resident, in MiB.
    ///
    /// # Errors
    /// When it is gone.
    pub(crate) fn resident_mib(&self) -> anyhow::Result<f64> {
        Ok(self.process.resident_kib()? as f64 / 1024.0)
    }

    /// Mail from elsewhere to the mailboxes of `two.bench`, at their own server.
    ///
    /// # Errors
    /// When there is no HTTP client.
    pub(crate) fn accepting(&self) -> anyhow::Result<Target> {
        self.target(self.plan.smtp(1), "s@load.bench")
    }

    /// Mail by a user of `one.bench` to the mailboxes of `two.bench`, submitted at `one.bench`.
    ///
    /// # Errors
    /// When there is no HTTP client.
    pub(crate) fn relaying(&self) -> anyhow::Result<Target> {
        self.target(self.plan.smtp(0), "u0@one.bench")
    }

    fn target(&self, smtp: SocketAddr, sender: &str) -> anyhow::Result<Target> {
        let http = reqwest::Client::builder().no_proxy().build()?;
        let mailboxes = format!("http://{}/v1/mailboxes", self.plan.store(1));
        Ok(Target {
            smtp,
            tls: false,
            sender: sender.to_owned(),
            recipients: addresses(DOMAINS[1], Shape::LOADED.mailboxes),
            maildrops: Maildrops::Store { http, mailboxes },
        })
    }

    /// The store of `two.bench`.
    ///
    /// # Errors
    /// When there is no HTTP client.
    pub(crate) fn store(&self) -> anyhow::Result<StoreClient> {
        Ok(StoreClient::new(Endpoint::new(&format!("http://{}", self.plan.store(1)), None)?, Clock::system().io))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use town_config::{Config, zone::Zone};

    #[test]
    fn what_is_written_is_valid() {
        let directory = tempfile::tempdir().unwrap();
        let binaries = Binaries::nowhere().without_records();
        let town = directory.path().join("town");
        let plan = Plan::write(town, &Ports::default(), Shape::LOADED, &binaries).unwrap();
        let config = Config::load(&plan.config_path()).unwrap();
        assert_eq!(config.stacks().map(|stack| stack.accounts.len()).collect::<Vec<_>>(), [8, 8]);
        assert!(config.stacks().all(|stack| !stack.trace.enabled));
        let zone = Zone::load(&plan.zone_path()).unwrap();
        assert!(zone.ports("mx.two.bench").found().is_some());
    }
}
