//! The console and a gateway, killed while mail flows.

use serde_json::Value;
use std::{
    collections::BTreeSet,
    process::Stdio,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};
use tokio::process::Child;
use town_tests::{
    ConsoleClient, EXMAIL, GMAIL, PATIENCE, Plan, ProcessTown, Service, TOKEN, USR, USR1, USR2, eventually, mailtown,
};

/// What is in the console at the latest after this time.
const LATE: Duration = Duration::from_secs(1);
const GATEWAY: Service = Service { binary: "smtp-gateway", server: EXMAIL };

/// The console of a town as a process of its own.
struct Console {
    process: Child,
    client: ConsoleClient,
}

impl Console {
    async fn start(town: &ProcessTown) -> Self {
        let mut command = mailtown::command("console");
        command
            .arg("--config")
            .arg(town.config())
            .env("MAILTOWN_TOKEN", TOKEN)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let console = Self { process: command.spawn().unwrap(), client: ConsoleClient::new(town.console()) };
        eventually("the console follows all services", PATIENCE, async || {
            let request = console.client.request(reqwest::Method::GET, "/v1/services");
            let services: Value = request.send().await.ok()?.json().await.ok()?;
            let services = services["services"].as_array()?.clone();
            (services.len() == Service::ALL.len() && services.iter().all(|it| it["state"] == "following")).then_some(())
        })
        .await;
        console
    }

    async fn kill(mut self) {
        self.process.kill().await.unwrap();
    }
}

/// Sends one message after the other until it is told to stop; returns their ids, and when each was taken.
async fn load(town: &ProcessTown, sender: &str, recipient: &str, stop: &AtomicBool) -> Vec<(String, Instant)> {
    let mut sent = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let subject = format!("Subject: load {}\r\n\r\n", sent.len());
        sent.push((town.send(sender, &[recipient], subject.as_bytes()).await, Instant::now()));
    }
    sent
}

/// The ids of all messages that match.
async fn listed(console: &ConsoleClient, query: &str) -> BTreeSet<String> {
    let (mut found, mut next) = (BTreeSet::new(), String::new());
    loop {
        let page = console.get(&format!("/v1/mail?query={query}&limit=1000{next}")).await;
        found.extend(page["mail"].as_array().unwrap().iter().map(|mail| mail["id"].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            Some(before) => next = format!("&before={before}"),
            None => return found,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_console_costs_no_mail_and_has_all_again() {
    let town = ProcessTown::start(Plan::default()).await;
    let console = Console::start(&town).await;
    let stop = AtomicBool::new(false);
    let (near, far, ()) = tokio::join!(load(&town, USR1, USR2, &stop), load(&town, USR2, USR, &stop), async {
        let seen = async |count: usize, client: &ConsoleClient| {
            let found = async || (listed(client, "subject:load").await.len() >= count).then_some(());
            eventually("mail in the console", PATIENCE, found).await;
        };
        seen(20, &console.client).await;
        console.kill().await;
        // Mail goes on without it.
        eventually("mail without a console", PATIENCE, async || {
            (town.listing(USR2).await.messages.len() >= 40).then_some(())
        })
        .await;
        let again = Console::start(&town).await;
        seen(60, &again.client).await;
        again.kill().await;
        stop.store(true, Ordering::Relaxed);
    });
    town.drained(EXMAIL).await;
    assert_eq!(town.mail_of(USR2, near.len()).await.len(), near.len());
    assert_eq!(town.mail_of(USR, far.len()).await.len(), far.len());
    // A new one has all that the stores have, and the way of what was relayed.
    let last = Console::start(&town).await;
    let expected: BTreeSet<_> = near.into_iter().map(|(id, _)| id).collect();
    eventually("all mail is there again", PATIENCE, async || {
        let here = listed(&last.client, "subject:load%20stack:exmail.qq.com").await;
        let there = listed(&last.client, "subject:load%20stack:gmail.com").await;
        (here == expected && there.len() == far.len()).then_some(())
    })
    .await;
    let relayed: BTreeSet<_> = far.into_iter().map(|(id, _)| id).collect();
    assert_eq!(listed(&last.client, "state:relayed%20is:gone").await, relayed);
    last.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sessions_of_a_killed_gateway_stay_in_the_console() {
    let mut town = ProcessTown::start(Plan::default()).await;
    let console = Console::start(&town).await;
    let client = &console.client;
    let started = Instant::now();
    let mut sent = Vec::new();
    // Without a pause, for longer than what may be lost.
    while started.elapsed() < LATE * 3 {
        sent.push((town.send(USR1, &[USR2], b"Subject: load\r\n\r\n").await, Instant::now()));
    }
    town.kill(GATEWAY).await;
    let killed = Instant::now();
    eventually("the console misses the gateway", PATIENCE, async || {
        let services = client.get("/v1/services").await;
        let all = services["services"].as_array().unwrap().clone();
        let is_it = |it: &&Value| it["service"] == GATEWAY.binary && it["stack"] == GATEWAY.server;
        (all.iter().find(is_it)?["state"] == "unreachable").then_some(())
    })
    .await;
    let old: Vec<_> = sent.iter().filter(|(_, at)| killed.duration_since(*at) > LATE).collect();
    assert!(old.len() > 10, "{} of {} are old", old.len(), sent.len());
    let session_of = async |id: &str| client.get(&format!("/v1/sessions?message={id}")).await["sessions"][0].clone();
    for (id, at) in &old {
        let session = session_of(id).await;
        let age = killed.duration_since(*at);
        assert!(session["closed_at"].is_string(), "{id}, taken {age:?} before the end: {session}");
    }
    // What was said is there, too, and stays when the gateway is there again.
    town.restart(GATEWAY).await;
    let new = town.send(USR1, &[USR2], b"Subject: after\r\n\r\n").await;
    eventually("a session of the new gateway", PATIENCE, async || session_of(&new).await.is_object().then_some(()))
        .await;
    let first = session_of(&sent[0].0).await["id"].as_str().unwrap().to_owned();
    let records = client.get(&format!("/v1/sessions/{first}")).await["records"].to_string();
    assert!(records.contains("usr2@mail.sustech.edu.cn"), "{records}");
    assert_eq!(town.listing(USR2).await.messages.len(), sent.len() + 1);
    assert!(town.queue(GMAIL).await.is_empty());
    console.kill().await;
}
