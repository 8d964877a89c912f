//! A gateway on port 0 before a scripted mailbox store.
#![allow(clippy::disallowed_methods, reason = "a test waits for processes, sockets and files in real time")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(dead_code, reason = "each test file uses a part of it")]

#[path = "../../../../tests/dialogues/pop3/fixture.rs"]
pub(crate) mod fixture;

pub(crate) mod client;

use axum::{
    Json, Router,
    body::Body,
    extract::{Path, Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post, put},
};
use dialogue::Duplex;
use faults::Faults;
use fixture::{Account, Login, Read, Update};
use internal_api::{
    DeliveredHead, Endpoint, LoginSupport, MaildropEntry, MaildropSession, MaildropUpdate, MessageId, OpenSession,
    Problem, ProblemKind, ProofOutcome, StoreClient, UserVerifier, VerifierRequest,
};
use jiff::Timestamp;
use mail_net::Clock;
use mail_proto::{Mailbox, sasl::ScramVerifier};
use pop3_gateway::{Config, Listeners, SERVICE, ServiceError};
use records::{Recorder, Records};
use service_kit::shutdown::CancellationToken;
use std::{
    collections::HashMap,
    fs, io,
    net::SocketAddr,
    path::Path as FilePath,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tempfile::TempDir;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
    time::timeout,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, ServerName, pem::PemObject},
    },
};
use town_config::{LiveStack, Stack};
use town_tls::{Authority, CA_FILE, ServedCertificate};

/// How long anything may take before the test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

type Contents = Arc<dyn Fn(MessageId) -> Option<Response> + Send + Sync>;

/// A store that answers as the accounts say, and remembers what it was asked.
#[derive(Clone)]
pub(crate) struct FakeStore {
    pub(crate) address: SocketAddr,
    calls: watch::Sender<Vec<String>>,
    accounts: &'static [Account],
    contents: Contents,
    /// Whether the accounts are gone. Their verifiers still come.
    are_removed: Arc<AtomicBool>,
    /// Whether it brings several messages at once. A store of the version before does not.
    brings_several: Arc<AtomicBool>,
}

impl FakeStore {
    pub(crate) async fn start(accounts: &'static [Account]) -> Self {
        Self::with_contents(accounts, |_| None).await
    }

    /// A message's octets come from `contents` where it answers.
    pub(crate) async fn with_contents(
        accounts: &'static [Account],
        contents: impl Fn(MessageId) -> Option<Response> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (calls, _) = watch::channel(Vec::new());
        let (address, contents, are_removed) = (listener.local_addr().unwrap(), Arc::new(contents), Arc::default());
        let brings_several = Arc::default();
        let store = Self { address, calls, accounts, contents, are_removed, brings_several };
        let routes = Router::new()
            .route("/v1/logins", get(|| async { Json(LoginSupport { scram: true, proved_sessions: true }) }))
            .route("/v1/verifiers", post(verifier))
            .route("/v1/verifiers/outcomes", post(proof_ended))
            .route("/v1/mailboxes/{address}", get(|| async { Problem::from(ProblemKind::MailboxUnknown) }))
            .route("/v1/mailboxes/{address}/sessions", post(open))
            .route("/v1/mailboxes/{address}/sessions/{session}", put(renew).delete(close))
            .route("/v1/mailboxes/{address}/sessions/{session}/update", post(update))
            .route("/v1/mailboxes/{address}/messages/{id}/raw", get(raw))
            .route("/v1/mailboxes/{address}/raw", get(several))
            .with_state(store.clone());
        tokio::spawn(async { axum::serve(listener, routes).await.unwrap() });
        store
    }

    /// Waits until the calls so far are as `enough` wants them, and answers them.
    pub(crate) async fn calls(&self, enough: impl Fn(&[String]) -> bool) -> Vec<String> {
        let mut calls = self.calls.subscribe();
        match timeout(PATIENCE, calls.wait_for(|calls| enough(calls))).await {
            Ok(calls) => calls.unwrap().clone(),
            Err(_) => panic!("the store was called only so: {:?}", self.calls.borrow()),
        }
    }

    /// Removes the accounts, after their verifiers have been asked for.
    pub(crate) fn remove_accounts(&self) {
        self.are_removed.store(true, Ordering::Relaxed);
    }

    /// Brings several messages at once from now on.
    pub(crate) fn bring_several(&self) {
        self.brings_several.store(true, Ordering::Relaxed);
    }

    fn remember(&self, call: String) {
        self.calls.send_modify(|calls| calls.push(call));
    }

    fn account(&self, address: &str) -> Option<&'static Account> {
        self.accounts.iter().find(|account| account.address == address)
    }
}

type Answer<T> = Result<T, Problem>;

async fn open(
    State(store): State<FakeStore>,
    Path(address): Path<String>,
    Json(request): Json<OpenSession>,
) -> Answer<Json<MaildropSession>> {
    store.remember(format!("open {address}"));
    if store.are_removed.load(Ordering::Relaxed) {
        return Err(ProblemKind::MailboxUnknown.into());
    }
    let fits = |account: &&Account| request.proved || account.password == request.password;
    let account = store.account(&address).filter(fits);
    let account = account.ok_or(ProblemKind::AuthenticationFailed)?;
    match account.login {
        Login::InUse => Err(ProblemKind::MaildropInUse.into()),
        Login::TooSoon => Err(ProblemKind::LoginTooSoon.into()),
        Login::Unavailable => Err(ProblemKind::Overloaded.into()),
        Login::Opens => {
            let ids = (1..).map(MessageId::from_number);
            let entries = ids.zip(account.messages).map(|(id, message)| MaildropEntry { id, octets: message.octets });
            Ok(Json(MaildropSession { session: "lock".to_owned(), messages: entries.collect() }))
        }
    }
}

/// Users may leave out the domain.
async fn verifier(State(store): State<FakeStore>, Json(request): Json<VerifierRequest>) -> Answer<Json<UserVerifier>> {
    let address = Some(request.user.clone()).filter(|user| user.contains('@'));
    let address = address.unwrap_or_else(|| format!("{}@mail.sustech.edu.cn", request.user));
    let account = store.account(&address);
    if account.is_some_and(|account| account.login == Login::Unavailable) {
        return Err(ProblemKind::Overloaded.into());
    }
    let verifier = account.map_or_else(
        || ScramVerifier::of_nobody(b"secret", &address),
        |account| ScramVerifier::new(account.password, b"sixteen octets.".to_vec(), 4096).unwrap(),
    );
    let mailbox = account.map(|account| account.address.parse::<Mailbox>().unwrap());
    Ok(Json(UserVerifier { mailbox, verifier }))
}

async fn proof_ended(State(store): State<FakeStore>, Json(outcome): Json<ProofOutcome>) -> StatusCode {
    store.remember(format!("proved {} {}", outcome.user, outcome.proved));
    StatusCode::NO_CONTENT
}

async fn renew(State(store): State<FakeStore>, Path((address, session)): Path<(String, String)>) -> StatusCode {
    store.remember(format!("renew {address} {session}"));
    StatusCode::NO_CONTENT
}

async fn close(State(store): State<FakeStore>, Path((address, session)): Path<(String, String)>) -> StatusCode {
    store.remember(format!("close {address} {session}"));
    StatusCode::NO_CONTENT
}

async fn update(
    State(store): State<FakeStore>,
    Path((address, session)): Path<(String, String)>,
    Json(update): Json<MaildropUpdate>,
) -> Answer<StatusCode> {
    let numbers: Vec<_> = update.delete.iter().map(|id| id.number()).collect();
    store.remember(format!("update {address} {session} {numbers:?}"));
    match store.account(&address).unwrap().update {
        Update::Commits => Ok(StatusCode::NO_CONTENT),
        Update::LockLost => Err(ProblemKind::LeaseLost.into()),
        Update::Unavailable => Err(ProblemKind::StorageUnavailable.into()),
    }
}

async fn raw(State(store): State<FakeStore>, Path((address, id)): Path<(String, MessageId)>) -> Answer<Response> {
    store.remember(format!("read {address} {}", id.number()));
    if let Some(response) = (store.contents)(id) {
        return Ok(response);
    }
    let index = usize::try_from(id.number()).unwrap() - 1;
    match store.account(&address).unwrap().messages[index].read {
        Read::Octets(octets) => Ok(Body::from(octets).into_response()),
        Read::Gone => Err(ProblemKind::MessageUnknown.into()),
        Read::Damaged => Err(ProblemKind::MessageDamaged.into()),
        Read::Unavailable => Err(ProblemKind::StorageUnavailable.into()),
    }
}

async fn several(
    State(store): State<FakeStore>,
    Path(address): Path<String>,
    Query(query): Query<HashMap<String, String>>,
) -> Answer<Vec<u8>> {
    if !store.brings_several.load(Ordering::Relaxed) {
        return Err(ProblemKind::NotFound.into());
    }
    let ids: Vec<MessageId> = query["ids"].split(',').map(|id| id.parse().unwrap()).collect();
    let numbers: Vec<_> = ids.iter().map(|id| id.number()).collect();
    store.remember(format!("read {address} {numbers:?}"));
    let mut answer = Vec::new();
    for id in ids {
        let message = store.account(&address).unwrap().messages[usize::try_from(id.number()).unwrap() - 1];
        // The gateway asks for any other alone.
        let Read::Octets(octets) = message.read else { break };
        answer.extend_from_slice(&internal_api::frame(&DeliveredHead { id, octets: octets.len() as u64 }));
        answer.extend_from_slice(octets);
    }
    Ok(answer)
}

/// A gateway that runs.
pub(crate) struct RunningGateway {
    pub(crate) pop3: SocketAddr,
    pub(crate) pops: SocketAddr,
    pub(crate) http: SocketAddr,
    pub(crate) shutdown: CancellationToken,
    pub(crate) task: JoinHandle<Result<(), ServiceError>>,
    /// With the authority that clients trust.
    certificates: TempDir,
}

impl RunningGateway {
    /// Before the store at this address, with the defaults of profile rfc changed by `change`.
    pub(crate) async fn start(store: SocketAddr, change: impl FnOnce(&mut Stack)) -> Self {
        let text = "[server.\"exmail.qq.com\"]\nsmtp = 1\npop = 2\ndomains = [\"mail.sustech.edu.cn\"]\n";
        let config = town_config::Config::parse(text, FilePath::new("config.toml")).unwrap();
        let mut stack = config.stacks().next().unwrap().clone();
        change(&mut stack);
        let clock = Clock::system();
        let store = StoreClient::new(Endpoint::new(&format!("http://{store}"), None).unwrap(), clock.io);
        let certificates = TempDir::new().unwrap();
        let authority = Authority::open(certificates.path(), Timestamp::now()).unwrap();
        let files = authority.certificate("exmail.qq.com", ["localhost".to_owned()], Timestamp::now()).unwrap();
        let certificate = Some(Arc::new(ServedCertificate::open(files).unwrap()));
        let stack: LiveStack = stack.into();
        let recorder = Recorder::of_stack(stack.clone(), SERVICE, Records::default(), clock.wall.clone());
        let config = Config {
            stack,
            store,
            trusted_networks: None,
            certificate,
            token: None,
            recorder,
            faults: Faults::none(),
            clock,
        };
        let listeners = Listeners {
            pop3: TcpListener::bind("127.0.0.1:0").await.unwrap(),
            pops: Some(TcpListener::bind("127.0.0.1:0").await.unwrap()),
            http: TcpListener::bind("127.0.0.1:0").await.unwrap().into(),
        };
        let pops = listeners.pops.as_ref().unwrap().local_addr().unwrap();
        let (pop3, http) = (listeners.pop3.local_addr().unwrap(), listeners.http.local_addr().unwrap());
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(pop3_gateway::run(config, listeners, shutdown.clone()));
        Self { pop3, pops, http, shutdown, task, certificates }
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        connect(self.pop3).await
    }

    /// Connects to the port that begins with TLS, and says nothing.
    pub(crate) async fn connect_to_pops(&self) -> TcpStream {
        connect(self.pops).await
    }

    /// The client's side of TLS; it trusts the gateway's certificate.
    pub(crate) async fn agree(&self, stream: Box<dyn Duplex>) -> io::Result<Box<dyn Duplex>> {
        let authority = fs::read(self.certificates.path().join(CA_FILE)).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(&authority).unwrap()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let connector = TlsConnector::from(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()));
        Ok(Box::new(connector.connect(ServerName::try_from("localhost").unwrap(), stream).await?))
    }

    /// Stops it and waits until it has stopped.
    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        timeout(PATIENCE, self.task).await.unwrap().unwrap().unwrap();
    }
}

async fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}
