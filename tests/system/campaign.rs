//! The crash campaign: a town of processes under load, of which a random one is killed every moment.
//!
//! At its end, a reader has seen each message that was acknowledged, or the message is in its maildrop, once. What a reader
//! has deleted did not come back, and the stores are sound. A relay whose connection is cut after the final dot must send
//! again, so relayed mail may come twice. A kill must explain each such copy.
//!
//! `MAILTOWN_KILLS` is how often (15 unless told), `MAILTOWN_SEED` what decides which service is killed when.

mod ledger;
mod reader;
mod sender;

pub(crate) use ledger::{Kill, Ledger, Verdict};
use reader::Reader;
use rusqlite::Connection;
use std::{
    env,
    hash::{BuildHasher, RandomState},
    ops::RangeInclusive,
    process::Command,
    sync::{Arc, atomic::AtomicBool, atomic::Ordering},
    time::{Duration, SystemTime},
};
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{sleep, timeout},
};
use town_config::PortKey;
use town_tests::{EXMAIL, GMAIL, PATIENCE, Plan, ProcessTown, Random, Service, USR, USR1, USR2, binaries, eventually};

/// How often something is killed unless `MAILTOWN_KILLS` says otherwise.
const KILLS: u64 = 15;
/// How long a town may run between two kills, in milliseconds.
const PAUSE_MS: RangeInclusive<u64> = 50..=300;
/// How many connections a server relays over at once.
const RELAY_CONNECTIONS: usize = 2;
/// What a killed relay held is free again after so long.
const RELAY_LEASE: Duration = Duration::from_secs(2);
/// At a kill each connection of both servers has one message on its way and one that is yet to be settled.
const MOST_IN_FLIGHT: usize = 2 * RELAY_CONNECTIONS * 2;
/// How long a message that waits in a queue may take, on average: far longer than it does.
const RELAY_TIME: Duration = Duration::from_millis(20);

/// Who sends to whom, over how many connections each.
const CONNECTIONS_EACH: usize = 4;
const CORRESPONDENCE: [(&str, &str, &[&str]); 6] = [
    (EXMAIL, USR1, &[USR1, USR]),
    (EXMAIL, USR2, &[USR1, USR2]),
    (EXMAIL, USR1, &[USR]),
    (EXMAIL, USR2, &[USR1, USR2, USR]),
    (GMAIL, USR, &[USR1, USR2]),
    (GMAIL, USR, &[USR, USR2]),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn campaign() {
    let kills = setting("MAILTOWN_KILLS").unwrap_or(KILLS);
    let seed = seed();
    eprintln!("MAILTOWN_KILLS={kills} MAILTOWN_SEED={seed}");
    let town = ProcessTown::start(plan()).await;
    let verdict = survive(town, async |town, ledger| rage(town, kills, seed, ledger).await).await;
    eprintln!("MAILTOWN_SEED={seed}: {verdict}");
    verdict.assert_faultless();
    assert!(verdict.acknowledged as u64 >= kills, "hardly anything was acknowledged");
}

/// A town whose relays try again at once.
pub(crate) fn plan() -> Plan {
    let lease = RELAY_LEASE.as_secs();
    let relay = format!("retry = [\"100ms\"]\nlease = \"{lease}s\"\nconnections_per_domain = {RELAY_CONNECTIONS}");
    Plan::default().relay(&relay).limits("pop3_lease = \"1s\"")
}

/// Has mail sent and read in a town for as long as `rage` does there what it answers with, and accounts for it all.
pub(crate) async fn survive(
    mut town: ProcessTown,
    rage: impl AsyncFnOnce(&mut ProcessTown, &Ledger) -> Vec<Kill>,
) -> Verdict {
    let ledger = Arc::new(Ledger::default());
    let (senders_stop, readers_stop): (Arc<AtomicBool>, Arc<AtomicBool>) = Default::default();
    let begun = Arc::new(Semaphore::new(0));
    let mut senders = JoinSet::new();
    for (server, sender, recipients) in CORRESPONDENCE.repeat(CONNECTIONS_EACH) {
        let address = town.address(server, PortKey::Smtp);
        let correspondent =
            sender::Sender { address, sender, recipients, ledger: Arc::clone(&ledger), begun: Arc::clone(&begun) };
        senders.spawn(correspondent.send_until(Arc::clone(&senders_stop)));
    }
    let mut readers = JoinSet::new();
    for (server, user, password) in [(EXMAIL, USR1, "pass1"), (EXMAIL, USR2, "pass2"), (GMAIL, USR, "pass")] {
        let reader = Reader::new(town.address(server, PortKey::Pop), (user, password), Arc::clone(&ledger));
        readers.spawn(reader.read_until(Arc::clone(&readers_stop)));
    }

    // Few kills, or a slow machine, must not come before the first messages.
    let all_have_begun = begun.acquire_many(senders.len() as u32);
    timeout(PATIENCE, all_have_begun).await.expect("messages of each connection are acknowledged").unwrap().forget();
    let killed = rage(&mut town, &ledger).await;
    senders_stop.store(true, Ordering::Relaxed);
    senders.join_all().await;
    for service in Service::ALL {
        town.ready(service).await;
    }
    drained(&town, PATIENCE + RELAY_TIME * ledger.len() as u32).await;
    readers_stop.store(true, Ordering::Relaxed);
    let mut maildrops = Vec::new();
    for reader in readers.join_all().await {
        maildrops.push(reader.finish().await);
    }
    for server in [EXMAIL, GMAIL] {
        town.kill(Service { binary: "mailbox-store", server }).await;
        sound(&town, server);
        events_agree(&town, server);
    }
    ledger.judge(&maildrops, &killed)
}

/// Kills services and starts them again at once, ready or not.
async fn rage(town: &mut ProcessTown, kills: u64, seed: u64, ledger: &Ledger) -> Vec<Kill> {
    let mut random = Random(seed);
    let mut killed = Vec::new();
    for number in 1..=kills {
        sleep(Duration::from_millis(random.within(PAUSE_MS))).await;
        let service = Service::ALL[random.within(0..=Service::ALL.len() as u64 - 1) as usize];
        killed.push(Kill { at: SystemTime::now(), service });
        town.kill(service).await;
        town.spawn(service);
        if number.is_multiple_of(100) {
            eprintln!("{number} kills, {} messages", ledger.len());
        }
    }
    killed
}

async fn drained(town: &ProcessTown, limit: Duration) {
    for server in [EXMAIL, GMAIL] {
        eventually(&format!("an empty queue at {server}"), limit, async || {
            town.queue(server).await.is_empty().then_some(())
        })
        .await;
    }
}

/// Looks for damage in a store that is not running.
pub(crate) fn sound(town: &ProcessTown, server: &str) {
    let mut check = Command::new(binaries::path("mailbox-store"));
    check.args(["--name", server, "--config"]).arg(town.config()).arg("--data").arg(town.data(server));
    let output = check.arg("check").output().unwrap();
    assert!(output.status.success(), "{server}: {output:?}");
}

/// Compares the events of a store that is not running with what it holds: each change has its event, and each event its
/// change.
fn events_agree(town: &ProcessTown, server: &str) {
    let database = Connection::open(town.data(server).join("store.db")).unwrap();
    let count = |sql: &str| database.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    let told = |sign: &str| {
        let of_one =
            "SELECT json_extract(value, '$.kind') AS kind, json_array_length(value, '$.recipients') AS recipients
             FROM events, json_each(detail) WHERE last_message_id IS NULL";
        count(&format!("SELECT COALESCE(SUM(CASE {sign} ELSE 0 END), 0) FROM ({of_one})"))
    };
    // What a session deleted of many messages is one record.
    let many = "SELECT COALESCE(SUM(1 + json_array_length(detail, '$.steps')), 0) FROM events
         WHERE last_message_id IS NOT NULL";
    let accepted = told("kind WHEN 'accepted' THEN 1");
    assert_eq!(accepted, count("SELECT COUNT(*) FROM submissions"), "{server}: messages");
    let held = told("kind WHEN 'delivered' THEN recipients WHEN 'deleted' THEN -recipients") - count(many);
    assert_eq!(held, count("SELECT COUNT(*) FROM maildrops"), "{server}: maildrop entries");
    let queued = told(
        "kind WHEN 'queued' THEN recipients WHEN 'relayed' THEN -recipients WHEN 'failed' THEN -recipients
         WHEN 'expired' THEN -recipients",
    );
    assert_eq!(queued, count("SELECT COUNT(*) FROM queue"), "{server}: queue entries");
}

/// What decides what happens when: `MAILTOWN_SEED`, or chance.
pub(crate) fn seed() -> u64 {
    setting("MAILTOWN_SEED").unwrap_or_else(|| RandomState::new().hash_one(0))
}

/// A number from the environment.
pub(crate) fn setting(name: &str) -> Option<u64> {
    let value = env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name} is {value:?}; give a number")))
}
