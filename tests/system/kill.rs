//! `kill -9` of each service of a town under load: whatever was acknowledged is there at the end.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::task::JoinSet;
use town_config::PortKey;
use town_tests::{EXMAIL, GMAIL, PATIENCE, Plan, ProcessTown, Service, SmtpClient, USR, USR1, eventually};

/// How many messages must be acknowledged between two kills.
const BETWEEN_KILLS: usize = 20;
/// How many connections send at once, and so how many messages may be in flight when something is killed.
const CLIENTS: [(&str, &str, &[&str]); 4] =
    [(EXMAIL, USR1, &[USR1, USR]), (EXMAIL, USR1, &[USR1, USR]), (EXMAIL, USR1, &[USR]), (GMAIL, USR, &[USR1])];

/// What the clients have achieved.
#[derive(Default)]
struct Load {
    stop: AtomicBool,
    next: AtomicUsize,
    /// The recipients of each acknowledged message, by its number.
    acknowledged: Mutex<BTreeMap<usize, &'static [&'static str]>>,
}

impl Load {
    fn count(&self) -> usize {
        self.acknowledged.lock().unwrap().len()
    }

    /// Waits until n more messages are acknowledged.
    async fn goes_on(&self) {
        let before = self.count();
        eventually("more acknowledged messages", PATIENCE * 2, async || {
            (self.count() >= before + BETWEEN_KILLS).then_some(())
        })
        .await;
    }

    /// Sends one numbered message after the other, over new connections as often as they break.
    async fn send(
        self: Arc<Self>,
        address: std::net::SocketAddr,
        sender: &'static str,
        recipients: &'static [&'static str],
    ) {
        let mut client = None;
        while !self.stop.load(Ordering::Relaxed) {
            let Some(connected) = client.as_mut() else {
                match SmtpClient::connect(address).await {
                    Ok(mut connected) => {
                        client = connected.command("EHLO laptop").await.is_ok().then_some(connected);
                    }
                    // Its server is being started again.
                    Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
                }
                continue;
            };
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            // Some are large enough to be streamed.
            let padding = "x".repeat(if number.is_multiple_of(10) { 40_000 } else { 0 });
            let message = format!("Subject: {number}\r\n\r\n{padding}\r\n");
            match connected.send(sender, recipients, message.as_bytes()).await {
                Ok(_) => {
                    self.acknowledged.lock().unwrap().insert(number, recipients);
                }
                // Refused or broken off: a new number over a new connection.
                Err(_) => client = None,
            }
        }
    }
}

/// Kills and restarts these services one after the other under load; returns how many copies of acknowledged
/// messages came more often than once, which may only be relayed ones.
async fn survive(killed: &[Service]) -> usize {
    let mut town = ProcessTown::start(Plan::default().relay("retry = [\"1s\"]\nlease = \"2s\"")).await;
    let load = Arc::new(Load::default());
    let mut clients = JoinSet::new();
    for (server, sender, recipients) in CLIENTS {
        clients.spawn(Arc::clone(&load).send(town.address(server, PortKey::Smtp), sender, recipients));
    }
    for &service in killed {
        load.goes_on().await;
        town.kill(service).await;
        town.restart(service).await;
    }
    load.goes_on().await;
    load.stop.store(true, Ordering::Relaxed);
    clients.join_all().await;
    town.drained(EXMAIL).await;
    town.drained(GMAIL).await;

    let (at_exmail, at_gmail) = (copies(&town, USR1).await, copies(&town, USR).await);
    let mut repeated = 0;
    for (number, recipients) in load.acknowledged.lock().unwrap().iter() {
        for recipient in *recipients {
            let relayed = recipients.len() == 1 || *recipient == USR;
            let found = if *recipient == USR1 { &at_exmail } else { &at_gmail };
            let copies = found.get(number).copied().unwrap_or(0);
            assert!(copies > 0, "message {number} for {recipient} was acknowledged and is lost");
            assert!(copies == 1 || relayed, "message {number} is {copies} times in the maildrop of {recipient}");
            repeated += copies - 1;
        }
    }
    eprintln!("{} acknowledged, {repeated} copies too many, after {killed:?}", load.count());
    repeated
}

/// How often each number stands in a maildrop.
async fn copies(town: &ProcessTown, address: &str) -> BTreeMap<usize, usize> {
    let mut copies = BTreeMap::new();
    for message in town.mail(address).await {
        let text = String::from_utf8(message).unwrap();
        let number = text.strip_prefix("Subject: ").and_then(|text| text.lines().next()).unwrap();
        let number = number.parse().unwrap_or_else(|_| panic!("{address} has got {text}"));
        *copies.entry(number).or_default() += 1;
    }
    copies
}

#[tokio::test]
async fn killed_name_servers_and_pop3_gateways_cost_nothing() {
    let killed = Service::ALL.into_iter().filter(|service| ["pseudo-dns", "pop3-gateway"].contains(&service.binary));
    assert_eq!(survive(&Vec::from_iter(killed)).await, 0);
}

/// A relay whose connection broke after the final dot, or which could not record the outcome, must send again.
#[tokio::test]
async fn killed_smtp_gateways_lose_nothing() {
    let killed = Service::ALL.into_iter().filter(|service| service.binary == "smtp-gateway");
    assert!(survive(&Vec::from_iter(killed)).await <= MOST_IN_FLIGHT);
}

#[tokio::test]
async fn killed_stores_lose_nothing() {
    let killed = Service::ALL.into_iter().filter(|service| service.binary == "mailbox-store");
    assert!(survive(&Vec::from_iter(killed)).await <= MOST_IN_FLIGHT);
}

/// Two kills; at each, four relay workers of both servers have one message on its way and one to be settled.
const MOST_IN_FLIGHT: usize = 2 * 4 * 2 * 2;
