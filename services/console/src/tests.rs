//! A console that follows services made for a test.

use super::*;
use axum::{
    Json, Router,
    extract::{Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use internal_api::{
    ConnectionId, Event, EventKind, EventPage, EventPosition, Flow, Form, MessageId, MessagePage, Octets, Problem,
    ProblemKind, Protocol, QueuePage, Record, RecordedSession, Role, Seen, SeenOctets, SessionId, TracePage,
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
    run: u64,
    records: Vec<TracedRecord>,
    events: Vec<Event>,
    last: EventPosition,
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
}

fn opened(id: SessionId) -> Box<RecordedSession> {
    Box::new(RecordedSession {
        id,
        connection: id.connection(),
        stack: "a".parse().unwrap(),
        service: "smtp-gateway".into(),
        role: Role::Server,
        protocol: Protocol::Smtp,
        local: None,
        remote: None,
        opened_at: Timestamp::UNIX_EPOCH,
        closed_at: None,
        ended: None,
        tls: None,
        user: None,
        messages: Vec::new(),
        octets_received: 0,
        octets_sent: 0,
        refusals: 0,
        last_refusal: None,
        missing_records: 0,
    })
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
    let page =
        TracePage { records, next_after: format!("{run:x}-{last:x}"), dropped: internal_api::Dropped::default() };
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

async fn messages() -> Json<MessagePage> {
    Json(MessagePage { messages: Vec::new(), next_after: None })
}

/// A console that follows these two as the store and the SMTP gateway of a stack.
struct Running {
    address: SocketAddr,
    _stop: tokio_util::sync::DropGuard,
}

impl Running {
    async fn start(store: &Fake, gateway: &Fake) -> Self {
        let service = |kind, url| Service { stack: "a".to_owned(), kind, url };
        let services =
            vec![service(ServiceKind::Store, store.serve().await), service(ServiceKind::Smtp, gateway.serve().await)];
        let config = Config {
            services,
            token: None,
            settings: Console::default(),
            hosts: Arc::new(OwnHosts::default),
            login: Login::everybody(),
            clock: Clock::system(),
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
