//! Where a town's files are and where it is reached: what is the same in one process and in eight.

use crate::{EXMAIL, GMAIL, PATIENCE, Pop3Client, PortBlock, SmtpClient, USR, USR1, USR2, eventually, plan};
use internal_api::{Endpoint, MaildropPage, MessagePage, QueueEntry, QueuePage, StoreClient};
use mail_net::Clock;
use reqwest::{Method, Response};
use serde::de::DeserializeOwned;
use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};
use tempfile::TempDir;
use town_config::PortKey;

/// The bearer token of every town under test.
pub const TOKEN: &str = "the token of a town under test";

/// The files and ports of a town, and what its users can do.
#[derive(Debug)]
pub struct Site {
    directory: TempDir,
    config: PathBuf,
    zone: PathBuf,
    ports: PortBlock,
    http: reqwest::Client,
}

impl Site {
    pub(crate) fn new(directory: TempDir, config: PathBuf, zone: PathBuf, ports: PortBlock) -> Self {
        let http = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap();
        Self { directory, config, zone, ports, http }
    }

    /// The directory of everything.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// `config.toml`.
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// `fdns.toml`.
    pub fn zone(&self) -> &Path {
        &self.zone
    }

    /// The directory for the stores.
    pub fn state(&self) -> PathBuf {
        self.directory().join("state")
    }

    /// The directory below which a server that is a process of its own has its store.
    pub(crate) fn disk(&self, server: &str) -> PathBuf {
        self.state().join(server)
    }

    /// Where a service listens, or will.
    pub fn address(&self, server: &str, key: PortKey) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.ports.port(plan::index(server, key))).into()
    }

    /// Where the console listens, or will.
    pub fn console(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.ports.port(plan::CONSOLE)).into()
    }

    /// An SMTP client that has not said hello.
    ///
    /// # Panics
    /// When the server cannot be connected to.
    pub async fn smtp(&self, server: &str) -> SmtpClient {
        SmtpClient::connect(self.address(server, PortKey::Smtp)).await.unwrap()
    }

    /// Sends a message from a user's own server; returns its id.
    ///
    /// # Panics
    /// When anything is refused.
    pub async fn send(&self, sender: &str, recipients: &[&str], message: &[u8]) -> String {
        let mut client = self.smtp(server_of(sender)).await;
        client.hello().await;
        let id = client.send(sender, recipients, message).await.unwrap();
        assert_eq!(client.command("QUIT").await.unwrap(), "221 2.0.0 Bye");
        id
    }

    /// A POP3 client that is logged in as a user.
    ///
    /// # Panics
    /// When that fails.
    pub async fn pop3(&self, address: &str) -> Pop3Client {
        let mut client = Pop3Client::connect(self.address(server_of(address), PortKey::Pop)).await.unwrap();
        client.log_in(address, password_of(address)).await.unwrap();
        client
    }

    /// All messages of a user, by POP3.
    ///
    /// # Panics
    /// When they cannot be read.
    pub async fn mail(&self, address: &str) -> Vec<Vec<u8>> {
        let mut client = self.pop3(address).await;
        let mut messages = Vec::new();
        for number in 1..=client.stat().await.0 {
            messages.push(client.retr(number).await);
        }
        client.quit().await;
        messages
    }

    /// All messages of a user, by POP3, once there are n.
    ///
    /// # Panics
    /// When there are fewer for too long, or more.
    pub async fn mail_of(&self, address: &str, count: usize) -> Vec<Vec<u8>> {
        self.mail_within(address, count, PATIENCE).await
    }

    /// As [`Site::mail_of`], with a limit of its own.
    ///
    /// # Panics
    /// As [`Site::mail_of`].
    pub async fn mail_within(&self, address: &str, count: usize, limit: Duration) -> Vec<Vec<u8>> {
        eventually(&format!("{count} messages for {address}"), limit, async || {
            (self.listing(address).await.messages.len() >= count).then_some(())
        })
        .await;
        let messages = self.mail(address).await;
        assert_eq!(messages.len(), count, "{address}: {:?}", messages.iter().map(|message| subject(message)));
        messages
    }

    /// What the store lists of a user's maildrop.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn listing(&self, address: &str) -> MaildropPage {
        self.json(server_of(address), &format!("/v1/mailboxes/{address}/messages")).await
    }

    /// All that a store holds.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn messages(&self, server: &str) -> MessagePage {
        self.json(server, "/v1/messages").await
    }

    /// A server's queue.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn queue(&self, server: &str) -> Vec<QueueEntry> {
        self.json::<QueuePage>(server, "/v1/queue").await.entries
    }

    /// Waits until a server has nothing more to relay.
    ///
    /// # Panics
    /// When that takes too long.
    pub async fn drained(&self, server: &str) {
        eventually(&format!("an empty queue at {server}"), PATIENCE, async || {
            self.queue(server).await.is_empty().then_some(())
        })
        .await;
    }

    /// Waits until the only queued recipient has been tried and put off; returns its entry.
    ///
    /// # Panics
    /// When that takes too long.
    pub async fn deferred(&self, server: &str) -> QueueEntry {
        eventually("a deferred recipient", PATIENCE, async || {
            let mut queue = self.queue(server).await;
            queue.pop().filter(|entry| queue.is_empty() && !entry.last_reply.is_empty() && !entry.leased)
        })
        .await
    }

    /// A client of a server's store.
    ///
    /// # Panics
    /// Never, where there is an HTTP client at all.
    pub fn store(&self, server: &str) -> StoreClient {
        let base = format!("http://{}", self.address(server, PortKey::Store));
        StoreClient::new(Endpoint::new(&base, Some(TOKEN)).unwrap(), Clock::system().io)
    }

    /// An HTTP call with the token.
    ///
    /// # Panics
    /// When nobody answers.
    pub async fn call(&self, method: Method, server: &str, key: PortKey, path: &str) -> Response {
        self.call_with(method, &format!("http://{}{path}", self.address(server, key)), Some(TOKEN)).await
    }

    /// An HTTP call with any token, or none.
    ///
    /// # Panics
    /// When nobody answers.
    pub async fn call_with(&self, method: Method, url: &str, token: Option<&str>) -> Response {
        let request = self.http.request(method, url);
        match token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
        .send()
        .await
        .unwrap()
    }

    async fn json<T: DeserializeOwned>(&self, server: &str, path: &str) -> T {
        let response = self.call(Method::GET, server, PortKey::Store, path).await;
        assert!(response.status().is_success(), "{path}: {}", response.status());
        response.json().await.unwrap()
    }
}

/// The server that keeps a user's mail.
fn server_of(address: &str) -> &'static str {
    match address.rsplit_once('@') {
        Some((_, "mail.sustech.edu.cn")) => EXMAIL,
        Some((_, "gmail.com")) => GMAIL,
        _ => panic!("no user {address}"),
    }
}

fn password_of(address: &str) -> &'static str {
    match address {
        USR1 => "pass1",
        USR2 => "pass2",
        USR => "pass",
        _ => panic!("no user {address}"),
    }
}

/// What a message is told from others by.
fn subject(message: &[u8]) -> String {
    let text = String::from_utf8_lossy(message);
    text.lines().find(|line| line.starts_with("Subject:")).unwrap_or("no subject").to_owned()
}
