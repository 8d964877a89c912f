//! A message's way over both domains, as the events of the stores tell it.

use internal_api::{Event, EventKind, MessageEvents, MessageId};
use reqwest::Method;
use town_config::PortKey;
use town_tests::{EXMAIL, GMAIL, Plan, TestTown, USR, USR1};

async fn story(town: &TestTown, server: &str, id: MessageId) -> Vec<Event> {
    let path = format!("/v1/messages/{id}/events");
    town.call(Method::GET, server, PortKey::Store, &path).await.json::<MessageEvents>().await.unwrap().events
}

fn kinds(events: &[Event]) -> Vec<&'static str> {
    events.iter().map(|event| event.kind.name()).collect()
}

#[tokio::test]
async fn events_lead_from_one_domain_to_the_other() {
    let town = TestTown::start(Plan::default()).await;
    let id = town.send(USR1, &[USR], b"Subject: far\r\n\r\n").await.parse().unwrap();
    town.mail_of(USR, 1).await;
    town.drained(EXMAIL).await;
    let here = story(&town, EXMAIL, id).await;
    assert_eq!(kinds(&here), ["accepted", "queued", "claimed", "relayed"]);
    let EventKind::Relayed { exchange, reply, peer_id: Some(peer_id), .. } = &here[3].kind else { panic!("{here:?}") };
    assert!(reply.starts_with("250 ") && !exchange.is_empty(), "{here:?}");
    assert_eq!(kinds(&story(&town, GMAIL, *peer_id).await), ["accepted", "delivered"]);
    town.stop().await;
}

#[tokio::test]
async fn events_lead_from_a_refusal_to_the_failure_message() {
    let town = TestTown::start(Plan::default()).await;
    let id = town.send(USR1, &["nobody@gmail.com"], b"Subject: far\r\n\r\n").await.parse().unwrap();
    town.mail_of(USR1, 1).await;
    let here = story(&town, EXMAIL, id).await;
    assert_eq!(kinds(&here), ["accepted", "queued", "claimed", "failed", "bounced"]);
    let EventKind::Failed { said_by: Some(_), reply, .. } = &here[3].kind else { panic!("{here:?}") };
    assert!(reply.starts_with("550 "), "{reply}");
    let EventKind::Bounced { as_message } = here[4].kind else { panic!("{here:?}") };
    assert_eq!(kinds(&story(&town, EXMAIL, as_message).await), ["accepted", "delivered"]);
    town.stop().await;
}
