//! What people and machines see over HTTP.

use mail_proto::pop3::Command;
use reqwest::{Method, StatusCode};
use service_kit::config::PortKey;
use town_tests::{EXMAIL, GMAIL, Plan, TOKEN, TestTown, USR1};

const HTTP: [PortKey; 4] = [PortKey::Store, PortKey::DnsHttp, PortKey::SmtpHttp, PortKey::PopHttp];

/// All that anybody is told without the token.
const UNAUTHORIZED: &str =
    r#"{"type":"urn:mailtown:problem:unauthorized","title":"A valid bearer token is required","status":401}"#;

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

/// Whoever calls without the token learns nothing, not even what there is: all answers are the same.
#[tokio::test]
async fn the_token_guards_all_that_is_described_but_health_and_metrics() {
    let town = TestTown::start(Plan::default()).await;
    let id = town.send(USR1, &[USR1], b"Subject: x\r\n\r\nx\r\n").await;
    for (server, key) in [EXMAIL, GMAIL].into_iter().flat_map(|server| HTTP.map(|key| (server, key))) {
        let base = format!("http://{}", town.address(server, key));
        let answer = town.call(Method::GET, server, key, "/v1/openapi.json").await;
        let description: serde_json::Value = answer.json().await.unwrap();
        let mut guarded = vec![(Method::GET, "/".to_owned()), (Method::POST, "/v1/nothing".to_owned())];
        for (path, operations) in description["paths"].as_object().unwrap() {
            for method in operations.as_object().unwrap().keys() {
                let path = path.replace("{address}", USR1).replace("{id}", &id);
                guarded.push((method.to_uppercase().parse().unwrap(), path));
            }
        }
        for path in ["/livez", "/readyz", "/metrics"] {
            let before = guarded.len();
            guarded.retain(|(_, guarded)| guarded != path);
            assert_eq!(guarded.len(), before - 1, "{server} {key:?} {path}");
            let answer = town.call_with(Method::GET, &format!("{base}{path}"), None).await;
            assert_eq!(answer.status(), StatusCode::OK, "{server} {key:?} {path}");
        }
        for (method, path) in guarded {
            for token in [None, Some("another token"), Some(&TOKEN[1..]), Some(&TOKEN[..5]), Some("")] {
                let answer = town.call_with(method.clone(), &format!("{base}{path}"), token).await;
                assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{server} {key:?} {method} {path} {token:?}");
                let mut headers: Vec<_> = answer.headers().keys().map(|name| name.as_str()).collect();
                headers.sort_unstable();
                assert_eq!(headers, ["content-length", "content-type", "date", "www-authenticate"], "{method} {path}");
                assert_eq!(answer.headers()["content-type"], "application/problem+json");
                assert_eq!(answer.text().await.unwrap(), UNAUTHORIZED, "{method} {path}");
            }
        }
        let answer = town.call(Method::GET, server, key, "/v1/nothing").await;
        assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{server} {key:?}");
    }
    assert_eq!(town.listing(USR1).await.messages.len(), 1);
    town.stop().await;
}
