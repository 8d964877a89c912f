//! The console: mail that is sent appears there, and what becomes of it.

use reqwest::{Method, StatusCode};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use town_tests::{ConsoleClient, PATIENCE, Plan, TestTown, USR, USR1, USR2, eventually};

fn message(subject: &str, text: &str) -> Vec<u8> {
    format!("From: {USR1}\r\nTo: {USR2}\r\nSubject: {subject}\r\n\r\n{text}\r\n").into_bytes()
}

#[tokio::test]
async fn mail_of_both_stacks_is_listed_as_soon_as_it_is_accepted() {
    let town = TestTown::start_with_console(Plan::default()).await;
    let console = town.console_client();
    let id = town.send(USR1, &[USR2], &message("your code", "It is 4711. See http://a.test/x.")).await;
    let list = console.get("/v1/mail").await;
    assert_eq!(list["mail"][0]["id"], id, "{list}");
    assert_eq!(list["mail"][0]["subject"], "your code");
    assert_eq!(list["mail"][0]["recipients"][0]["state"], "delivered");
    let mail = console.get(&format!("/v1/mail/{id}")).await;
    assert_eq!(mail["codes"], json!(["4711"]));
    assert_eq!(mail["links"], json!(["http://a.test/x"]));
    let kinds: Vec<_> = mail["events"].as_array().unwrap().iter().map(|event| &event["kind"]).collect();
    assert_eq!(kinds, ["accepted", "delivered"]);
    assert!(console.text(&format!("/v1/mail/{id}/raw")).await.contains("It is 4711."));
    assert!(console.text(&format!("/v1/mail/{id}/text")).await.starts_with("It is 4711."));
    let (status, _) = console.answer(console.request(Method::GET, &format!("/v1/mail/{id}/html"))).await;
    assert_eq!(status, StatusCode::NOT_FOUND);

    let far = town.send(USR1, &[USR], b"Subject: far\r\n\r\n").await;
    town.mail_of(USR, 1).await;
    // The copy at the sender's server is gone as soon as the other server has its own.
    eventually("the copy of the other server alone", PATIENCE, async || {
        let list = console.get("/v1/mail?query=subject:far").await;
        let stacks: Vec<_> = list["mail"].as_array().unwrap().iter().map(|mail| mail["stack"].clone()).collect();
        (stacks == ["gmail.com"]).then_some(())
    })
    .await;
    let gone = console.get(&format!("/v1/mail?query=id:{far}")).await;
    assert_eq!(gone["mail"][0]["stack"], "exmail.qq.com");
    assert_eq!(gone["mail"][0]["recipients"][0]["state"], "relayed");
    assert_eq!(gone["mail"][0]["held_by_store"], false);
    town.stop().await;
}

#[tokio::test]
async fn pages_follow_each_other_and_queries_find() {
    let town = TestTown::start_with_console(Plan::default()).await;
    let console = town.console_client();
    for number in 0..5 {
        town.send(USR1, &[USR2], &message(&format!("number {number}"), "Blue whale")).await;
    }
    town.send(USR2, &[USR1], b"From: b@x.test\r\nSubject: other\r\n\r\nred fox\r\n").await;
    assert_eq!(console.subjects("whale number").await.len(), 5);
    assert_eq!(console.subjects("-whale").await, ["other"]);
    assert_eq!(console.subjects("\"red fox\" from:b@x").await, ["other"]);
    assert_eq!(console.subjects(&format!("mailbox:{USR1}")).await, ["other"]);
    assert_eq!(console.subjects("state:queued").await, Vec::<String>::new());
    let first = console.get("/v1/mail?query=whale&limit=2").await;
    let mut found: Vec<_> = first["mail"].as_array().unwrap().iter().map(|mail| mail["subject"].clone()).collect();
    let mut next = first["next"].clone();
    while let Some(before) = next.as_str() {
        let page = console.get(&format!("/v1/mail?query=whale&limit=2&before={before}")).await;
        found.extend(page["mail"].as_array().unwrap().iter().map(|mail| mail["subject"].clone()));
        next = page["next"].clone();
    }
    assert_eq!(found, ["number 4", "number 3", "number 2", "number 1", "number 0"]);
    let (status, text) = console.answer(console.request(Method::GET, "/v1/mail?query=is:blue")).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(text.contains("is:blue cannot be"), "{text}");
    town.stop().await;
}

#[tokio::test]
async fn deleting_deletes_in_the_store_and_a_reset_deletes_all() {
    let town = TestTown::start_with_console(Plan::default().peer("far.test", 1)).await;
    let console = town.console_client();
    for subject in ["one", "two", "three"] {
        town.send(USR1, &[USR1, USR2], &message(subject, "text")).await;
    }
    let one = console.get("/v1/mail?query=subject:one").await["mail"][0]["id"].as_str().unwrap().to_owned();
    let (status, _) = console.answer(console.request(Method::DELETE, &format!("/v1/mail/{one}"))).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    assert_eq!(console.subjects("").await, ["three", "two"]);
    assert_eq!(town.mail(USR2).await.len(), 2);
    let deletion = console.json(Method::DELETE, "/v1/mail?query=subject:two").await;
    assert_eq!(deletion, json!({"deleted": 1, "not_deleted": []}));
    // What its user deletes is gone from the list, too.
    let mut client = town.pop3(USR1).await;
    client.delete(1..=1).await.unwrap();
    client.quit().await;
    let three = console.get("/v1/mail").await;
    assert_eq!(three["mail"].as_array().unwrap().len(), 1);
    town.send(USR1, &["x@far.test"], &message("waits", "text")).await;
    let reset = console.json(Method::POST, "/v1/reset").await;
    assert_eq!(reset["not_deleted"], json!([]), "{reset}");
    assert_eq!(console.subjects("").await, Vec::<String>::new());
    assert_eq!(town.mail(USR2).await.len(), 0);
    let (status, _) = console.answer(console.request(Method::GET, &format!("/v1/mail/{one}"))).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    town.stop().await;
}

/// While a user has the maildrop open, nothing is deleted from it, and that is said.
#[tokio::test]
async fn a_maildrop_that_is_open_keeps_its_mail() {
    let town = TestTown::start_with_console(Plan::default()).await;
    let console = town.console_client();
    let id = town.send(USR1, &[USR2], &message("kept", "text")).await;
    let client = town.pop3(USR2).await;
    let (status, text) = console.answer(console.request(Method::DELETE, &format!("/v1/mail/{id}"))).await;
    assert_eq!(status, StatusCode::CONFLICT, "{text}");
    assert_eq!(console.subjects("").await, ["kept"]);
    drop(client);
    town.stop().await;
}

#[tokio::test]
async fn new_mail_is_streamed_and_a_stream_goes_on_where_it_was() {
    let town = TestTown::start_with_console(Plan::default()).await;
    let console = town.console_client();
    let open = async |last: Option<&str>| {
        let request =
            console.request(Method::GET, "/v1/mail?query=subject:wanted").header("Accept", "text/event-stream");
        let request = match last {
            Some(last) => request.header("Last-Event-ID", last),
            None => request,
        };
        request.send().await.unwrap()
    };
    let mut stream = open(None).await;
    town.send(USR1, &[USR2], &message("unwanted by mistake", "text")).await;
    town.send(USR1, &[USR2], &message("wanted 1", "text")).await;
    let mut text = String::new();
    while !text.ends_with("\n\n") || !text.contains("wanted 1") {
        text.push_str(&String::from_utf8_lossy(&stream.chunk().await.unwrap().unwrap()));
    }
    drop(stream);
    let last = text.lines().filter_map(|line| line.strip_prefix("id: ")).next_back().unwrap();
    town.send(USR1, &[USR2], &message("wanted 2", "text")).await;
    let mut stream = open(Some(last)).await;
    let next = String::from_utf8_lossy(&stream.chunk().await.unwrap().unwrap()).into_owned();
    assert!(next.contains("wanted 2") && !next.contains("wanted 1"), "{next}");
    drop(stream);
    town.stop().await;
}

/// A client that is not of the console's town.
#[tokio::test]
async fn services_are_shown_with_how_they_are_followed() {
    let town = TestTown::start_with_console(Plan::default()).await;
    let console: ConsoleClient = town.console_client();
    let stores = eventually("both stores are followed", PATIENCE, async || {
        let services = console.get("/v1/services").await;
        let all = services["services"].as_array().unwrap().clone();
        let followed =
            |service: &&serde_json::Value| service["service"] == "mailbox-store" && service["state"] == "following";
        (all.len() == 8 && all.iter().filter(followed).count() == 2).then_some(all)
    })
    .await;
    assert!(stores.iter().any(|service| service["stack"] == "gmail.com"));
    town.stop().await;
}

/// A webhook that fails is called again, and mail does not wait for it.
#[tokio::test]
async fn a_webhook_is_told_of_new_mail() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let webhook = format!("webhook = \"http://{}/new-mail\"", listener.local_addr().unwrap());
    let town = TestTown::start_with_console(Plan::default().console(&webhook)).await;
    let answer = async |status: &str| {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"}") {
            assert_ne!(stream.read_buf(&mut request).await.unwrap(), 0, "{}", String::from_utf8_lossy(&request));
        }
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        stream.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8(request).unwrap()
    };
    // What was there before the console caught up is not new.
    eventually("the console follows both stores", PATIENCE, async || {
        let services = town.console_client().get("/v1/services").await;
        let all = services["services"].as_array().unwrap().clone();
        (all.iter().filter(|service| service["state"] == "following").count() >= 2).then_some(())
    })
    .await;
    let id = town.send(USR1, &[USR2], &message("announced", "text")).await;
    let first = answer("500 Oops").await;
    assert!(first.starts_with("POST /new-mail HTTP/1.1\r\n"), "{first}");
    let second = answer("204 No Content").await;
    let body: serde_json::Value = serde_json::from_str(second.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    assert_eq!((&body["id"], &body["subject"]), (&json!(id), &json!("announced")));
    town.stop().await;
}
