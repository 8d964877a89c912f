//! What the services of a town have seen of their sessions.

use internal_api::{
    Flow, Handled, Mark, MessageId, Protocol, RecordedSession, Role, Seen, SessionPage, SessionRecords, TracePage,
};
use reqwest::Method;
use town_config::PortKey;
use town_tests::{EXMAIL, FakePeer, GMAIL, PATIENCE, Plan, SmtpClient, TestTown, USR, USR1, eventually, polite};

const MESSAGE: &[u8] = b"Subject: two ends\r\n\r\n.leading dot\r\n";

async fn sessions(town: &TestTown, server: &str, key: PortKey, query: &str) -> Vec<RecordedSession> {
    let response = town.call(Method::GET, server, key, &format!("/v1/sessions?{query}")).await;
    assert!(response.status().is_success(), "{query}: {}", response.status());
    response.json::<SessionPage>().await.unwrap().sessions
}

async fn records(town: &TestTown, server: &str, key: PortKey, session: &RecordedSession) -> SessionRecords {
    town.call(Method::GET, server, key, &format!("/v1/sessions/{}", session.id)).await.json().await.unwrap()
}

/// The first closed session that the query names; waits for it.
async fn closed(town: &TestTown, server: &str, key: PortKey, query: &str) -> SessionRecords {
    let session = eventually("the session is closed", PATIENCE, async || {
        sessions(town, server, key, &format!("open=false&{query}")).await.into_iter().next()
    });
    records(town, server, key, &session.await).await
}

/// All octets in one direction.
fn octets(session: &SessionRecords, direction: Flow) -> Vec<u8> {
    let seen = session.records.iter().filter_map(|record| match &record.what {
        Seen::Octets(seen) if seen.direction == direction => seen.octets.bytes(),
        _ => None,
    });
    seen.collect::<Vec<_>>().concat()
}

fn marks(session: &SessionRecords) -> Vec<&Mark> {
    let marks = session.records.iter().filter_map(|record| match &record.what {
        Seen::Mark(mark) => Some(mark),
        _ => None,
    });
    marks.collect()
}

/// The message of the last mark of this kind, with its transaction.
fn handled(session: &SessionRecords, wanted: Handled) -> Option<(MessageId, u32)> {
    marks(session).into_iter().rev().find_map(|mark| match mark {
        Mark::Message { message, how, transaction, .. } if *how == wanted => Some((*message, *transaction)),
        _ => None,
    })
}

#[tokio::test]
async fn a_message_is_seen_at_both_ends_of_each_hop() {
    let town = TestTown::start(Plan::default()).await;
    town.send(USR1, &[USR], MESSAGE).await;
    assert_eq!(town.mail_within(USR, 1, PATIENCE).await, [MESSAGE]);

    let submission = closed(&town, EXMAIL, PortKey::SmtpHttp, "").await;
    let (here, _) = handled(&submission, Handled::Accepted).unwrap();
    let relay = eventually("the relay has left", PATIENCE, async || {
        let relays = sessions(&town, EXMAIL, PortKey::SmtpHttp, "open=false").await;
        relays.into_iter().find(|session| session.role == Role::Client)
    });
    let client = records(&town, EXMAIL, PortKey::SmtpHttp, &relay.await).await;
    let server = closed(&town, GMAIL, PortKey::SmtpHttp, "").await;
    assert_eq!(handled(&client, Handled::Relayed), Some((here, 1)));
    let (there, transaction) = handled(&server, Handled::Accepted).unwrap();
    assert_eq!(transaction, 1);
    // The ends are joined by their addresses, and what one has sent the other has received.
    assert_eq!((client.session.local, client.session.remote), (server.session.remote, server.session.local));
    assert_eq!(octets(&client, Flow::Sent), octets(&server, Flow::Received));
    assert_eq!(octets(&server, Flow::Sent), octets(&client, Flow::Received));
    let replies = String::from_utf8(octets(&client, Flow::Received)).unwrap();
    assert!(replies.contains(&format!("queued as {there}\r\n")), "{replies}");
    assert!(marks(&client).iter().any(|mark| matches!(mark, Mark::Resolved { domain, .. } if domain == GMAIL)));
    assert_eq!(client.session.ended.as_deref(), Some("QUIT"));

    let fetch = closed(&town, GMAIL, PortKey::PopHttp, &format!("message={there}")).await;
    assert_eq!(fetch.session.user.as_deref(), Some(USR));
    assert_eq!(handled(&fetch, Handled::Fetched), Some((there, 0)));
    let called = |mark: &&Mark| matches!(mark, Mark::Called { request, status: Some(201), .. } if request.starts_with("POST /v1/mailboxes/usr@gmail.com/"));
    assert!(marks(&fetch).iter().any(called), "{:?}", marks(&fetch));
    let commands = String::from_utf8(octets(&fetch, Flow::Received)).unwrap();
    assert!(commands.contains("PASS ****\r\n"), "{commands}");
    assert!(String::from_utf8(octets(&fetch, Flow::Sent)).unwrap().contains("\r\n..leading dot\r\n.\r\n"));
    town.stop().await;
}

#[tokio::test]
async fn a_session_without_any_message_is_found_by_what_was_refused() {
    let town = TestTown::start(Plan::default().rfc()).await;
    let mut client = SmtpClient::connect(town.address(GMAIL, PortKey::Smtp)).await.unwrap();
    client.hello().await;
    client.command("MAIL FROM:<usr@gmail.com>").await.unwrap();
    let refusal = client.command("RCPT TO:<nobody@gmail.com>").await.unwrap();
    let open = sessions(&town, GMAIL, PortKey::SmtpHttp, "refused=true&open=true&remote=127.0.0.1").await;
    assert_eq!(open.len(), 1, "{open:?}");
    assert_eq!(open[0].last_refusal.as_deref(), Some(refusal.trim_end()));
    drop(client);
    let session = closed(&town, GMAIL, PortKey::SmtpHttp, "refused=true").await;
    assert_eq!((session.session.id, session.session.messages.len()), (open[0].id, 0));
    let refused = |mark: &&Mark| matches!(mark, Mark::Verdict { about, accepted: false, .. } if about == "RCPT");
    assert!(marks(&session).iter().any(refused), "{session:?}");
    assert!(sessions(&town, GMAIL, PortKey::SmtpHttp, "refused=false").await.is_empty());
    town.stop().await;
}

/// There was no connection at all.
#[tokio::test]
async fn a_peer_that_is_not_there_is_seen_too() {
    let plan = Plan::default().relay("retry = [\"1h\"]");
    let silent = plan.silent_port();
    let town = TestTown::start(plan.peer("peer.example", silent)).await;
    town.send(USR1, &["a@peer.example"], MESSAGE).await;
    town.deferred(EXMAIL).await;
    let attempts = sessions(&town, EXMAIL, PortKey::SmtpHttp, "open=false&refused=true").await;
    assert_eq!(attempts.len(), 1, "{attempts:?}");
    assert_eq!((attempts[0].role, attempts[0].local), (Role::Client, None));
    assert!(attempts[0].ended.as_deref().unwrap().contains("refused"), "{attempts:?}");
    town.stop().await;
}

/// A student's own server is the other end: what the town saw of it is there.
#[tokio::test]
async fn a_peer_outside_the_town_is_seen_from_here() {
    let peer = FakePeer::start(polite).await;
    let town = TestTown::start(Plan::default().peer("peer.example", peer.port())).await;
    town.send(USR1, &["a@peer.example"], MESSAGE).await;
    town.drained(EXMAIL).await;
    let session = eventually("the relay has left", PATIENCE, async || {
        let known = sessions(&town, EXMAIL, PortKey::SmtpHttp, "open=false").await;
        known.into_iter().find(|session| session.role == Role::Client)
    });
    let session = records(&town, EXMAIL, PortKey::SmtpHttp, &session.await).await;
    assert_eq!(session.session.remote.map(|at| at.port()), Some(peer.port()));
    let said = String::from_utf8(octets(&session, Flow::Sent)).unwrap().to_uppercase();
    assert!(said.contains("RCPT TO:<A@PEER.EXAMPLE>\r\n") && said.ends_with("QUIT\r\n"), "{said}");
    town.stop().await;
}

#[tokio::test]
async fn name_servers_record_what_they_are_asked_over_dns() {
    let town = TestTown::start(Plan::default().relay("lookup = \"dns\"")).await;
    town.send(USR1, &[USR], MESSAGE).await;
    town.mail_within(USR, 1, PATIENCE).await;
    let asked = sessions(&town, EXMAIL, PortKey::DnsHttp, "open=false").await;
    assert!(asked.iter().all(|session| session.protocol == Protocol::DnsUdp), "{asked:?}");
    let query = records(&town, EXMAIL, PortKey::DnsHttp, asked.last().unwrap()).await;
    // The id of a query and that of its answer are the same (RFC 1035 §4.1.1).
    assert_eq!(octets(&query, Flow::Received)[..2], octets(&query, Flow::Sent)[..2]);
    town.stop().await;
}

#[tokio::test]
async fn the_trace_waits_for_what_comes_next() {
    let town = TestTown::start(Plan::default()).await;
    let page = async |query: String| -> TracePage {
        let response = town.call(Method::GET, GMAIL, PortKey::PopHttp, &format!("/v1/trace?{query}")).await;
        assert!(response.status().is_success(), "{}", response.status());
        response.json().await.unwrap()
    };
    let now = page("after=latest".to_owned()).await;
    assert!(now.records.is_empty());
    let waiting = page(format!("after={}&wait=60", now.next_after));
    let (page, _client) = tokio::join!(waiting, town.pop3(USR));
    assert!(matches!(&page.records[0].record.what, Seen::Opened { state } if state.protocol == Protocol::Pop3));
    let response = town.call(Method::GET, GMAIL, PortKey::PopHttp, "/v1/trace?after=nonsense").await;
    assert_eq!(response.status(), 400);
    town.stop().await;
}

#[tokio::test]
async fn recording_can_be_switched_off() {
    let town = TestTown::start(Plan::default().tables("[trace]\nenabled = false\n")).await;
    town.send(USR1, &[USR], MESSAGE).await;
    town.mail_within(USR, 1, PATIENCE).await;
    for key in [PortKey::SmtpHttp, PortKey::PopHttp, PortKey::DnsHttp] {
        assert_eq!(sessions(&town, GMAIL, key, "").await, []);
    }
    town.stop().await;
}
