//! DNS over TCP: many messages, many connections, and clients that do not go on.
#![allow(clippy::unwrap_used)]

mod support;

use hickory_proto::{
    op::{Message, ResponseCode},
    rr::RecordType,
};
use support::{PseudoDns, TcpClient, framed, query};

const ZONE: &str = "[MX]\n\"a.example.\" = \"mx.a.example.\"\n[P]\n\"mx.a.example.\" = \"25\"\n";

async fn start() -> PseudoDns {
    PseudoDns::start(ZONE, None).await
}

/// Queries that can be told apart by their ids, and what is sent for each.
fn queries<const N: usize>() -> [(Message, Vec<u8>); N] {
    std::array::from_fn(|number| {
        let mut query = query("a.example.", RecordType::MX);
        query.metadata.id = number as u16;
        let octets = framed(&query.to_vec().unwrap());
        (query, octets)
    })
}

/// Waits for the answer to this query.
async fn assert_answered(client: &mut TcpClient, query: &Message) {
    let response = client.response().await.expect("a response");
    assert_eq!((response.metadata.id, response.answers.len()), (query.metadata.id, 1));
}

#[tokio::test]
async fn every_message_of_a_connection_is_answered_in_order() {
    let dns = start().await;
    let mut client = TcpClient::connect(dns.dns).await;
    let [(one, first), (two, second), (three, third), (four, fourth)] = queries();
    client.send(&[first, second].concat()).await;
    for query in [&one, &two] {
        assert_answered(&mut client, query).await;
    }
    for octet in &third {
        client.send(&[*octet]).await;
    }
    assert_answered(&mut client, &three).await;
    // The last ones come with the end of what the client sends: one without a header, which is not answered, a malformed
    // one and a good one.
    client.send(&[&framed(b"")[..], &framed(&[7; 13]), &fourth].concat()).await;
    client.finish().await;
    let malformed = client.response().await.unwrap();
    assert_eq!((malformed.metadata.id, malformed.metadata.response_code), (0x0707, ResponseCode::FormErr));
    assert_answered(&mut client, &four).await;
    assert!(client.response().await.is_none());
    dns.stop().await;
}

#[tokio::test]
async fn connections_without_a_whole_message_make_room() {
    let dns = start().await;
    let [(query, octets)] = queries();
    let mut clients = Vec::new();
    for number in 0..150 {
        let mut client = TcpClient::connect(dns.dns).await;
        client.send(&octets).await;
        assert_answered(&mut client, &query).await;
        if number % 2 == 0 {
            client.send(&octets[..5]).await;
        }
        clients.push(client);
    }
    assert!(clients[0].response().await.is_none() && clients[1].response().await.is_none());
    let last = clients.last_mut().unwrap();
    last.send(&octets).await;
    assert_answered(last, &query).await;
    dns.stop().await;
}

#[tokio::test]
async fn a_client_that_does_not_go_on_is_cut_off() {
    let dns = start().await;
    let [(_, octets)] = queries();
    let quiet = async {
        let mut client = TcpClient::connect(dns.dns).await;
        assert!(client.response().await.is_none());
    };
    let stalled = async {
        let mut client = TcpClient::connect(dns.dns).await;
        client.send(&octets[..octets.len() - 1]).await;
        assert!(client.response().await.is_none());
    };
    let deaf = async { TcpClient::connect(dns.dns).await.send_for_ever(&octets.repeat(1000)).await };
    tokio::join!(quiet, stalled, deaf);
    dns.stop().await;
}

#[tokio::test]
async fn an_open_connection_does_not_keep_it_from_stopping() {
    let dns = start().await;
    let [(query, octets)] = queries();
    let mut client = TcpClient::connect(dns.dns).await;
    client.send(&octets).await;
    assert_answered(&mut client, &query).await;
    dns.stop().await;
    assert!(client.response().await.is_none());
}
