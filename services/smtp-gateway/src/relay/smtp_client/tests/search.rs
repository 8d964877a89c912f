//! The search for an exchange that takes a message.

use super::*;
use crate::relay::{
    route,
    search::{Nowhere, connect, connect_elsewhere},
    worker::work,
};
use axum::{
    Json, Router,
    extract::Query,
    routing::{get, post},
};
use internal_api::{
    BroughtClaim, Claim, ClaimSettlement, Problem, ProblemKind, RecordType, Records as NameRecords, Resolution,
    ResolveQuery, SettlementOutcome,
};
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

const SEVEN_BITS: [(&str, &str); 1] = [("EHLO exmail.qq.com", "250 mx.test")];
const GOODBYE: [(&str, &str); 1] = [("QUIT", "221 bye")];

/// A connection to mx.test, which takes seven bits, and the other end.
async fn lacking(fixture: &Fixture, listener: &mut MemoryListener) -> ((Connection, Reply), LineStream) {
    let receiving = async {
        let mut stream = accept(listener).await;
        play(&mut stream, &SEVEN_BITS).await;
        stream
    };
    let (connection, stream) = tokio::join!(fixture.open(), receiving);
    ((connection.unwrap(), Reply::new(554, (6, 3), "mx.test takes no 8-bit messages")), stream)
}

/// Its name server may be down for a moment. The exchange was not asked.
#[tokio::test]
async fn an_exchange_that_cannot_be_looked_up_may_take_what_others_cannot() {
    let (fixture, mut listener) = Fixture::rfc("", None);
    let _dns = fixture.dns.serve(name_server(MX, (20, None)));
    let message = message(&Recipient::from("b@a.test".parse::<Mailbox>().unwrap()));
    let (lacking, _stream) = lacking(&fixture, &mut listener).await;
    let route = (&domain(), Security::Configured);
    let nowhere = connect_elsewhere(&fixture.context, &fixture.slot, route, &outgoing(&message), lacking).await;
    let Nowhere { verdict, kept } = nowhere.unwrap_err();
    assert_eq!(said(&verdict), NOT_NOW);
    assert!(kept.and_then(Connection::if_quiet).is_some(), "there was no reason to end it");
}

/// Both may be one host that allows each client one connection.
#[tokio::test(start_paused = true)]
async fn one_connection_ends_before_another_exchange_is_tried() {
    let (fixture, mut listener) = Fixture::rfc("", None);
    let _dns = fixture.dns.serve(name_server(MX, (20, Some("two.test:25"))));
    let mut two = fixture.network.listen("two.test:25".parse().unwrap());
    let message = message(&Recipient::from("b@a.test".parse::<Mailbox>().unwrap()));
    let (lacking, mut stream) = lacking(&fixture, &mut listener).await;
    let (domain, mail) = (domain(), outgoing(&message));
    let route = (&domain, Security::Configured);
    let searching = connect_elsewhere(&fixture.context, &fixture.slot, route, &mail, lacking);
    let receiving = async {
        play(&mut stream, &GOODBYE).await;
        let mut stream = accept(&mut two).await;
        play(&mut stream, &[("EHLO exmail.qq.com", "250-two.test\r\n250 8BITMIME")]).await;
        stream
    };
    let (found, _stream) = tokio::join!(searching, receiving);
    assert_eq!(found.unwrap().exchange().name, "two.test");
}

/// Not even a transaction was begun.
#[tokio::test]
async fn a_message_that_cannot_be_taken_leaves_the_connection_as_it_was() {
    let (fixture, mut listener) = Fixture::rfc("", None);
    let message = message(&Recipient::from("b@a.test".parse::<Mailbox>().unwrap()));
    let receiving = async {
        let mut stream = accept(&mut listener).await;
        play(&mut stream, &[("EHLO exmail.qq.com", "250-mx.test\r\n250 LIMITS MAILMAX=1")]).await;
        play(&mut stream, &[("MAIL FROM:<>", "550 no"), ("RSET", "250 OK")]).await;
    };
    let relaying = async {
        let mut connection = fixture.open().await.unwrap();
        let eight = outgoing(&message);
        let broken = connection.transact(&fixture.context, &fixture.slot, &eight).await.unwrap_err();
        assert!(matches!(broken.broken, Broken::Unable(_)), "{broken:?}");
        assert!(connection.takes_another(), "it has carried nothing");
        let seven = Outgoing { body: Some(Bytes::from_static(b"a\r\n")), ..eight };
        let verdicts = connection.transact(&fixture.context, &fixture.slot, &seven).await.unwrap();
        assert_eq!(said(&verdicts[0]), "550 no");
        assert!(!connection.takes_another());
    };
    tokio::join!(relaying, receiving);
}

/// The verdict on all mail when mx.test refuses to talk.
async fn refused(two: Option<&'static str>) -> String {
    let (fixture, mut listener) = Fixture::rfc("", None);
    let _dns = fixture.dns.serve(name_server(MX, (20, two)));
    let receiving = async {
        let (_, io) = listener.accept().await.unwrap();
        let mut stream = stream(io);
        stream.push(b"554 5.7.1 not you\r\n".as_slice());
        play(&mut stream, &GOODBYE).await;
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
#[tokio::test(start_paused = true)]
async fn a_store_that_fails_is_not_a_failure_of_exchanges() {
    let damaged = "554 5.3.0 the message was damaged while it was queued";
    let unavailable = "451 4.3.0 the mailbox store is unavailable";
    for (problem, expected) in [(ProblemKind::MessageDamaged, damaged), (ProblemKind::Overloaded, unavailable)] {
        let (mut fixture, mut listener) = Fixture::rfc("", None);
        fixture.exchange = Arc::new(Exchange { name: "old.test".to_owned(), ..(*fixture.exchange).clone() });
        let _dns = fixture.dns.serve(name_server(MX, (20, Some("two.test:25"))));
        let _store = fixture.store.serve(Router::new().fallback(async move || Problem::from(problem)));
        let message = message(&Recipient::from("b@a.test".parse::<Mailbox>().unwrap()));
        let mail = Outgoing { body: None, ..outgoing(&message) };
        let (lacking, mut stream) = lacking(&fixture, &mut listener).await;
        let domain = domain();
        let route = (&domain, Security::Configured);
        let searching = connect_elsewhere(&fixture.context, &fixture.slot, route, &mail, lacking);
        let receiving = async {
            play(&mut stream, &GOODBYE).await;
            let mut stream = accept(&mut listener).await;
            play(&mut stream, &SEVEN_BITS).await;
            play(&mut stream, &GOODBYE).await;
        };
        let (found, ()) = tokio::join!(searching, receiving);
        // The other exchange is away, and nobody has asked it.
        assert_eq!(said(&found.unwrap_err().verdict), expected);
    }
}

/// A message that two.test can take, and nobody else, and a claim of some of them.
fn claim(messages: u64) -> BroughtClaim {
    let recipient = Recipient::from("b@a.test".parse::<Mailbox>().unwrap());
    let messages: Vec<_> = (1..=messages)
        .map(|number| ClaimedMessage { id: MessageId::from_number(number), ..message(&recipient) })
        .collect();
    let bodies = messages.iter().map(|message| (message.id, Bytes::from_static(EIGHT_BIT))).collect();
    BroughtClaim { claim: Claim { lease: "lease".to_owned(), domain: domain(), messages }, bodies }
}

/// The first message breaks the connection of its detour. The second makes two, of which the first leads to a connection
/// that ends at once.
#[tokio::test(start_paused = true)]
async fn each_message_has_its_own_detours() {
    let (fixture, mut listener) = Fixture::rfc("", None);
    let _dns = fixture.dns.serve(name_server(MX, (20, Some("two.test:25"))));
    let settled = async |Json(settlements): Json<Vec<ClaimSettlement>>| {
        Json(settlements.iter().map(|_| SettlementOutcome::Settled).collect::<Vec<_>>())
    };
    let _store = fixture.store.serve(Router::new().route("/v1/queue/settlements", post(settled)));
    let mut two = fixture.network.listen("two.test:25".parse().unwrap());
    let able = [("EHLO exmail.qq.com", "250-two.test\r\n250 8BITMIME")];
    let mail = ("MAIL FROM:<> BODY=8BITMIME", "250 OK");
    let receiving = async {
        for script in
            [&[able[0], mail][..], &[able[0]], &[able[0], mail, ("RCPT TO:<b@a.test>", "550 no"), ("RSET", "250 OK")]]
        {
            let mut stream = accept(&mut listener).await;
            play(&mut stream, &SEVEN_BITS).await;
            play(&mut stream, &GOODBYE).await;
            let mut stream = accept(&mut two).await;
            play(&mut stream, script).await;
            if script.len() == 1 {
                stream.push(b"421 4.3.2 enough\r\n".as_slice());
                stream.flush().await.unwrap();
            }
            if script.len() > 2 {
                return stream;
            }
        }
        unreachable!()
    };
    let working = work(&fixture.context, &fixture.slot, claim(2));
    let (connection, _stream) = tokio::join!(working, receiving);
    assert_eq!(connection.unwrap().exchange().name, "two.test");
}
