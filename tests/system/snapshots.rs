//! Snapshots of a running town, and what becomes of it when they are restored.

mod killed;
mod live;
mod load;
mod state;

use crate::{
    campaign::{seed, setting},
    ports::options,
};
use jiff::Timestamp;
use load::Load;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use state::StoreFile;
use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    process::{Command, Output},
    time::{Duration, Instant},
};
use town_config::PortKey;
use town_tests::{
    Answer, ConsoleClient, EXMAIL, FakePeer, GMAIL, Mailtown, PATIENCE, Plan, Pop3Client, Random, SmtpClient, TestTown,
    USR, USR1, USR2, binaries, eventually, mailtown, polite,
};

/// How many rounds there are without `MAILTOWN_SNAPSHOTS`.
const ROUNDS: u64 = 3;
/// The exchange of far.test is busy: its mail waits.
const RETRIES: &str = "retry = [\"10m\"]\nexpiry = \"30d\"\n";

async fn call(console: &ConsoleClient, method: Method, path: &str) -> (StatusCode, Value) {
    let (status, text) = console.answer(console.request(method, path)).await;
    (status, serde_json::from_str(&text).unwrap_or(Value::Null))
}

async fn take(console: &ConsoleClient, name: &str) -> Value {
    let (status, taken) = call(console, Method::POST, &format!("/v1/snapshots/{name}")).await;
    assert_eq!(status, StatusCode::CREATED, "{taken}");
    taken
}

async fn restore(console: &ConsoleClient, name: &str) -> Value {
    let (status, restored) = call(console, Method::POST, &format!("/v1/snapshots/{name}/restore")).await;
    assert_eq!((status, &restored["unreachable"]), (StatusCode::OK, &json!([])), "{restored}");
    restored
}

async fn advance(console: &ConsoleClient, by: &str) {
    let request = console.request(Method::POST, "/v1/clock/advance").json(&json!({"by": by}));
    let (status, text) = console.answer(request).await;
    assert_eq!(status, StatusCode::OK, "{text}");
}

async fn now(console: &ConsoleClient) -> Timestamp {
    console.get("/v1/clock").await["now"].as_str().unwrap().parse().unwrap()
}

async fn busy_peer() -> FakePeer {
    FakePeer::start(|line| match line.text.starts_with("RCPT") {
        true => "451 4.3.2 not now".into(),
        false => polite(line),
    })
    .await
}

/// The uids of a maildrop, as POP3 tells them.
async fn uids(town: &TestTown, address: &str) -> Vec<String> {
    let mut client = town.pop3(address).await;
    let reply = client.command(mail_proto::pop3::Command::Uidl(None)).await.unwrap();
    client.quit().await;
    let text = String::from_utf8(reply.body).unwrap();
    text.lines().map(|line| line.split_once(' ').unwrap().1.to_owned()).collect()
}

async fn delete_all(town: &TestTown, address: &str) {
    let mut client = town.pop3(address).await;
    let (count, _) = client.stat().await;
    if count > 0 {
        client.delete(1..=count).await.unwrap();
    }
    client.quit().await;
}

/// `mailbox-store check` finds nothing.
fn check_is_clean(town: &TestTown, server: &str) {
    let mut check = Command::new(binaries::path("mailbox-store"));
    check.args(["--name", server, "--config"]).arg(town.config()).arg("--data").arg(town.state().join(server));
    let output = check.arg("check").output().unwrap();
    assert!(output.status.success(), "{server}: {output:?}");
}

/// Under load, each snapshot is a consistent cut, and what is restored is the snapshot.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_town_under_load_is_restored_as_it_was() {
    let (rounds, first) = (setting("MAILTOWN_SNAPSHOTS").unwrap_or(ROUNDS), seed());
    println!("MAILTOWN_SEED={first}");
    let peer = busy_peer().await;
    let town = TestTown::start_with_console(Plan::default().relay(RETRIES).peer("far.test", peer.port())).await;
    let console = town.console_client();
    // A login has the hash of its password stored, which is computed only once.
    for address in [USR1, USR2, USR] {
        uids(&town, address).await;
    }
    take(&console, "empty").await;
    let mut took = Vec::new();
    for round in 0..rounds {
        let seed = first.wrapping_add(round);
        // So the town stays small.
        restore(&console, "empty").await;
        took.extend(round_of(&town, round, seed).await);
        if round % 10 == 9 {
            println!("{} rounds", round + 1);
        }
    }
    took.sort();
    let middle = took[took.len() / 2];
    println!(
        "{rounds} rounds; restores without attempts under way: {middle:?} in the middle, {:?} at most",
        took[took.len() - 1]
    );
    town.stop().await;
}

/// One snapshot and its restore; returns how long that took, where no attempt to relay was waited for.
async fn round_of(town: &TestTown, round: u64, seed: u64) -> Option<Duration> {
    let (console, mut random, name) = (town.console_client(), Random(seed), format!("round-{round}"));
    let mut load = Load::start(town, round, seed);
    load.acknowledged(random.within(3..=25) as usize).await;
    let (before, listed) = (load.so_far(), uids(town, USR2).await);
    let taken = take(&console, &format!("{name}?seed={seed}")).await;
    let after = load.so_far();
    assert_eq!((&taken["seed"], &taken["virtual"]), (&json!(seed.to_string()), &json!(true)), "{taken}");

    load.acknowledged(after.len() + random.within(3..=25) as usize).await;
    if random.percent(50) {
        advance(&console, &format!("{}m", random.within(1..=60))).await;
    }
    if random.percent(50) {
        delete_all(town, USR2).await;
    }
    load.stop().await;
    let is_quiet = round.is_multiple_of(2);
    if is_quiet {
        settled(town, &console).await;
    }

    let then = Instant::now();
    let restored = restore(&console, &name).await;
    let took = then.elapsed();
    if is_quiet {
        assert_eq!(restored["unsettled"], 0, "{restored}");
    }
    assert_eq!(now(&console).await, taken["now"].as_str().unwrap().parse().unwrap(), "seed {seed}");

    // All that was acknowledged before is in it, and nothing that was sent after it: each in one place.
    let files = [EXMAIL, GMAIL].map(|server| StoreFile::snapshot(&town.state(), server, &name));
    let mut places = BTreeMap::<(String, String), Vec<String>>::new();
    for (key, place) in files.iter().flat_map(StoreFile::places) {
        places.entry(key).or_default().push(place);
    }
    let doubled: Vec<_> = places.iter().filter(|(_, places)| places.len() != 1).collect();
    assert!(doubled.is_empty(), "seed {seed}: {doubled:?}");
    let lost: Vec<_> = before.iter().filter(|sent| !places.contains_key(*sent)).collect();
    assert!(lost.is_empty(), "seed {seed}: {lost:?}");
    let early: Vec<_> = load.so_far().into_iter().skip(after.len() + 4 * load::SENDERS).collect();
    let strange: Vec<_> = early.iter().filter(|sent| places.contains_key(*sent)).collect();
    assert!(strange.is_empty(), "seed {seed}: {strange:?}");

    // What the town has not done anything with since is what it was, to the last column.
    for (file, server) in files.iter().zip([EXMAIL, GMAIL]) {
        let live = StoreFile::live(&town.state(), server);
        let touched = live.touched_since_restore();
        let (now, then) = (live.untouched(&touched), file.untouched(&touched));
        let differ: Vec<_> = now.symmetric_difference(&then).collect();
        assert!(differ.is_empty(), "seed {seed}: {server}: {differ:#?}");
    }
    let uids = uids(town, USR2).await;
    assert!(listed.iter().all(|uid| uids.contains(uid)), "seed {seed}: {listed:?} {uids:?}");

    // It goes on from there, and nothing is lost or doubled.
    settled(town, &console).await;
    let mut found = BTreeMap::<(String, String), Vec<String>>::new();
    for (key, place) in [EXMAIL, GMAIL].iter().flat_map(|server| StoreFile::live(&town.state(), server).places()) {
        found.entry(key).or_default().push(place);
    }
    assert_eq!(found.keys().collect::<Vec<_>>(), places.keys().collect::<Vec<_>>(), "seed {seed}");
    assert!(found.values().all(|places| places.len() == 1), "seed {seed}: {found:?}");
    for server in [EXMAIL, GMAIL] {
        check_is_clean(town, server);
    }
    let (status, _) = call(&console, Method::DELETE, &format!("/v1/snapshots/{name}")).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    is_quiet.then_some(took)
}

async fn settled(town: &TestTown, console: &ConsoleClient) {
    eventually("only what far.test takes later is queued", PATIENCE, async || {
        let idle = console.get("/v1/idle?timeout=5").await;
        let queued = [town.queue(EXMAIL).await, town.queue(GMAIL).await].concat();
        let waits = queued.iter().all(|entry| entry.recipient.to_string().ends_with("@far.test"));
        (waits && idle["claimed"] == 0 && idle["due"] == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_console_shows_the_restored_town() {
    let town = TestTown::start_with_console(Plan::default()).await;
    let console = town.console_client();
    let kept = town.send(USR1, &[USR], b"Subject: kept\r\n\r\n").await;
    town.mail_of(USR, 1).await;
    eventually("the town is idle", PATIENCE, async || {
        (console.get("/v1/idle?timeout=5").await["idle"] == true).then_some(())
    })
    .await;
    let place = json!({"stack": EXMAIL, "service": "smtp-gateway", "verb": "NOOP"});
    let set = json!({"where": place, "what": {"reply": "451 4.3.0 no"}, "when": {"times": 2}});
    console.answer(console.request(Method::PUT, "/v1/faults/f").json(&set)).await;
    let mut client = town.smtp(EXMAIL).await;
    assert_eq!(client.command("NOOP").await.unwrap(), "451 4.3.0 no");
    let taken = take(&console, "s").await;
    assert!(taken["zone"].as_str().unwrap().contains("[MX]"), "{taken}");
    let journey = console.get(&format!("/v1/mail/{kept}/journey")).await;

    console.json(Method::DELETE, "/v1/faults").await;
    let gone = town.send(USR1, &[USR2], b"Subject: gone\r\n\r\n").await;
    town.mail_of(USR2, 1).await;
    delete_all(&town, USR).await;
    advance(&console, "1h").await;
    restore(&console, "s").await;

    assert_eq!(console.subjects("").await, ["kept"]);
    assert_eq!(call(&console, Method::GET, &format!("/v1/mail/{gone}")).await.0, StatusCode::NOT_FOUND);
    let again = console.get(&format!("/v1/mail/{kept}/journey")).await;
    let fates = |journey: &Value| journey["fates"].clone();
    assert_eq!(fates(&again), fates(&journey));
    let fault = console.get("/v1/faults/f").await;
    assert_eq!((&fault["what"], &fault["fired"]), (&set["what"], &json!(1)), "it had happened once");
    let mut replies = Vec::new();
    for _ in 0..2 {
        replies.push(client.command("NOOP").await.unwrap());
    }
    assert_eq!(replies, ["451 4.3.0 no", "250 2.0.0 OK"]);
    assert_eq!(town.mail(USR).await.len(), 1);
    // What comes from now on has an id of its own.
    let next = town.send(USR1, &[USR2], b"Subject: next\r\n\r\n").await;
    assert!(next > gone, "{next} {gone}");
    let list = console.get("/v1/snapshots").await;
    assert_eq!(list["snapshots"][0]["name"], "s");
    assert_eq!(call(&console, Method::DELETE, "/v1/snapshots/s").await.0, StatusCode::NO_CONTENT);
    assert_eq!(console.get("/v1/snapshots").await, json!({"snapshots": []}));
    town.stop().await;
}

/// A server that hangs keeps a snapshot from being taken, and mail is not kept back afterwards.
#[tokio::test]
async fn a_hanging_attempt_is_told_and_nothing_is_left_held() {
    let peer = FakePeer::start(|_| Answer::Hang).await;
    let town = TestTown::start_with_console(Plan::default().peer("far.test", peer.port())).await;
    let console = town.console_client();
    take(&console, "before").await;
    town.send(USR1, &["x@far.test"], b"Subject: stuck\r\n\r\n").await;
    eventually("the attempt has begun", PATIENCE, async || {
        town.queue(EXMAIL).await.iter().any(|entry| entry.leased).then_some(())
    })
    .await;
    let (status, problem) = call(&console, Method::POST, "/v1/snapshots/s").await;
    assert_eq!((status, &problem["type"]), (StatusCode::CONFLICT, &json!("urn:mailtown:problem:still-relaying")));
    assert!(problem["detail"].as_str().unwrap().contains("exmail.qq.com to 1 recipients"), "{problem}");
    // The older one of this name is kept.
    let (status, problem) = call(&console, Method::POST, "/v1/snapshots/before").await;
    assert_eq!((status, &problem["type"]), (StatusCode::CONFLICT, &json!("urn:mailtown:problem:snapshot-exists")));
    assert_eq!(console.get("/v1/snapshots").await["snapshots"].as_array().unwrap().len(), 1);
    town.send(USR1, &[USR], b"Subject: on\r\n\r\n").await;
    town.mail_of(USR, 1).await;
    // A restore ends what hangs.
    let (status, restored) = call(&console, Method::POST, "/v1/snapshots/before/restore").await;
    assert_eq!((status, &restored["unsettled"]), (StatusCode::OK, &json!(1)), "{restored}");
    assert_eq!(town.queue(EXMAIL).await.len(), 0);
    town.stop().await;
}

#[tokio::test]
async fn what_cannot_be_is_a_problem() {
    let town = TestTown::start_with_console(Plan::default()).await;
    let console = town.console_client();
    take(&console, "s").await;
    for (method, path, expected, kind) in [
        (Method::POST, "/v1/snapshots/s", StatusCode::CONFLICT, "snapshot-exists"),
        (Method::POST, "/v1/snapshots/S", StatusCode::BAD_REQUEST, "invalid-request"),
        (Method::POST, "/v1/snapshots/other/restore", StatusCode::NOT_FOUND, "snapshot-unknown"),
        (Method::GET, "/v1/snapshots/other", StatusCode::NOT_FOUND, "snapshot-unknown"),
        (Method::DELETE, "/v1/snapshots/other", StatusCode::NOT_FOUND, "snapshot-unknown"),
    ] {
        let (status, problem) = call(&console, method.clone(), path).await;
        assert_eq!(status, expected, "{method} {path}: {problem}");
        assert_eq!(problem["type"], format!("urn:mailtown:problem:{kind}"), "{method} {path}");
    }
    // The one that there was is still there.
    assert_eq!(console.get("/v1/snapshots/s").await["name"], "s");
    // A store that has lost it keeps all from being restored.
    town.store(GMAIL).remove_snapshot("s").await.unwrap();
    let (status, problem) = call(&console, Method::POST, "/v1/snapshots/s/restore").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(problem["detail"].as_str().unwrap().contains("missing in the mailbox-store of gmail.com"), "{problem}");
    town.stop().await;
}

async fn said(town: &Mailtown, arguments: &[&str]) -> Output {
    let mut command = mailtown::command("mailtown");
    command.args(["--ports-file", "ports.json", "snapshot"]).args(arguments).current_dir(town.directory());
    command.output().await.unwrap()
}

async fn command(town: &Mailtown, arguments: &[&str]) -> String {
    let output = said(town, arguments).await;
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What a failed run uploads is the same town on another machine.
#[tokio::test]
async fn an_exported_town_is_opened_elsewhere() {
    let site = Plan::default().write();
    let clock = "--virtual-clock=2026-01-01T00:00:00Z".into();
    let mut town = Mailtown::start(options(&site).into_iter().chain([clock]));
    let ports = town.ports().await;
    let smtp = ports.address(EXMAIL, PortKey::Smtp).unwrap();
    let mut client = SmtpClient::connect(smtp).await.unwrap();
    client.hello().await;
    let large = [&b"Subject: large\r\n\r\n"[..], &b"x\r\n".repeat(100_000)].concat();
    client.send(USR1, &[USR2], &large).await.unwrap();
    let took = command(&town, &["take", "failed", "--seed", "42"]).await;
    assert_eq!(took, "took failed: 1 message and 0 recipients of the queue in 2 stores, at 2026-01-01T00:00:00Z\n");
    assert!(command(&town, &["list"]).await.contains("\nfailed "), "it is listed");
    let config = site.config().to_str().unwrap();
    let export = ["export", "failed", "town.tar", "--config", config];
    let output = said(&town, &export).await;
    let octets = fs::metadata(town.directory().join("town.tar")).unwrap().len();
    let told = [output.stdout, output.stderr].map(|octets| String::from_utf8(octets).unwrap());
    assert_eq!(told, [String::new(), format!("town.tar: {octets} octets\n")]);
    // What another run has uploaded is not lost.
    let refused = String::from_utf8(said(&town, &export).await.stderr).unwrap();
    assert_eq!(refused, "error: town.tar exists; remove it, or give another name\n");
    client.send(USR1, &[USR2], b"Subject: late\r\n\r\n").await.unwrap();
    let restored = command(&town, &["restore", "failed"]).await;
    assert_eq!(restored, took.replace("took", "restored"));
    assert_eq!(command(&town, &["delete", "failed"]).await, "failed is deleted\n");
    assert!(command(&town, &[]).await.starts_with("no snapshots; "));
    let archive = town.directory().join("town.tar");
    let mut listed = Command::new("tar");
    let listed = listed.arg("-tf").arg(&archive).output().unwrap();
    let expected = [
        "config.toml",
        "manifest.json",
        "stores/exmail.qq.com.db",
        "stores/gmail.com.db",
        "records/sessions.jsonl",
        "captures/town.pcapng",
    ];
    assert_eq!(String::from_utf8(listed.stdout).unwrap().lines().collect::<Vec<_>>(), expected);

    // One that was cut off makes no town, and leaves nothing.
    let octets = fs::read(&archive).unwrap();
    fs::write(town.directory().join("half.tar"), &octets[..octets.len() / 2]).unwrap();
    let nothing = town.directory().join("nothing");
    let mut half = mailtown::command("mailtown");
    half.args(["snapshot", "open", "half.tar", "--state"]).arg(&nothing).current_dir(town.directory());
    let output = half.output().await.unwrap();
    assert!(!output.status.success(), "{output:?}");
    assert!(!nothing.exists());

    let state = town.directory().join("elsewhere");
    let state = state.to_str().unwrap();
    let said = command(&town, &["open", "town.tar", "--state", state]).await;
    let start = said.lines().find_map(|line| line.strip_prefix("  mailtown --state ")).unwrap().to_owned();
    assert!(said.contains("seed 42"), "{said}");
    // The other one has its ports.
    assert!(town.stop().await.success());
    let arguments = ["--state"].into_iter().chain(start.split(' ')).map(OsString::from);
    let mut other = Mailtown::start(arguments);
    let ports = other.ports().await;
    let console = ConsoleClient::new(ports.console().unwrap());
    assert_eq!(console.get("/v1/clock").await["now"], "2026-01-01T00:00:00Z");
    let mut reader = Pop3Client::connect(ports.address(EXMAIL, PortKey::Pop).unwrap()).await.unwrap();
    reader.log_in(USR2, "pass2").await.unwrap();
    assert_eq!(reader.stat().await.0, 1);
    let body = reader.retr(1).await;
    assert!(body.len() >= large.len(), "{}", body.len());
    reader.quit().await;
    restore(&console, "failed").await;
    assert!(other.stop().await.success());
}
