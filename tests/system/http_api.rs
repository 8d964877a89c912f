//! What people and machines see over HTTP.

use mail_proto::pop3::Command;
use reqwest::{Method, StatusCode};
use service_kit::config::PortKey;
use town_tests::{EXMAIL, GMAIL, Plan, TOKEN, TestTown, USR1};

const HTTP: [PortKey; 4] = [PortKey::Store, PortKey::DnsHttp, PortKey::SmtpHttp, PortKey::PopHttp];

#[tokio::test]
async fn the_store_lists_what_pop3_lists() {
    let town = TestTown::start(Plan::default().rfc()).await;
    for size in [1, 100, 300_000] {
        town.send(USR1, &[USR1], format!("Subject: {size}\r\n\r\n{}\r\n", "x".repeat(size)).as_bytes()).await;
    }
    let mut client = town.pop3(USR1).await;
    let mut listed = Vec::new();
    for number in 1..=3 {
        let uid = client.command(Command::Uidl(Some(number))).await.unwrap().status.text();
        let (_, octets) = client.command(Command::List(Some(number))).await.unwrap().status.two_numbers().unwrap();
        assert_eq!(client.retr(number).await.len() as u64, octets);
        listed.push((uid, octets));
    }
    let messages = town.listing(USR1).await.messages;
    let numbered = (1..).zip(&messages).map(|(number, message)| (format!("{number} {}", message.id), message.octets));
    assert_eq!(numbered.collect::<Vec<_>>(), listed);
    assert!(messages.iter().all(|message| message.reverse_path.to_string() == format!("<{USR1}>")));
    let path = format!("/v1/messages/{}/raw", messages[0].id);
    let raw = town.call(Method::GET, EXMAIL, PortKey::Store, &path).await;
    assert_eq!(raw.headers()["content-type"], "message/rfc822");
    assert!(raw.text().await.unwrap().ends_with("\r\nSubject: 1\r\n\r\nx\r\n"));
    town.stop().await;
}

#[tokio::test]
async fn every_service_describes_itself() {
    let town = TestTown::start(Plan::default()).await;
    for (server, key) in [EXMAIL, GMAIL].into_iter().flat_map(|server| HTTP.map(|key| (server, key))) {
        let answer = town.call(Method::GET, server, key, "/v1/openapi.json").await;
        assert_eq!(answer.status(), StatusCode::OK);
        let description: serde_json::Value = answer.json().await.unwrap();
        assert!(description["openapi"].as_str().unwrap().starts_with("3."), "{server} {key:?}");
        assert!(description["info"]["title"].is_string() && description["paths"].is_object(), "{server} {key:?}");
    }
    town.stop().await;
}

#[tokio::test]
async fn the_token_guards_the_api_and_nothing_else() {
    let town = TestTown::start(Plan::default()).await;
    for (server, key) in [EXMAIL, GMAIL].into_iter().flat_map(|server| HTTP.map(|key| (server, key))) {
        let base = format!("http://{}", town.address(server, key));
        for path in ["/v1/openapi.json", "/v1/mailboxes", "/v1/resolve?name=gmail.com&type=MX", "/v1/nothing", "/"] {
            for token in [None, Some("another token"), Some(&TOKEN[1..]), Some(&TOKEN[..5]), Some("")] {
                let answer = town.call_with(Method::GET, &format!("{base}{path}"), token).await;
                assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{server} {key:?} {path} {token:?}");
                assert_eq!(answer.headers()["content-type"], "application/problem+json");
            }
        }
        for path in ["/livez", "/readyz", "/metrics"] {
            let answer = town.call_with(Method::GET, &format!("{base}{path}"), None).await;
            assert_eq!(answer.status(), StatusCode::OK, "{server} {key:?} {path}");
        }
        let answer = town.call(Method::GET, server, key, "/v1/nothing").await;
        assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{server} {key:?}");
    }
    town.stop().await;
}

#[tokio::test]
async fn nobody_writes_without_the_token() {
    let town = TestTown::start(Plan::default()).await;
    let base = format!("http://{}", town.address(EXMAIL, PortKey::Store));
    for path in
        ["/v1/messages", "/v1/queue/flush", "/v1/queue/claims", "/v1/mailboxes/usr1@mail.sustech.edu.cn/sessions"]
    {
        let answer = town.call_with(Method::POST, &format!("{base}{path}"), None).await;
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{path}");
    }
    town.stop().await;
}
