//! A fuzz target: whatever octets arrive, the response is a message about the same query, and fits. `cargo test` runs the
//! corpus in `__fuzz__/dns_message/corpus`, then random messages.

use super::*;
use crate::served::ServedZone;
use mail_net::Clock;
use prometheus_client::registry::Registry;
use std::{path::Path, sync::Arc, time::Duration};
use tokio::sync::watch;

const ZONE: &str = "[MX]\n\"a.\" = \"mx.a.\"\n[P]\n\"mx.a.\" = \"25\"\n";
/// RFC 1035 §4.1.1: the header's octets, the octet with the QR bit, and that bit.
const HEADER_OCTETS: usize = 12;
const QR: (usize, u8) = (2, 0x80);
/// The rest of a header after the id: a query with one question and one additional record.
const QUERY: [u8; 10] = [1, 0, 0, 1, 0, 0, 0, 0, 0, 1];
/// How many random messages follow the corpus, unless `BOLERO_RANDOM_ITERATIONS` says otherwise.
const RANDOM_MESSAGES: usize = 300;

#[test]
fn dns_message() {
    let zone = Zone::parse(ZONE, Path::new("fdns.toml")).unwrap();
    let (_publish, zone) = watch::channel(Arc::new(ServedZone::new(zone, Duration::ZERO, Clock::system().io)));
    let responder = std::panic::AssertUnwindSafe(Responder::new(zone, Metrics::register(&mut Registry::default())));
    bolero::check!(name = "dns_message").with_iterations(RANDOM_MESSAGES).with_max_len(64).for_each(
        |input: &[u8]| {
            check(&responder, input);
            // What is random then is in the question and in the record.
            check(&responder, &[&b"id"[..], &QUERY, input].concat());
            check(&responder, &[&b"id"[..], &QUERY, b"\x01a\0\0\x0f\0\x01", input].concat());
        },
    );
}

fn check(responder: &Responder, message: &[u8]) {
    let is_query = message.len() >= HEADER_OCTETS && message[QR.0] & QR.1 == 0;
    for (transport, most_octets) in [(Transport::udp, usize::from(UDP_OCTETS)), (Transport::tcp, usize::from(u16::MAX))]
    {
        let Some(octets) = responder.respond(message, transport, None) else {
            assert!(!is_query, "a query has no response");
            continue;
        };
        assert!(is_query && octets.len() <= most_octets, "{} octets", octets.len());
        assert_eq!(octets[..2], message[..2], "the id");
        let response = Message::from_vec(&octets).unwrap();
        assert_eq!(response.metadata.message_type, MessageType::Response);
        assert!(
            response.edns.is_some() || octets.len() <= usize::from(PLAIN_UDP_OCTETS) || transport != Transport::udp
        );
    }
}
