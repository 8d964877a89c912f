//! What goes wrong on purpose: each kind of fault at each edge of the town, set at the console.

mod kinds;
mod magic;
mod seen;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use town_config::PortKey;
use town_tests::{
    ConsoleClient, EXMAIL, GMAIL, HOUR, PATIENCE, Plan, Pop3Client, SmtpClient, TestTown, USR, USR1, USR2, eventually,
};

/// Sets a fault.
async fn set(console: &ConsoleClient, name: &str, fault: Value) {
    let request = console.request(Method::PUT, &format!("/v1/faults/{name}")).json(&fault);
    let (status, text) = console.answer(request).await;
    assert_eq!(status, StatusCode::OK, "{name}: {text}");
    let set: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(set["untold"], json!({}), "{name}");
}

async fn clear(console: &ConsoleClient) {
    console.json(Method::DELETE, "/v1/faults").await;
}

async fn fired(console: &ConsoleClient, name: &str) -> u64 {
    console.get(&format!("/v1/faults/{name}")).await["fired"].as_u64().unwrap()
}

fn smtp(verb: &str, what: Value) -> Value {
    json!({"where": {"stack": EXMAIL, "service": "smtp-gateway", "verb": verb}, "what": what})
}

#[tokio::test]
async fn greylisting_lets_mail_arrive_at_the_second_attempt() {
    let town = TestTown::start_with_console(Plan::default()).await;
    let console = town.console_client();
    let place = json!({"stack": GMAIL, "service": "smtp-gateway", "verb": "RCPT", "rcpt_to": "*@gmail.com"});
    let grey = json!({"where": place, "what": {"reply": "451 4.7.1 greylisted"}, "when": {"first_per_recipient": 1}});
    set(&console, "grey", grey.clone()).await;
    let id = town.send(USR1, &[USR], b"Subject: later\r\n\r\n").await;
    assert!(town.deferred(EXMAIL).await.last_reply.contains("451 4.7.1 greylisted"));
    town.time.advance(HOUR);
    town.mail_of(USR, 1).await;
    let known = console.get("/v1/faults/grey").await;
    assert_eq!((&known["fired"], &known["where"]), (&json!(1), &grey["where"]), "{known}");
    // The session of the server that has refused, in which the fault is marked.
    let session = known["sessions"][0].as_str().unwrap();
    let seen = eventually("the session", PATIENCE, async || {
        let request = console.request(Method::GET, &format!("/v1/sessions/{session}"));
        let (status, text) = console.answer(request).await;
        (status.is_success() && text.contains("grey")).then_some(text)
    })
    .await;
    assert!(seen.contains("reply 451 4.7.1 greylisted"), "{seen}");
    assert!(!id.is_empty());
    town.stop().await;
}

#[tokio::test]
async fn commands_of_smtp_go_wrong() {
    let town = TestTown::start_with_console(Plan::default()).await;
    let console = town.console_client();
    let address = town.address(EXMAIL, PortKey::Smtp);
    let mail = format!("MAIL FROM:<{USR1}>");
    let client = async || {
        let mut client = SmtpClient::connect(address).await.unwrap();
        client.hello().await;
        client
    };
    // A refused command changes nothing, and the dialogue stays in step.
    set(&console, "f", smtp("MAIL", json!({"reply": "451 4.3.0 not now"}))).await;
    let mut refused = client().await;
    assert_eq!(refused.command(&mail).await.unwrap(), "451 4.3.0 not now");
    assert_eq!(refused.command(&format!("RCPT TO:<{USR2}>")).await.unwrap(), "503 5.5.1 say MAIL FROM first");
    clear(&console).await;
    assert_eq!(refused.command(&mail).await.unwrap(), "250 2.1.0 OK");

    set(&console, "f", smtp("NOOP", json!({"corrupt": "25\r\n"}))).await;
    assert_eq!(client().await.command("NOOP").await.unwrap(), "25");

    set(&console, "f", smtp("NOOP", json!({"delay": "300ms"}))).await;
    let (mut slow, started) = (client().await, Instant::now());
    assert_eq!(slow.command("NOOP").await.unwrap(), "250 2.0.0 OK");
    assert!(started.elapsed() >= Duration::from_millis(300));

    for cut in ["before_command", "before_reply"] {
        set(&console, "f", smtp("NOOP", json!({"cut": cut}))).await;
        assert!(client().await.command("NOOP").await.is_err(), "{cut}");
    }
    set(&console, "f", smtp("NOOP", json!({"cut": "after_reply"}))).await;
    let mut cut = client().await;
    assert_eq!(cut.command("NOOP").await.unwrap(), "250 2.0.0 OK");
    assert!(cut.command("NOOP").await.is_err());

    set(&console, "f", smtp("NOOP", json!("stall"))).await;
    let mut silent = client().await;
    let waited = tokio::time::timeout(Duration::from_millis(300), silent.command("NOOP")).await;
    assert!(waited.is_err(), "it says something: {waited:?}");
    town.stop().await;
}

#[tokio::test]
async fn the_end_of_a_message_goes_wrong() {
    let town = TestTown::start_with_console(Plan::default()).await;
    let console = town.console_client();
    let address = town.address(EXMAIL, PortKey::Smtp);
    let send = async |subject: &str| {
        let mut client = SmtpClient::connect(address).await.unwrap();
        client.hello().await;
        let sent = client.send(USR1, &[USR2], format!("Subject: {subject}\r\n\r\n").as_bytes()).await;
        sent.map_err(|error| error.to_string())
    };
    set(&console, "f", smtp(".", json!({"reply": "452 4.3.1 no room"}))).await;
    assert_eq!(send("refused").await, Err("after the dot: 452 4.3.1 no room".to_owned()));
    set(&console, "f", smtp(".", json!({"cut": "before_command"}))).await;
    assert!(send("lost").await.is_err());
    assert_eq!(town.mail(USR2).await.len(), 0, "neither was accepted");
    // It is on disk, and the client does not know: it sends the message once more.
    let place = json!({"stack": EXMAIL, "service": "smtp-gateway", "rcpt_to": USR2});
    let once = json!({"where": place, "what": {"cut": "after_dot"}, "when": {"times": 1}});
    set(&console, "f", once).await;
    assert!(send("twice").await.is_err());
    assert!(send("twice").await.is_ok());
    assert_eq!(town.mail_of(USR2, 2).await, [b"Subject: twice\r\n\r\n", b"Subject: twice\r\n\r\n"]);
    set(&console, "f", smtp(".", json!({"corrupt": "hello\r\n"}))).await;
    assert_eq!(send("kept").await, Err("after the dot: hello".to_owned()));
    town.mail_of(USR2, 3).await;
    town.stop().await;
}

#[tokio::test]
async fn connections_of_smtp_go_wrong() {
    let town = TestTown::start_with_console(Plan::default()).await;
    let console = town.console_client();
    let address = town.address(EXMAIL, PortKey::Smtp);
    let place = json!({"stack": EXMAIL, "service": "smtp-gateway"});
    let fault = |what: Value| json!({"where": place.clone(), "what": what});
    set(&console, "f", fault(json!("refuse"))).await;
    assert!(SmtpClient::connect(address).await.is_err());
    assert_eq!(fired(&console, "f").await, 1);

    set(&console, "f", smtp("CONNECT", json!({"reply": "421 4.3.2 closed today"}))).await;
    let mut client = SmtpClient::connect_silently(address).await.unwrap();
    assert_eq!(client.rest().await.unwrap(), "421 4.3.2 closed today\r\n");

    // The greeting is longer than this.
    set(&console, "f", fault(json!({"cut": {"after_octets": 10}}))).await;
    let mut client = SmtpClient::connect_silently(address).await.unwrap();
    assert_eq!(client.rest().await.unwrap_or_default().len().min(11), 10);

    set(&console, "f", fault(json!({"slice": 1}))).await;
    let mut client = SmtpClient::connect(address).await.unwrap();
    client.hello().await;
    client.send(USR1, &[USR2], b"Subject: in pieces\r\n\r\n").await.unwrap();
    town.mail_of(USR2, 1).await;

    set(&console, "f", fault(json!({"throttle": 100}))).await;
    let started = Instant::now();
    let mut client = SmtpClient::connect(address).await.unwrap();
    client.hello().await;
    assert!(started.elapsed() >= Duration::from_millis(700), "{:?}", started.elapsed());
    clear(&console).await;
    SmtpClient::connect(address).await.unwrap().hello().await;

    // Only from these clients.
    let elsewhere = json!({"service": "smtp-gateway", "client": "10.0.0.0/8"});
    set(&console, "f", json!({"where": elsewhere, "what": "refuse"})).await;
    SmtpClient::connect(address).await.unwrap().hello().await;
    town.stop().await;
}

/// A pause of an hour ends when the town does: the command is obeyed, and the client is told.
#[tokio::test]
async fn a_town_that_stops_waits_for_no_fault() {
    let town = TestTown::start_with_console(Plan::default()).await;
    let console = town.console_client();
    let mut smtp_client = town.smtp(EXMAIL).await;
    smtp_client.hello().await;
    set(&console, "smtp", smtp("NOOP", json!({"delay": "1h"}))).await;
    let pop3 = json!({"stack": EXMAIL, "service": "pop3-gateway", "verb": "STAT"});
    set(&console, "pop3", json!({"where": pop3, "what": {"delay": "1h"}})).await;
    let mut pop3_client = town.pop3(USR1).await;
    smtp_client.write(b"NOOP\r\n").await.unwrap();
    let stopping = async {
        eventually("both wait", PATIENCE, async || {
            (fired(&console, "smtp").await == 1 && fired(&console, "pop3").await == 1).then_some(())
        })
        .await;
        town.stop().await;
    };
    let (counted, ()) = tokio::join!(pop3_client.stat(), stopping);
    assert_eq!(counted, (0, 0));
    let rest = smtp_client.rest().await.unwrap();
    assert!(rest.starts_with("250 ") && rest.contains("\r\n421 4.3.2 "), "{rest}");
}

#[tokio::test]
async fn pop3_goes_wrong() {
    let town = TestTown::start_with_console(Plan::default()).await;
    let console = town.console_client();
    let address = town.address(EXMAIL, PortKey::Pop);
    let pop3 = |verb: &str, what: Value| json!({"where": {"service": "pop3-gateway", "verb": verb}, "what": what});
    town.send(USR1, &[USR1], b"Subject: kept\r\n\r\nline\r\n").await;

    set(&console, "f", pop3("PASS", json!({"reply": "-ERR [SYS/TEMP] not today"}))).await;
    let mut client = Pop3Client::connect(address).await.unwrap();
    let refused = client.log_in(USR1, "pass1").await.unwrap_err().to_string();
    assert_eq!(refused, "[SYS/TEMP] not today");

    // QUIT does not come to the update, so nothing is deleted.
    set(&console, "f", pop3("QUIT", json!({"cut": "before_command"}))).await;
    let mut client = Pop3Client::connect(address).await.unwrap();
    client.log_in(USR1, "pass1").await.unwrap();
    client.delete(1..=1).await.unwrap();
    assert!(client.command(mail_proto::pop3::Command::Quit).await.is_err());
    clear(&console).await;
    assert_eq!(town.mail_of(USR1, 1).await.len(), 1);

    // The reply is lost, and the update was made.
    set(&console, "f", pop3("QUIT", json!({"cut": "before_reply"}))).await;
    let mut client = Pop3Client::connect(address).await.unwrap();
    client.log_in(USR1, "pass1").await.unwrap();
    client.delete(1..=1).await.unwrap();
    assert!(client.command(mail_proto::pop3::Command::Quit).await.is_err());
    clear(&console).await;
    assert_eq!(town.mail(USR1).await.len(), 0);

    for (verb, what) in [
        ("STAT", json!({"corrupt": "?\r\n"})),
        ("STAT", json!("refuse")),
        ("CONNECT", json!("refuse")),
        ("CONNECT", json!({"reply": "-ERR closed"})),
        ("STAT", json!({"cut": {"after_octets": 3}})),
    ] {
        set(&console, "f", pop3(verb, what.clone())).await;
        let tried = async {
            let mut client = Pop3Client::connect(address).await?;
            client.log_in(USR1, "pass1").await?;
            client.command(mail_proto::pop3::Command::Stat).await
        };
        assert!(tried.await.is_err(), "{verb} {what}");
        assert_eq!(fired(&console, "f").await, 1, "{verb} {what}");
    }
    set(&console, "f", pop3("NOOP", json!("stall"))).await;
    let mut client = Pop3Client::connect(address).await.unwrap();
    client.log_in(USR1, "pass1").await.unwrap();
    let noop = client.command(mail_proto::pop3::Command::Noop);
    assert!(tokio::time::timeout(Duration::from_millis(200), noop).await.is_err());
    town.stop().await;
}

#[tokio::test]
async fn the_relay_meets_servers_that_go_wrong() {
    let town = TestTown::start_with_console(Plan::default().relay("timeouts = { data = \"2s\" }")).await;
    let console = town.console_client();
    let relay = |verb: Option<&str>, what: Value| {
        let mut place = json!({"stack": EXMAIL, "service": "smtp-gateway", "peer": "gmail.com"});
        if let Some(verb) = verb {
            place["verb"] = json!(verb);
        }
        json!({"where": place, "what": what, "when": {"times": 1}})
    };
    for (number, (verb, what, words)) in [
        (None, json!("refuse"), "connection refused"),
        (Some("CONNECT"), json!({"reply": "421 4.3.2 closed"}), "421 4.3.2 closed"),
        (Some("EHLO"), json!({"corrupt": "nonsense"}), "reply"),
        (Some("RCPT"), json!({"reply": "450 4.2.0 busy"}), "450 4.2.0 busy"),
        (Some("MAIL"), json!({"cut": "before_reply"}), "cut by the fault f"),
        (None, json!({"cut": {"after_octets": 60}}), "cut by a fault"),
    ]
    .into_iter()
    .enumerate()
    {
        set(&console, "f", relay(verb, what.clone())).await;
        town.send(USR1, &[USR], format!("Subject: {number}\r\n\r\n").as_bytes()).await;
        let deferred = town.deferred(EXMAIL).await;
        assert!(deferred.last_reply.contains(words), "{verb:?} {what}: {deferred:?}");
        assert_eq!(fired(&console, "f").await, 1, "{verb:?} {what}");
        clear(&console).await;
        town.time.advance(HOUR);
        town.drained(EXMAIL).await;
        town.mail_of(USR, number + 1).await;
    }
    // It waits for a reply no longer than for that of any server.
    set(&console, "f", relay(Some("DATA"), json!({"delay": "1h"}))).await;
    town.send(USR1, &[USR], b"Subject: late\r\n\r\n").await;
    let deferred = town.deferred(EXMAIL).await;
    assert!(deferred.last_reply.contains("no answer in time"), "{deferred:?}");
    clear(&console).await;
    town.time.advance(HOUR);
    town.drained(EXMAIL).await;
    // The other server has taken it, and the relay does not hear that: the message comes twice.
    set(&console, "f", relay(Some("."), json!({"cut": "before_reply"}))).await;
    town.send(USR1, &[USR], b"Subject: twice\r\n\r\n").await;
    town.deferred(EXMAIL).await;
    clear(&console).await;
    town.time.advance(HOUR);
    town.drained(EXMAIL).await;
    assert_eq!(town.mail(USR).await.len(), 7 + 2);
    town.stop().await;
}

#[tokio::test]
async fn a_partition_parts_two_servers_in_both_directions() {
    let town = TestTown::start_with_console(Plan::default()).await;
    let console = town.console_client();
    // There is a connection already, which is kept.
    town.send(USR1, &[USR], b"Subject: before\r\n\r\n").await;
    town.mail_of(USR, 1).await;
    set(&console, "p", json!({"where": {"stack": EXMAIL}, "what": {"partition": GMAIL}})).await;
    town.send(USR1, &[USR], b"Subject: there\r\n\r\n").await;
    town.send(USR, &[USR1], b"Subject: back\r\n\r\n").await;
    for server in [EXMAIL, GMAIL] {
        town.deferred(server).await;
    }
    clear(&console).await;
    town.time.advance(HOUR);
    town.mail_of(USR, 2).await;
    town.mail_of(USR1, 1).await;
    town.stop().await;
}

#[tokio::test]
async fn the_name_server_goes_wrong() {
    let town = TestTown::start_with_console(Plan::default()).await;
    let console = town.console_client();
    let dns = |answer: Value| json!({"where": {"stack": EXMAIL, "name": "gmail.com.", "verb": "MX"}, "what": {"dns": answer}});
    // A name that does not exist is final.
    let place = json!({"stack": EXMAIL, "name": "gmail.com."});
    set(&console, "f", json!({"where": place, "what": {"dns": "nxdomain"}})).await;
    town.send(USR1, &[USR], b"Subject: 0\r\n\r\n").await;
    let bounce = town.mail_of(USR1, 1).await;
    assert!(String::from_utf8_lossy(&bounce[0]).contains("5.1.2"), "{}", String::from_utf8_lossy(&bounce[0]));
    set(&console, "f", dns(json!("servfail"))).await;
    town.send(USR1, &[USR], b"Subject: 1\r\n\r\n").await;
    town.deferred(EXMAIL).await;
    assert!(fired(&console, "f").await >= 1);
    let port = json!({"stack": EXMAIL, "name": "gmail-smtp-in.l.google.com.", "verb": "P"});
    set(&console, "f", json!({"where": port, "what": {"dns": {"wrong": "9"}}})).await;
    town.time.advance(HOUR);
    eventually("another reason", PATIENCE, async || {
        town.deferred(EXMAIL).await.last_reply.contains("127.0.0.1:9)").then_some(())
    })
    .await;
    clear(&console).await;
    town.time.advance(HOUR);
    town.mail_of(USR, 1).await;
    town.stop().await;
}

#[tokio::test]
async fn the_store_goes_wrong() {
    let town = TestTown::start_with_console(Plan::default()).await;
    let console = town.console_client();
    let store = |what: Value| json!({"where": {"stack": EXMAIL, "service": "mailbox-store"}, "what": what});
    set(&console, "f", store(json!({"status": 503}))).await;
    let mut client = town.smtp(EXMAIL).await;
    client.hello().await;
    let refused = client.send(USR1, &[USR2], b"Subject: x\r\n\r\n").await.unwrap_err().to_string();
    assert!(refused.contains("451 4.3.0"), "{refused}");
    // What the console asks the store for does not go wrong.
    let (status, text) = console.answer(console.request(Method::GET, "/v1/queue")).await;
    assert_eq!(status, StatusCode::OK, "{text}");
    let accounts: Value =
        serde_json::from_str(&console.answer(console.request(Method::GET, "/v1/accounts")).await.1).unwrap();
    assert!(accounts.to_string().contains(USR1), "{accounts}");
    set(&console, "f", store(json!({"delay": "200ms"}))).await;
    let started = Instant::now();
    town.send(USR2, &[USR2], b"Subject: slow\r\n\r\n").await;
    assert!(started.elapsed() >= Duration::from_millis(200));
    clear(&console).await;
    town.mail_of(USR2, 1).await;
    town.stop().await;
}

#[tokio::test]
async fn the_configuration_sets_faults_and_forbids_them() {
    let at_start = "[faults.at_start.busy]\nwhere = { stack = \"gmail.com\", service = \"smtp-gateway\", verb = \"MAIL\" }\n\
                    what = { reply = \"451 4.3.0 busy\" }\n";
    let town = TestTown::start_edited_with_console(Plan::default(), |text| format!("{text}\n{at_start}")).await;
    let console = town.console_client();
    let mut client = town.smtp(GMAIL).await;
    client.hello().await;
    assert_eq!(client.command(&format!("MAIL FROM:<{USR}>")).await.unwrap(), "451 4.3.0 busy");
    assert_eq!(console.get("/v1/faults").await["faults"]["busy"]["fired"], 1);
    // A service that begins anew, with the faults of its configuration, is told what the console knows.
    clear(&console).await;
    let faults = format!("http://{}/v1/faults", town.address(GMAIL, PortKey::SmtpHttp));
    let token = town_tests::TOKEN;
    let fresh =
        json!({"faults": {"busy": {"where": {"service": "smtp-gateway"}, "what": "stall"}}, "magic_recipients": false});
    set(&console, "other", smtp("NOOP", json!("stall"))).await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let put = http.put(&faults).bearer_auth(token).json(&fresh).send().await.unwrap();
    assert_eq!(put.status(), StatusCode::NO_CONTENT);
    eventually("the console's faults", PATIENCE, async || {
        let known: Value = http.get(&faults).bearer_auth(token).send().await.unwrap().json().await.unwrap();
        (known["settings"]["faults"].get("busy").is_none() && known["settings"]["faults"].get("other").is_some())
            .then_some(())
    })
    .await;
    town.stop().await;

    let edit = |text: &str| format!("{text}\n[faults]\napi = false\n");
    let town = TestTown::start_edited_with_console(Plan::default(), edit).await;
    let console = town.console_client();
    let (status, text) =
        console.answer(console.request(Method::PUT, "/v1/faults/f").json(&smtp("NOOP", json!("stall")))).await;
    assert_eq!(status, StatusCode::OK);
    let told: Value = serde_json::from_str(&text).unwrap();
    let untold = told["untold"].as_object().unwrap();
    assert_eq!(untold.len(), 8, "{told}");
    assert!(untold.values().all(|why| why.as_str().unwrap().contains("api = false")), "{told}");
    town.smtp(EXMAIL).await.command("NOOP").await.unwrap();
    town.stop().await;
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_and_said() {
    let town = TestTown::start_with_console(Plan::default()).await;
    let console = town.console_client();
    for (fault, words) in [
        (json!({"what": "stall"}), "neither service nor hop"),
        (json!({"where": {"servce": "x"}, "what": "stall"}), "servce"),
        (smtp("RCPT", json!({"reply": "-ERR"})), "is no reply"),
    ] {
        let (status, text) = console.answer(console.request(Method::PUT, "/v1/faults/f").json(&fault)).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{text}");
        assert!(text.contains(words), "{text}");
    }
    let (status, _) = console.answer(console.request(Method::DELETE, "/v1/faults/f")).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    town.stop().await;
}

#[tokio::test]
async fn a_seed_replays_exactly_and_mailpits_chaos_is_faults() {
    let town = TestTown::start_with_console(Plan::default()).await;
    let console = town.console_client();
    let mut client = town.smtp(EXMAIL).await;
    client.hello().await;
    let mut run = async |seed: u64| {
        let mut fault = smtp("NOOP", json!({"reply": "451 x"}));
        fault["when"] = json!({"probability": 0.5, "seed": seed});
        clear(&console).await;
        set(&console, "f", fault).await;
        let mut replies = String::new();
        for _ in 0..40 {
            replies.push_str(&client.command("NOOP").await.unwrap()[..1]);
        }
        replies
    };
    let (first, again, other) = (run(7).await, run(7).await, run(8).await);
    assert_eq!(first, again);
    assert_ne!(first, other);
    clear(&console).await;

    let chaos = json!({"Sender": {"ErrorCode": 421, "Probability": 100}});
    let (status, text) = console.answer(console.request(Method::PUT, "/api/v1/chaos").json(&chaos)).await;
    assert_eq!(status, StatusCode::OK, "{text}");
    assert_eq!(client.command(&format!("MAIL FROM:<{USR1}>")).await.unwrap(), "421 Chaos error");
    assert_eq!(console.get("/api/v1/chaos").await["Sender"]["Probability"], 100);
    console.json(Method::POST, "/v1/reset").await;
    assert_eq!(client.command(&format!("MAIL FROM:<{USR1}>")).await.unwrap(), "250 2.1.0 OK");
    town.stop().await;
}
