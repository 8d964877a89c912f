//! The search for an exchange that takes a message.

use super::*;
use crate::relay::{
    route,
    search::{another, connect},
};
use axum::{Json, Router, extract::Query, routing::get};
use internal_api::{Problem, ProblemKind, RecordType, Records as NameRecords, Resolution, ResolveQuery};
use mail_proto::{Domain, MailExchange};

const EIGHT_BIT: &[u8] = b"\xc3\xa4\r\n";

/// An exchange of a.test: its preference, and its P record if its name can be looked up.
type Entry = (u16, Option<&'static str>);

const MX: Entry = (10, Some("mx.test:25"));

/// A name server. The exchanges of a.test are mx.test and two.test.
fn name_server(mx: Entry, two: Entry) -> Router {
    let resolve = async move |Query(ResolveQuery { name, record_type }): Query<ResolveQuery>| {
        let port = match name.trim_end_matches('.') {
            "mx.test" => mx.1,
            _ => two.1,
        };
        let records = match (record_type, port) {
            (RecordType::Mx, _) => {
                let exchanges = [(mx.0, "mx.test."), (two.0, "two.test.")];
                let record = |(preference, name): (u16, &str)| MailExchange { preference, exchange: name.to_owned() };
                NameRecords::Mx(exchanges.map(record).into())
            }
            (RecordType::P, Some(port)) => NameRecords::P(vec![port.to_owned()]),
            (RecordType::P, None) => return Err(Problem::from(ProblemKind::Overloaded)),
        };
        Ok(Json(Resolution { name, records }))
    };
    Router::new().route("/v1/resolve", get(resolve))
}

fn domain() -> Domain {
    "a.test".parse().unwrap()
}

/// A message of eight bits.
fn outgoing(message: &ClaimedMessage) -> Outgoing<'_> {
    let recipients = message.recipients.iter().map(ClaimedRecipient::recipient).collect();
    Outgoing { message, recipients, body: Some(Bytes::from_static(EIGHT_BIT)), trace: None }
}

fn said(verdict: &Verdict) -> String {
    verdict.reply().unwrap_or_else(|| panic!("{verdict:?}")).on_one_line()
}

const NOT_NOW: &str = "451 4.4.3 two.test: the name cannot be looked up now";

/// Its name server may be down for a moment. The exchange was not asked.
#[tokio::test]
async fn an_exchange_that_cannot_be_looked_up_may_take_what_others_cannot() {
    let (fixture, _listener) = Fixture::rfc("", None);
    let _dns = fixture.dns.serve(name_server(MX, (20, None)));
    let message = message(&Recipient::from("b@a.test".parse::<Mailbox>().unwrap()));
    let lacking = (Arc::clone(&fixture.exchange), Reply::new(554, (6, 3), "mx.test takes no 8-bit messages"));
    let route = (&domain(), Security::Configured);
    let verdict = another(&fixture.context, &fixture.slot, route, &outgoing(&message), lacking).await.unwrap_err();
    assert_eq!(said(&verdict), NOT_NOW);
}

/// The verdict on all mail when mx.test refuses to talk.
async fn refused(two: Option<&'static str>) -> String {
    let (fixture, mut listener) = Fixture::rfc("", None);
    let _dns = fixture.dns.serve(name_server(MX, (20, two)));
    let receiving = async {
        let (_, io) = listener.accept().await.unwrap();
        let mut stream = stream(io);
        stream.push(b"554 5.7.1 not you\r\n".as_slice());
        play(&mut stream, &[("QUIT", "221 bye")]).await;
    };
    let domain = domain();
    let connecting = connect(&fixture.context, &fixture.slot, (&domain, Security::Configured), None);
    let (found, ()) = tokio::join!(connecting, receiving);
    said(&found.unwrap_err())
}

#[tokio::test]
async fn an_exchange_that_cannot_be_looked_up_may_talk_to_us_where_others_do_not() {
    assert_eq!(refused(None).await, NOT_NOW);
    // One that was asked and is away has the say.
    let away = "451 4.4.1 two.test (two.test:25): connection refused";
    assert_eq!(refused(Some("two.test:25")).await, away);
}

/// Mail to an exchange that is not preferred to this server would come back (RFC 5321 §5.1).
#[tokio::test]
async fn an_exchange_that_is_not_preferred_to_this_server_does_not_count() {
    let (fixture, _listener) = Fixture::rfc("", None);
    let loops = "554 5.4.6 mail for a.test loops back: its exchange mx.test is this server";
    for (preference, expected) in [(20, loops), (10, loops), (5, NOT_NOW)] {
        let _dns = fixture.dns.serve(name_server((10, Some("1025")), (preference, None)));
        let reply = route::exchanges(&fixture.context, &domain()).await.unwrap_err();
        assert_eq!(reply.on_one_line(), expected, "{preference}");
    }
}

/// mx.test and two.test could take seven bits. The store does not tell whether these are more.
#[tokio::test]
async fn a_store_that_fails_is_not_a_failure_of_exchanges() {
    let damaged = "554 5.3.0 the message was damaged while it was queued";
    let unavailable = "451 4.3.0 the mailbox store is unavailable";
    for (problem, expected) in [(ProblemKind::MessageDamaged, damaged), (ProblemKind::Overloaded, unavailable)] {
        let (fixture, mut listener) = Fixture::rfc("", None);
        let _dns = fixture.dns.serve(name_server(MX, (20, Some("two.test:25"))));
        let _store = fixture.store.serve(Router::new().fallback(async move || Problem::from(problem)));
        let message = message(&Recipient::from("b@a.test".parse::<Mailbox>().unwrap()));
        let mail = Outgoing { body: None, ..outgoing(&message) };
        let elsewhere =
            Exchange { name: "old.test".to_owned(), address: "old.test:25".to_owned(), ..(*fixture.exchange).clone() };
        let lacking = (Arc::new(elsewhere), Reply::new(554, (6, 3), "old.test takes no 8-bit messages"));
        let domain = domain();
        let route = (&domain, Security::Configured);
        let searching = another(&fixture.context, &fixture.slot, route, &mail, lacking);
        let receiving = async {
            let mut stream = accept(&mut listener).await;
            play(&mut stream, &[("EHLO exmail.qq.com", "250 mx.test"), ("QUIT", "221 bye")]).await;
        };
        let (found, ()) = tokio::join!(searching, receiving);
        // The other exchange is away, and nobody has asked it.
        assert_eq!(said(&found.unwrap_err()), expected);
    }
}
