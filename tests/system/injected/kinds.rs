//! The kinds of faults at each edge, where no other test meets them.

use super::{clear, fired, set};
use mail_proto::pop3::Command;
use reqwest::{RequestBuilder, StatusCode};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use town_config::PortKey;
use town_tests::{
    ConsoleClient, EXMAIL, FakePeer, GMAIL, HOUR, PATIENCE, Plan, Pop3Client, TOKEN, TestTown, USR, USR1, eventually,
    polite,
};

/// How long nothing comes where nothing is to come.
const SILENCE: Duration = Duration::from_millis(300);

fn relay(verb: &str, what: Value) -> Value {
    let place = json!({"stack": EXMAIL, "service": "smtp-gateway", "peer": GMAIL, "verb": verb});
    json!({"where": place, "what": what, "when": {"times": 1}})
}

/// Waits until the fault has happened.
async fn happened(console: &ConsoleClient) {
    eventually("the fault", PATIENCE, async || (fired(console, "f").await > 0).then_some(())).await;
}

#[tokio::test]
async fn the_relay_is_slowed_down_and_delivers() {
    let town = TestTown::start_with_console(Plan::default()).await;
    let console = town.console_client();
    let message = [b"Subject: slow\r\n\r\n".as_slice(), &b"line of text\r\n".repeat(40)].concat();
    for (count, (verb, what)) in [
        ("CONNECT", json!({"delay": "200ms"})),
        ("RCPT", json!({"delay": "200ms"})),
        ("CONNECT", json!({"slice": 1})),
        ("CONNECT", json!({"throttle": 2000})),
    ]
    .into_iter()
    .enumerate()
    {
        set(&console, "f", relay(verb, what.clone())).await;
        // No connection is kept for the next message.
        set(&console, "g", relay(".", json!({"cut": "after_reply"}))).await;
        let started = Instant::now();
        town.send(USR1, &[USR], &message).await;
        let mail = town.mail_of(USR, count + 1).await;
        assert!(mail[count].ends_with(&message), "{verb} {what}");
        town.drained(EXMAIL).await;
        if what.get("delay").is_some() {
            assert!(started.elapsed() >= Duration::from_millis(200), "{verb} {what}");
        }
        happened(&console).await;
        clear(&console).await;
        town.time.advance(HOUR);
    }
    town.stop().await;
}

#[tokio::test]
async fn the_relay_loses_connections_and_delivers() {
    let town = TestTown::start_with_console(Plan::default().relay("timeouts = { mail = \"1s\" }")).await;
    let console = town.console_client();
    let mut copies = 0;
    for (verb, what, is_put_off, more) in [
        ("MAIL", json!("stall"), true, 1),
        ("MAIL", json!({"cut": "after_reply"}), true, 1),
        // The reply has come.
        (".", json!({"cut": "after_reply"}), false, 1),
        // The other server has the message, and the relay does not know.
        (".", json!({"cut": "after_dot"}), true, 2),
    ] {
        set(&console, "f", relay(verb, what.clone())).await;
        town.send(USR1, &[USR], b"Subject: lost\r\n\r\n").await;
        if is_put_off {
            let deferred = town.deferred(EXMAIL).await;
            assert_eq!(deferred.attempts, 1, "{verb} {what}: {deferred:?}");
        }
        happened(&console).await;
        clear(&console).await;
        town.time.advance(HOUR);
        town.drained(EXMAIL).await;
        copies += more;
        assert_eq!(town.mail_of(USR, copies).await.len(), copies, "{verb} {what}");
    }
    town.stop().await;
}

#[tokio::test]
async fn the_relay_loses_the_recipient_that_a_fault_names() {
    let peer = FakePeer::start(polite).await;
    let town = TestTown::start_with_console(Plan::default().peer("peer.example", peer.port())).await;
    let console = town.console_client();
    let place = json!({"service": "smtp-gateway", "peer": "peer.example", "verb": "RCPT", "rcpt_to": "b@*"});
    set(&console, "f", json!({"where": place, "what": {"reply": "450 4.2.0 busy"}})).await;
    town.send(USR1, &["a@peer.example", "b@peer.example", "c@peer.example"], b"Subject: x\r\n\r\n").await;
    let queue = eventually("the end of the attempt", PATIENCE, async || {
        let queue = town.queue(EXMAIL).await;
        queue.iter().all(|entry| entry.attempts == 1 && !entry.leased).then_some(queue)
    })
    .await;
    // The server has taken b, so the message is not sent: nobody else heard the reply.
    let refused = queue.iter().filter(|entry| entry.last_reply == "450 4.2.0 busy");
    assert_eq!(refused.map(|entry| entry.recipient.to_string()).collect::<Vec<_>>(), ["b@peer.example"]);
    assert_eq!((queue.len(), fired(&console, "f").await), (3, 1));
    town.stop().await;
}

#[tokio::test]
async fn pop3_is_slowed_down_and_works() {
    let town = TestTown::start_with_console(Plan::default()).await;
    let console = town.console_client();
    town.send(USR1, &[USR1], b"Subject: slow\r\n\r\nline\r\n").await;
    let pop3 = |verb: &str, what: Value| json!({"where": {"service": "pop3-gateway", "verb": verb}, "what": what});
    for (verb, what) in [
        ("RETR", json!({"delay": "200ms"})),
        ("CONNECT", json!({"delay": "200ms"})),
        ("CONNECT", json!({"slice": 1})),
        ("CONNECT", json!({"throttle": 1000})),
    ] {
        set(&console, "f", pop3(verb, what.clone())).await;
        let started = Instant::now();
        let mut client = town.pop3(USR1).await;
        assert!(client.retr(1).await.ends_with(b"line\r\n"), "{verb} {what}");
        client.quit().await;
        if what.get("delay").is_some() {
            assert!(started.elapsed() >= Duration::from_millis(200), "{verb} {what}");
        }
        assert_eq!(fired(&console, "f").await, 1, "{verb} {what}");
    }
    set(&console, "f", pop3("NOOP", json!({"cut": "after_reply"}))).await;
    let mut client = Pop3Client::connect(town.address(EXMAIL, PortKey::Pop)).await.unwrap();
    client.log_in(USR1, "pass1").await.unwrap();
    client.command(Command::Noop).await.unwrap();
    assert!(client.command(Command::Noop).await.is_err());
    town.stop().await;
}

/// A call of a service, as a gateway makes it.
fn call(town: &TestTown, key: PortKey, path: &str) -> RequestBuilder {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    http.get(format!("http://{}{path}", town.address(EXMAIL, key))).bearer_auth(TOKEN)
}

#[tokio::test]
async fn name_server_and_store_are_late_or_silent() {
    let town = TestTown::start_with_console(Plan::default()).await;
    let console = town.console_client();
    let resolve = "/v1/resolve?name=gmail.com.&type=MX";
    for (service, key, path, silent) in [
        ("pseudo-dns", PortKey::DnsHttp, resolve, vec![json!("stall"), json!({"dns": "timeout"})]),
        ("mailbox-store", PortKey::Store, "/v1/queue", vec![json!("stall")]),
    ] {
        let fault = |what: Value| json!({"where": {"stack": EXMAIL, "service": service}, "what": what});
        set(&console, "f", fault(json!({"delay": "200ms"}))).await;
        let started = Instant::now();
        let status = call(&town, key, path).send().await.unwrap().status();
        assert!(status == StatusCode::OK && started.elapsed() >= Duration::from_millis(200), "{service}: {status}");
        for what in silent {
            set(&console, "f", fault(what.clone())).await;
            let waited = tokio::time::timeout(SILENCE, call(&town, key, path).send()).await;
            assert!(waited.is_err(), "{service} {what}: {waited:?}");
            happened(&console).await;
        }
        clear(&console).await;
        assert_eq!(call(&town, key, path).send().await.unwrap().status(), StatusCode::OK, "{service}");
    }
    town.stop().await;
}
