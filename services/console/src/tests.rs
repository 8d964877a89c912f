//! A console that follows services made for a test.

use super::*;
use axum::{
    Json, Router,
    extract::{Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{delete, post},
};
use internal_api::{
    ConnectionId, Event, EventKind, EventPage, EventPosition, Flow, Form, Message, MessageId, MessagePage, Octets,
    Problem, ProblemKind, Protocol, QueuePage, Record, RecordedSession, Role, Seen, SeenOctets, SessionId, TracePage,
    TracedRecord,
};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::{
    net::SocketAddr,
    sync::{Mutex, MutexGuard},
    time::Duration,
};
use tokio::net::TcpListener;
use town_config::OwnHosts;

/// How long a call of a service waits for something new.
const WAIT: Duration = Duration::from_millis(300);

/// A gateway or a store.
#[derive(Debug, Clone, Default)]
struct Fake(Arc<Mutex<Facts>>);

#[derive(Debug, Default)]
struct Facts {
    /// It answers with 500.
    is_broken: bool,
    /// It records nothing.
    is_off: bool,
    run: u64,
    records: Vec<TracedRecord>,
    events: Vec<Event>,
    last: EventPosition,
    /// Messages of which it tells no event.
    stored: Vec<Message>,
    /// What `/v1/messages/{id}/raw` has.
    raw: String,
    /// The calls of maildrops and of the queue, in order.
    called: Vec<String>,
    /// How long an update of a maildrop takes, and whether it fails.
    update: (Duration, bool),
    /// With each look something has happened.
    is_restless: bool,
}

#[derive(Debug, serde::Deserialize)]
struct Asked {
    after: Option<String>,
    wait: Option<u64>,
}

impl Fake {
    fn lock(&self) -> MutexGuard<'_, Facts> {
        self.0.lock().unwrap()
    }

    async fn serve(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let routes = Router::new()
            .route("/v1/trace", get(trace))
            .route("/v1/events", get(events))
            .route("/v1/queue", get(queue))
            .route("/v1/messages", get(messages))
            .route("/v1/messages/{id}/raw", get(raw))
            .route("/v1/mailboxes/{address}/sessions", post(open))
            .route("/v1/mailboxes/{address}/sessions/{session}", delete(close))
            .route("/v1/mailboxes/{address}/sessions/{session}/update", post(update))
            .fallback(async || Problem::from(ProblemKind::MessageUnknown))
            .with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        url
    }

    /// A session in which a transaction is open.
    fn open_transaction(&self) {
        let id = SessionId::new(Timestamp::UNIX_EPOCH, &ConnectionId::random());
        let seen = [
            Seen::Opened { state: opened(id) },
            line(Flow::Sent, "220 a\r\n"),
            line(Flow::Received, "MAIL FROM:<a@x.test>\r\n"),
            line(Flow::Sent, "250 2.1.0 OK\r\n"),
        ];
        let mut facts = self.lock();
        for what in seen {
            let sequence = facts.records.len() as u64 + 1;
            facts
                .records
                .push(TracedRecord { session: id, record: Record { sequence, at: Timestamp::UNIX_EPOCH, what } });
        }
    }

    /// A message that is delivered, told of with these numbers of records.
    fn deliver(&self, number: u64, record: i64) {
        let (message, at) = (MessageId::from_number(number), Timestamp::UNIX_EPOCH);
        let mut facts = self.lock();
        let kinds = [
            EventKind::Accepted { reverse_path: "<a@x.test>".parse().unwrap(), octets: 1 },
            EventKind::Delivered { recipients: vec!["b@x.test".parse().unwrap()] },
        ];
        for (place, kind) in (1..).zip(kinds) {
            let position = EventPosition { transaction: 0, record, place };
            facts.events.push(Event { cursor: position.to_string(), at, message, kind });
            facts.last = position;
        }
    }

    /// The store has become what it was, which it tells with this number of a record.
    fn restore(&self, record: i64) {
        let position = EventPosition { transaction: 0, record, place: 1 };
        let (message, at) = (MessageId::from_number(0), Timestamp::UNIX_EPOCH);
        let kind = EventKind::Restored { snapshot: "s".to_owned() };
        let mut facts = self.lock();
        facts.events.push(Event { cursor: position.to_string(), at, message, kind });
        facts.last = position;
    }
}

fn opened(id: SessionId) -> Box<RecordedSession> {
    Box::new(RecordedSession::opened(
        (id, Timestamp::UNIX_EPOCH),
        ("a".parse().unwrap(), "smtp-gateway".into()),
        (Role::Server, Protocol::Smtp),
    ))
}

fn line(direction: Flow, text: &str) -> Seen {
    Seen::Octets(SeenOctets { direction, form: Form::Line, missing: 0, octets: Octets::of(text.as_bytes()) })
}

async fn pause(asked: &Asked) {
    if asked.wait.is_some_and(|seconds| seconds > 0) {
        Clock::system().io.sleep(WAIT).await;
    }
}

async fn trace(State(fake): State<Fake>, Query(asked): Query<Asked>) -> Response {
    pause(&asked).await;
    let facts = fake.lock();
    if facts.is_broken {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    let (run, last) = (facts.run, facts.records.len() as u64);
    let read = match asked.after.as_deref() {
        Some("latest") => last,
        Some(cursor) => {
            let (of, sequence) = cursor.split_once('-').unwrap();
            if of == format!("{run:x}") { u64::from_str_radix(sequence, 16).unwrap() } else { 0 }
        }
        None => 0,
    };
    let records = facts.records.iter().skip(read as usize).cloned().collect();
    let page = TracePage {
        records,
        next_after: format!("{run:x}-{last:x}"),
        dropped: internal_api::Dropped::default(),
        recording: !facts.is_off,
    };
    Json(page).into_response()
}

async fn events(State(fake): State<Fake>, Query(asked): Query<Asked>) -> Json<EventPage> {
    pause(&asked).await;
    let mut facts = fake.lock();
    let after = match asked.after.as_deref() {
        Some("latest") => {
            facts.last.record += i64::from(facts.is_restless);
            return Json(EventPage { events: Vec::new(), next_after: facts.last.to_string() });
        }
        after => after.map_or_else(EventPosition::default, |cursor| cursor.parse().unwrap()),
    };
    let is_later = |event: &&Event| event.cursor.parse::<EventPosition>().unwrap() > after;
    let events = facts.events.iter().filter(is_later).cloned().collect();
    Json(EventPage { events, next_after: facts.last.max(after).to_string() })
}

async fn queue() -> Json<QueuePage> {
    Json(QueuePage { entries: Vec::new(), next_after: None })
}

/// One message on each page.
async fn messages(State(fake): State<Fake>, Query(asked): Query<Asked>) -> Json<MessagePage> {
    let facts = fake.lock();
    let after = asked.after.map(|after| after.parse::<MessageId>().unwrap());
    let mut later = facts.stored.iter().filter(|message| after.is_none_or(|after| message.id > after));
    let messages: Vec<_> = later.next().cloned().into_iter().collect();
    let next_after = messages.last().map(|last| last.id).filter(|_| later.next().is_some());
    Json(MessagePage { messages, next_after })
}

async fn raw(State(fake): State<Fake>) -> Response {
    let raw = fake.lock().raw.clone();
    if raw.is_empty() { Problem::from(ProblemKind::MessageUnknown).into_response() } else { raw.into_response() }
}

async fn open(State(fake): State<Fake>) -> Json<internal_api::MaildropSession> {
    fake.lock().called.push("open".to_owned());
    Json(internal_api::MaildropSession { session: "s".to_owned(), messages: Vec::new() })
}

async fn update(State(fake): State<Fake>, Json(update): Json<internal_api::MaildropUpdate>) -> Response {
    let (takes, fails) = fake.lock().update;
    Clock::system().io.sleep(takes).await;
    let mut facts = fake.lock();
    facts.called.push(format!("delete {}", update.delete.len()));
    if fails { Problem::from(ProblemKind::Internal).into_response() } else { StatusCode::NO_CONTENT.into_response() }
}

async fn close(State(fake): State<Fake>) -> StatusCode {
    fake.lock().called.push("close".to_owned());
    StatusCode::NO_CONTENT
}

fn stored(number: u64) -> Message {
    Message {
        id: MessageId::from_number(number),
        octets: 1,
        reverse_path: "<a@x.test>".parse().unwrap(),
        received_at: Timestamp::UNIX_EPOCH,
        mailboxes: vec!["b@x.test".parse().unwrap()],
        queued_for: Vec::new(),
        identity: None,
        parameters: Default::default(),
    }
}

/// A console that follows these two as the store and the SMTP gateway of a stack.
struct Running {
    address: SocketAddr,
    _stop: tokio_util::sync::DropGuard,
}

impl Running {
    async fn start(store: &Fake, gateway: &Fake) -> Self {
        Self::bounded(store, gateway, town_config::ConsoleBounds::default()).await
    }

    async fn bounded(store: &Fake, gateway: &Fake, bounds: town_config::ConsoleBounds) -> Self {
        Self::with(store, gateway, Console { bounds, ..Console::default() }).await
    }

    async fn with(store: &Fake, gateway: &Fake, settings: Console) -> Self {
        let service = |kind, url| Service { stack: "a".to_owned(), kind, url };
        let services =
            vec![service(ServiceKind::Store, store.serve().await), service(ServiceKind::Smtp, gateway.serve().await)];
        let config = Config {
            services,
            servers: Vec::new(),
            mail_servers: Vec::new(),
            token: None,
            settings,
            hosts: Arc::new(OwnHosts::default),
            login: Login::everybody(),
            clock: Clock::system(),
            files: None,
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, shutdown) = (listener.local_addr().unwrap(), CancellationToken::new());
        let stop = shutdown.clone().drop_guard();
        tokio::spawn(run(config, Listeners { http: listener.into() }, shutdown));
        Self { address, _stop: stop }
    }

    async fn get(&self, path: &str) -> Value {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        client.get(format!("http://{}{path}", self.address)).send().await.unwrap().json().await.unwrap()
    }

    async fn post(&self, path: &str) -> Value {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        client.post(format!("http://{}{path}", self.address)).send().await.unwrap().json().await.unwrap()
    }

    /// Waits until what is at a path is as it should be.
    async fn until(&self, path: &str, is_right: impl Fn(&Value) -> bool) {
        for _ in 0..600 {
            if is_right(&self.get(path).await) {
                return;
            }
            Clock::system().io.sleep(Duration::from_millis(20)).await;
        }
        panic!("{path}: {}", self.get(path).await);
    }

    async fn until_gateway_is(&self, state: &str) {
        self.until("/v1/services", |found| {
            let services = found["services"].as_array().unwrap();
            services.iter().any(|service| service["service"] == "smtp-gateway" && service["state"] == state)
        })
        .await;
    }

    async fn idle(&self) -> Value {
        self.get("/v1/idle?timeout=0").await
    }
}

#[tokio::test]
async fn a_town_is_idle_only_when_all_is_known_and_at_rest() {
    let (store, gateway) = (Fake::default(), Fake::default());
    gateway.lock().is_broken = true;
    let town = Running::start(&store, &gateway).await;
    let idle = town.idle().await;
    assert_eq!((&idle["idle"], &idle["unknown"]), (&json!(false), &json!(["smtp-gateway of a"])), "{idle}");
    gateway.lock().is_broken = false;
    town.until("/v1/idle?timeout=10", |idle| idle["idle"] == true).await;

    gateway.lock().is_off = true;
    town.until_gateway_is("records_nothing").await;
    assert_eq!(town.idle().await["idle"], false, "what is not recorded is not known");
    gateway.lock().is_off = false;
    town.until("/v1/idle?timeout=10", |idle| idle["idle"] == true).await;

    store.lock().is_restless = true;
    assert_eq!(town.idle().await["idle"], false, "something happens from one look to the next");
    store.lock().is_restless = false;
    town.until("/v1/idle?timeout=10", |idle| idle["idle"] == true).await;

    // The console has not read it yet.
    gateway.open_transaction();
    let idle = town.idle().await;
    assert_eq!((&idle["idle"], &idle["open_transactions"]), (&json!(false), &json!(1)), "{idle}");
}

#[tokio::test]
async fn an_open_session_outlives_an_outage_and_a_reset_and_ends_with_its_process() {
    let (store, gateway) = (Fake::default(), Fake::default());
    gateway.open_transaction();
    let town = Running::start(&store, &gateway).await;
    town.until("/v1/idle?timeout=0", |idle| idle["open_transactions"] == 1).await;
    gateway.lock().is_broken = true;
    town.until_gateway_is("unreachable").await;
    gateway.lock().is_broken = false;
    town.until_gateway_is("following").await;
    assert_eq!(town.idle().await["open_transactions"], 1, "it lives on");
    town.post("/v1/reset").await;
    assert_eq!(town.idle().await["open_transactions"], 1, "it lives on");
    assert_eq!(town.get("/v1/sessions").await["sessions"].as_array().unwrap().len(), 1);
    *gateway.lock() = Facts { run: 2, ..Facts::default() };
    town.until("/v1/idle?timeout=10", |idle| idle["idle"] == true).await;
}

#[tokio::test]
async fn a_store_with_an_earlier_history_is_read_anew() {
    let (store, gateway) = (Fake::default(), Fake::default());
    store.deliver(1, 7);
    let town = Running::start(&store, &gateway).await;
    let ids = |page: &Value| -> Vec<Value> {
        page["mail"].as_array().unwrap().iter().map(|mail| mail["id"].clone()).collect()
    };
    let id = |number| json!(MessageId::from_number(number));
    town.until("/v1/mail", |page| ids(page) == [id(1)]).await;
    *store.lock() = Facts::default();
    store.deliver(2, 3);
    town.until("/v1/mail", |page| ids(page) == [id(2)]).await;
}

/// A webhook; returns its URL, and the ids that it is told.
async fn webhook() -> (String, tokio::sync::mpsc::UnboundedReceiver<Value>) {
    let (told, ids) = tokio::sync::mpsc::unbounded_channel();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let take = async move |Json(mail): Json<Value>| told.send(mail["id"].clone()).unwrap();
    let routes = Router::new().route("/", post(take));
    tokio::spawn(async move { axum::serve(listener, routes).await });
    (url, ids)
}

/// What it had before is known. What it has recorded since is told everywhere, although both are read in one go.
#[tokio::test]
async fn what_happens_after_a_restore_is_news_and_what_was_before_is_not() {
    let (store, gateway) = (Fake::default(), Fake::default());
    let (url, mut told) = webhook().await;
    store.deliver(1, 1);
    let town = Running::with(&store, &gateway, Console { webhook: Some(url), ..Console::default() }).await;
    let id = |number| json!(MessageId::from_number(number));
    let ids = |page: &Value| -> Vec<Value> {
        page["mail"].as_array().unwrap().iter().map(|mail| mail["id"].clone()).collect()
    };
    town.until("/v1/mail", |page| ids(page) == [id(1)]).await;
    let checkpoint = town.post("/v1/checkpoint").await["cursor"].as_str().unwrap().to_owned();
    {
        let restored = Fake::default();
        restored.deliver(1, 1);
        restored.restore(5);
        restored.deliver(2, 6);
        std::mem::swap(&mut *store.lock(), &mut *restored.lock());
    }
    town.until("/v1/mail", |page| ids(page) == [id(2), id(1)]).await;
    let waited = town.get(&format!("/v1/mail/wait?timeout=10&since={checkpoint}")).await;
    assert_eq!(ids(&waited), [id(2)], "{waited}");
    let trace = town.get("/v1/trace").await;
    let happened: Vec<_> = trace["items"].as_array().unwrap().iter().map(|item| item["message"].clone()).collect();
    let count = |number| happened.iter().filter(|message| **message == id(number)).count();
    assert_eq!((count(1), count(2)), (2, 2), "{trace}");
    assert_eq!(told.recv().await, Some(id(2)));
    store.deliver(3, 7);
    assert_eq!(told.recv().await, Some(id(3)));
}

#[tokio::test]
async fn a_reset_deletes_what_the_index_has_dropped() {
    let (store, gateway) = (Fake::default(), Fake::default());
    store.lock().stored = (1..=3).map(stored).collect();
    let bounds = town_config::ConsoleBounds { messages: 1, ..Default::default() };
    let town = Running::bounded(&store, &gateway, bounds).await;
    town.until("/v1/mail", |page| page["mail"].as_array().unwrap().len() == 1).await;
    let deletion = town.post("/v1/reset").await;
    assert_eq!(deletion["deleted"], 3, "{deletion}");
    assert_eq!(store.lock().called, ["open", "delete 3"]);
}

#[tokio::test]
async fn a_maildrop_is_closed_whatever_becomes_of_the_call() {
    let (store, gateway) = (Fake::default(), Fake::default());
    store.lock().stored = vec![stored(1)];
    store.lock().update = (Duration::from_millis(500), true);
    let town = Running::start(&store, &gateway).await;
    town.until("/v1/mail", |page| page["mail"].as_array().unwrap().len() == 1).await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let call = client.post(format!("http://{}/v1/reset", town.address)).send();
    let called = |calls: &[&str]| store.lock().called == calls;
    // The caller goes away between the opening and the deletion.
    tokio::select! {
        _ = call => panic!("the store takes its time"),
        () = async { while !called(&["open"]) { tokio::task::yield_now().await } } => {}
    }
    drop(client);
    for _ in 0..500 {
        if called(&["open", "delete 1", "close"]) {
            return;
        }
        Clock::system().io.sleep(Duration::from_millis(20)).await;
    }
    panic!("{:?}", store.lock().called);
}

#[tokio::test]
async fn long_messages_are_whole_in_text_and_source_and_too_long_ones_have_no_parts() {
    let (store, gateway) = (Fake::default(), Fake::default());
    let text = "text ".repeat(200_000);
    store.lock().raw = format!("Subject: s\r\n\r\n{text}end\r\n");
    store.lock().stored = vec![stored(1), Message { octets: 65 * 1024 * 1024, ..stored(2) }];
    let town = Running::start(&store, &gateway).await;
    town.until("/v1/mail", |page| page["mail"].as_array().unwrap().len() == 2).await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let read = async |number: u64, what: &str| {
        let url = format!("http://{}/v1/mail/{}{what}", town.address, MessageId::from_number(number));
        let answer = client.get(url).send().await.unwrap();
        (answer.status(), answer.text().await.unwrap())
    };
    let (status, shown) = read(1, "").await;
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((status, &shown["truncated"]), (StatusCode::OK, &json!(true)));
    assert!(shown["text"].as_str().unwrap().len() < 300_000);
    assert!(read(1, "/text").await.1.trim_end().ends_with("end"));
    assert!(read(1, "/raw").await.1.trim_end().ends_with("end"));
    assert_eq!(read(1, "/parts/0").await.0, StatusCode::OK);
    assert_eq!(read(2, "/parts/0").await.0, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(read(2, "/raw").await.0, StatusCode::OK);
}
