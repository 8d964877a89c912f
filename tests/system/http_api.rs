//! What people and machines see over HTTP.

use mail_proto::pop3::Command;
use reqwest::{Method, StatusCode};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use town_config::PortKey;
use town_tests::{EXMAIL, GMAIL, Plan, TOKEN, TestTown, USR1};

const HTTP: [PortKey; 4] = [PortKey::Store, PortKey::DnsHttp, PortKey::SmtpHttp, PortKey::PopHttp];

/// All that anybody is told without the token.
const UNAUTHORIZED: &str = r#"{"type":"urn:mailtown:problem:unauthorized","title":"A valid bearer token is required","status":401}
"#;

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

/// What a page of another site can have a browser send: no route takes it, with the token or without.
#[tokio::test]
async fn pages_of_other_sites_are_refused() {
    let town = TestTown::start(Plan::default()).await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let headers = [
        ("host", "rebound.example", StatusCode::MISDIRECTED_REQUEST, "foreign-host"),
        ("origin", "https://evil.example", StatusCode::FORBIDDEN, "cross-site"),
        ("sec-fetch-site", "cross-site", StatusCode::FORBIDDEN, "cross-site"),
    ];
    let routes = [
        (Method::GET, "/"),
        (Method::GET, "/livez"),
        (Method::GET, "/readyz"),
        (Method::GET, "/metrics"),
        (Method::GET, "/v1/openapi.json"),
        (Method::POST, "/v1/queue/flush"),
        (Method::GET, "/nothing"),
    ];
    for (server, key) in [EXMAIL, GMAIL].into_iter().flat_map(|server| HTTP.map(|key| (server, key))) {
        for (method, path) in &routes {
            for (name, value, status, kind) in headers {
                let url = format!("http://{}{path}", town.address(server, key));
                let request = http.request(method.clone(), &url).header(name, value).bearer_auth(TOKEN);
                let answer = request.header("content-type", "text/plain").send().await.unwrap();
                assert_eq!(answer.status(), status, "{server} {key:?} {method} {path} {name}");
                assert_eq!(answer.headers()["content-type"], "application/problem+json");
                let problem = answer.text().await.unwrap();
                assert!(problem.contains(&format!("urn:mailtown:problem:{kind}")), "{problem}");
                assert!(problem.ends_with("}\n"), "{problem}");
            }
        }
    }
    for host in ["localhost", "exmail-store:1080", EXMAIL, "smtp.gmail.com"] {
        let url = format!("http://{}/livez", town.address(EXMAIL, PortKey::Store));
        let answer = http.get(url).header("host", host).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{host}");
    }
    town.stop().await;
}

#[tokio::test]
async fn the_first_page_says_where_to_go_on() {
    let town = TestTown::start(Plan::default()).await;
    for (key, service) in HTTP.into_iter().map(|key| (key, key.service())) {
        let answer = town.call(Method::GET, EXMAIL, key, "/").await;
        let page: serde_json::Value = answer.json().await.unwrap();
        assert!(page["service"].as_str().unwrap().contains(service), "{page}");
        for path in page["links"].as_array().unwrap().iter().map(|path| path.as_str().unwrap()) {
            let answer = town.call(Method::GET, EXMAIL, key, path).await;
            let known = [StatusCode::OK, StatusCode::BAD_REQUEST];
            assert!(known.contains(&answer.status()), "{service} {path}: {}", answer.status());
        }
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
        let mut guarded = vec![(Method::GET, "/nothing".to_owned()), (Method::POST, "/v1/nothing".to_owned())];
        for (path, operations) in description["paths"].as_object().unwrap() {
            for method in operations.as_object().unwrap().keys() {
                let path = path.replace("{address}", USR1).replace("{id}", &id);
                guarded.push((method.to_uppercase().parse().unwrap(), path));
            }
        }
        for path in ["/", "/livez", "/readyz", "/metrics"] {
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

/// RFC 9112 §3.2
#[tokio::test]
async fn http_1_1_needs_a_host_and_1_0_does_not() {
    let town = TestTown::start(Plan::default()).await;
    for (request, expected) in [
        ("GET /livez HTTP/1.1\r\n\r\n", "HTTP/1.1 400 "),
        ("GET /livez HTTP/1.1\r\nHost:\r\n\r\n", "HTTP/1.1 421 "),
        ("GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n", "HTTP/1.1 200 "),
        ("GET /livez HTTP/1.0\r\n\r\n", "HTTP/1.0 200 "),
    ] {
        let mut client = TcpStream::connect(town.address(EXMAIL, PortKey::Store)).await.unwrap();
        client.write_all(request.as_bytes()).await.unwrap();
        let mut status = [0; 13];
        client.read_exact(&mut status).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&status), expected, "{request:?}");
    }
    town.stop().await;
}
