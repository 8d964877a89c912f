//! The binary `mailtown`, started with any options.

use crate::{PATIENCE, Pop3Client, SmtpClient, binaries, eventually};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    ffi::OsStr,
    fs::{self, File},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use town_config::{PortKey, ports_file::Ports};

/// A process in a directory of its own, which tells in `ports.json` there where it listens; killed when it is dropped.
#[derive(Debug)]
pub struct Mailtown {
    directory: TempDir,
    process: Child,
}

/// A command without anything in its environment that could configure it.
pub fn command(binary: &str) -> Command {
    let mut command = Command::new(binaries::path(binary));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("MAILTOWN_")) {
        command.env_remove(name);
    }
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

impl Mailtown {
    /// Starts it in an empty directory.
    ///
    /// # Panics
    /// When its program cannot be run.
    pub fn start<S: AsRef<OsStr>>(options: impl IntoIterator<Item = S>) -> Self {
        let directory = tempfile::Builder::new().prefix("mailtown-test-").tempdir().unwrap();
        let output = |name: &str| File::create(directory.path().join(name)).unwrap();
        let mut command = command("mailtown");
        command.args(["--ports-file", "ports.json"]).args(options).current_dir(directory.path());
        let process = command.stdout(output("stdout")).stderr(output("log")).spawn().unwrap();
        Self { directory, process }
    }

    /// Where it was started.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The file that tells where it listens.
    pub fn ports_file(&self) -> PathBuf {
        self.directory().join("ports.json")
    }

    /// What it has logged so far.
    ///
    /// # Panics
    /// When the log is lost.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory().join("log")).unwrap()
    }

    /// What it has printed so far.
    ///
    /// # Panics
    /// When that is lost.
    pub fn printed(&self) -> String {
        fs::read_to_string(self.directory().join("stdout")).unwrap()
    }

    /// Where it listens, once it does.
    ///
    /// # Panics
    /// When it ends, or does not become ready.
    pub async fn ports(&mut self) -> Ports {
        let path = self.ports_file();
        eventually("the ports file", PATIENCE, async || {
            let ended = self.process.try_wait().unwrap();
            assert_eq!(ended, None, "it has ended: {}", self.log());
            path.exists().then(|| Ports::read(&path).unwrap())
        })
        .await
    }

    /// SIGTERM; returns how it has ended.
    ///
    /// # Panics
    /// When it does not end.
    pub async fn stop(&mut self) -> ExitStatus {
        let process = Pid::from_raw(self.process.id().unwrap().try_into().unwrap()).unwrap();
        kill_process(process, Signal::TERM).unwrap();
        tokio::time::timeout(PATIENCE, self.process.wait()).await.expect("it should have ended").unwrap()
    }
}

/// Sends a message with this subject.
///
/// # Panics
/// When anything is refused.
pub async fn send(smtp: SocketAddr, sender: &str, recipient: &str, subject: &str) {
    let mut client = SmtpClient::connect(smtp).await.unwrap();
    client.hello().await;
    client.send(sender, &[recipient], format!("Subject: {subject}\r\n\r\n").as_bytes()).await.unwrap();
}

/// Waits until a message with this subject is in a maildrop.
///
/// # Panics
/// When it does not come.
pub async fn arrives(pop: SocketAddr, address: &str, password: &str, subject: &str) {
    let line = format!("Subject: {subject}\r\n");
    eventually(&line, PATIENCE, async || {
        let mut client = Pop3Client::connect(pop).await.unwrap();
        client.log_in(address, password).await.unwrap();
        let mut found = None;
        for number in 1..=client.stat().await.0 {
            let message = client.retr(number).await;
            found = found.or(String::from_utf8_lossy(&message).contains(&line).then_some(()));
        }
        client.quit().await;
        found
    })
    .await;
}

/// The address of a service; of a town or of two processes that are one.
///
/// # Panics
/// When the file does not name it.
pub fn address(ports: &Ports, server: &str, key: PortKey) -> SocketAddr {
    ports.address(server, key).unwrap_or_else(|| panic!("no {server} {key:?} in {ports:?}"))
}
