//! The memory of a store does not depend on how many accounts it has, how many log in, or how often. The memory of a town
//! does not depend on how many messages pass through it.
//!
//! `MAILTOWN_GUESSES` is how many wrong passwords are tried (60 unless told), and how many users log in, up to all.
//! `MAILTOWN_MESSAGES` is how many messages are sent (2,000 unless told).

use crate::{campaign::setting, logs::NativeTown};
use futures_util::{StreamExt, future::join_all, stream};
use std::time::{Duration, Instant};
use town_tests::{EXMAIL, GMAIL, Plan, Pop3Client, ProcessTown, Service, Site, USR, USR1, USR2, eventually};

const STORE: Service = Service { binary: "mailbox-store", server: GMAIL };
const ACCOUNTS: usize = 300;
const GUESSES: u64 = 60;
const LIMIT_KIB: u64 = 120 * 1024;
/// Ten times what a quiet machine needs.
const START_WITHIN: Duration = Duration::from_secs(10);
/// How many clients log in at once.
const CLIENTS: usize = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_of_many_accounts_stays_small() {
    let mut town = ProcessTown::start(Plan::default().limits("bad_commands = 100").accounts(ACCOUNTS)).await;
    town.kill(STORE).await;
    for start in ["the second", "the third"] {
        let started = Instant::now();
        town.restart(STORE).await;
        let (elapsed, peak_kib) = (started.elapsed(), town.memory_kib(STORE, "VmHWM"));
        eprintln!("{start} start: ready after {elapsed:?}, at most {peak_kib} KiB");
        assert!(elapsed < START_WITHIN && peak_kib < LIMIT_KIB, "{start}: {elapsed:?}, {peak_kib} KiB");
        if start == "the second" {
            town.kill(STORE).await;
        }
    }

    let guesses = setting("MAILTOWN_GUESSES").unwrap_or(GUESSES) as usize;
    let logins = stream::iter(0..guesses.min(ACCOUNTS)).map(|number| log_in(&town, number, true));
    logins.buffer_unordered(CLIENTS).collect::<()>().await;
    let wrong = stream::iter(0..guesses).map(|number| log_in(&town, number % ACCOUNTS, false));
    wrong.buffer_unordered(CLIENTS).collect::<()>().await;
    let (peak_kib, now_kib) = (town.memory_kib(STORE, "VmHWM"), town.memory_kib(STORE, "VmRSS"));
    eprintln!("MAILTOWN_GUESSES={guesses}: at most {peak_kib} KiB, now {now_kib} KiB");
    assert!(peak_kib < LIMIT_KIB, "{peak_kib} KiB");
}

async fn log_in(town: &ProcessTown, number: usize, right: bool) {
    let mut client = Pop3Client::connect(town.address(GMAIL, town_config::PortKey::Pop)).await.unwrap();
    let password = if right { format!("many{number}") } else { "guess".to_owned() };
    let outcome = client.log_in(&format!("many{number}@gmail.com"), &password).await;
    assert_eq!(outcome.is_ok(), right, "{number}: {outcome:?}");
    if right {
        client.command(mail_proto::pop3::Command::Quit).await.unwrap();
    }
}

const MESSAGES: u64 = 2000;
const SENDERS: u64 = 16;
/// 100 MiB without them; 32 MiB of records, and what the console has of messages and sessions.
const TOWN_LIMIT_KIB: u64 = 200 * 1024;
/// How long a town of which nobody wants anything is watched, where many messages were asked for.
const PAUSE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_town_of_many_messages_stays_small() {
    let messages = setting("MAILTOWN_MESSAGES").unwrap_or(MESSAGES);
    let town = NativeTown::start(Plan::default()).await;
    eprintln!("at the start: {} KiB", town.memory_kib("VmRSS"));
    for half in ["a half", "all"] {
        let started = Instant::now();
        join_all((0..SENDERS).map(|_| send_many(&town.site, messages / 2 / SENDERS))).await;
        let limit = Duration::from_secs(60) + Duration::from_millis(10 * messages);
        let empty = async || town.site.queue(EXMAIL).await.is_empty().then_some(());
        eventually("an empty queue", limit, empty).await;
        eprintln!("{half} of {messages} messages in {:?}: {} KiB", started.elapsed(), town.memory_kib("VmRSS"));
    }
    if messages > MESSAGES {
        tokio::time::sleep(PAUSE).await;
    }
    let (peak_kib, now_kib) = (town.memory_kib("VmHWM"), town.memory_kib("VmRSS"));
    eprintln!("MAILTOWN_MESSAGES={messages}: at most {peak_kib} KiB, now {now_kib} KiB");
    assert!(peak_kib < TOWN_LIMIT_KIB, "{peak_kib} KiB");
}

/// Sends n messages on one connection, every other one to the other server.
async fn send_many(site: &Site, count: u64) {
    let message = format!("Subject: one of many\r\n\r\n{}", "and so on\r\n".repeat(100));
    let mut client = site.smtp(EXMAIL).await;
    client.hello().await;
    for number in 0..count {
        let recipient = if number % 2 == 0 { USR2 } else { USR };
        client.send(USR1, &[recipient], message.as_bytes()).await.unwrap();
    }
}
