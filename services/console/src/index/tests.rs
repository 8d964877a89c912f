use super::*;
use crate::{message::Content, query::Query};
use internal_api::{
    ConnectionId, Event, EventKind, Flow, Form, MessageId, Octets, Protocol, Record, RecordedSession, Role, Seen,
    SeenOctets, SessionId, TracedRecord,
};
use jiff::Timestamp;

fn index(bounds: ConsoleBounds) -> Index {
    Index::open(bounds, &Clock::system()).unwrap()
}

fn event(number: u64, kind: EventKind) -> Event {
    let message = MessageId::from_number(number);
    Event { cursor: format!("0-{number:x}-1"), at: Timestamp::UNIX_EPOCH, message, kind }
}

/// A message with this number, subject and text, delivered to one recipient.
fn delivered(number: u64, subject: &str, text: &str) -> [Arrival; 2] {
    let raw = format!("From: a@x.test\r\nTo: b@x.test\r\nSubject: {subject}\r\n\r\n{text}\r\n");
    let accepted = EventKind::Accepted { reverse_path: "<a@x.test>".parse().unwrap(), octets: raw.len() as u64 };
    let content = Some(Content::of(raw.as_bytes()));
    let mut to = event(number, EventKind::Delivered { recipients: vec!["b@x.test".parse().unwrap()] });
    to.cursor.push('2');
    [Arrival { event: event(number, accepted), content }, Arrival { event: to, content: None }]
}

async fn fill(index: &Index, messages: impl IntoIterator<Item = (u64, String, String)>) {
    let arrivals = messages.into_iter().flat_map(|(number, subject, text)| delivered(number, &subject, &text));
    index.apply(StoreBatch { stack: "a".to_owned(), arrivals: arrivals.collect() }).await.unwrap();
}

async fn subjects(index: &Index, query: &str) -> Vec<String> {
    let page = index.search(&Query::parse(query).unwrap(), SearchPage::first(100)).await.unwrap();
    page.mail.into_iter().map(|mail| mail.subject).collect()
}

fn numbered(count: u64) -> impl Iterator<Item = (u64, String, String)> {
    (1..=count).map(|number| (number, format!("number {number}"), format!("text {number}")))
}

#[tokio::test]
async fn states_follow_the_events() {
    let index = index(ConsoleBounds::default());
    fill(&index, numbered(1)).await;
    let to = || vec!["c@far.test".parse().unwrap()];
    let (reply, at) = ("451 4.4.1 later".to_owned(), Timestamp::UNIX_EPOCH);
    for (place, kind, state, held) in [
        (2, EventKind::Queued { recipients: to() }, "queued", true),
        (3, EventKind::Deferred { recipients: to(), reply, next_attempt_at: at, untried: false }, "deferred", true),
        (4, EventKind::Held { recipients: to() }, "held", true),
        (5, EventKind::Released { recipients: to() }, "queued", true),
        (
            6,
            EventKind::Failed { recipients: to(), said_by: None, reply: "550 NO ÜBERFÜLLT".to_owned() },
            "failed",
            true,
        ),
        (7, EventKind::Bounced { as_message: MessageId::from_number(9) }, "failed", true),
        (
            8,
            EventKind::Deleted { recipients: vec!["b@x.test".parse().unwrap()], by: internal_api::DeletedBy::Session },
            "failed",
            false,
        ),
    ] {
        let mut event = event(1, kind);
        event.cursor = format!("0-1-{place}");
        let arrivals = vec![Arrival { event, content: None }];
        index.apply(StoreBatch { stack: "a".to_owned(), arrivals }).await.unwrap();
        let mail = index.mail(MessageId::from_number(1)).await.unwrap().unwrap().summary;
        let far = mail.recipients.iter().find(|recipient| recipient.address == "c@far.test").unwrap();
        assert_eq!((far.state.as_str(), mail.held_by_store), (state, held));
    }
    for (query, expected) in [
        ("", 0),
        ("is:gone", 1),
        ("state:bounced", 1),
        ("state:failed reply:550", 1),
        ("state:failed reply:\"no überfüllt\"", 1),
        ("state:failed reply:451", 0),
        ("state:deleted domain:x.test", 1),
        ("state:delivered", 0),
        ("is:gone rcpt:c@far", 1),
        ("is:gone mail-from:a@x.test stack:a", 1),
        ("is:gone stack:b", 0),
    ] {
        assert_eq!(subjects(&index, query).await.len(), expected, "{query}");
    }
    let events = index.mail(MessageId::from_number(1)).await.unwrap().unwrap().events;
    assert_eq!(events.len(), 9);
}

#[tokio::test]
async fn text_is_found_whatever_it_is() {
    let index = index(ConsoleBounds::default());
    let texts = ["Grüße aus Köln", "100% sure_thing", "it's \"quoted\"", "日本語のメール", "ab", "the end"];
    fill(&index, (1..).zip(texts).map(|(number, text)| (number, number.to_string(), text.to_owned()))).await;
    for (query, expected) in [
        ("GRÜSSE", &[][..]),
        ("grüße", &["1"]),
        ("KÖLN", &["1"]),
        ("100%", &["2"]),
        ("e_t", &["2"]),
        ("it's", &["3"]),
        ("日本語", &["4"]),
        ("メ", &["4"]),
        ("\"aus köln\"", &["1"]),
        ("the -end", &[]),
        ("the", &["6"]),
    ] {
        assert_eq!(subjects(&index, query).await, expected, "{query}");
    }
}

#[tokio::test]
async fn the_oldest_are_dropped_when_there_are_too_many_or_too_much() {
    let few = index(ConsoleBounds { messages: 3, ..ConsoleBounds::default() });
    fill(&few, numbered(10)).await;
    assert_eq!(subjects(&few, "").await, ["number 10", "number 9", "number 8"]);
    assert_eq!(subjects(&few, "text").await.len(), 3);
    assert_eq!(subjects(&few, "\"number 1\"").await, ["number 10"]);
    let small = index(ConsoleBounds { message_octets: 20_000, ..ConsoleBounds::default() });
    for number in 1..=50 {
        fill(&small, [(number, format!("number {number}"), "x ".repeat(1000))]).await;
    }
    let left = subjects(&small, "").await;
    assert!((1..10).contains(&left.len()) && left[0] == "number 50", "{left:?}");
}

#[tokio::test]
async fn a_call_that_panics_ends_no_other() {
    let index = index(ConsoleBounds::default());
    fill(&index, numbered(2)).await;
    let panicked = index.change(|tables| -> Result<(), IndexError> {
        tables.db.execute("DELETE FROM mail", ())?;
        tables.mails = 0;
        panic!("on purpose")
    });
    assert!(matches!(panicked.await, Err(IndexError::Stopped)));
    index.ready().await.unwrap();
    assert_eq!(subjects(&index, "").await, ["number 2", "number 1"]);
    assert_eq!(index.call(|tables| Ok(tables.mails)).await.unwrap(), 2);
    fill(&index, [(3, "number 3".to_owned(), "text".to_owned())]).await;
    assert_eq!(subjects(&index, "").await.len(), 3);
    let stopped = Index { jobs: mpsc::channel(1).0, ..index };
    assert!(stopped.ready().await.is_err());
}

#[tokio::test]
async fn a_page_may_be_as_long_and_as_far_as_it_likes() {
    let index = index(ConsoleBounds::default());
    fill(&index, numbered(2)).await;
    for (offset, limit, found) in [(0, usize::MAX, 2), (1, usize::MAX, 1), (usize::MAX, 1, 0), (0, 1 << 63, 2)] {
        let page = SearchPage { offset, ..SearchPage::first(limit) };
        assert_eq!(index.search(&Query::default(), page).await.unwrap().mail.len(), found, "{offset} {limit}");
    }
}

#[tokio::test]
async fn what_a_store_had_before_is_not_after_a_checkpoint_however_late_it_is_read() {
    let index = index(ConsoleBounds::default());
    let before = index.checkpoint().await.unwrap();
    let batch = |number| StoreBatch { stack: "a".to_owned(), arrivals: delivered(number, "s", "t").into() };
    index.apply_earlier(batch(1), true).await.unwrap();
    let page = SearchPage { since: Some(before), ..SearchPage::first(9) };
    assert!(index.search(&Query::default(), page).await.unwrap().mail.is_empty());
    // Whatever clock its store has.
    index.apply(batch(2)).await.unwrap();
    let found = index.search(&Query::default(), page).await.unwrap().mail;
    assert_eq!(found.iter().map(|mail| mail.id).collect::<Vec<_>>(), [MessageId::from_number(2)]);
    assert_eq!(index.news(&Query::default(), before, 9).await.unwrap(), found);
}

#[tokio::test]
async fn a_long_message_leaves_room_for_others() {
    let small = index(ConsoleBounds { message_octets: 64 * 1024, ..ConsoleBounds::default() });
    fill(&small, numbered(3)).await;
    fill(&small, [(4, "long".to_owned(), "x ".repeat(100_000))]).await;
    assert_eq!(subjects(&small, "").await, ["long", "number 3", "number 2", "number 1"]);
    assert!(small.mail(MessageId::from_number(4)).await.unwrap().unwrap().truncated);
}

#[tokio::test]
async fn what_sessions_say_wakes_nobody_who_waits_for_mail() {
    let index = index(ConsoleBounds::default());
    let (all, mail) = (index.changes(), index.mail_changes());
    let id = SessionId::new(Timestamp::UNIX_EPOCH, &ConnectionId::random());
    index.apply_trace("x", vec![traced(id, 1, Seen::Opened { state: state(id, false) })]).await.unwrap();
    assert_eq!((all.has_changed().unwrap(), mail.has_changed().unwrap()), (true, false));
    fill(&index, numbered(1)).await;
    assert!(mail.has_changed().unwrap());
}

fn traced(session: SessionId, sequence: u64, what: Seen) -> TracedRecord {
    TracedRecord { session, record: Record { sequence, at: Timestamp::UNIX_EPOCH, what } }
}

fn state(id: SessionId, closed: bool) -> Box<RecordedSession> {
    let at = Timestamp::UNIX_EPOCH;
    Box::new(RecordedSession {
        closed_at: closed.then_some(at),
        ended: closed.then(|| "the client said QUIT".to_owned()),
        refusals: u64::from(closed),
        ..RecordedSession::opened(
            (id, at),
            ("a".parse().unwrap(), "smtp-gateway".into()),
            (Role::Server, Protocol::Smtp),
        )
    })
}

fn line(direction: Flow, text: &str) -> Seen {
    Seen::Octets(SeenOctets { direction, form: Form::Line, missing: 0, octets: Octets::of(text.as_bytes()) })
}

/// A transaction with a refused recipient, in a session that is open, or had ended when its beginning was read.
fn refused(id: SessionId, had_ended: bool) -> Vec<TracedRecord> {
    let seen = [
        Seen::Opened { state: state(id, had_ended) },
        line(Flow::Sent, "220 a SMTP server ready\r\n"),
        line(Flow::Received, "MAIL FROM:<a@x.test>\r\n"),
        line(Flow::Sent, "250 2.1.0 OK\r\n"),
        line(Flow::Received, "RCPT TO:<Nobody@x.test>\r\n"),
        line(Flow::Sent, "550 5.1.1 no such user\r\n"),
    ];
    (1..).zip(seen).map(|(sequence, what)| traced(id, sequence, what)).collect()
}

#[tokio::test]
async fn refused_recipients_are_found_with_the_words() {
    let index = index(ConsoleBounds::default());
    let id = SessionId::new(Timestamp::UNIX_EPOCH, &ConnectionId::random());
    index.apply_trace("http://a", refused(id, false)).await.unwrap();
    let refusals = index.refusals("nobody@x.test", Timestamp::UNIX_EPOCH, 10).await.unwrap();
    assert_eq!(refusals.len(), 1);
    assert_eq!((refusals[0].verb.as_str(), refusals[0].reply.as_str()), ("RCPT", "550 5.1.1 no such user"));
    assert_eq!(index.refusals("somebody", Timestamp::UNIX_EPOCH, 10).await.unwrap(), []);
    assert_eq!(index.open_transactions().await.unwrap(), 1);
    let filter = SessionFilter { refused: Some("Nobody@x.test".to_owned()), ..SessionFilter::default() };
    assert_eq!(index.sessions(filter, 10).await.unwrap().sessions.len(), 1);
    // Told twice, it is there once.
    index.apply_trace("http://a", vec![traced(id, 1, Seen::Opened { state: state(id, false) })]).await.unwrap();
    assert_eq!(index.session(id).await.unwrap().unwrap().records.len(), 5);
    index.close_sessions("http://b").await.unwrap();
    assert_eq!(index.open_transactions().await.unwrap(), 1);
    index.close_sessions("http://a").await.unwrap();
    assert_eq!(index.open_transactions().await.unwrap(), 0);
}

#[tokio::test]
async fn refusals_of_a_session_that_ended_at_once_are_found() {
    let index = index(ConsoleBounds::default());
    let id = SessionId::new(Timestamp::UNIX_EPOCH, &ConnectionId::random());
    let closed = traced(id, 7, Seen::Closed { state: state(id, true) });
    index.apply_trace("http://a", refused(id, true).into_iter().chain([closed]).collect()).await.unwrap();
    let refusals = index.refusals("nobody@x.test", Timestamp::UNIX_EPOCH, 10).await.unwrap();
    assert_eq!(refusals.len(), 1);
    assert_eq!(index.open_transactions().await.unwrap(), 0);
}

#[tokio::test]
async fn the_oldest_closed_sessions_are_dropped_first() {
    let index = index(ConsoleBounds { sessions: 3, ..ConsoleBounds::default() });
    let ids: Vec<_> =
        (0..5).map(|second| SessionId::new(Timestamp::from_second(second).unwrap(), &ConnectionId::random())).collect();
    index.apply_trace("x", vec![traced(ids[0], 1, Seen::Opened { state: state(ids[0], false) })]).await.unwrap();
    for id in &ids[1..] {
        index.apply_trace("x", vec![traced(*id, 2, Seen::Closed { state: state(*id, true) })]).await.unwrap();
    }
    let left = index.sessions(SessionFilter::default(), 10).await.unwrap();
    let left: Vec<_> = left.sessions.iter().map(|session| session.id).collect();
    assert_eq!(left, [ids[4], ids[3], ids[0]]);
}

/// The two ends of a connection, from a client of `a` at this port to the server of `b`.
fn two_ends(second: i64, port: u16) -> [TracedRecord; 2] {
    let at = Timestamp::from_second(second).unwrap();
    let [local, remote] = [format!("127.0.0.1:{port}"), "127.0.0.1:25".to_owned()].map(|one| one.parse().unwrap());
    let end = |stack: &str, role, local, remote| {
        let id = SessionId::new(at, &ConnectionId::random());
        let opened =
            RecordedSession::opened((id, at), (stack.parse().unwrap(), "smtp-gateway".into()), (role, Protocol::Smtp));
        let messages = vec![MessageId::from_number(1)];
        let state =
            RecordedSession { local: Some(local), remote: Some(remote), closed_at: Some(at), messages, ..opened };
        traced(id, 1, Seen::Closed { state: Box::new(state) })
    };
    [end("a", Role::Client, local, remote), end("b", Role::Server, remote, local)]
}

#[tokio::test]
async fn a_port_that_is_used_again_counts_once_for_each_connection() {
    let index = index(ConsoleBounds::default());
    for second in 0..3 {
        index.apply_trace("x", two_ends(second, 50_000).into()).await.unwrap();
    }
    index
        .apply_trace(
            "x",
            vec![traced(
                SessionId::new(Timestamp::UNIX_EPOCH, &ConnectionId::random()),
                1,
                Seen::Opened { state: state(SessionId::new(Timestamp::UNIX_EPOCH, &ConnectionId::random()), false) },
            )],
        )
        .await
        .unwrap();
    let traffic = index.traffic().await.unwrap();
    let mut ways: Vec<_> =
        traffic.iter().map(|it| (it.stack.as_str(), it.peer.as_deref(), it.sessions, it.messages, it.open)).collect();
    ways.sort_unstable();
    assert_eq!(ways, [("a", None, 1, 0, 1), ("a", Some("b"), 3, 3, 0), ("b", Some("a"), 3, 3, 0)]);
    let found = async |with: OtherEnd| {
        let filter = SessionFilter { stack: Some("a".to_owned()), with: Some(with), ..SessionFilter::default() };
        index.sessions(filter, 10).await.unwrap().sessions.len()
    };
    assert_eq!(found(OtherEnd::Stack("b".to_owned(), Vec::new())).await, 3);
    assert_eq!(found(OtherEnd::Stack("c".to_owned(), Vec::new())).await, 0);
    assert_eq!(found(OtherEnd::Outside(vec!["b.test".to_owned()])).await, 1);
}

/// As many sessions as the bounds allow: the pages and the map are there in time.
#[tokio::test]
#[ignore = "it takes a minute and measures: cargo test -p town-console --release -- --ignored --nocapture"]
async fn a_hundred_thousand_sessions_are_listed_in_time() {
    let bounds = ConsoleBounds { sessions: 100_000, session_octets: usize::MAX, ..ConsoleBounds::default() };
    let index = index(bounds);
    for batch in 0..500_u16 {
        let records = (0..100).flat_map(|place| two_ends(i64::from(batch) * 100 + place, 20_000 + batch));
        index.apply_trace("x", records.collect()).await.unwrap();
    }
    let io = Clock::system().io;
    let mut slow = Vec::new();
    let user = Some("nobody".to_owned());
    for (what, filter) in [
        ("all", SessionFilter::default()),
        ("failed", SessionFilter { failed: true, ..SessionFilter::default() }),
        ("open", SessionFilter { open: Some(true), ..SessionFilter::default() }),
        ("a stack", SessionFilter { stack: Some("a".to_owned()), ..SessionFilter::default() }),
        ("a user", SessionFilter { user: user.clone(), ..SessionFilter::default() }),
        ("a peer", SessionFilter { peer: user, ..SessionFilter::default() }),
    ] {
        let began = io.instant();
        let found = index.sessions(filter, 100).await.unwrap().sessions.len();
        let took = io.since(began);
        println!("{took:?}: {found} of {what}");
        slow.extend((took.as_millis() > 100).then_some((what, took)));
    }
    let began = io.instant();
    assert_eq!(index.traffic().await.unwrap().iter().map(|it| it.sessions).sum::<u64>(), 100_000);
    println!("{:?}: the map", io.since(began));
    slow.extend((io.since(began).as_millis() > 100).then_some(("the map", io.since(began))));
    assert!(slow.is_empty(), "{slow:?}");
}

/// As many messages as the bounds allow, of which some have a rare word and all a common one.
#[tokio::test]
#[ignore = "it takes a minute and measures: cargo test -p town-console --release -- --ignored --nocapture"]
async fn a_hundred_thousand_messages_are_searched_in_time() {
    let index = index(ConsoleBounds { message_octets: usize::MAX, ..ConsoleBounds::default() });
    let words = ["whale", "harbour", "letter", "station", "garden", "mountain", "window", "paper", "river", "stone"];
    let io = Clock::system().io;
    let began = io.instant();
    for batch in 0..500_u64 {
        let messages = (1..=200).map(|place| {
            let number = batch * 200 + place;
            let picked = (0..150).map(|word| words[(number * 7 + word * word) as usize % words.len()]);
            let text = format!("{} unique{number} {}", picked.collect::<Vec<_>>().join(" "), number % 1000);
            (number, format!("number {number}"), text)
        });
        fill(&index, messages).await;
    }
    println!("filled in {:?}", io.since(began));
    let mut slow = Vec::new();
    for query in [
        "",
        "whale",
        "unique77777",
        "\"river stone\"",
        "to:b@x.test",
        "subject:99999",
        "-whale",
        "nowhere",
        "from:nobody",
        "state:delivered",
        "domain:x.test number",
        "mailbox:b@x.test",
        "is:unread has:attachment",
    ] {
        let query = Query::parse(query).unwrap();
        let began = io.instant();
        let found = index.search(&query, SearchPage::first(50)).await.unwrap().mail.len();
        let took = io.since(began);
        println!("{took:?}: {found} of {query:?}");
        slow.extend((took.as_millis() > 100).then_some((query, took)));
    }
    let began = io.instant();
    let counts = index.count(&Query::default(), None).await.unwrap();
    println!("{:?}: {counts:?} counted", io.since(began));
    assert!(slow.is_empty(), "{slow:?}");
}
