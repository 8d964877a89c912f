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
    fs,
    net::SocketAddr,
    os::unix::fs::chown,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    thread,
};

/// The most POP3 processes that wait for users.
const MOST_WAITING: usize = 100;

/// A running Dovecot.
pub(super) struct Dovecot {
    directory: PathBuf,
    format: MailFormat,
    pop3: SocketAddr,
    _process: Process,
}

/// What one is for.
pub(super) struct Role {
    name: &'static str,
    protocols: &'static str,
    format: MailFormat,
    /// The passwd-file.
    users: String,
    /// How many POP3 processes wait for users.
    waiting: usize,
}

impl Role {
    /// Takes mail over LMTP.
    pub(super) fn delivering(format: MailFormat) -> Self {
        Self { name: "dovecot", protocols: "lmtp pop3", format, users: String::new(), waiting: 0 }
    }

    /// Serves POP3 to users whose passwords have this hash, from Maildirs.
    pub(super) fn serving(users: &[String], hash: &str) -> Self {
        Self {
            name: "dovecot-pop3",
            protocols: "pop3",
            format: MailFormat::Maildir,
            users: users.iter().map(|user| format!("{user}:{hash}\n")).collect(),
            waiting: users.len().min(MOST_WAITING),
        }
    }
}

impl Dovecot {
    pub(super) fn start(parent: &Path, ports: &Ports, role: &Role) -> anyhow::Result<Self> {
        let directory = parent.join(role.name);
        let homes = directory.join("homes");
        create(&[&directory, &homes])?;
        give_to_mail(&homes)?;
        fs::write(directory.join("users"), &role.users)?;
        let pop3 = loopback(ports.take()?);
        configure(&directory, pop3, role)?;
        let mut command = Command::new(program("dovecot").context("no dovecot")?);
        command.arg("-F").arg("-c").arg(directory.join("dovecot.conf"));
        let mut process = Process::start("dovecot", &mut command, directory.join("log"))?;
        process.await_listening(pop3)?;
        Ok(Self { directory, format: role.format, pop3, _process: process })
    }

    /// Where users log in.
    pub(super) fn pop3(&self) -> SocketAddr {
        self.pop3
    }

    /// Puts a message into a user's Maildir, as one that a client has seen before.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn put(&self, user: &str, number: u64, message: &[u8]) -> anyhow::Result<()> {
        let home = self.directory.join("homes").join(user.split('@').next().unwrap_or(user));
        let maildir = home.join("mail");
        if !maildir.exists() {
            for directory in [&home, &maildir, &maildir.join("cur"), &maildir.join("new"), &maildir.join("tmp")] {
                create(&[directory])?;
                give_to_mail(directory)?;
            }
        }
        let octets = message.len();
        // S is the size of the file, and W that of the message with CRLF.
        let file = maildir.join(format!("cur/1700000000.M{number:09}P1.bench,S={octets},W={octets}:2,S"));
        fs::write(&file, message)?;
        give_to_mail(&file)
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

fn configure(directory: &Path, pop3: SocketAddr, role: &Role) -> anyhow::Result<()> {
    let (format, log) = match role.format {
        MailFormat::Maildir => ("maildir", "/dev/null".to_owned()),
        MailFormat::Mdbox => ("mdbox", log(directory).display().to_string()),
    };
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let values = [
        ("DIRECTORY", directory.display().to_string()),
        ("PROTOCOLS", role.protocols.to_owned()),
        ("PORT", pop3.port().to_string()),
        ("CONCURRENCY", CONCURRENCY.to_string()),
        ("WAITING", role.waiting.to_string()),
        ("PROCESSORS", processors.to_string()),
        ("FORMAT", format.to_owned()),
        ("LOG", log),
    ];
    let values = values.each_ref().map(|(key, value)| (*key, value.as_str()));
    fill(include_str!("../../peers/dovecot.conf"), &values, &directory.join("dovecot.conf"))
}

/// Makes Dovecot's mail processes the owner of a file or a directory.
fn give_to_mail(path: &Path) -> anyhow::Result<()> {
    static MAIL: OnceLock<Option<(u32, u32)>> = OnceLock::new();
    let id = |option: &str| first_line(Command::new("id").args([option, "mail"])).parse().ok();
    let (user, group) = MAIL.get_or_init(|| id("-u").zip(id("-g"))).context("there is no user mail")?;
    Ok(chown(path, Some(user), Some(group))?)
}

fn log(directory: &Path) -> PathBuf {
    directory.join("delivered.log")
}

/// What of Dovecot is not there, of these protocols.
pub(super) fn lacking(protocols: &[&str]) -> Option<String> {
    if program("dovecot").is_none() {
        return Some("dovecot is not installed".to_owned());
    }
    // The protocols are packages of their own, of which nothing is in the PATH.
    let built_in = ["/usr/lib/dovecot", "/usr/libexec/dovecot", "/usr/local/libexec/dovecot"];
    let has = |name: &str| built_in.iter().any(|directory| Path::new(directory).join(name).is_file());
    protocols.iter().find(|name| !has(name)).map(|name| format!("Dovecot's {name} is not installed"))
}

/// What runs, for the report.
pub(super) fn version() -> String {
    let program = program("dovecot").unwrap_or_else(|| PathBuf::from("dovecot"));
    format!("Dovecot {}", first_line(Command::new(program).arg("--version")))
}
