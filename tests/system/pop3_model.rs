//! Random commands of three clients on two maildrops, and mail that arrives, against a model of RFC 1939: the real gateway
//! and the real store, in one process.
//!
//! `MAILTOWN_POP3_CASES` is how many cases (40 unless told) of up to 40 actions, `MAILTOWN_SEED` what they are made of.

mod action;
mod client;
mod model;

use crate::campaign::{seed, setting};
use action::{Action, Command};
use bytes::Bytes;
use client::Client;
use futures_util::future::join_all;
use internal_api::{StoreClient, Submission};
use mail_proto::ReversePath;
use model::{Fault, Model};
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};
use tokio::runtime::Handle;
use town_config::PortKey;
use town_tests::{EXMAIL, PATIENCE, Plan, Random, TestTown, USR1, USR2, eventually};

const CASES: u64 = 40;
const CLIENTS: usize = 3;
const MAILDROPS: [(&str, &str); 2] = [(USR1, "pass1"), (USR2, "pass2")];
/// A little more than a lease.
const LEASE: Duration = Duration::from_secs(61);
const SENDER: &str = "<sender@elsewhere.example>";

/// A town, and what is known of it.
struct Play<'a> {
    town: &'a TestTown,
    store: StoreClient,
    profile: Profile,
    model: Model,
    clients: BTreeMap<usize, Client>,
    /// Maildrops whose session has broken off; the gateway may see it later.
    unlocking: BTreeSet<usize>,
    commands: &'a AtomicUsize,
}

impl Play<'_> {
    async fn act(&mut self, action: &Action) -> Result<(), Fault> {
        match action {
            Action::LogIn { client, maildrop } => self.log_in(&[*client], *maildrop).await,
            Action::Race { maildrop } => self.log_in(&Vec::from_iter(0..CLIENTS), *maildrop).await,
            Action::Say { client, stranger, commands } => {
                let sessions: Vec<_> = (0..CLIENTS).filter(|client| self.model.has_session(*client)).collect();
                let client = if *stranger || sessions.is_empty() { *client } else { sessions[client % sessions.len()] };
                self.say(client, commands).await
            }
            Action::Break { client } => {
                self.clients.remove(client);
                self.unlocking.extend(self.model.breaks(*client));
                Ok(())
            }
            Action::Arrive { maildrop, in_both, content } => {
                let maildrops = if *in_both { vec![0, 1] } else { vec![*maildrop] };
                self.deliver(&maildrops, content).await
            }
            Action::LeasesEnd => {
                self.town.time.advance(LEASE);
                self.model.leases_end();
                Ok(())
            }
        }
    }

    /// Those of the clients that have no session log in at once; at most one of them gets the maildrop.
    async fn log_in(&mut self, clients: &[usize], maildrop: usize) -> Result<(), Fault> {
        let clients: Vec<_> = clients.iter().copied().filter(|client| !self.model.has_session(*client)).collect();
        if self.unlocking.remove(&maildrop) && self.model.is_free(maildrop) {
            self.unlocked(maildrop).await;
        }
        let (address, password) = MAILDROPS[maildrop];
        let logins = clients.into_iter().map(async |number| {
            let mut client = self.connect().await?;
            let reply = client.log_in(address, password).await.map_err(|error| error.to_string())?;
            Ok::<_, Fault>((reply.is_ok(), number, client, reply))
        });
        let mut outcomes = join_all(logins).await.into_iter().collect::<Result<Vec<_>, _>>()?;
        // Who got it came first, whatever order the replies are in.
        outcomes.sort_by_key(|(is_ok, ..)| !is_ok);
        for (is_ok, number, client, reply) in outcomes {
            self.model.logs_in(number, maildrop, &reply)?;
            if is_ok {
                self.clients.insert(number, client);
            }
        }
        Ok(())
    }

    /// Waits until a maildrop can be opened that is free.
    async fn unlocked(&self, maildrop: usize) {
        let (address, password) = MAILDROPS[maildrop];
        eventually("the lock of a broken session to be given up", PATIENCE, async || {
            let mut client = self.connect().await.unwrap();
            let is_open = client.log_in(address, password).await.unwrap().is_ok();
            client.write(b"QUIT\r\n").await.unwrap();
            let is_ok = client.reply(false).await.unwrap().is_ok();
            (is_open && is_ok).then_some(())
        })
        .await;
    }

    async fn connect(&self) -> Result<Client, Fault> {
        Client::connect(self.town.address(EXMAIL, PortKey::Pop)).await.map_err(|error| error.to_string())
    }

    /// Nothing that is sent after QUIT is carried out.
    async fn say(&mut self, number: usize, commands: &[Command]) -> Result<(), Fault> {
        let mut client = match self.clients.remove(&number) {
            Some(client) => client,
            None => self.connect().await?,
        };
        let lines: String = commands.iter().map(Command::line).collect();
        client.write(lines.as_bytes()).await.map_err(|error| error.to_string())?;
        for command in commands {
            let reply = client.reply(command.is_answered_in_lines()).await;
            let reply = reply.map_err(|error| format!("{command:?}: {error}"))?;
            self.commands.fetch_add(1, Ordering::Relaxed);
            self.model
                .answers(number, command, &reply)
                .map_err(|fault| format!("client {number}, {command:?}: {fault}"))?;
            if *command == Command::Quit {
                return client.ends().await.map_err(|error| format!("after QUIT: {error}"));
            }
        }
        if self.model.has_session(number) {
            self.clients.insert(number, client);
        }
        Ok(())
    }

    async fn deliver(&mut self, maildrops: &[usize], content: &[u8]) -> Result<(), Fault> {
        let recipients = maildrops.iter().map(|maildrop| MAILDROPS[*maildrop].0.parse().unwrap());
        let sender: ReversePath = SENDER.parse().unwrap();
        let submission = Submission::new(uuid(), sender, recipients);
        let message = [self.profile.beginning, content].concat();
        let submitted = self.store.submit(&submission, Bytes::from(message.clone())).await;
        submitted.map_err(|error| error.to_string())?;
        self.model.arrives(maildrops, &[self.profile.prefix, &message].concat());
        Ok(())
    }

    /// Removes what a case that has failed left behind; that shows again when it is made smaller.
    async fn begin(&mut self) -> Result<(), Fault> {
        for (maildrop, (address, _)) in MAILDROPS.into_iter().enumerate() {
            self.unlocked(maildrop).await;
            let left = self.town.listing(address).await.messages.len() as u64;
            if left > 0 {
                let mut client = self.town.pop3(address).await;
                client.delete(1..=left).await.map_err(|error| error.to_string())?;
                client.quit().await;
            }
        }
        Ok(())
    }

    /// All connections break, which deletes nothing. Then one session reads and deletes what is left.
    async fn finish(&mut self) -> Result<(), Fault> {
        for client in 0..CLIENTS {
            self.act(&Action::Break { client }).await?;
        }
        for (maildrop, (address, _)) in MAILDROPS.into_iter().enumerate() {
            // Its lease may have ended while another client had the maildrop.
            self.unlocking.insert(maildrop);
            self.log_in(&[0], maildrop).await?;
            let count = self.town.listing(address).await.messages.len() as u64;
            let mut commands = vec![Command::Stat, Command::List(None), Command::Uidl(None)];
            commands.extend((1..=count + 1).flat_map(|number| [Command::Retr(number), Command::Dele(number)]));
            commands.push(Command::Quit);
            self.say(0, &commands).await?;
            self.log_in(&[0], maildrop).await?;
            self.say(0, &[Command::Stat, Command::Quit]).await?;
        }
        Ok(())
    }
}

/// A name that no other submission has.
fn uuid() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    format!("model {}", NEXT.fetch_add(1, Ordering::Relaxed))
}

async fn play(town: &TestTown, profile: Profile, actions: &[Action], commands: &AtomicUsize) -> Result<(), Fault> {
    let mut play = Play {
        town,
        store: town.store(EXMAIL),
        profile,
        model: Model::new(MAILDROPS.len(), profile.size_surplus),
        clients: BTreeMap::new(),
        unlocking: BTreeSet::new(),
        commands,
    };
    play.begin().await?;
    for action in actions {
        play.act(action).await?;
    }
    play.finish().await
}

/// What the model must know of a profile.
#[derive(Clone, Copy)]
struct Profile {
    /// How many octets more than its own each message is said to have.
    size_surplus: usize,
    /// How each message begins when it is sent.
    beginning: &'static [u8],
    /// What the store puts before each message.
    prefix: &'static [u8],
}

async fn obeys_the_model(plan: Plan, profile: Profile) {
    let (cases, seed) = (setting("MAILTOWN_POP3_CASES").unwrap_or(CASES), seed());
    eprintln!("MAILTOWN_POP3_CASES={cases} MAILTOWN_SEED={seed}");
    let town = TestTown::start(plan.limits("bad_commands = 1000")).await;
    let commands = AtomicUsize::new(0);
    let config = Config { cases: cases.try_into().unwrap(), failure_persistence: None, ..Config::default() };
    let mut random = Random(seed);
    let seed_octets: Vec<u8> = (0..32).map(|_| random.within(0..=255) as u8).collect();
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, &seed_octets);
    let mut runner = TestRunner::new_with_rng(config, random);
    let outcome = tokio::task::block_in_place(|| {
        runner.run(&action::case(), |actions| {
            let played = Handle::current().block_on(play(&town, profile, &actions, &commands));
            played.map_err(TestCaseError::fail)
        })
    });
    eprintln!("{} commands", commands.load(Ordering::Relaxed));
    if let Err(TestError::Fail(reason, actions)) = outcome {
        panic!("MAILTOWN_SEED={seed}: {reason}\n{actions:#?}");
    }
    outcome.unwrap();
    town.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_obey_the_model_in_profile_rfc() {
    let prefix = b"Return-Path: <sender@elsewhere.example>\r\n";
    obeys_the_model(Plan::default().rfc(), Profile { size_surplus: 0, beginning: b"Subject: of a model\r\n", prefix })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_obey_the_model_in_profile_tutorial() {
    obeys_the_model(Plan::default(), Profile { size_surplus: 3, beginning: b"", prefix: b"" }).await;
}
