//! The console: waiting for mail on the server, and why none came.

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use town_tests::{Plan, TestTown, USR, USR1, USR2};

fn message(to: &str, subject: &str) -> Vec<u8> {
    format!("From: {USR1}\r\nTo: {to}\r\nSubject: {subject}\r\n\r\ntext\r\n").into_bytes()
}

#[tokio::test]
async fn waiting_ends_when_mail_comes() {
    let town = TestTown::start_with_console(Plan::default()).await;
    let console = town.console_client();
    let path = format!("/v1/mail/wait?query=to:{USR2}&count=2&timeout=30");
    let (waited, ()) = tokio::join!(console.get(&path), async {
        town.send(USR1, &[USR2], &message(USR2, "first")).await;
        town.send(USR1, &[USR1], &message(USR1, "for another")).await;
        town.send(USR1, &[USR2], &message(USR2, "second")).await;
    });
    assert_eq!(waited["timed_out"], false);
    assert_eq!(waited.get("why"), None);
    let subjects: Vec<_> = waited["mail"].as_array().unwrap().iter().map(|mail| &mail["subject"]).collect();
    assert_eq!(subjects, ["second", "first"]);
    assert_eq!(waited["mail"][0]["text"], "text\n");
    town.stop().await;
}

#[tokio::test]
async fn when_the_time_is_up_the_answer_says_why() {
    let plan = Plan::default();
    let silent = plan.silent_port();
    let town = TestTown::start_with_console(plan.peer("far.test", silent)).await;
    let console = town.console_client();
    let why = async |query: &str| {
        let request = console.request(Method::GET, "/v1/mail/wait").query(&[("query", query), ("timeout", "0")]);
        let (status, text) = console.answer(request).await;
        assert!(status.is_success(), "{text}");
        let waited: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(waited["timed_out"], true, "{waited}");
        waited["why"].clone()
    };
    let nothing = why("subject:x").await;
    assert_eq!(nothing["near_misses"], json!([]));
    assert_eq!(nothing["queue"], json!([]));

    town.send(USR1, &[USR2], &message(USR2, "Welcome")).await;
    let near = why(&format!("to:{USR2} subject:Wellcome")).await;
    assert_eq!(near["near_misses"][0]["differs_in"], "subject:wellcome", "{near}");
    assert_eq!(near["near_misses"][0]["mail"]["subject"], "Welcome");

    town.send(USR1, &["x@far.test"], &message("x@far.test", "waits")).await;
    let path = "/v1/mail/wait?query=state:deferred&timeout=30";
    assert_eq!(console.get(path).await["timed_out"], false);
    let queued = why("rcpt:x@far.test state:delivered").await;
    assert_eq!(queued["queue"][0]["stack"], "exmail.qq.com", "{queued}");
    assert_eq!(queued["queue"][0]["recipient"], "x@far.test");
    assert!(queued["queue"][0]["last_reply"].as_str().unwrap().contains("refused"), "{queued}");
    assert!(queued["queue"][0]["next_attempt_at"].is_string());

    // It was there, and its user has deleted it.
    let mut client = town.pop3(USR2).await;
    client.delete(1..=1).await.unwrap();
    client.quit().await;
    let gone = why("subject:Welcome").await;
    assert_eq!(gone["near_misses"][0]["differs_in"], "it is in no maildrop and no queue any more", "{gone}");
    town.stop().await;
}

#[tokio::test]
async fn parallel_checkpoints_isolate() {
    let town = TestTown::start_with_console(Plan::default()).await;
    let console = town.console_client();
    town.send(USR1, &[USR2], &message(USR2, "same subject")).await;
    let tests = (0..50).map(async |_| {
        let before = console.json(Method::POST, "/v1/checkpoint").await["cursor"].as_str().unwrap().to_owned();
        let id = town.send(USR1, &[USR2], &message(USR2, "same subject")).await;
        let waited = console.get(&format!("/v1/mail/wait?query=id:{id}&since={before}&timeout=30")).await;
        assert_eq!(waited["mail"][0]["id"], id, "{waited}");
        let after = console.json(Method::POST, "/v1/checkpoint").await["cursor"].as_str().unwrap().to_owned();
        let later = console.get(&format!("/v1/mail?query=id:{id}&since={after}")).await;
        assert_eq!(later["mail"], json!([]), "what was there before a checkpoint is not after it");
    });
    join_all(tests).await;
    town.stop().await;
}

#[tokio::test]
async fn hundreds_wait_at_once() {
    let town = TestTown::start_with_console(Plan::default()).await;
    let console = town.console_client();
    let waits = (0..500).map(async |number| {
        let path = format!("/v1/mail/wait?query=subject:number-{}-&timeout=60", number % 10);
        console.get(&path).await["mail"][0]["subject"].as_str().unwrap().to_owned()
    });
    let started = Instant::now();
    let (subjects, ()) = tokio::join!(join_all(waits), async {
        for number in 0..10 {
            town.send(USR1, &[USR2], &message(USR2, &format!("number-{number}-"))).await;
        }
    });
    for (number, subject) in subjects.iter().enumerate() {
        assert_eq!(*subject, format!("number-{}-", number % 10));
    }
    assert!(started.elapsed() < Duration::from_secs(50), "{:?}", started.elapsed());
    town.stop().await;
}

#[tokio::test]
async fn idle_is_when_nothing_is_due() {
    let plan = Plan::default();
    let silent = plan.silent_port();
    let town = TestTown::start_with_console(plan.peer("far.test", silent)).await;
    let console = town.console_client();
    let idle = console.get("/v1/idle?timeout=0").await;
    assert_eq!((&idle["idle"], &idle["deferred"]), (&json!(true), &json!(0)), "{idle}");
    town.send(USR1, &[USR], &message(USR, "far")).await;
    let idle = console.get("/v1/idle?timeout=30").await;
    assert_eq!((&idle["idle"], &idle["due"], &idle["claimed"]), (&json!(true), &json!(0), &json!(0)), "{idle}");
    assert_eq!(console.subjects("subject:far stack:gmail.com").await, ["far"]);
    town.send(USR1, &["x@far.test"], &message("x@far.test", "waits")).await;
    let idle = console.get("/v1/idle?timeout=30").await;
    assert_eq!((&idle["idle"], &idle["deferred"]), (&json!(true), &json!(1)), "{idle}");
    town.stop().await;
}
