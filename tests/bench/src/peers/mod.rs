//! What mailtown is compared with, each in an instance of its own that nobody else sees.

mod dovecot;
mod pop3;
mod postfix;
mod sink;

pub(crate) use pop3::Pop3Peer;

use crate::{args::MailFormat, ports::Ports, target::Target};
use dovecot::Dovecot;
use jiff::Timestamp;
use postfix::Postfix;
use sink::Sink;
use std::{env, fs, os::unix::fs::PermissionsExt, path::Path, process::Command};
use town_tls::{Authority, CertificateFiles};

/// What installs all of them on Debian and its kin.
const INSTALL: &str = "apt-get install --no-install-recommends postfix dovecot-core dovecot-lmtpd dovecot-pop3d";
/// How many messages a Postfix delivers at once: ten for each processor.
const CONCURRENCY: usize = 20;
/// The users of the peers' mail domain.
const USERS: usize = 8;
/// The mail domain of the peers.
const DOMAIN: &str = "two.bench";

/// The peers that run.
pub(crate) struct Peers {
    /// Postfix, delivering over LMTP to Dovecot, with a second Postfix in front that relays to it.
    mail: Option<Mail>,
    sink: Option<Sink>,
    /// What is not there, and how it would be.
    pub(crate) missing: Vec<String>,
    /// What is there, and in which version.
    pub(crate) versions: Vec<String>,
}

struct Mail {
    // Dropped in this order: nothing is to be bounced because what comes after it is gone.
    relay: Postfix,
    exchange: Postfix,
    dovecot: Dovecot,
}

impl Peers {
    /// No peers.
    pub(crate) fn none() -> Self {
        Self { mail: None, sink: None, missing: Vec::new(), versions: Vec::new() }
    }

    /// Starts what is installed, below `directory`.
    ///
    /// # Errors
    /// When one that is installed does not start.
    pub(crate) fn start(directory: &Path, ports: &Ports, format: MailFormat) -> anyhow::Result<Self> {
        let mut peers = Self::none();
        match sink::program() {
            Some(program) => peers.sink = Some(Sink::start(&program, directory, ports)?),
            None => peers.missing.push(format!("smtp-sink is not installed, so there is no ceiling: {INSTALL}")),
        }
        let lacking = postfix::lacking().or_else(|| dovecot::lacking(&["lmtp", "pop3"]));
        if let Some(lacking) = lacking {
            peers.missing.push(format!("{lacking}, so Postfix and Dovecot are not compared: {INSTALL}"));
        } else if !rustix::process::geteuid().is_root() {
            peers.missing.push("Postfix starts for root only, so Postfix and Dovecot are not compared".to_owned());
        } else {
            let dovecot = Dovecot::start(directory, ports, &dovecot::Role::delivering(format))?;
            let certificate = certificate(&directory.join("tls"))?;
            let exchange = Postfix::start(directory, ports, &postfix::exchange(&dovecot, &certificate))?;
            let relay = Postfix::start(directory, ports, &postfix::relay(&exchange))?;
            peers.mail = Some(Mail { relay, exchange, dovecot });
            peers.versions = vec![postfix::version(), dovecot::version()];
        }
        Ok(peers)
    }

    /// Postfix, then Dovecot.
    pub(crate) fn accepting(&self) -> Option<Target> {
        self.mail.as_ref().map(|mail| target(&mail.exchange, &mail.dovecot))
    }

    /// Postfix, then Postfix, then Dovecot.
    pub(crate) fn relaying(&self) -> Option<Target> {
        self.mail.as_ref().map(|mail| target(&mail.relay, &mail.dovecot))
    }

    /// What takes mail and stores nothing.
    pub(crate) fn ceiling(&self) -> Option<Target> {
        self.sink.as_ref().map(Sink::target)
    }
}

/// A certificate for Postfix.
fn certificate(directory: &Path) -> anyhow::Result<CertificateFiles> {
    let now = Timestamp::now();
    Ok(Authority::open(directory, now)?.certificate(DOMAIN, [], now)?)
}

fn target(postfix: &Postfix, dovecot: &Dovecot) -> Target {
    Target {
        smtp: postfix.address(),
        tls: false,
        sender: "s@load.bench".to_owned(),
        recipients: recipients(),
        maildrops: dovecot.maildrops(),
    }
}

fn recipients() -> Vec<String> {
    (0..USERS).map(|number| format!("u{number}@{DOMAIN}")).collect()
}

/// Writes a template with its `{KEY}`s replaced.
fn fill(template: &str, values: &[(&str, &str)], path: &Path) -> anyhow::Result<()> {
    let filled =
        values.iter().fold(template.to_owned(), |text, (key, value)| text.replace(&format!("{{{key}}}"), value));
    Ok(fs::write(path, filled)?)
}

/// Makes directories that other users may pass through.
fn create(directories: &[&Path]) -> anyhow::Result<()> {
    for directory in directories {
        fs::create_dir_all(directory)?;
        fs::set_permissions(directory, fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

/// Finds a program, also where only root has its PATH.
fn program(name: &str) -> Option<std::path::PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let directories = env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into(), "/usr/local/sbin".into()]);
    directories.map(|directory| directory.join(name)).find(|file| file.is_file())
}

/// The first line that a command prints.
fn first_line(command: &mut Command) -> String {
    let output = command.output().map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&output).lines().next().unwrap_or_default().to_owned()
}
