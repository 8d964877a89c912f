//! Captures of a running town, read by tshark without any option.

use reqwest::Method;
use std::{fs, process::Command};
use tempfile::TempDir;
use town_tests::{ConsoleClient, PATIENCE, Plan, TestTown, USR, USR1, eventually};

const MESSAGE: &[u8] = b"From: usr1@mail.sustech.edu.cn\r\nTo: usr@gmail.com\r\nSubject: captured\r\n\r\nlunch?\r\n";

/// The values of these fields in all packets that have them.
fn fields(capture: &[u8], field: &str) -> Vec<String> {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("town.pcapng");
    fs::write(&file, capture).unwrap();
    let mut tshark = Command::new("tshark");
    tshark.arg("-r").arg(&file).args(["-T", "fields", "-e", field, "-Y", field]);
    tshark.env("WIRESHARK_CONFIG_DIR", directory.path());
    let output = tshark.output().expect("tshark is missing; install Debian's package tshark");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

async fn octets(console: &ConsoleClient, path: &str) -> Vec<u8> {
    let answer = console.request(Method::GET, path).send().await.unwrap();
    assert!(answer.status().is_success(), "{path}: {}", answer.status());
    assert_eq!(answer.headers()["content-type"], "application/x-pcapng");
    answer.bytes().await.unwrap().to_vec()
}

#[tokio::test]
async fn a_message_is_captured_over_both_domains() {
    let town = TestTown::start_with_console(Plan::default()).await;
    let console = town.console_client();
    let id = town.send(USR1, &[USR], MESSAGE).await;
    assert_eq!(town.mail_within(USR, 1, PATIENCE).await.len(), 1);
    let all = eventually("all sessions are there", PATIENCE, async || {
        let all = octets(&console, "/v1/captures.pcapng").await;
        let quits = fields(&all, "smtp.req.command").iter().filter(|verb| verb.eq_ignore_ascii_case("QUIT")).count();
        (quits == 2 && fields(&all, "pop.request.command").iter().any(|verb| verb == "QUIT")).then_some(all)
    });
    let all = all.await;
    // Once at each server: the ends of the clients are not shown too.
    assert_eq!(fields(&all, "imf.subject"), ["captured"; 3], "submission, relay and RETR");
    assert_eq!(fields(&all, "smtp.req.command").iter().filter(|verb| verb.eq_ignore_ascii_case("DATA")).count(), 2);

    let one = octets(&console, &format!("/v1/captures.pcapng?message={id}")).await;
    assert_eq!(fields(&one, "imf.subject").len(), 3);
    let client = octets(&console, "/v1/captures.pcapng?vantage=client").await;
    assert_eq!(fields(&client, "imf.subject"), ["captured"], "the relay alone is a client of the town");
    let session = console.get(&format!("/v1/sessions?message={id}")).await["sessions"][0]["id"].clone();
    let session = octets(&console, &format!("/v1/captures.pcapng?session={}", session.as_str().unwrap())).await;
    assert_eq!(fields(&session, "imf.subject").len(), 1);
    for unknown in ["session=nonsense", "message=nonsense", "message=0000000000001"] {
        let request = console.request(Method::GET, &format!("/v1/captures.pcapng?{unknown}"));
        assert_eq!(console.answer(request).await.0, 404, "{unknown}");
    }
    town.stop().await;
}

#[tokio::test]
async fn a_capture_grows_while_mail_flows() {
    let town = TestTown::start_with_console(Plan::default()).await;
    let console = town.console_client();
    let mut live = console.request(Method::GET, "/v1/captures/live.pcapng").send().await.unwrap();
    let mut capture = Vec::new();
    town.send(USR1, &[USR], MESSAGE).await;
    let reading = async {
        while fields(&capture, "imf.subject").is_empty() {
            capture.extend_from_slice(&live.chunk().await.unwrap().expect("the capture has ended"));
        }
    };
    tokio::time::timeout(4 * PATIENCE, reading).await.expect("the message is not in the capture");
    drop(live);
    town.stop().await;
}
