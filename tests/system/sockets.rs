//! Services that call each other over Unix sockets.

use internal_api::ProblemKind;
use reqwest::{Client, StatusCode, header};
use service_kit::cli;
use std::{fs, os::unix::fs::PermissionsExt};
use town_config::PortKey;
use town_tests::{EXMAIL, GMAIL, PATIENCE, Plan, ProcessTown, Service, TOKEN, USR, USR1};

const STORE: Service = Service { binary: "mailbox-store", server: EXMAIL };
const SMTP: Service = Service { binary: "smtp-gateway", server: EXMAIL };

#[tokio::test]
async fn mail_goes_over_unix_sockets_also_after_a_kill() {
    let mut town = ProcessTown::start_over_sockets(Plan::default()).await;
    town.send(USR1, &[USR1, USR], b"Subject: one\r\n\r\n").await;
    town.mail_of(USR1, 1).await;
    town.mail_of(USR, 1).await;

    // The store's port answers all the time. A gateway that begins without the socket shows that it calls nothing else.
    let socket = town.socket(STORE.binary, EXMAIL);
    let aside = socket.with_extension("aside");
    fs::rename(&socket, &aside).unwrap();
    town.kill(SMTP).await;
    town.spawn(SMTP);
    town.alive(SMTP).await;
    let error = cli::ready(town.address(EXMAIL, PortKey::SmtpHttp)).await.unwrap_err().to_string();
    assert!(error.contains("the mailbox store: ") && error.contains("No such file"), "{error}");
    fs::rename(&aside, &socket).unwrap();
    town.ready(SMTP).await;

    town.kill(STORE).await;
    assert!(socket.exists(), "what is killed leaves its socket");
    town.restart(STORE).await;
    town.ready(SMTP).await;
    town.send(USR1, &[USR1, USR], b"Subject: two\r\n\r\n").await;
    town.mail_of(USR1, 2).await;
    town.mail_of(USR, 2).await;

    town.terminate(STORE);
    assert!(town.ended(STORE).await.success());
    assert!(!socket.exists(), "who ends takes its socket away");
}

#[tokio::test]
async fn a_socket_is_guarded_as_a_port_is() {
    let town = ProcessTown::start_over_sockets(Plan::default()).await;
    let socket = town.socket("mailbox-store", GMAIL);
    assert_eq!(fs::symlink_metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    let client = Client::builder().unix_socket(socket).timeout(PATIENCE).build().unwrap();
    let ask = async |token: Option<&str>, host: &str| {
        let request = client.get("http://localhost/v1/queue").header(header::HOST, host);
        let request = token.into_iter().fold(request, |request, token| request.bearer_auth(token));
        request.send().await.unwrap().status()
    };
    assert_eq!(ask(Some(TOKEN), "localhost").await, StatusCode::OK);
    assert_eq!(ask(None, "localhost").await, StatusCode::UNAUTHORIZED);
    assert_eq!(ask(Some("wrong"), "localhost").await, StatusCode::UNAUTHORIZED);
    assert_eq!(ask(Some(TOKEN), "elsewhere.example").await, ProblemKind::ForeignHost.status());
}
