//! Clients behind a proxy that speaks the PROXY protocol.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use town_config::PortKey;
use town_tests::{EXMAIL, Plan, SmtpClient, TestTown, USR1, USR2};

const HEADER: &[u8] = b"PROXY TCP4 192.0.2.7 127.0.0.1 4660 25\r\n";

/// A town whose clients come through a proxy on this machine.
async fn town() -> TestTown {
    TestTown::start(Plan::default().rfc().setting("proxy_networks = [\"127.0.0.1/32\"]")).await
}

/// All that a server says to a client that begins like this and then listens.
async fn heard(town: &TestTown, key: PortKey, octets: &[u8]) -> String {
    let mut client = TcpStream::connect(town.address(EXMAIL, key)).await.unwrap();
    client.write_all(octets).await.unwrap();
    let mut said = Vec::new();
    // A server that closes without reading all resets the connection.
    let _ = client.read_to_end(&mut said).await;
    String::from_utf8(said).unwrap()
}

/// The proxy is on this machine, which is trusted. Its clients are elsewhere, and are not.
#[tokio::test]
async fn what_a_client_may_do_depends_on_its_own_address() {
    let town = town().await;
    let mut client = SmtpClient::connect_silently(town.address(EXMAIL, PortKey::Smtp)).await.unwrap();
    client.write(HEADER).await.unwrap();
    assert!(client.reply().await.unwrap().starts_with("220 "));
    client.hello().await;
    let local = client.command(&format!("MAIL FROM:<{USR1}>")).await.unwrap();
    assert!(local.starts_with("530 5.7.0"), "{local}");
    client.send("peer@far.example", &[USR2], b"Subject: told\r\n\r\nx\r\n").await.unwrap();
    let commands = [HEADER, b"USER usr2@mail.sustech.edu.cn\r\nPASS pass2\r\nRETR 1\r\nQUIT\r\n"].concat();
    let mail = heard(&town, PortKey::Pop, &commands).await;
    assert!(mail.starts_with("+OK POP3 server ready\r\n"), "{mail}");
    assert!(mail.contains("Received: from ") && mail.contains("[192.0.2.7]"), "{mail}");
    town.stop().await;
}

#[tokio::test]
async fn a_connection_without_a_header_is_closed() {
    let town = town().await;
    for key in [PortKey::Smtp, PortKey::Submission, PortKey::Submissions, PortKey::Pop, PortKey::Pops] {
        assert_eq!(heard(&town, key, b"QUIT\r\nQUIT\r\nQUIT\r\n").await, "", "{key:?}");
    }
    town.stop().await;
}

/// The line is there with the header, before the server can have greeted (RFC 5321 §4.3.1).
#[tokio::test]
async fn a_line_before_the_greeting_is_early_talk_unless_that_is_tolerated() {
    let early = [HEADER, b"EHLO laptop\r\n"].concat();
    let town = town().await;
    let said = heard(&town, PortKey::Smtp, &early).await;
    assert!(said.contains("\r\n554 5.5.0 wait for the greeting"), "{said}");
    town.stop().await;
    let tolerant = Plan::default().rfc().setting("proxy_networks = [\"127.0.0.1/32\"]");
    let town = TestTown::start(tolerant.tables("[tolerance]\nearly_talk = true\n")).await;
    let mut client = SmtpClient::connect_silently(town.address(EXMAIL, PortKey::Smtp)).await.unwrap();
    client.write(&early).await.unwrap();
    assert!(client.reply().await.unwrap().starts_with("220 "));
    assert!(client.reply().await.unwrap().starts_with("250"));
    town.stop().await;
}

/// Whoever could tell any address would be trusted.
#[tokio::test]
async fn others_are_not_believed() {
    let town = TestTown::start(Plan::default()).await;
    let said = heard(&town, PortKey::Smtp, &[HEADER, b"QUIT\r\n"].concat()).await;
    assert!(said.contains("\r\n500 5.5.1 command not recognised\r\n"), "{said}");
    let said = heard(&town, PortKey::Pop, &[HEADER, b"QUIT\r\n"].concat()).await;
    assert!(said.contains("\r\n-ERR "), "{said}");
    town.stop().await;
}
