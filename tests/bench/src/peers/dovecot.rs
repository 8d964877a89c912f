//! A Dovecot with directories, ports and processes of its own: LMTP in, maildrops, POP3 out.

use super::{CONCURRENCY, create, fill, first_line, program};
use crate::{
    args::MailFormat,
    ports::{Ports, loopback},
    process::Process,
    target::Maildrops,
};
use anyhow::Context;
use std::{
    os::unix::fs::chown,
    path::{Path, PathBuf},
    process::Command,
};

/// A running Dovecot.
pub(super) struct Dovecot {
    directory: PathBuf,
    format: MailFormat,
    _process: Process,
}

impl Dovecot {
    pub(super) fn start(parent: &Path, ports: &Ports, format: MailFormat) -> anyhow::Result<Self> {
        let directory = parent.join("dovecot");
        let homes = directory.join("homes");
        create(&[&directory, &homes])?;
        let id = |option: &str| {
            first_line(Command::new("id").args([option, "mail"])).parse().context("there is no user mail")
        };
        chown(&homes, Some(id("-u")?), Some(id("-g")?))?;
        let (port, concurrency) = (ports.take()?.to_string(), CONCURRENCY.to_string());
        let (format_name, log) = match format {
            MailFormat::Maildir => ("maildir", "/dev/null".to_owned()),
            MailFormat::Mdbox => ("mdbox", log(&directory).display().to_string()),
        };
        let configuration = directory.join("dovecot.conf");
        let directory_name = directory.display().to_string();
        let values = [
            ("DIRECTORY", directory_name.as_str()),
            ("PORT", &port),
            ("CONCURRENCY", &concurrency),
            ("FORMAT", format_name),
            ("LOG", &log),
        ];
        fill(include_str!("../../peers/dovecot.conf"), &values, &configuration)?;
        let mut command = Command::new(program("dovecot").context("no dovecot")?);
        command.arg("-F").arg("-c").arg(&configuration);
        let mut process = Process::start("dovecot", &mut command, directory.join("log"))?;
        process.await_listening(loopback(port.parse()?))?;
        Ok(Self { directory, format, _process: process })
    }

    /// Where mail is delivered.
    pub(super) fn lmtp_socket(&self) -> PathBuf {
        self.directory.join("run/lmtp")
    }

    pub(super) fn maildrops(&self) -> Maildrops {
        match self.format {
            MailFormat::Maildir => Maildrops::Maildirs(self.directory.join("homes")),
            MailFormat::Mdbox => Maildrops::Log(log(&self.directory)),
        }
    }
}

fn log(directory: &Path) -> PathBuf {
    directory.join("delivered.log")
}

/// What of Dovecot is not there.
pub(super) fn lacking() -> Option<String> {
    if program("dovecot").is_none() {
        return Some("dovecot is not installed".to_owned());
    }
    // The protocols are packages of their own, of which nothing is in the PATH.
    let built_in = ["/usr/lib/dovecot", "/usr/libexec/dovecot", "/usr/local/libexec/dovecot"];
    let has = |name: &str| built_in.iter().any(|directory| Path::new(directory).join(name).is_file());
    ["lmtp", "pop3"].into_iter().find(|name| !has(name)).map(|name| format!("Dovecot's {name} is not installed"))
}

/// What runs, for the report.
pub(super) fn version() -> String {
    let program = program("dovecot").unwrap_or_else(|| PathBuf::from("dovecot"));
    format!("Dovecot {}", first_line(Command::new(program).arg("--version")))
}
