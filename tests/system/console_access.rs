//! The console: who may ask it, and what a restart leaves.

use console::{Config, Listeners, Login, Service, ServiceKind};
use mail_net::Clock;
use reqwest::{Method, StatusCode};
use rustix::process::{Pid, Signal, kill_process};
use service_kit::{http::Token, shutdown::CancellationToken};
use std::{process::Stdio, sync::Arc};
use tokio::{net::TcpListener, task::JoinHandle};
use town_config::{ConsoleBounds, OwnHosts, PortKey};
use town_tests::{
    ConsoleClient, EXMAIL, GMAIL, Mailtown, PATIENCE, Plan, TOKEN, TestTown, USR1, USR2, eventually, mailtown,
};

/// A console beside a town.
struct Beside {
    client: ConsoleClient,
    shutdown: CancellationToken,
    running: JoinHandle<Result<(), console::ServiceError>>,
}

impl Beside {
    async fn start(town: &TestTown, login: Login, bounds: ConsoleBounds) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = ConsoleClient::new(listener.local_addr().unwrap());
        let each = [EXMAIL, GMAIL].iter().flat_map(|server| ServiceKind::ALL.map(|kind| (*server, kind)));
        let services = each.map(|(server, kind)| Service {
            stack: server.to_owned(),
            kind,
            url: format!("http://{}", town.address(server, kind.port_key())),
        });
        let config = Config {
            services: services.collect(),
            servers: Vec::new(),
            mail_servers: Vec::new(),
            token: Some(Token::from(TOKEN)),
            settings: town_config::Console { bounds, ..town_config::Console::default() },
            hosts: Arc::new(|| OwnHosts::from_iter(["town.example"])),
            login,
            clock: Clock::system(),
            files: None,
        };
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(console::run(config, Listeners { http: listener.into() }, shutdown.clone()));
        Self { client, shutdown, running }
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.running.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_restart_builds_the_index_anew() {
    let town = TestTown::start(Plan::default()).await;
    for number in 0..5 {
        town.send(USR1, &[USR2], format!("Subject: number {number}\r\n\r\ntext {number}\r\n").as_bytes()).await;
    }
    let mut client = town.pop3(USR2).await;
    client.delete(2..=2).await.unwrap();
    client.quit().await;
    let expected = ["number 4", "number 3", "number 2", "number 0"];
    let first = Beside::start(&town, Login::everybody(), ConsoleBounds::default()).await;
    assert_eq!(first.client.subjects("").await, expected);
    let cursor = first.client.json(Method::POST, "/v1/checkpoint").await["cursor"].as_str().unwrap().to_owned();
    first.stop().await;
    // It is called again after what its time says, so that what comes now is later than the checkpoint.
    let second = Beside::start(&town, Login::everybody(), ConsoleBounds::default()).await;
    assert_eq!(second.client.subjects("").await, expected);
    assert_eq!(second.client.subjects("\"text 3\"").await, ["number 3"]);
    let since = second.client.get(&format!("/v1/mail?since={cursor}")).await;
    assert_eq!(since["mail"], serde_json::json!([]), "a checkpoint stays good");
    second.stop().await;
    town.stop().await;
}

/// The console as a process of its own, and as a part of `mailtown`.
#[tokio::test]
async fn it_runs_by_itself_and_within_the_town() {
    let town = TestTown::start(Plan::default()).await;
    town.send(USR1, &[USR2], b"Subject: here\r\n\r\n").await;
    let configured = |arguments: &[&str]| {
        let mut command = mailtown::command("console");
        command.arg("--config").arg(town.config()).args(arguments).env("MAILTOWN_TOKEN", TOKEN);
        command
    };
    let mut process = configured(&[]).spawn().unwrap();
    let healthy = async || {
        let ended = process.try_wait().unwrap();
        assert_eq!(ended, None, "it has ended");
        configured(&["healthcheck"]).stderr(Stdio::null()).status().await.unwrap().success().then_some(())
    };
    eventually("the console is healthy", PATIENCE, healthy).await;
    assert_eq!(town.console_client().subjects("").await, ["here"]);
    kill_process(Pid::from_raw(process.id().unwrap().try_into().unwrap()).unwrap(), Signal::TERM).unwrap();
    assert!(process.wait().await.unwrap().success());
    town.stop().await;

    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("config.toml");
    std::fs::write(&config, "[server.a]\nsmtp = 0\npop = 0\n[accounts.a]\n\"u@a.test\" = \"p\"\n").unwrap();
    std::fs::write(directory.path().join("fdns.toml"), "[MX]\n[P]\n").unwrap();
    let zone = directory.path().join("fdns.toml");
    let mut whole = Mailtown::start(["--config".as_ref(), config.as_os_str(), "--zone".as_ref(), zone.as_os_str()]);
    let ports = whole.ports().await;
    let console = ConsoleClient::new(ports.console().unwrap());
    mailtown::send(mailtown::address(&ports, "a", PortKey::Smtp), "u@a.test", "u@a.test", "inside").await;
    assert_eq!(console.subjects("").await, ["inside"]);
    assert!(whole.printed().contains(&format!("http://{}/", ports.console().unwrap())), "{}", whole.printed());
    assert!(whole.stop().await.success());
}

#[tokio::test]
async fn its_calls_are_described() {
    let town = TestTown::start_with_console(Plan::default()).await;
    let description = town.console_client().get("/v1/openapi.json").await;
    let paths: Vec<_> = description["paths"].as_object().unwrap().keys().map(String::as_str).collect();
    for path in [
        "/v1/accounts",
        "/v1/accounts/{address}",
        "/v1/checkpoint",
        "/v1/idle",
        "/v1/mail",
        "/v1/mail/wait",
        "/v1/mail/{id}",
        "/v1/mail/{id}/html",
        "/v1/mail/{id}/parts/{number}",
        "/v1/mail/{id}/raw",
        "/v1/mail/{id}/text",
        "/v1/queue",
        "/v1/queue/{id}",
        "/v1/queue/{id}/retry",
        "/v1/reset",
        "/v1/services",
        "/v1/sessions",
        "/v1/sessions/match",
        "/v1/sessions/{id}",
        "/v1/sessions/{id}/dialogue",
        "/v1/trace",
    ] {
        assert!(paths.contains(&path), "{path} is not in {paths:?}");
    }
    assert_eq!(description["components"]["securitySchemes"]["password"]["scheme"], "basic");
    town.stop().await;
}

#[tokio::test]
async fn the_index_is_bounded() {
    let town = TestTown::start(Plan::default()).await;
    for number in 0..8 {
        town.send(USR1, &[USR2], format!("Subject: number {number}\r\n\r\n").as_bytes()).await;
    }
    let bounds = ConsoleBounds { messages: 3, ..ConsoleBounds::default() };
    let console = Beside::start(&town, Login::everybody(), bounds).await;
    assert_eq!(console.client.subjects("").await, ["number 7", "number 6", "number 5"]);
    console.stop().await;
    town.stop().await;
}

#[tokio::test]
async fn pages_of_other_sites_change_nothing_and_foreign_hosts_are_refused() {
    let town = TestTown::start(Plan::default()).await;
    let console = Beside::start(&town, Login::everybody(), ConsoleBounds::default()).await;
    let status = async |method: Method, path: &str, headers: &[(&str, &str)]| {
        let mut request = console.client.request(method, path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        console.client.answer(request).await.0
    };
    assert_eq!(status(Method::GET, "/v1/mail", &[("Host", "evil.example")]).await, StatusCode::MISDIRECTED_REQUEST);
    assert_eq!(status(Method::GET, "/v1/mail", &[("Host", "town.example")]).await, StatusCode::OK);
    for (method, path) in [
        (Method::POST, "/v1/reset"),
        (Method::POST, "/v1/checkpoint"),
        (Method::DELETE, "/v1/mail?query="),
        (Method::DELETE, "/api/v1/messages"),
        (Method::PUT, "/api/v1/messages"),
    ] {
        let cross_site = [("Sec-Fetch-Site", "cross-site")];
        assert_eq!(status(method.clone(), path, &cross_site).await, StatusCode::FORBIDDEN, "{method} {path}");
        let foreign = [("Origin", "http://evil.example")];
        assert_eq!(status(method.clone(), path, &foreign).await, StatusCode::FORBIDDEN, "{method} {path}");
    }
    assert_eq!(status(Method::GET, "/v1/mail", &[("Sec-Fetch-Site", "cross-site")]).await, StatusCode::OK);
    console.stop().await;
    town.stop().await;
}

#[tokio::test]
async fn a_password_is_asked_for_everywhere_but_at_health_and_metrics() {
    let town = TestTown::start(Plan::default()).await;
    let console = Beside::start(&town, Login::password("open sesame"), ConsoleBounds::default()).await;
    let paths = ["/", "/v1/mail", "/v1/openapi.json", "/api/v1/messages", "/view/latest.html", "/nowhere"];
    for path in paths {
        let answer = console.client.request(Method::GET, path).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{path}");
        assert!(answer.headers()["www-authenticate"].to_str().unwrap().starts_with("Basic "));
        let request = console.client.request(Method::GET, path).basic_auth("anybody", Some("open sesame"));
        assert_ne!(console.client.answer(request).await.0, StatusCode::UNAUTHORIZED, "{path}");
        // The token of the internal API opens nothing here.
        let request = console.client.request(Method::GET, path).bearer_auth(TOKEN);
        assert_eq!(console.client.answer(request).await.0, StatusCode::UNAUTHORIZED, "{path}");
    }
    for path in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(console.client.answer(console.client.request(Method::GET, path)).await.0, StatusCode::OK);
    }
    console.stop().await;
    town.stop().await;
}
