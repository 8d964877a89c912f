//! STARTTLS (RFC 3207), as a client sees it that trusts the town's authority.

use mail_net::{Clock, Dial, Hop, LineStream, StreamLimits, TcpDial, Tls, TlsError};
use std::{collections::BTreeSet, fs, path::Path, sync::Arc};
use tokio_rustls::rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use town_config::PortKey;
use town_tests::{EXMAIL, PATIENCE, Plan, Site, TestTown, USR1, USR2};

/// A client that has said nothing yet.
pub(crate) async fn dial(site: &Site, key: PortKey) -> LineStream {
    let address = site.address(EXMAIL, key).to_string().parse().unwrap();
    let io = TcpDial::default().dial(Hop::AgentToSmtp, &address).await.unwrap();
    let limits = StreamLimits { line_octets: 4096, read_octets: 4096, silence: PATIENCE, write: PATIENCE };
    LineStream::new(io, limits, Clock::system())
}

/// A client that has read the greeting.
async fn connect(town: &TestTown) -> LineStream {
    let mut client = dial(town, PortKey::Smtp).await;
    assert_eq!(reply(&mut client).await, ["220 exmail.qq.com SMTP server ready"]);
    client
}

/// The next reply, line by line.
pub(crate) async fn reply(client: &mut LineStream) -> Vec<String> {
    let mut lines = Vec::new();
    loop {
        let line = client.line(client.deadline()).await.unwrap().unwrap();
        let line = String::from_utf8(line.to_vec()).unwrap();
        let is_last = line.as_bytes().get(3) != Some(&b'-');
        lines.push(line);
        if is_last {
            return lines;
        }
    }
}

/// Sends octets as they are.
pub(crate) async fn command(client: &mut LineStream, octets: &str) -> Vec<String> {
    client.push(octets.as_bytes());
    reply(client).await
}

/// Trusts the authority in this file, and nobody else.
pub(crate) fn trusting(authority: &Path, name: &str) -> Tls {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(&fs::read(authority).unwrap()).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let config = builder.with_root_certificates(roots).with_no_client_auth();
    Tls::Client(Arc::new(config), ServerName::try_from(name.to_owned()).unwrap())
}

pub(crate) fn keywords(ehlo: &[String]) -> BTreeSet<String> {
    ehlo[1..].iter().map(|line| line[4..].split(' ').next().unwrap().to_owned()).collect()
}

/// The extensions of docs/protocols.md that are offered with or without TLS.
pub(crate) fn documented(with_tls: bool) -> BTreeSet<String> {
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/protocols.md")).unwrap();
    let table = text.split("| extension | RFC | when it is offered |\n").nth(1).unwrap();
    let rows = table.lines().skip(1).take_while(|line| line.starts_with('|'));
    let cells = rows.map(|row| row.split('|').map(str::trim).collect::<Vec<_>>());
    let offered = cells.filter(|cells| match cells[3].split([';', ',']).next().unwrap() {
        // Clients of the tests are.
        "always" | "to clients in the `trusted_networks`" => true,
        "without TLS" => !with_tls,
        "over TLS" => with_tls,
        other => panic!("{other:?} is no condition"),
    });
    offered.map(|cells| cells[1].trim_matches('`').to_owned()).collect()
}

#[tokio::test]
async fn a_client_that_trusts_the_town_sends_mail_over_tls() {
    let town = TestTown::start(Plan::default().rfc()).await;
    let authority = town.state().join("tls/ca.pem");
    for name in ["exmail.qq.com", "smtp.exmail.qq.com", "mxbiz1.qq.com", "localhost", "127.0.0.1", "::1"] {
        let mut client = connect(&town).await;
        let before = command(&mut client, "EHLO laptop\r\n").await;
        assert_eq!(keywords(&before), documented(false));
        assert_eq!(command(&mut client, "STARTTLS\r\n").await, ["220 2.0.0 ready to start TLS"]);
        let mut client = client.upgrade(trusting(&authority, name)).await.unwrap();
        assert_eq!(command(&mut client, "MAIL FROM:<>\r\n").await, ["503 5.5.1 say EHLO or HELO first"]);
        let after = command(&mut client, "EHLO laptop\r\n").await;
        assert_eq!(keywords(&after), documented(true));
        assert_eq!(command(&mut client, "STARTTLS\r\n").await, ["503 5.5.1 TLS is spoken already"]);
        assert_eq!(command(&mut client, "QUIT\r\n").await, ["221 2.0.0 Bye"]);
    }
    let mut client = connect(&town).await;
    command(&mut client, "EHLO laptop\r\n").await;
    command(&mut client, "STARTTLS\r\n").await;
    let mut client = client.upgrade(trusting(&authority, "exmail.qq.com")).await.unwrap();
    command(&mut client, "EHLO laptop\r\n").await;
    command(&mut client, &format!("MAIL FROM:<{USR1}>\r\n")).await;
    command(&mut client, &format!("RCPT TO:<{USR2}>\r\n")).await;
    let accepted = command(&mut client, "BDAT 13 LAST\r\nA: b\r\n\r\ntls\r\n").await;
    assert!(accepted[0].starts_with("250 2.0.0 OK queued as"), "{accepted:?}");
    let mail = town.mail_of(USR2, 1).await;
    let text = String::from_utf8_lossy(&mail[0]);
    assert!(text.contains("with ESMTPS"), "{text}");
    town.stop().await;
}

/// RFC 3207 §4.2: somebody in between may have put commands behind STARTTLS.
#[tokio::test]
async fn what_is_pipelined_after_starttls_is_never_acted_on() {
    let town = TestTown::start(Plan::default().rfc()).await;
    let authority = town.state().join("tls/ca.pem");
    let injections =
        ["NOOP\r\n".to_owned(), format!("EHLO a\r\nMAIL FROM:<{USR1}>\r\nRCPT TO:<{USR2}>\r\n"), "RS".to_owned()];
    for injected in injections {
        let mut client = connect(&town).await;
        command(&mut client, "EHLO laptop\r\n").await;
        assert_eq!(command(&mut client, &format!("STARTTLS\r\n{injected}")).await[0], "220 2.0.0 ready to start TLS");
        let mut client = client.upgrade(trusting(&authority, "localhost")).await.unwrap();
        // The next reply is to the next command.
        let hello = command(&mut client, "EHLO laptop\r\n").await;
        assert_eq!(hello[0], "250-exmail.qq.com HELLO", "{injected}");
        assert_eq!(command(&mut client, "DATA\r\n").await, ["503 5.5.1 say MAIL FROM first"], "{injected}");
    }
    town.stop().await;
}

#[tokio::test]
async fn a_client_that_does_not_trust_the_town_sends_nothing_and_others_are_served() {
    let [town, other] = [TestTown::start(Plan::default()).await, TestTown::start(Plan::default()).await];
    let mut client = connect(&town).await;
    command(&mut client, "EHLO laptop\r\n").await;
    command(&mut client, "STARTTLS\r\n").await;
    let stranger = trusting(&other.state().join("tls/ca.pem"), "exmail.qq.com");
    assert!(matches!(client.upgrade(stranger).await, Err(TlsError::Handshake(_))));
    // Octets that are no TLS end the connection, and it only.
    let mut client = connect(&town).await;
    command(&mut client, "EHLO laptop\r\n").await;
    command(&mut client, "STARTTLS\r\n").await;
    client.push(&b"NOOP\r\n"[..]);
    client.flush().await.unwrap();
    let rest = client.line(client.deadline()).await;
    assert!(!matches!(rest, Ok(Ok(_))), "no reply: {rest:?}");
    let mut client = connect(&town).await;
    assert_eq!(command(&mut client, "NOOP\r\n").await, ["250 2.0.0 OK"]);
    town.stop().await;
    other.stop().await;
}
