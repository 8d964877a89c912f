//! A store's administrator, with the real binary.

use super::{Server, TOKEN, mailbox, submission};
use bytes::Bytes;
use internal_api::{ApiError, MessageId, OpenSession};
use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};
use tempfile::TempDir;

/// A directory with a configuration, for the binary.
pub(crate) struct Admin {
    pub(crate) directory: TempDir,
}

impl Admin {
    pub(crate) fn new(port: &str) -> Self {
        let directory = TempDir::new().unwrap();
        let config = format!(
            "[server.\"local.test\"]\nsmtp = 1\npop = 2\nstore = {port}\n[accounts.\"local.test\"]\n\
             \"a@local.test\" = \"pass a\"\n\"b@local.test\" = \"pass b\"\n"
        );
        fs::write(directory.path().join("config.toml"), config).unwrap();
        Self { directory }
    }

    pub(crate) fn of(server: &Server) -> Self {
        Self::new(server.url.rsplit_once(':').unwrap().1)
    }

    /// Rewrites the configuration.
    pub(crate) fn configure(&self, change: impl FnOnce(String) -> String) {
        let path = self.path("config.toml");
        fs::write(&path, change(fs::read_to_string(&path).unwrap())).unwrap();
    }

    /// Imports the text of an mbox file into the store in a directory.
    pub(crate) fn succeed_importing(&self, data: &Path, address: &str, mbox: &str) {
        fs::write(self.path("in.mbox"), mbox).unwrap();
        self.succeed(data, &["import", "--mailbox", address, "in.mbox"]);
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The binary with a command on the store in a directory, or in a database.
    pub(crate) fn command(&self, place: impl AsRef<OsStr>, command: &[&str]) -> Command {
        let mut binary = Command::new(env!("CARGO_BIN_EXE_mailbox-store"));
        binary.current_dir(self.directory.path()).env("MAILTOWN_TOKEN", TOKEN);
        match place.as_ref().to_str().filter(|place| place.starts_with("postgres://")) {
            Some(url) => binary.env("MAILTOWN_DATABASE", url),
            None => binary.env("MAILTOWN_DATA", place.as_ref()),
        };
        binary.args(["--name", "local.test", "--config", "config.toml"]).args(command);
        binary
    }

    fn run(&self, place: impl AsRef<OsStr>, command: &[&str]) -> Output {
        self.command(place, command).output().unwrap()
    }

    /// What it prints when it succeeds.
    pub(crate) fn succeed(&self, place: impl AsRef<OsStr>, command: &[&str]) -> String {
        let output = self.run(place, command);
        assert!(output.status.success(), "{command:?}: {output:?}");
        assert_eq!(String::from_utf8(output.stderr).unwrap(), "", "{command:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// What it prints on both when it fails.
    pub(crate) fn fail(&self, place: impl AsRef<OsStr>, command: &[&str]) -> (String, String) {
        let output = self.run(place, command);
        assert_eq!(output.status.code(), Some(1), "{command:?}: {output:?}");
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    }
}

pub(crate) fn large(octets: usize) -> Vec<u8> {
    let letters = (0..).map(|n: usize| b'a' + (n % 19) as u8);
    let mut message: Vec<u8> = b"Subject: large\r\n\r\n".iter().copied().chain(letters).take(octets - 2).collect();
    message.extend_from_slice(b"\r\n");
    message
}

pub(crate) async fn submit(server: &Server, transaction: &str, recipients: &[&str], octets: &[u8]) -> MessageId {
    server.client.submit(&submission(transaction, recipients), Bytes::copy_from_slice(octets)).await.unwrap().id
}

pub(crate) async fn read(server: &Server, address: &str, id: MessageId) -> Result<Vec<u8>, ApiError> {
    let mut message = server.client.delivered_message(&mailbox(address), id).await?;
    let mut octets = Vec::new();
    while let Some(chunk) = message.chunk().await? {
        octets.extend_from_slice(&chunk);
    }
    Ok(octets)
}

pub(crate) async fn listed(server: &Server, address: &str) -> Vec<MessageId> {
    let password = format!("pass {}", &address[..1]);
    let open = OpenSession { password, lease_seconds: 60, client: None, proved: false };
    let session = server.client.open_session(&mailbox(address), &open).await.unwrap();
    server.client.close_session(&mailbox(address), &session.session).await.unwrap();
    session.messages.iter().map(|entry| entry.id).collect()
}

pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}
