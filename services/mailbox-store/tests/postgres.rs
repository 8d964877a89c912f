//! Several store processes over one PostgreSQL database, one of which is killed.
#![allow(clippy::disallowed_methods, reason = "a test waits for processes, sockets and files in real time")]
#![allow(clippy::unwrap_used, reason = "a test that cannot do its part fails")]

#[path = "../src/store/postgres/tests/server.rs"]
mod server;

use bytes::Bytes;
use futures_util::future::join_all;
use internal_api::{
    ApiError, Claim, ClaimRequest, Endpoint, MaildropSession, MaildropUpdate, MessageId, OpenSession, Outcome,
    ProblemKind, RecipientOutcome, Settlement, StoreClient, Submission,
};
use mail_net::Clock;
use mail_proto::Mailbox;
use server::Server;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::TcpListener,
    process::{Child, Command},
    time::{Duration, Instant},
};
use tempfile::TempDir;

const TOKEN: &str = "secret";
const PASSWORD: &str = "pass";

/// A store of its own process.
struct Store {
    process: Child,
    client: StoreClient,
    _directory: TempDir,
}

impl Store {
    async fn start(database: &str) -> Self {
        let directory = TempDir::new().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = directory.path().join("config.toml");
        let accounts = format!("[accounts.\"local.test\"]\n\"a@local.test\" = \"{PASSWORD}\"\n");
        let text = format!("[server.\"local.test\"]\nsmtp = 1\npop = 2\nstore = {port}\n{accounts}");
        fs::write(&config, text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_mailbox-store"));
        command.args(["--name", "local.test"]).arg("--config").arg(config);
        command.arg("--data").arg(directory.path().join("data"));
        command.envs([("MAILTOWN_DATABASE", database), ("MAILTOWN_TOKEN", TOKEN)]);
        let process = command.spawn().unwrap();
        let url = format!("http://127.0.0.1:{port}");
        let mut store = Self {
            process,
            client: StoreClient::new(Endpoint::new(&url, Some(TOKEN)).unwrap(), Clock::system().io),
            _directory: directory,
        };
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        while !http.get(format!("{url}/readyz")).send().await.is_ok_and(|answer| answer.status().is_success()) {
            assert_eq!(store.process.try_wait().unwrap(), None, "the store runs");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        store
    }

    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    async fn submit(&self, transaction: usize) -> Result<MessageId, ApiError> {
        let submission = Submission::new(
            transaction.to_string(),
            "<sender@local.test>".parse().unwrap(),
            ["a@local.test", "x@far.test"].map(mailbox).to_vec(),
        );
        // Every tenth is large.
        let length = if transaction.is_multiple_of(10) { 300_000 } else { 2000 };
        let message = [vec![b'x'; length], b"\r\n".to_vec()].concat();
        Ok(self.client.submit(&submission, Bytes::from(message)).await?.id)
    }

    async fn claim(&self, lease_seconds: u32, wait_seconds: u32) -> Option<Claim> {
        let request = ClaimRequest {
            lease_seconds,
            wait_seconds,
            limit: 7,
            except: Vec::new(),
            inline_octets: 0,
            requiretls: true,
            smtputf8: true,
        };
        self.client.claim(&request).await.unwrap().map(|brought| brought.claim)
    }

    async fn open(&self, lease_seconds: u32) -> Result<MaildropSession, ApiError> {
        let open = OpenSession { password: PASSWORD.to_owned(), lease_seconds, client: None, proved: false };
        self.client.open_session(&mailbox("a@local.test"), &open).await
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn mailbox(address: &str) -> Mailbox {
    address.parse().unwrap()
}

/// Submits to one store, and to the next when that one does not answer, as often as it takes: as a gateway does.
async fn insist(stores: &[&Store], first: usize, transaction: usize) -> MessageId {
    let mut turn = first;
    loop {
        match stores[turn % stores.len()].submit(transaction).await {
            Ok(id) => return id,
            Err(_) => turn += 1,
        }
    }
}

/// While one of three stores is killed, messages come in over all of them: each is there once in the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_is_killed_while_it_submits() {
    let Some(server) = Server::shared() else { return };
    let database = server.new_database().await;
    let (mut killed, one, other) =
        tokio::join!(Store::start(&database), Store::start(&database), Store::start(&database));
    // The first ones through the store that dies, and all through another one, too.
    let process = killed.process.id();
    let stores = [&killed, &one, &other];
    let submitting = join_all((0..300).map(|n| async move {
        let id = insist(&stores, n % 3, n / 2).await;
        if n == 30 {
            let pid = process.to_string();
            assert!(Command::new("kill").args(["-9", &pid]).status().unwrap().success());
        }
        (n / 2, id)
    }));
    let mut ids: BTreeMap<usize, BTreeSet<MessageId>> = BTreeMap::new();
    for (transaction, id) in submitting.await {
        ids.entry(transaction).or_default().insert(id);
    }
    killed.kill();
    assert!(ids.values().all(|ids| ids.len() == 1), "{ids:?}");
    let expected: BTreeSet<MessageId> = ids.into_values().flatten().collect();
    assert_eq!(expected.len(), 150);
    let session = one.open(60).await.unwrap();
    let listed: Vec<_> = session.messages.iter().map(|entry| entry.id).collect();
    assert_eq!(listed, expected.iter().copied().collect::<Vec<_>>());

    // The workers of both remaining stores claim and settle all of them once.
    let relayed = join_all((0..8).map(|worker| {
        let store = [&one, &other][worker % 2];
        async move {
            let mut relayed = Vec::new();
            while let Some(claim) = store.claim(60, 1).await {
                for message in claim.messages {
                    let recipient = message.recipients[0].mailbox.clone();
                    let outcomes = vec![RecipientOutcome { recipient, outcome: Outcome::Finished { how: None } }];
                    let settlement = Settlement { message: message.id, outcomes, failure_message: None };
                    store.client.settle(&claim.lease, &settlement, b"").await.unwrap();
                    relayed.push(message.id);
                }
            }
            relayed
        }
    }));
    let mut relayed = relayed.await.concat();
    relayed.sort();
    assert_eq!(relayed, listed);
    let update = MaildropUpdate { delete: listed };
    other.client.update_maildrop(&mailbox("a@local.test"), &session.session, &update).await.unwrap();
    assert_eq!(one.open(60).await.unwrap().messages, []);
}

/// What was leased over a store that was killed is everyone's again when the leases have run out, and not before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_is_killed_while_it_holds_leases() {
    let Some(server) = Server::shared() else { return };
    let database = server.new_database().await;
    let (mut killed, heir) = tokio::join!(Store::start(&database), Store::start(&database));
    let id = killed.submit(1).await.unwrap();
    let opened = Instant::now();
    killed.open(2).await.unwrap();
    let claimed = Instant::now();
    let claim = killed.claim(1, 0).await.unwrap();
    killed.kill();
    let inherited = heir.claim(60, 30).await.expect("in time");
    assert!(claimed.elapsed() >= Duration::from_secs(1), "not before");
    assert_eq!((inherited.messages[0].id, inherited.messages[0].recipients[0].attempts), (id, 2));
    assert_ne!(inherited.lease, claim.lease);
    let session = loop {
        match heir.open(60).await {
            Ok(session) => break session,
            Err(error) => assert_eq!(error.kind(), Some(ProblemKind::MaildropInUse)),
        }
    };
    assert!(opened.elapsed() >= Duration::from_secs(2), "not before");
    assert_eq!(session.messages.len(), 1);
}
