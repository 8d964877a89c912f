//! Postfix instances with directories, ports and processes of their own.

use super::{CONCURRENCY, DOMAIN, create, dovecot::Dovecot, fill, first_line, program, recipients};
use crate::{
    ports::{Ports, loopback},
    process::Process,
};
use anyhow::Context;
use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::chown,
    path::{Path, PathBuf},
    process::Command,
};
use town_tls::CertificateFiles;

/// What tells one instance from the other.
pub(super) struct Role {
    name: &'static str,
    /// Its lines of `main.cf`, in which `{DIRECTORY}` is its directory.
    routing: String,
}

/// Takes mail for the domain, with or without TLS, and delivers it to Dovecot.
pub(super) fn exchange(dovecot: &Dovecot, CertificateFiles { certificate, key }: &CertificateFiles) -> Role {
    let (socket, certificate, key) = (dovecot.lmtp_socket(), certificate.display(), key.display());
    let routing = format!(
        "virtual_mailbox_domains = {DOMAIN}\nvirtual_mailbox_maps = texthash:{{DIRECTORY}}/etc/recipients\n\
         virtual_transport = lmtp:unix:{}\nsmtpd_tls_security_level = may\n\
         smtpd_tls_chain_files = {key}, {certificate}\n",
        socket.display()
    );
    Role { name: "exchange", routing }
}

/// Takes mail for anywhere, and relays it to the exchange.
pub(super) fn relay(exchange: &Postfix) -> Role {
    let (host, port) = (exchange.address.ip(), exchange.address.port());
    Role { name: "relay", routing: format!("relayhost = [{host}]:{port}\n") }
}

/// A running Postfix.
pub(super) struct Postfix {
    address: SocketAddr,
    _process: Process,
}

impl Postfix {
    pub(super) fn start(parent: &Path, ports: &Ports, role: &Role) -> anyhow::Result<Self> {
        let directory = parent.join(format!("postfix-{}", role.name));
        let [etc, queue, data] = ["etc", "queue", "data"].map(|name| directory.join(name));
        create(&[&directory, &etc, &queue, &data])?;
        let owner = first_line(Command::new("id").args(["-u", "postfix"]));
        chown(&data, Some(owner.parse().context("there is no user postfix")?), None)?;
        let port = ports.take()?;
        configure(&directory, &etc, port, role)?;
        let control = program("postfix").context("no postfix")?;
        let postfix = |action: &str| {
            let mut command = Command::new(&control);
            command.arg("-c").arg(&etc).arg(action);
            command
        };
        let process = Process::start("postfix", &mut postfix("start-fg"), directory.join("log"))?;
        // The process in front is a shell; this signals the master below it, by the id in its queue directory.
        let mut process = process.stopped_by(postfix("stop"));
        let address = loopback(port);
        process.await_listening(address)?;
        Ok(Self { address, _process: process })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

fn configure(directory: &Path, etc: &Path, port: u16, role: &Role) -> anyhow::Result<()> {
    let (port, concurrency) = (port.to_string(), CONCURRENCY.to_string());
    let (directory, programs, daemons) = (directory.display().to_string(), programs(), daemons());
    let values = [
        ("DIRECTORY", directory.as_str()),
        ("NAME", role.name),
        ("PORT", &port),
        ("CONCURRENCY", &concurrency),
        ("COMMANDS", &programs),
        ("DAEMONS", &daemons),
    ];
    let main = format!("{}\n{}", include_str!("../../peers/postfix-main.cf"), role.routing);
    fill(&main, &values, &etc.join("main.cf"))?;
    fill(include_str!("../../peers/postfix-master.cf"), &values, &etc.join("master.cf"))?;
    let known: String = recipients().iter().map(|recipient| format!("{recipient} known\n")).collect();
    fs::write(etc.join("recipients"), known)?;
    // Debian's Postfix looks for its list of loadable maps beside main.cf, and we load none.
    Ok(fs::write(etc.join("dynamicmaps.cf"), "")?)
}

/// What of Postfix is not there.
pub(super) fn lacking() -> Option<String> {
    ["postfix", "postconf"]
        .into_iter()
        .find(|name| program(name).is_none())
        .map(|name| format!("{name} is not installed"))
}

/// What runs, for the report.
pub(super) fn version() -> String {
    format!("Postfix {}", default_of("mail_version"))
}

fn daemons() -> String {
    default_of("daemon_directory")
}

fn programs() -> String {
    default_of("command_directory")
}

/// A default that was compiled in.
fn default_of(parameter: &str) -> String {
    let program = program("postconf").unwrap_or_else(|| PathBuf::from("postconf"));
    let line = first_line(Command::new(program).args(["-d", parameter]));
    line.split_once(" = ").map(|(_, value)| value.to_owned()).unwrap_or_default()
}
