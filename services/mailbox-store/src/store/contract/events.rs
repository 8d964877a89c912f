//! Events: each change tells what it does, exactly that, and once.

use super::*;
use crate::store::EventRetention;
use futures_util::future::join_all;
use internal_api::{DeletedBy, Ending, Event, EventKind, EventPosition};

/// Where the marker goes after which all events before it can be read.
const MARKER: &str = "marker@local.test";

/// One line for an event: its kind and what it says.
fn line(fixture: &Fixture, kind: &EventKind) -> String {
    let list = |of: &[Mailbox]| of.iter().map(Mailbox::to_string).collect::<Vec<_>>().join(" ");
    let name = kind.name();
    match kind {
        EventKind::Accepted { reverse_path, octets } => format!("{name} {reverse_path} {octets}"),
        EventKind::Delivered { recipients }
        | EventKind::Queued { recipients }
        | EventKind::Finished { recipients }
        | EventKind::Held { recipients }
        | EventKind::Released { recipients } => format!("{name} {}", list(recipients)),
        EventKind::Claimed { recipients, until } => {
            let tried: Vec<_> = recipients.iter().map(|of| format!("{} {}", of.mailbox, of.attempts)).collect();
            assert_eq!(*until, fixture.clock.now() + MINUTE);
            format!("{name} {}", tried.join(" "))
        }
        EventKind::Deferred { recipients, reply, next_attempt_at, untried } => {
            let wait = next_attempt_at.duration_since(fixture.clock.now()).as_secs();
            let untried = if *untried { " untried" } else { "" };
            format!("{name} {} {reply} +{wait}{untried}", list(recipients))
        }
        EventKind::Relayed { recipients, exchange, reply, peer_id } => {
            format!("{name} {} {exchange} {reply} {}", list(recipients), peer_id.map_or(0, MessageId::number))
        }
        EventKind::Failed { recipients, said_by, reply } => format!("{name} {} {said_by:?} {reply}", list(recipients)),
        EventKind::Expired { recipients, reply } => format!("{name} {} {reply}", list(recipients)),
        EventKind::Bounced { .. } | EventKind::Reported { .. } => name.to_owned(),
        EventKind::Restored { snapshot } => format!("{name} {snapshot}"),
        EventKind::Deleted { recipients, by } => {
            let by = match by {
                DeletedBy::Session => "session",
                DeletedBy::Retention => "retention",
                DeletedBy::Operator => "operator",
            };
            format!("{name} {} {by}", list(recipients))
        }
    }
}

/// Reads events, each once.
struct Follower {
    after: EventPosition,
    markers: u32,
}

impl Follower {
    fn new() -> Self {
        Self { after: EventPosition::default(), markers: 0 }
    }

    /// The events since the last call. On a database that others use, too, they are there a little later.
    async fn events(&mut self, fixture: &Fixture) -> Vec<Event> {
        fixture.store.put_accounts(vec![account(MARKER)]).await.unwrap();
        self.markers += 1;
        let name = format!("marker {} {}", self.markers, uuid::Uuid::new_v4().simple());
        let marker = fixture.send(&name, &[MARKER]).await;
        let mut changes = fixture.store.event_changes();
        let mut events = Vec::new();
        loop {
            // Small pages, so that they end everywhere.
            let page = fixture.store.events(self.after, 3).await.unwrap();
            assert!(page.events.len() <= 3);
            self.after = page.next_after.parse().unwrap();
            if page.events.is_empty() {
                let _ = fixture.clock.clock().io.timeout(Duration::from_millis(20), changes.changed()).await;
            }
            let is_last = page.events.iter().any(|event| event.message == marker && event.kind.name() == "delivered");
            events.extend(page.events);
            if is_last {
                let is_marker = |event: &Event| matches!(&event.kind, EventKind::Delivered { recipients } if *recipients == [mailbox(MARKER)]);
                let markers: Vec<_> =
                    events.iter().filter(|event| is_marker(event)).map(|event| event.message).collect();
                events.retain(|event| !markers.contains(&event.message));
                return events;
            }
        }
    }

    /// The same as lines.
    async fn lines(&mut self, fixture: &Fixture) -> Vec<String> {
        self.events(fixture).await.iter().map(|event| line(fixture, &event.kind)).collect()
    }
}

fn ended(message: MessageId, recipient: &str, how: Ending) -> Settlement {
    let outcome = Outcome::Finished { how: Some(how) };
    let outcomes = vec![RecipientOutcome { recipient: mailbox(recipient), outcome }];
    Settlement { message, outcomes, failure_message: None }
}

/// From its arrival until nothing is left of it, and afterwards, a message's events say what happened.
pub(crate) async fn each_change_tells_of_itself(fixture: Fixture) {
    let mut follower = Follower::new();
    assert_eq!(follower.lines(&fixture).await, Vec::<String>::new());
    let recipients = ["b@local.test", "a@local.test", "y@far.test", "x@far.test", "x@far.test"];
    let id = fixture.send("1", &recipients).await;
    let arrived =
        ["accepted <sender@local.test> 17", "delivered a@local.test b@local.test", "queued x@far.test y@far.test"];
    assert_eq!(follower.lines(&fixture).await, arrived);

    let claim = fixture.claim().await.unwrap();
    assert_eq!(follower.lines(&fixture).await, ["claimed x@far.test 1 y@far.test 1"]);
    let (exchange, reply) = ("mx.far.test".to_owned(), "250 2.0.0 OK".to_owned());
    let relayed = Ending::Relayed { exchange, reply, peer_id: Some(MessageId::from_number(77)) };
    let mut settlement = ended(id, "x@far.test", relayed);
    settlement.outcomes.extend(deferred(id, "y@far.test", 60, "451 4.3.0 later").outcomes);
    fixture.store.settle(&claim.lease, settlement, body(b"")).await.unwrap();
    let settled = ["relayed x@far.test mx.far.test 250 2.0.0 OK 77", "deferred y@far.test 451 4.3.0 later +60"];
    assert_eq!(follower.lines(&fixture).await, settled);

    fixture.clock.advance(MINUTE);
    let claim = fixture.claim().await.unwrap();
    fixture.store.settle(&claim.lease, untried(id, "y@far.test", ""), body(b"")).await.unwrap();
    let claim = fixture.claim().await.unwrap();
    let failed = Ending::Failed { said_by: Some("mx.far.test".to_owned()), reply: "550 5.1.1 no".to_owned() };
    let failure_message = Some(submission("failure", &["a@local.test"]));
    let settlement = Settlement { failure_message, ..ended(id, "y@far.test", failed) };
    fixture.store.settle(&claim.lease, settlement, body(b"Subject: sorry\r\n")).await.unwrap();
    let events = follower.events(&fixture).await;
    let lines: Vec<_> = events.iter().map(|event| line(&fixture, &event.kind)).collect();
    let told = [
        "claimed y@far.test 2",
        "deferred y@far.test  +0 untried",
        "claimed y@far.test 2",
        "failed y@far.test Some(\"mx.far.test\") 550 5.1.1 no",
        "accepted <sender@local.test> 16",
        "delivered a@local.test",
        "bounced",
    ];
    assert_eq!(lines, told);
    let EventKind::Bounced { as_message } = events[6].kind else { panic!("{:?}", events[6]) };
    assert_eq!((events[6].message, events[4].message), (id, as_message));

    fixture.delete("a@local.test", &[id, MessageId::from_number(1)]).await;
    assert_eq!(follower.lines(&fixture).await, ["deleted a@local.test session"]);
    fixture.clock.advance(2 * HOUR);
    fixture.store.expire(HOUR).await.unwrap();
    let mut gone = follower.events(&fixture).await;
    gone.retain(|event| event.message == id);
    assert_eq!(
        gone.iter().map(|event| line(&fixture, &event.kind)).collect::<Vec<_>>(),
        ["deleted b@local.test retention"]
    );

    assert_eq!(fixture.raw(id).await, Err(StoreError::MessageUnknown));
    let story = fixture.store.message_events(id).await.unwrap();
    let kinds: Vec<_> = story.iter().map(|event| event.kind.name()).collect();
    let expected =
        "accepted delivered queued claimed relayed deferred claimed deferred claimed failed bounced deleted deleted";
    assert_eq!(kinds.join(" "), expected);
    assert!(story.windows(2).all(|pair| pair[0].at <= pair[1].at));
    assert!(story.iter().all(|event| event.message == id));
    assert_eq!(fixture.store.message_events(MessageId::from_number(1)).await, Ok(Vec::new()));
}

/// The ends that are neither a delivery nor a refusal; and gateways of an earlier version, which do not say how.
pub(crate) async fn every_end_has_its_event(fixture: Fixture) {
    let mut follower = Follower::new();
    let id = fixture.send("1", &["x@far.test", "y@far.test", "z@far.test"]).await;
    let claim = fixture.claim().await.unwrap();
    follower.lines(&fixture).await;
    let expired = Ending::Expired { reply: "451 4.4.7 too old".to_owned() };
    let failed = Ending::Failed { said_by: None, reply: "550 5.1.2 no such domain".to_owned() };
    for (settlement, expected) in [
        (finished(id, &["x@far.test"]), "finished x@far.test"),
        (ended(id, "y@far.test", expired), "expired y@far.test 451 4.4.7 too old"),
        (ended(id, "z@far.test", failed), "failed z@far.test None 550 5.1.2 no such domain"),
    ] {
        fixture.store.settle(&claim.lease, settlement, body(b"")).await.unwrap();
        assert_eq!(follower.lines(&fixture).await, [expected]);
    }
}

/// What is refused, fails or changes nothing tells nothing.
pub(crate) async fn what_changes_nothing_tells_nothing(fixture: Fixture) {
    let mut follower = Follower::new();
    let id = fixture.send("1", &["a@local.test", "x@far.test", "y@near.test"]).await;
    let claim = fixture.claim().await.unwrap();
    let other_lease = fixture.claim().await.unwrap().lease;
    assert_eq!(follower.events(&fixture).await.len(), 5);

    assert!(fixture.submit("1", &["b@local.test"], b"other\r\n").await.unwrap().repeated);
    assert_eq!(fixture.submit("bad", &["a@local.test"], b"\n").await, Err(StoreError::BareLineEnding));
    let first = claim.messages[0].recipients[0].mailbox.to_string();
    let mut half = deferred(id, &first, 60, "451");
    half.outcomes.extend(deferred(id, "nobody@else.test", 60, "451").outcomes);
    assert_eq!(fixture.store.settle(&claim.lease, half, body(b"")).await, Err(StoreError::LeaseLost));
    let strange = deferred(id, &first, 60, "451");
    assert_eq!(fixture.store.settle(&other_lease, strange, body(b"")).await, Err(StoreError::LeaseLost));
    // A failure message that cannot be stored takes the settlement with it.
    let failure_message = Some(submission("failure", &["a@local.test"]));
    let settlement = Settlement { failure_message, ..finished(id, &[first.as_str()]) };
    let refused = fixture.store.settle(&claim.lease, settlement, body(b"\n")).await;
    assert_eq!(refused, Err(StoreError::BareLineEnding));
    let a = mailbox("a@local.test");
    assert_eq!(fixture.store.update_maildrop(&a, "no session", vec![id]).await, Err(StoreError::LeaseLost));
    fixture.store.expire(HOUR).await.unwrap();
    fixture.store.renew_claim(&claim.lease, MINUTE).await.unwrap();
    fixture.store.probe().await.unwrap();
    fixture.store.maintain(nowhere()).await.unwrap();
    assert_eq!(follower.lines(&fixture).await, Vec::<String>::new());
}

/// A message that is deleted together with many others has its event, too.
pub(crate) async fn many_deletions_are_told_each(fixture: Fixture) {
    const MANY: usize = 600;
    let mut follower = Follower::new();
    let other = fixture.send("other", &["b@local.test"]).await;
    let names: Vec<_> = (0..MANY).map(|number| number.to_string()).collect();
    let mut sent = join_all(names.iter().map(|name| fixture.send(name, &["a@local.test"]))).await;
    sent.sort();
    follower.events(&fixture).await;
    let kept = sent.remove(100);
    fixture.delete("a@local.test", &sent).await;
    let events = follower.events(&fixture).await;
    assert!(events.iter().all(|event| line(&fixture, &event.kind) == "deleted a@local.test session"));
    assert_eq!(events.iter().map(|event| event.message).collect::<Vec<_>>(), sent);
    for (id, expected) in [
        (sent[0], "deleted"),
        (sent[550], "deleted"),
        (sent[598], "deleted"),
        (kept, "delivered"),
        (other, "delivered"),
    ] {
        let story = fixture.store.message_events(id).await.unwrap();
        assert_eq!(story.last().map(|event| event.kind.name()), Some(expected));
    }
}

/// However many write at once: who follows the events sees each once, in the order in which they are read afterwards,
/// and nothing appears before what was read already.
pub(crate) async fn events_come_in_the_order_of_commits(fixture: Fixture) {
    let (writers, each) = (6, 4);
    let settle_all = async |claim: Claim| {
        for message in &claim.messages {
            let recipients: Vec<_> = message.recipients.iter().map(|of| of.mailbox.to_string()).collect();
            let recipients: Vec<_> = recipients.iter().map(String::as_str).collect();
            fixture.store.settle(&claim.lease, finished(message.id, &recipients), body(b"")).await.unwrap();
        }
    };
    let write = async |writer: usize| {
        let mut sent = Vec::new();
        for number in 0..each {
            let recipients = ["a@local.test".to_owned(), format!("x@d{}.test", writer % 3)];
            let recipients = recipients.each_ref().map(String::as_str);
            sent.push(fixture.send(&format!("{writer} {number}"), &recipients).await);
            if let Some(claim) = fixture.claim().await {
                settle_all(claim).await;
            }
        }
        sent
    };
    let writing = join_all((0..writers).map(&write));
    let mut live = Follower::new();
    let following = async {
        let mut seen = Vec::new();
        for _ in 0..10 {
            seen.extend(live.events(&fixture).await);
        }
        seen
    };
    let (sent, mut seen) = tokio::join!(writing, following);
    seen.extend(live.events(&fixture).await);
    let afterwards = Follower::new().events(&fixture).await;
    let cursors = |events: &[Event]| events.iter().map(|event| event.cursor.clone()).collect::<Vec<_>>();
    assert_eq!(cursors(&seen), cursors(&afterwards));
    for id in sent.into_iter().flatten() {
        let of_one: Vec<_> = seen.iter().filter(|event| event.message == id).map(|event| event.kind.name()).collect();
        assert_eq!(of_one[..3], ["accepted", "delivered", "queued"]);
        let story = fixture.store.message_events(id).await.unwrap();
        assert_eq!(story.iter().map(|event| event.kind.name()).collect::<Vec<_>>(), of_one);
    }
}

/// Events go when they are too old or too many, the oldest first. Who reads goes on where they were.
pub(crate) async fn old_events_are_pruned(fixture: Fixture) {
    let keep = |age, records| EventRetention { age, records };
    fixture.store.prune_events(keep(HOUR, 5)).await.unwrap();
    let mut follower = Follower::new();
    let names: Vec<_> = (0..1010).map(|number| number.to_string()).collect();
    let sent = join_all(names.iter().map(|name| fixture.send(name, &["a@local.test"]))).await;
    follower.events(&fixture).await;
    let before = follower.after;
    fixture.store.prune_events(keep(HOUR, 2000)).await.unwrap();
    assert_eq!(Follower::new().events(&fixture).await.len(), 2 * sent.len());

    fixture.store.prune_events(keep(HOUR, 10)).await.unwrap();
    let left = Follower::new().events(&fixture).await;
    assert!(left.len() <= 2 * 10, "{}", left.len());
    assert_eq!(fixture.store.message_events(*sent.iter().min().unwrap()).await, Ok(Vec::new()));
    assert_eq!(fixture.listed("a@local.test").await.len(), sent.len());

    fixture.clock.advance(2 * HOUR);
    let last = fixture.send("last", &["b@local.test"]).await;
    fixture.store.prune_events(keep(HOUR, 2000)).await.unwrap();
    let left = Follower::new().events(&fixture).await;
    assert_eq!(left.iter().map(|event| event.message).collect::<Vec<_>>(), [last, last]);
    let next = fixture.send("next", &["b@local.test"]).await;
    let (now, last_event) = (Follower::new().events(&fixture).await, fixture.store.last_event().await.unwrap());
    assert!(now.iter().all(|event| event.cursor.parse::<EventPosition>().unwrap() > before));
    assert_eq!(now.last().map(|event| event.message), Some(next));
    assert_eq!(fixture.store.events(last_event, 9).await.unwrap().events, []);
}
