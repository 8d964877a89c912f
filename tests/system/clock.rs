//! The virtual clock: days of a town in a moment, seen from outside.

use crate::ports::options;
use internal_api::{ClockClient, Endpoint, ProblemKind};
use jiff::{SignedDuration, Timestamp};
use mail_net::Clock;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::{
    process::Output,
    time::{Duration, Instant},
};
use tokio::process::Child;
use town_config::PortKey;
use town_tests::{
    ConsoleClient, EXMAIL, FakePeer, GMAIL, Mailtown, PATIENCE, Plan, ProcessTown, Service, TOKEN, TestTown, USR, USR1,
    eventually, mailtown::command, polite,
};

const LOST: &[u8] = b"Subject: lost\r\n\r\nbody\r\n";
/// Six attempts are deferred, the fourth of them tells the sender, and the seventh is the last.
const RETRIES: &str = "retry = [\"10m\"]\ndelay_notice = \"30m\"\nexpiry = \"1h\"\n";

async fn advance(console: &ConsoleClient, wanted: Value) -> (StatusCode, Value) {
    let (status, text) = console.answer(console.request(Method::POST, "/v1/clock/advance").json(&wanted)).await;
    (status, serde_json::from_str(&text).unwrap())
}

async fn advanced(console: &ConsoleClient, wanted: Value) -> Value {
    let (status, answer) = advance(console, wanted).await;
    assert_eq!((status, &answer["reached"]), (StatusCode::OK, &json!(true)), "{answer}");
    answer
}

fn time(value: &Value) -> Timestamp {
    value.as_str().unwrap().parse().unwrap()
}

/// The time of the town as the console has it.
async fn now(console: &ConsoleClient) -> Timestamp {
    time(&console.get("/v1/clock").await["now"])
}

/// A peer that takes nobody for now.
async fn busy_peer() -> FakePeer {
    FakePeer::start(|line| match line.text.starts_with("RCPT") {
        true => "451 4.3.2 not now".into(),
        false => polite(line),
    })
    .await
}

/// How many minutes after `start` this is. Stores count in milliseconds, and dates of messages in seconds.
fn minutes(value: &Value, start: Timestamp) -> i64 {
    (time(value).duration_since(start).as_secs() + 2) / 60
}

/// Minutes since `start`, and what happened then.
fn story(mail: &Value, start: Timestamp) -> Vec<String> {
    let events = mail["events"].as_array().unwrap().iter();
    let told = events.map(|event| {
        let minutes = minutes(&event["at"], start);
        format!("{minutes} {}", event["kind"].as_str().unwrap())
    });
    told.filter(|told| !told.ends_with(" claimed")).collect()
}

#[tokio::test]
async fn a_message_lives_its_whole_retry_life_in_a_moment() {
    let peer = busy_peer().await;
    let town = TestTown::start_with_console(Plan::default().relay(RETRIES).peer("far.test", peer.port())).await;
    let console = town.console_client();
    let started = Instant::now();
    let start = now(&console).await;
    let id = town.send(USR1, &["x@far.test"], LOST).await;

    let next = advanced(&console, json!({"next_due": true})).await;
    assert_eq!(next["steps"], 1, "{next}");
    assert_eq!(minutes(&next["now"], start), 10, "{next}");
    let end = advanced(&console, json!({"by": "1h 50m"})).await;
    assert_eq!(minutes(&end["now"], start), 120, "{end}");
    assert_eq!((&end["steps"], &end["next_due"]), (&json!(6), &json!(null)), "{end}");
    assert_eq!((&end["under_way"]["idle"], &end["unreachable"]), (&json!(true), &json!([])), "{end}");

    let mail = console.get(&format!("/v1/mail/{id}")).await;
    let expected = [
        "0 accepted",
        "0 queued",
        "0 deferred",
        "10 deferred",
        "20 deferred",
        "30 deferred",
        "30 reported",
        "40 deferred",
        "50 deferred",
        "60 expired",
        "60 bounced",
    ];
    assert_eq!(story(&mail, start), expected, "{mail}");
    let page = console.get(&format!("/v1/mail?query=mailbox:{USR1}")).await;
    let reports = page["mail"].as_array().unwrap();
    let mut told = Vec::new();
    for report in reports.iter().rev() {
        let report = console.get(&format!("/v1/mail/{}", report["id"].as_str().unwrap())).await;
        told.push((minutes(&report["date"], start), minutes(&report["events"][0]["at"], start)));
        assert!(report["text"].as_str().unwrap().contains("451 4.3.2 not now"), "{report}");
    }
    assert_eq!(told, [(30, 30), (60, 60)]);
    let took = started.elapsed();
    println!("two hours took {took:?}");
    assert!(took < Duration::from_secs(20), "{took:?}");
    assert_eq!(peer.transcript().iter().filter(|line| line.starts_with("S: 451")).count(), 7);
    town.stop().await;
}

/// The same with the town's own fault and schedule: another server has no time, for a day.
#[tokio::test]
async fn a_day_passes_while_a_fault_refuses() {
    let town = TestTown::start_with_console(Plan::default()).await;
    let console = town.console_client();
    let place = json!({"stack": EXMAIL, "service": "smtp-gateway", "peer": GMAIL, "verb": "RCPT"});
    let busy = json!({"where": place, "what": {"reply": "451 4.3.2 not now"}});
    let (status, text) = console.answer(console.request(Method::PUT, "/v1/faults/busy").json(&busy)).await;
    assert_eq!(status, StatusCode::OK, "{text}");
    let start = now(&console).await;
    let id = town.send(USR1, &[USR], LOST).await;
    advanced(&console, json!({"by": "26h"})).await;
    let story = story(&console.get(&format!("/v1/mail/{id}")).await, start);
    let count = |kind: &str| story.iter().filter(|told| told.ends_with(kind)).count() as u64;
    assert!(count(" deferred") >= 6, "{story:?}");
    assert_eq!((count(" reported"), count(" expired"), count(" bounced")), (1, 1, 1), "{story:?}");
    let fault = console.get("/v1/faults/busy").await;
    assert_eq!(fault["fired"].as_u64(), Some(count(" deferred") + 1), "{story:?}");
    assert_eq!(town.mail(USR).await.len(), 0);
    town.stop().await;
}

/// With the default schedule there are attempts each hour until the day is over.
#[tokio::test]
async fn a_day_passes_in_a_moment() {
    let peer = busy_peer().await;
    let town = TestTown::start_with_console(Plan::default().peer("far.test", peer.port())).await;
    let console = town.console_client();
    let started = Instant::now();
    town.send(USR1, &["x@far.test"], LOST).await;
    let end = advanced(&console, json!({"by": "1d 1h"})).await;
    println!("a day of {} steps took {:?}", end["steps"], started.elapsed());
    assert!(end["steps"].as_u64().unwrap() > 24, "{end}");
    let page = console.get(&format!("/v1/mail?query=mailbox:{USR1}")).await;
    assert_eq!(page["mail"].as_array().unwrap().len(), 2, "the delay and the failure: {page}");
    town.stop().await;
}

#[tokio::test]
async fn retention_follows_the_clock_and_what_is_on_hold_does_not() {
    let plan = Plan::default().tables("[retention]\nmessages = \"2d\"");
    let silent = plan.silent_port();
    let town = TestTown::start_with_console(plan.peer("far.test", silent)).await;
    let console = town.console_client();
    town.send(USR1, &[USR1], LOST).await;
    town.send(USR1, &["x@far.test"], LOST).await;
    let entry = town.deferred(EXMAIL).await;
    town.store(EXMAIL).hold_queued(entry.message).await.unwrap();
    let start = now(&console).await;
    let day = advanced(&console, json!({"by": "1d"})).await;
    assert_eq!((&day["steps"], &day["under_way"]["held"]), (&json!(1), &json!(1)), "{day}");
    assert_eq!(town.listing(USR1).await.messages.len(), 1);
    let end = advanced(&console, json!({"to": (start + SignedDuration::from_hours(72)).to_string()})).await;
    assert_eq!(end["steps"], 2, "{end}");
    assert_eq!(town.listing(USR1).await.messages.len(), 0);
    let later = advanced(&console, json!({"next_due": true})).await;
    assert_eq!((&later["steps"], &later["now"]), (&json!(0), &end["now"]), "nothing is due");
    town.stop().await;
}

#[tokio::test]
async fn a_moment_that_cannot_be_reached_is_told() {
    // It accepts, and says nothing.
    let peer = FakePeer::start(|_| town_tests::Answer::Hang).await;
    let town = TestTown::start_with_console(Plan::default().peer("far.test", peer.port())).await;
    let console = town.console_client();
    let start = now(&console).await;
    town.send(USR1, &["x@far.test"], LOST).await;
    let (status, late) = advance(&console, json!({"by": "1h", "timeout": 1})).await;
    assert_eq!((status, &late["reached"], &late["steps"]), (StatusCode::OK, &json!(false), &json!(0)), "{late}");
    assert_eq!((&late["under_way"]["claimed"], time(&late["now"])), (&json!(1), start), "{late}");
    for wrong in [json!({}), json!({"by": "x"}), json!({"to": (start - SignedDuration::from_secs(1)).to_string()})] {
        let (status, problem) = advance(&console, wrong.clone()).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{wrong}: {problem}");
    }
    assert_eq!(now(&console).await, start);
    town.stop().await;
}

/// The console of a town of processes.
struct ConsoleProcess {
    process: Child,
    client: ConsoleClient,
}

impl ConsoleProcess {
    async fn start(town: &ProcessTown) -> Self {
        let mut command = command("console");
        command.arg("--config").arg(town.config()).env("MAILTOWN_TOKEN", TOKEN);
        let (process, client) = (command.spawn().unwrap(), ConsoleClient::new(town.console()));
        eventually("the console follows all services", PATIENCE, async || {
            let request = client.request(Method::GET, "/v1/services").send().await.ok()?;
            let followed: Value = request.json().await.ok()?;
            let services = followed["services"].as_array()?;
            (services.len() == 8 && services.iter().all(|service| service["state"] == "following")).then_some(())
        })
        .await;
        // Until it has asked a service, it does not know the time.
        let knows = async || (now(&client).await > Timestamp::UNIX_EPOCH).then_some(());
        eventually("the console knows the time", PATIENCE, knows).await;
        Self { process, client }
    }
}

fn clock_of(town: &ProcessTown, service: Service) -> ClockClient {
    let base = format!("http://{}", town.address(service.server, service.http()));
    ClockClient::new(Endpoint::new(&base, Some(TOKEN)).unwrap(), Clock::system().io)
}

#[tokio::test]
async fn time_never_goes_back_whatever_restarts() {
    let peer = busy_peer().await;
    let plan = Plan::default().setting("clock = \"virtual\"").relay(RETRIES).peer("far.test", peer.port());
    let mut town = ProcessTown::start(plan).await;
    let mut console = ConsoleProcess::start(&town).await;
    let start = now(&console.client).await;
    assert_eq!(console.client.get("/v1/clock").await["virtual"], true);
    let id = town.send(USR1, &["x@far.test"], LOST).await;
    let half = advanced(&console.client, json!({"by": "35m"})).await;
    let moment = time(&half["now"]);
    assert!(moment.duration_since(start) >= SignedDuration::from_mins(35), "{half}");
    for service in Service::ALL {
        assert_eq!(clock_of(&town, service).state().await.unwrap().now, moment, "{service:?}");
    }
    let store = clock_of(&town, Service::ALL[0]);
    assert_eq!(store.move_to(start).await.unwrap().now, moment, "it is later already");

    // They start at the present time, and are moved to that of the town.
    for service in [Service::ALL[0], Service::ALL[7]] {
        town.kill(service).await;
        town.restart(service).await;
        let clock = clock_of(&town, service);
        let moved = async || (clock.state().await.ok()?.now == moment).then_some(());
        eventually("a restarted service has the time of the town", PATIENCE, moved).await;
    }
    console.process.kill().await.unwrap();
    let second = ConsoleProcess::start(&town).await;
    let console = &second.client;
    let moved = async || (now(console).await == moment).then_some(());
    eventually("a restarted console has the time of the town", PATIENCE, moved).await;

    advanced(console, json!({"by": "1h"})).await;
    let mail = console.get(&format!("/v1/mail/{id}")).await;
    let story = story(&mail, start);
    assert_eq!(story.iter().filter(|told| told.ends_with(" deferred")).count(), 6, "{story:?}");
    assert!(story.last().unwrap().ends_with(" bounced"), "{story:?}");

    // A store whose town is gone starts at the time of its newest event at least.
    let newest = time(&mail["events"].as_array().unwrap().last().unwrap()["at"]);
    for service in Service::ALL {
        town.kill(service).await;
    }
    town.spawn(Service::ALL[0]);
    town.alive(Service::ALL[0]).await;
    let found = store.state().await.unwrap();
    assert!(found.is_virtual && found.now >= newest, "{found:?} {newest}");
}

async fn clock_command(town: &Mailtown, arguments: &[&str]) -> Output {
    let mut command = command("mailtown");
    command.args(["--ports-file", "ports.json", "clock"]).args(arguments).current_dir(town.directory());
    command.output().await.unwrap()
}

async fn said(town: &Mailtown, arguments: &[&str]) -> String {
    let output = clock_command(town, arguments).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn the_command_shows_and_moves_the_time() {
    let site = Plan::default().write();
    let flag = ["--virtual-clock=2026-01-01T00:00:00Z".into()];
    let mut town = Mailtown::start(options(&site).into_iter().chain(flag));
    town.ports().await;
    assert_eq!(said(&town, &[]).await, "2026-01-01T00:00:00Z (virtual, stands still); nothing is due\n");
    assert_eq!(said(&town, &["advance", "1h"]).await, "2026-01-01T01:00:00Z after 1 step; nothing is due\n");
    let answer: Value = serde_json::from_str(&said(&town, &["advance", "--next-due", "--json"]).await).unwrap();
    assert_eq!((&answer["now"], &answer["steps"]), (&json!("2026-01-01T01:00:00Z"), &json!(0)));
    let moved = said(&town, &["advance", "--to", "2026-01-02T00:00:00Z"]).await;
    assert_eq!(moved, "2026-01-02T00:00:00Z after 1 step; nothing is due\n");
    let back = clock_command(&town, &["advance", "--to", "2026-01-01T00:00:00Z"]).await;
    let words = String::from_utf8(back.stderr).unwrap();
    assert_eq!(back.status.code(), Some(1));
    assert!(words.contains("time does not go back, and it is 2026-01-02T00:00:00Z"), "{words}");
    assert!(town.stop().await.success());
}

#[tokio::test]
async fn a_real_clock_is_not_moved() {
    let site = Plan::default().write();
    let mut town = Mailtown::start(options(&site));
    let ports = town.ports().await;
    let shown = said(&town, &[]).await;
    assert!(shown.ends_with(" (that of the machine); nothing is due\n"), "{shown}");
    let console = ConsoleClient::new(ports.console().unwrap());
    let (status, problem) = advance(&console, json!({"by": "1h"})).await;
    assert_eq!((status, &problem["type"]), (StatusCode::CONFLICT, &json!("urn:mailtown:problem:clock-real")));
    let refused = clock_command(&town, &["advance", "1h"]).await;
    let words = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(words, "error: The clock is that of the machine; start with --virtual-clock to move it\n");
    assert_eq!(refused.status.code(), Some(1));
    let address = ports.address(GMAIL, PortKey::PopHttp).unwrap();
    let clock = ClockClient::new(Endpoint::new(&format!("http://{address}"), None).unwrap(), Clock::system().io);
    let error = clock.move_to(Timestamp::UNIX_EPOCH).await.unwrap_err();
    assert_eq!(error.kind(), Some(ProblemKind::ClockReal));
    assert!(!clock.state().await.unwrap().is_virtual);
    assert!(town.stop().await.success());
}
