//! The console: the journey of a message, joined of both domains.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use town_tests::{ConsoleClient, EXMAIL, HOUR, PATIENCE, Plan, TestTown, USR, USR1, eventually};

/// The journey, once it is as it should be.
async fn journey(console: &ConsoleClient, id: &str, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    eventually(what, PATIENCE, async || {
        let journey = console.get(&format!("/v1/mail/{id}/journey")).await;
        is_so(&journey).then_some(journey)
    })
    .await
}

fn kinds(journey: &Value) -> Vec<&str> {
    journey["stages"].as_array().unwrap().iter().map(|stage| stage["kind"].as_str().unwrap()).collect()
}

fn step<'j>(stage: &'j Value, kind: &str) -> &'j Value {
    let mut steps = stage["steps"].as_array().unwrap().iter();
    steps.find(|step| step["kind"] == kind).unwrap_or_else(|| panic!("no {kind} in {stage}"))
}

#[tokio::test]
async fn a_journey_leads_over_a_retry_to_the_reader() {
    let quota = format!("retry = [\"1h\"]\n[quotas]\n\"{USR}\" = {{ messages = 1 }}");
    let town = TestTown::start_with_console(Plan::default().relay(&quota)).await;
    let console = town.console_client();
    town.send(USR1, &[USR], b"Subject: first\r\n\r\n").await;
    town.drained(EXMAIL).await;
    let id = town.send(USR1, &[USR], b"Subject: second\r\n\r\n").await;
    town.deferred(EXMAIL).await;
    let waits = journey(&console, &id, "a journey that waits", |it| kinds(it).len() == 4).await;
    assert_eq!(kinds(&waits), ["submission", "store", "attempt", "wait"]);
    assert_eq!((&waits["outcome"], &waits["recipients"][0]["outcome"]), (&json!("waiting"), &json!("waiting")));
    let refused = step(&waits["stages"][2], "deferred")["reply"].as_str().unwrap();
    assert!(refused.starts_with("452 4.2.2 <usr@gmail.com>"), "{refused}");

    let mut client = town.pop3(USR).await;
    client.delete(1..=1).await.unwrap();
    client.quit().await;
    // Attempts are told apart by their times.
    town.time.advance(HOUR);
    assert_eq!(town.mail_of(USR, 1).await.len(), 1);
    // The reply to the dot names the message there; the console may learn it last.
    let is_read = |it: &Value| {
        let mut stages = it["stages"].as_array().unwrap().iter();
        stages.any(|stage| stage["kind"] == "fetch") && it["stages"][4]["ends"]["joined"] == "confirmed"
    };
    let all = journey(&console, &id, "a journey to its reader", is_read).await;
    assert_eq!(kinds(&all), ["submission", "store", "attempt", "wait", "attempt", "store", "fetch"], "{all}");
    assert_eq!((&all["outcome"], &all["recipients"][0]["sentence"]), (&json!("ok"), &json!("It was read.")));
    let [.., second, there, fetch] = &all["stages"].as_array().unwrap()[..] else { panic!("{all}") };
    assert_eq!((&second["after"], &there["after"], &fetch["after"]), (&json!(3), &json!(4), &json!(5)));
    // The two ends of the hop were found, and the reply confirms it.
    assert_eq!(second["ends"]["joined"], "confirmed", "{second}");
    for end in ["client", "server"] {
        let session = second["ends"][end].as_str().unwrap();
        assert_eq!(console.get(&format!("/v1/sessions/{session}")).await["session"]["role"], end);
    }
    assert_eq!(step(second, "dot")["outcome"], "ok");
    let copy = there["message"].as_str().unwrap();
    assert_ne!(copy, id);
    assert_eq!((&there["steps"][0]["stack"], &fetch["message"]), (&json!("gmail.com"), &json!(copy)));
    // The copy has the same journey.
    let same = console.get(&format!("/v1/mail/{copy}/journey")).await;
    assert_eq!((&same["message"], &same["asked_for"]), (&json!(id), &json!(copy)));
    assert_eq!(same["stages"], all["stages"]);
    town.stop().await;
}

#[tokio::test]
async fn a_failure_is_a_branch_and_what_is_unknown_has_no_journey() {
    let town = TestTown::start_with_console(Plan::default()).await;
    let console = town.console_client();
    let id = town.send(USR1, &["nobody@gmail.com"], b"Subject: nobody\r\n\r\n").await;
    town.mail_of(USR1, 1).await;
    let is_told = |it: &Value| it["stages"].as_array().unwrap().iter().any(|stage| stage["is_branch"] == true);
    let failed = journey(&console, &id, "a failure", is_told).await;
    assert_eq!(failed["outcome"], "refused");
    let branch = failed["stages"].as_array().unwrap().iter().find(|stage| stage["is_branch"] == true).unwrap();
    assert_eq!(branch["after"], 2, "it follows from the attempt: {failed}");
    assert!(step(branch, "bounced")["sentence"].as_str().unwrap().contains(branch["message"].as_str().unwrap()));
    for unknown in ["0000000000000", "x"] {
        let request = console.request(Method::GET, &format!("/v1/mail/{unknown}/journey"));
        assert_eq!(console.answer(request).await.0, StatusCode::NOT_FOUND, "{unknown}");
    }
    town.stop().await;
}
