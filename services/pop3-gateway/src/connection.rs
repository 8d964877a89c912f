//! One client: its stream on one side of the session, the store on the other.

mod faulted;

use crate::{ahead::ReadAhead, gateway::Gateway, lease::Lease, listeners::Port};
use faults::Shaping;
use internal_api::{ApiError, Mark, MessageId, Role};
use mail_net::{Closed, Io, IoClock, Line, LineStream, Place, StreamLimits, Tls, TlsError};
use mail_proto::{
    line::LineError,
    pop3::{Proof, Reply, ResponseCode, Session, Step, WrongLength},
    sasl::{self, ChannelBindings, Failure},
};
use records::{Opening, Recording};
use service_kit::{
    shutdown::{CancellationToken, GRACE},
    telemetry,
};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use town_config::Limits;
use town_tls::Served;

/// How much is read at once.
const READ_OCTETS: usize = 4 * 1024;

/// A client that has connected.
pub(crate) struct Client {
    /// To which port.
    pub(crate) port: Port,
    /// From where.
    pub(crate) peer: SocketAddr,
    pub(crate) io: Box<dyn Io>,
    /// Changes how its connection carries octets, while there are faults.
    pub(crate) shaping: Option<Shaping>,
    /// Its place among the open connections.
    pub(crate) place: Place,
}

/// Serves a client until it or we have enough.
pub(crate) async fn serve(gateway: Arc<Gateway>, client: Client) {
    // The filter of fail2ban in docs/operation reads the peer at this place.
    let peer = client.peer;
    let span = move |id: &_| tracing::info_span!("pop3", %peer, connection = %id, user = tracing::field::Empty);
    let serving = async move {
        let _open = gateway.metrics.connected();
        let local = client.io.ends().ok().map(|ends| ends.local);
        let (role, protocol) = (Role::Server, client.port.protocol());
        // It ends last, when the connection is closed.
        let recording = gateway.recorder.open(Opening { role, protocol, local, remote: Some(peer) });
        let client = if gateway.faults.is_on() {
            let Some(client) = Box::pin(client.begin(&gateway, &recording)).await else { return };
            client
        } else {
            client
        };
        let connection = Box::pin(Connection::accepted(&gateway, client, &recording)).await;
        if let Some(connection) = connection {
            converse(connection).await;
        }
    };
    telemetry::connection(span, serving).await;
}

/// Talks with a client to the end, and unlocks its maildrop.
async fn converse(mut connection: Connection<'_>) {
    let (shutdown, io) = (&connection.gateway.shutdown, connection.gateway.clock.io);
    connection.stream.push(&connection.session.greeting());
    let end = loop {
        let end = tokio::select! {
            end = connection.talk() => end,
            () = out_of_grace(shutdown, io) => Err(Broken::Cut),
        };
        let Ok(End::StartTls) = end else { break end };
        // Nobody is logged in yet, so there is nothing to unlock.
        let Some(encrypted) = Box::pin(connection.start_tls()).await else { return };
        connection = encrypted;
    };
    let Connection { stream, lease, recording, .. } = connection;
    match &end {
        Ok(End::Fault) => recording.breaks(End::Fault.reason()),
        Ok(end) => recording.ends(end.reason()),
        Err(error @ Broken::Stream(_)) => recording.is_lost(error),
        Err(error) => recording.breaks(error),
    }
    // The lock goes first: the client may be back before this socket is closed.
    if let Some(lease) = lease {
        lease.release().await;
    }
    match &end {
        Ok(end) => tracing::debug!(?end, "connection ends"),
        Err(error) => facts::Pop3ConnectionBroke { error }.log(),
    }
    // What was cut off in the middle of a write must not be begun again.
    if !matches!(end, Ok(End::Fault) | Err(Broken::Stream(_) | Broken::Cut)) {
        stream.close().await;
    }
}

/// Just before the accept loop stops waiting, so that there is time to unlock the maildrop.
async fn out_of_grace(shutdown: &CancellationToken, io: IoClock) {
    shutdown.cancelled().await;
    io.sleep(GRACE.saturating_sub(Duration::from_secs(1))).await;
}

/// How a connection comes to its end, or goes on encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The session is over.
    Session,
    /// The client has gone.
    Client,
    /// The service is to stop.
    Service,
    /// Another connection needs the place of this one.
    Room,
    /// TLS begins.
    StartTls,
    /// A fault cuts it.
    Fault,
}

impl End {
    /// The same for the record of the session.
    fn reason(self) -> &'static str {
        match self {
            Self::Session => "the server has closed it",
            Self::Client => "the connection was closed",
            Self::Service => "the server is shutting down",
            Self::Room => "closed to make room for another",
            Self::StartTls => "TLS begins",
            Self::Fault => "cut by a fault",
        }
    }
}

/// Why a connection cannot go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    #[error(transparent)]
    Stream(#[from] Closed),
    /// The rest of a message that was begun cannot be had.
    #[error("a message broke off: {0}")]
    Message(#[from] ApiError),
    #[error(transparent)]
    Length(#[from] WrongLength),
    /// The command in flight did not finish in time.
    #[error("cut off by the shutdown")]
    Cut,
}

/// One client's dialogue.
pub(crate) struct Connection<'a> {
    pub(crate) gateway: &'a Gateway,
    port: Port,
    pub(crate) peer: SocketAddr,
    pub(crate) stream: LineStream,
    pub(crate) recording: &'a Recording,
    pub(crate) session: Session<MessageId>,
    /// The longest command line in octets.
    line_octets: usize,
    /// How long the maildrop stays locked when this gateway dies. The lock is renewed three times as often.
    pub(crate) lease_seconds: u32,
    /// There while a maildrop is open.
    pub(crate) lease: Option<Lease>,
    /// What is fetched already of what the client will ask for.
    pub(crate) ahead: ReadAhead,
    /// The user whose password the client is proving with SCRAM.
    proving: Option<Box<str>>,
    /// Whether the store has refused the password of the login that is under way. That is counted and logged.
    pub(crate) is_refused: bool,
    /// Changes how the connection carries octets, while there are faults.
    shaping: Option<Shaping>,
}

impl<'a> Connection<'a> {
    /// A dialogue whose client is to be greeted; `None` when they do not agree on TLS, with which it was to begin.
    async fn accepted(gateway: &'a Gateway, client: Client, recording: &'a Recording) -> Option<Self> {
        let Client { port, peer, io, shaping, place } = client;
        let stack = gateway.stack.current();
        let limits = &stack.limits;
        let stream = LineStream::new(io, stream_limits(limits), gateway.clock.clone()).with_place(place);
        let stream = stream.with_taps(recording.taps());
        let connection = Self {
            gateway,
            port,
            peer,
            stream,
            recording,
            session: Session::new(gateway.session_config(&stack, peer.ip()).await),
            line_octets: limits.pop3_line_octets,
            lease_seconds: limits.pop3_lease_seconds,
            lease: None,
            ahead: ReadAhead::new(gateway.ahead.clone(), gateway.clock.io),
            proving: None,
            is_refused: false,
            shaping,
        };
        let mut connection = if port.begins_with_tls() { connection.start_tls().await? } else { connection };
        if stack.tolerance().lf_commands {
            connection.stream.take_bare_lf(true);
        }
        Some(connection)
    }

    /// Agrees on TLS with the client: from its first octet on, or after STLS. Returns `None` when they do not agree, or the
    /// service stops meanwhile.
    async fn start_tls(self) -> Option<Self> {
        let Self { gateway, port, peer, stream, recording, mut session, .. } = self;
        let Served { config, end_point } = gateway.certificate.as_ref()?.current();
        let handshake = async {
            if port.begins_with_tls() {
                stream.begin_with_tls(config, &Reply::error("this port begins with TLS")).await
            } else {
                stream.upgrade(Tls::Server(config)).await
            }
        };
        let stream = match gateway.shutdown.run_until_cancelled(handshake).await? {
            Ok(stream) => stream,
            Err(error) => {
                recording.breaks(&error);
                tls_failed(peer, &error);
                return None;
            }
        };
        recording.mark(|| Mark::Encrypted { tls: stream.tls().unwrap_or_default().to_owned() });
        let exporter = stream.channel_bindings().exporter.clone();
        session.encrypted(ChannelBindings { exporter, end_point });
        Some(Self { stream, session, ..self })
    }

    /// Carries out commands. Replies wait until there is none left: that makes pipelining fast.
    async fn talk(&mut self) -> Result<End, Broken> {
        let shutdown = &self.gateway.shutdown;
        loop {
            self.expect_line();
            let deadline = self.stream.deadline();
            let line = tokio::select! {
                biased;
                line = self.stream.line(deadline) => line,
                () = shutdown.cancelled() => return Ok(End::Service),
                never = self.ahead.drop_when_idle() => match never {},
            };
            let line = match line {
                Ok(line) => line,
                Err(Closed::End) => return Ok(End::Client),
                Err(closed @ Closed::Room) => {
                    self.stream.push(&Reply::error_code(ResponseCode::SysTemp, closed));
                    return Ok(End::Room);
                }
                Err(closed) => return Err(closed.into()),
            };
            if let Err(error @ LineError::Tls) = line {
                facts::Pop3TlsFailed { peer: self.peer, error }.log();
            }
            if let Some(end) = self.take(line).await? {
                return Ok(end);
            }
            if shutdown.is_cancelled() {
                return Ok(End::Service);
            }
        }
    }

    /// Does what the client's line asks for, unless something is to go wrong.
    async fn take(&mut self, line: Line) -> Result<Option<End>, Broken> {
        if self.gateway.faults.is_on()
            && let Ok(octets) = &line
            && let Some(outcome) = self.fault_at(octets)
        {
            return Box::pin(self.go_wrong(*outcome, octets)).await;
        }
        let step = self.session.line(line.as_deref().map_err(|error| *error));
        self.perform(step).await
    }

    /// Prepares for the next line: a command, or a response of AUTH.
    fn expect_line(&mut self) {
        let is_response = self.session.expects_response();
        if is_response {
            self.stream.expect_secret();
        }
        self.stream.limit_lines(if is_response { sasl::LINE_OCTETS } else { self.line_octets });
    }

    /// Does what the session asks for until the command is answered.
    ///
    /// What checks a login is boxed: a connection that waits for a command holds no room for it.
    async fn perform(&mut self, mut step: Step<MessageId>) -> Result<Option<End>, Broken> {
        loop {
            step = match step {
                Step::Reply(reply) => {
                    self.stream.push(&reply);
                    return Ok(None);
                }
                Step::Close(reply) => {
                    self.recording.ends(&reply);
                    self.stream.push(&reply);
                    return Ok(Some(End::Session));
                }
                Step::StartTls(reply) => {
                    self.stream.push(&reply);
                    return Ok(Some(End::StartTls));
                }
                Step::FindVerifier(user) => Box::pin(self.find_verifier(user)).await,
                Step::OpenMaildrop { user, proof } => {
                    match proof {
                        Proof::Scram => Box::pin(self.proof_ended(true)).await,
                        Proof::Password(_) => self.proving = None,
                    }
                    let outcome = Box::pin(self.open_timed(user, proof)).await;
                    self.session.opened(outcome)
                }
                Step::LoginFailed { failure, reply, is_last } => {
                    Box::pin(self.login_failed(failure)).await;
                    self.recording.mark(|| Mark::LoginRefused { reason: failure.to_string() });
                    self.stream.push(&reply);
                    return Ok(is_last.then_some(End::Session));
                }
                Step::SendList(reply, lines) => {
                    self.send_list(&reply, lines).await?;
                    return Ok(None);
                }
                Step::SendMessage(message) => match self.send(message).await? {
                    Ok(()) => return Ok(None),
                    Err(failure) => self.session.unreadable(failure),
                },
                Step::Update { delete } => {
                    let outcome = self.update(delete).await;
                    self.session.updated(outcome)
                }
            };
        }
    }

    /// Asks for what is known of a user's password, and says what follows from that.
    async fn find_verifier(&mut self, user: String) -> Step<MessageId> {
        self.proving = Some(user.as_str().into());
        let found = self.gateway.logins.find(self.peer.ip(), user).await;
        if found.is_err() {
            self.proving = None;
        }
        self.session.verifier_found(found, &uuid::Uuid::new_v4().simple().to_string())
    }

    /// Has a proof by SCRAM counted, if the client gave one.
    async fn proof_ended(&mut self, proved: bool) {
        if let Some(user) = self.proving.take() {
            self.gateway.logins.proof_ended(self.peer.ip(), user.into(), proved).await;
        }
    }

    /// Counts a login that has failed, once. Whoever breaks off has not learned whether a guess was right.
    async fn login_failed(&mut self, failure: Failure) {
        if failure == Failure::Credentials {
            self.proof_ended(false).await;
        }
        self.proving = None;
        if !std::mem::take(&mut self.is_refused) {
            self.gateway.logins.failed(failure);
        }
    }
}

fn tls_failed(peer: SocketAddr, error: &TlsError) {
    facts::Pop3TlsFailed { peer, error }.log();
}

fn stream_limits(limits: &Limits) -> StreamLimits {
    StreamLimits {
        line_octets: limits.pop3_line_octets,
        read_octets: READ_OCTETS,
        silence: limits.pop3_idle,
        write: limits.pop3_idle,
    }
}
