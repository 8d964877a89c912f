//! What goes wrong on purpose is seen as what it is: a session that has failed, and a step of a journey.

use super::{clear, fired, set, smtp};
use mail_proto::pop3::Command;
use reqwest::Method;
use serde_json::{Value, json};
use town_config::PortKey;
use town_tests::{ConsoleClient, EXMAIL, GMAIL, HOUR, PATIENCE, Plan, SmtpClient, TestTown, USR, USR1, eventually};

/// Why the newest session that has failed did so, when there are this many.
async fn failed(console: &ConsoleClient, count: usize) -> (String, bool) {
    eventually("a failed session", PATIENCE, async || {
        let page = console.get("/v1/sessions?failed=true&open=false").await;
        let sessions = page["sessions"].as_array().unwrap();
        let newest = sessions.first().filter(|_| sessions.len() == count)?;
        Some((newest["ended"].as_str().unwrap_or_default().to_owned(), newest["broken"] == json!(true)))
    })
    .await
}

#[tokio::test]
async fn a_session_that_a_fault_breaks_off_has_failed() {
    let town = TestTown::start_with_console(Plan::default()).await;
    let console = town.console_client();
    let address = town.address(EXMAIL, PortKey::Smtp);
    for (number, (verb, what, why)) in [
        ("CONNECT", json!("refuse"), "the fault f"),
        ("NOOP", json!({"cut": "before_reply"}), "cut by a fault"),
        ("CONNECT", json!({"cut": {"after_octets": 10}}), "cut by a fault"),
        ("NOOP", json!("stall"), "a fault kept the server silent"),
    ]
    .into_iter()
    .enumerate()
    {
        set(&console, "f", smtp(verb, what.clone())).await;
        let mut client = SmtpClient::connect_silently(address).await;
        if let Ok(client) = &mut client {
            client.write(b"NOOP\r\n").await.ok();
        }
        eventually("the fault", PATIENCE, async || (fired(&console, "f").await == 1).then_some(())).await;
        drop(client);
        let (ended, is_broken) = failed(&console, number + 1).await;
        assert!(is_broken && ended.contains(why), "{verb} {what}: {ended}");
        clear(&console).await;
    }
    town.stop().await;
}

/// Whoever looks whether somebody listens has broken nothing; whoever leaves in the middle of a message has.
#[tokio::test]
async fn a_client_that_leaves_has_failed_where_something_is_missing() {
    let town = TestTown::start_with_console(Plan::default()).await;
    let console = town.console_client();
    let address = town.address(EXMAIL, PortKey::Smtp);
    drop(SmtpClient::connect_silently(address).await.unwrap());
    drop(SmtpClient::connect(address).await.unwrap());
    let mut client = SmtpClient::connect(address).await.unwrap();
    client.hello().await;
    for command in [&*format!("MAIL FROM:<{USR1}>"), &format!("RCPT TO:<{USR}>"), "DATA"] {
        client.command(command).await.unwrap();
    }
    client.write(b"Subject: half of it\r\n").await.unwrap();
    drop(client);
    let (ended, is_broken) = failed(&console, 1).await;
    assert!(is_broken && ended.ends_with(", in a message"), "{ended}");
    let closed = eventually("all have ended", PATIENCE, async || {
        let page = console.get("/v1/sessions?open=false").await;
        Some(page["sessions"].as_array().unwrap().len()).filter(|number| *number == 3)
    });
    closed.await;
    failed(&console, 1).await;

    // What is said last is not why it failed.
    let pop3 = json!({"service": "pop3-gateway", "verb": "QUIT"});
    set(&console, "f", json!({"where": pop3, "what": {"cut": "before_reply"}})).await;
    let mut client = town.pop3(USR1).await;
    assert!(client.command(Command::Quit).await.is_err());
    assert_eq!(failed(&console, 2).await, ("cut by a fault".to_owned(), true));
    town.stop().await;
}

/// The steps of an attempt: their kind, how they went, and what they mean.
fn steps(journey: &Value, kind: &str) -> Vec<(String, String)> {
    let stages = journey["stages"].as_array().unwrap().iter();
    let steps = stages.flat_map(|stage| stage["steps"].as_array().unwrap());
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    steps.filter(|step| step["kind"] == kind).map(|step| (text(&step["outcome"]), text(&step["sentence"]))).collect()
}

#[tokio::test]
async fn a_journey_tells_which_fault_has_stopped_it() {
    let town = TestTown::start_with_console(Plan::default()).await;
    let console = town.console_client();
    let place = |verb: &str| json!({"stack": EXMAIL, "service": "smtp-gateway", "peer": GMAIL, "verb": verb});
    // At the other server, and at the relay.
    let there = json!({"stack": GMAIL, "service": "smtp-gateway", "verb": "RCPT"});
    let grey = json!({"where": there, "what": {"reply": "451 4.7.1 greylisted"}, "when": {"first_per_recipient": 1}});
    set(&console, "grey", grey).await;
    let refused = json!({"where": place("CONNECT"), "what": "refuse", "when": {"times": 1}});
    let cut = json!({"where": place("MAIL"), "what": {"cut": "before_reply"}, "when": {"times": 1}});
    set(&console, "refused", refused).await;
    set(&console, "cut", cut).await;
    town.send(USR1, &[USR], b"Subject: in the end\r\n\r\n").await;
    for attempt in 1..=3 {
        eventually("the attempt", PATIENCE, async || {
            let queue = town.queue(EXMAIL).await;
            queue.first().filter(|entry| entry.attempts == attempt && !entry.leased).map(drop)
        })
        .await;
        town.time.advance(HOUR);
    }
    town.mail_of(USR, 1).await;
    town.drained(EXMAIL).await;
    let id = eventually("the message", PATIENCE, async || {
        let page = console.get("/v1/mail?query=state:delivered").await;
        page["mail"][0]["id"].as_str().map(str::to_owned)
    })
    .await;
    let journey = eventually("the journey", PATIENCE, async || {
        let journey = console.json(Method::GET, &format!("/v1/mail/{id}/journey")).await;
        (steps(&journey, "fault").len() == 3).then_some(journey)
    })
    .await;
    for (step, what) in
        steps(&journey, "fault").iter().zip(["refuse", "cut before the reply", "reply 451 4.7.1 greylisted"])
    {
        assert!(step.0 == "refused" && step.1.starts_with(&format!("It goes wrong on purpose: {what}")), "{step:?}");
    }
    let broken: Vec<_> = steps(&journey, "connect").into_iter().filter(|(outcome, _)| outcome == "refused").collect();
    assert_eq!(broken[0].1, "There is no connection: refused by the fault refused.", "{broken:?}");
    let unanswered: Vec<_> =
        steps(&journey, "command").into_iter().filter(|(outcome, _)| outcome == "refused").collect();
    assert!(unanswered[0].1.contains("There is no reply: cut by the fault cut"), "{unanswered:?}");
    town.stop().await;
}
