//! The console: mail that is sent appears there.

use serde_json::Value;
use town_tests::{Plan, TestTown, USR, USR1, USR2};

/// Asks the console.
pub(crate) async fn get(town: &TestTown, path: &str) -> Value {
    let answer = reqwest::get(format!("http://{}{path}", town.console())).await.unwrap();
    let (status, text) = (answer.status(), answer.text().await.unwrap());
    assert!(status.is_success(), "{path}: {status} {text}");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error} {text}"))
}

#[tokio::test]
async fn mail_of_both_stacks_is_listed_as_soon_as_it_is_accepted() {
    let town = TestTown::start_with_console(Plan::default()).await;
    let message = format!("From: {USR1}\r\nTo: {USR2}\r\nSubject: your code\r\n\r\nIt is 4711.\r\n");
    let id = town.send(USR1, &[USR2], message.as_bytes()).await;
    let list = get(&town, "/v1/mail").await;
    assert_eq!(list["mail"][0]["id"], id, "{list}");
    assert_eq!(list["mail"][0]["subject"], "your code");
    assert_eq!(list["mail"][0]["recipients"][0]["state"], "delivered");
    let mail = get(&town, &format!("/v1/mail/{id}")).await;
    assert_eq!(mail["codes"], serde_json::json!(["4711"]));
    assert_eq!(mail["events"][0]["kind"], "accepted");

    let far = town.send(USR1, &[USR], b"Subject: far\r\n\r\n").await;
    town.mail_of(USR, 1).await;
    let list = get(&town, "/v1/mail?query=subject:far").await;
    let stacks: Vec<_> = list["mail"].as_array().unwrap().iter().map(|mail| mail["stack"].clone()).collect();
    assert!(stacks.contains(&"gmail.com".into()), "{list}");
    let gone = get(&town, &format!("/v1/mail?query=id:{far}")).await;
    assert_eq!(gone["mail"][0]["stack"], "exmail.qq.com");
    town.stop().await;
}
