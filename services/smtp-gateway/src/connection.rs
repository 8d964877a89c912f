//! One client's connection: the stream on one side, the session on the other.

mod faulted;

use crate::{
    gateway::Gateway,
    listeners::Port,
    rates::Action,
    receive::{self, Incoming},
    submission,
};
use faults::{Action as Fate, Shaping};
use internal_api::{Mark, Role};
use mail_net::{Closed, Hop, Io, Line, LineStream, Place, StreamLimits, Tls};
use mail_proto::{
    ForwardPath, ReversePath,
    line::LineError,
    sasl::{self, ChannelBindings, Credentials, Failure, Mechanisms},
    smtp::{Framing, Origin, Received, Reply, Session, SessionConfig, Step, session::early_talk},
};
use records::{Opening, Recording};
use service_kit::{shutdown::CancellationToken, telemetry};
use std::{net::SocketAddr, sync::Arc};
use town_config::{Limits, Stack};
use town_tls::Served;

/// How much is read at once.
const READ_OCTETS: usize = 16 * 1024;

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

impl Client {
    /// How its session begins.
    fn opening(&self) -> Opening {
        let local = self.io.ends().ok().map(|ends| ends.local);
        Opening { role: Role::Server, protocol: self.port.protocol(), local, remote: Some(self.peer) }
    }

    fn stream(self, gateway: &Gateway, limits: &Limits, recording: &Recording) -> LineStream {
        let stream = LineStream::new(self.io, stream_limits(limits), gateway.clock.clone());
        stream.with_place(self.place).with_taps(recording.taps())
    }

    /// Closes the connection with this reply. A client that expects TLS could not read it, and gets none.
    async fn refuse(self, gateway: &Gateway, limits: &Limits, recording: &Recording, reply: &Reply) {
        let is_readable = !self.port.begins_with_tls();
        let mut stream = self.stream(gateway, limits, recording);
        if is_readable {
            stream.push(reply);
        }
        stream.close().await;
    }
}

/// Serves one client until it or we have had enough.
pub(crate) async fn serve(gateway: Arc<Gateway>, client: Client, shutdown: CancellationToken) {
    let peer = client.peer;
    let span = move |id: &_| tracing::info_span!("smtp", %peer, connection = %id);
    let serving = async move {
        gateway.metrics.connections.inc();
        let stack = gateway.stack.current();
        // It ends last, when the connection is closed.
        let recording = gateway.recorder.open(client.opening());
        if let Err(refusal) = gateway.policy.count(peer.ip(), Action::Connect) {
            gateway.replied("CONNECT", &refusal);
            recording.mark(|| verdict("CONNECT", &refusal));
            recording.ends(refusal.on_one_line());
            return Box::pin(client.refuse(&gateway, &stack.limits, &recording, &refusal)).await;
        }
        let client = if gateway.faults.is_on_at(Hop::AgentToSmtp) {
            let beginning = client.begin(&gateway, &stack.limits, &recording);
            let Some(client) = Box::pin(beginning).await else { return };
            client
        } else {
            client
        };
        let dialogue = Box::pin(Dialogue::new(&gateway, &stack, client, &recording)).await;
        if let Err(error) = converse(dialogue, &stack.limits, shutdown).await {
            tracing::debug!(%error, "the connection broke");
        }
    };
    telemetry::connection(span, serving).await;
}

/// Talks with a client. All that is done once only is boxed: a connection that waits for a command holds no room for it.
async fn converse(mut dialogue: Dialogue<'_>, limits: &Limits, shutdown: CancellationToken) -> Result<(), Closed> {
    let recording = dialogue.recording;
    if dialogue.port.begins_with_tls() {
        let Some(certificate) = &dialogue.gateway.certificate else { return Ok(()) };
        let certificate = certificate.current();
        let Some(encrypted) = Box::pin(dialogue.start_tls(certificate, &shutdown)).await else { return Ok(()) };
        dialogue = encrypted;
    }
    let tolerance = dialogue.gateway.stack.current().tolerance();
    if tolerance.lf_commands {
        dialogue.stream.take_bare_lf(true);
    }
    // Whoever has talked by now cannot have seen the greeting. The refusal follows the first line, which may tell more of
    // what the client wants.
    let mut is_early = !tolerance.early_talk && dialogue.stream.has_arrived();
    dialogue.stream.push(&dialogue.session.greeting());
    loop {
        dialogue.expect_line(limits.smtp_line_octets);
        let line = match next_line(&mut dialogue.stream, &shutdown).await {
            Some(Ok(line)) => line,
            Some(Err(closed)) => return Box::pin(end(dialogue.stream, recording, closed)).await,
            None => {
                let last = Reply::new(421, (3, 2), "this server is shutting down");
                recording.ends("the server is shutting down");
                Box::pin(close(dialogue.stream, &last)).await;
                return Ok(());
            }
        };
        if let Err(error @ LineError::Tls) = line {
            facts::SmtpTlsFailed { peer: dialogue.peer, error }.log();
        }
        is_early |= !tolerance.early_talk && !dialogue.session.is_introduced() && dialogue.stream.has_input();
        match dialogue.take(line, is_early).await {
            Ok(Next::Line) => {}
            Ok(Next::Close(last)) => {
                recording.ends(last.on_one_line());
                Box::pin(close(dialogue.stream, &last)).await;
                return Ok(());
            }
            Ok(Next::StartTls(certificate)) => {
                let Some(encrypted) = Box::pin(dialogue.start_tls(certificate, &shutdown)).await else { return Ok(()) };
                dialogue = encrypted;
            }
            Ok(Next::Cut) => {
                recording.breaks("cut by a fault");
                return Ok(());
            }
            Ok(Next::Silence) => {
                recording.breaks("a fault kept the server silent");
                Box::pin(faulted::be_silent(dialogue.stream, &shutdown)).await;
                return Ok(());
            }
            Err(closed) => return Box::pin(end(dialogue.stream, recording, closed)).await,
        }
    }
}

/// What comes after a step.
enum Next {
    /// The client's next line.
    Line,
    /// The end, with this reply.
    Close(Reply),
    /// The handshake, with this certificate.
    StartTls(Served),
    /// The end, without a word.
    Cut,
    /// Nothing more, until the client goes.
    Silence,
}

/// One client's dialogue.
struct Dialogue<'a> {
    gateway: &'a Gateway,
    port: Port,
    peer: SocketAddr,
    session: Session,
    stream: LineStream,
    recording: &'a Recording,
    /// How many transactions have begun.
    transactions: u32,
    /// The user whose password the client is proving with SCRAM.
    proving: Option<Box<str>>,
    /// The message that is being received.
    incoming: Option<Box<Incoming>>,
    /// Changes how the connection carries octets, while there are faults.
    shaping: Option<Shaping>,
    /// What goes wrong after the message.
    fate: Option<Box<Fate>>,
}

impl<'a> Dialogue<'a> {
    /// One that has not begun.
    async fn new(gateway: &'a Gateway, stack: &Stack, client: Client, recording: &'a Recording) -> Self {
        let (port, peer, shaping) = (client.port, client.peer, client.shaping.clone());
        let stream = client.stream(gateway, &stack.limits, recording);
        let session = Session::new(SessionConfig {
            has_tls: gateway.certificate.is_some(),
            plain_text_in_clear: gateway.policy.takes_passwords_in_clear(peer.ip()),
            discloses_addresses: gateway.policy.discloses_addresses(peer.ip()),
            ..session_config(stack, gateway.logins.mechanisms().await)
        });
        let (transactions, proving, incoming, fate) = (0, None, None, None);
        Self { gateway, port, peer, session, stream, recording, transactions, proving, incoming, shaping, fate }
    }

    /// Does what the client's line asks for, unless something is to go wrong.
    async fn take(&mut self, line: Line, is_early: bool) -> Result<Next, Closed> {
        if self.gateway.faults.is_on_at(Hop::AgentToSmtp)
            && let Ok(octets) = &line
            && let Some(outcome) = self.fault_at(octets)
        {
            return Box::pin(self.go_wrong(*outcome, octets)).await;
        }
        let mut step = self.session.line(line.as_deref().map_err(|error| *error));
        if is_early && !matches!(step, Step::Close(_)) {
            step = Step::Close(early_talk());
        }
        self.perform(step).await
    }

    /// Prepares for the next line: a command, or a response of AUTH.
    fn expect_line(&mut self, command_octets: usize) {
        let is_response = self.session.expects_response();
        if is_response {
            self.stream.expect_secret();
        }
        self.stream.limit_lines(if is_response { sasl::LINE_OCTETS } else { command_octets });
    }

    /// Agrees on TLS with the client: from its first octet on, or after STARTTLS. Returns `None` when they do not agree, or
    /// the server stops meanwhile.
    async fn start_tls(self, certificate: Served, shutdown: &CancellationToken) -> Option<Self> {
        let Self { port, peer, stream, recording, .. } = self;
        let Served { config, end_point } = certificate;
        let handshake = async {
            if port.begins_with_tls() {
                let last_words = Reply::new(421, (7, 0), "this port begins with TLS");
                stream.begin_with_tls(config, &last_words).await
            } else {
                stream.upgrade(Tls::Server(config)).await
            }
        };
        let stream = match shutdown.run_until_cancelled(handshake).await? {
            Ok(stream) => stream,
            Err(error) => {
                recording.breaks(&error);
                facts::SmtpTlsFailed { peer, error }.log();
                return None;
            }
        };
        recording.mark(|| Mark::Encrypted { tls: stream.tls().unwrap_or_default().to_owned() });
        let exporter = stream.channel_bindings().exporter.clone();
        let mut dialogue = Self { stream, ..self };
        dialogue.session.encrypted();
        dialogue.session.bound(ChannelBindings { exporter, end_point });
        Some(dialogue)
    }

    /// Does what the session wants done.
    ///
    /// What reads a message or checks a login is boxed: a connection that waits for a command holds no room for it.
    async fn perform(&mut self, step: Step) -> Result<Next, Closed> {
        let gateway = self.gateway;
        let reply = match step {
            Step::Reply(reply) => {
                gateway.metrics.replied(&reply);
                reply
            }
            Step::Close(reply) => return Ok(Next::Close(reply)),
            Step::StartTls(reply) => return Ok(self.begin_tls(&reply)),
            Step::Verify(credentials) => return Box::pin(self.verify(credentials)).await,
            Step::FindVerifier(user) => return Box::pin(self.find_verifier(user)).await,
            Step::LoggedIn(reply) => {
                Box::pin(self.proof_ended(Ok(()))).await;
                let identity = self.session.identity();
                gateway.logins.succeeded(identity);
                self.recording.mark(|| Mark::LoggedIn { user: identity.map(ToString::to_string).unwrap_or_default() });
                reply
            }
            Step::LoginFailed { failure, reply, is_last } => {
                Box::pin(self.proof_ended(Err(failure))).await;
                gateway.logins.failed(self.peer, failure);
                self.recording.mark(|| Mark::LoginRefused { reason: failure.to_string() });
                gateway.metrics.replied(&reply);
                if is_last {
                    return Ok(Next::Close(reply));
                }
                reply
            }
            Step::VerifyAddress(whom) => Box::pin(gateway.policy.verify(whom)).await,
            Step::ExpandList(whom) => Box::pin(gateway.policy.expand(whom)).await,
            Step::CheckSender(path) => self.check_sender(path).await,
            Step::CheckRecipient(origin, path) => self.check_recipient(origin, path).await,
            Step::Receive(go_ahead, framing) => Box::pin(self.receive(go_ahead, framing)).await?,
            Step::Skip(octets, reply) => {
                Box::pin(receive::skip(&mut self.stream, octets)).await?;
                gateway.replied("BDAT", &reply);
                reply
            }
        };
        // A message in chunks was broken off.
        if !self.session.is_receiving()
            && let Some(mut incoming) = self.incoming.take()
        {
            incoming.abandon(Reply::new(451, (4, 2), "the message was broken off")).await;
        }
        if let Some(fate) = self.fate.take() {
            return Box::pin(self.meet(*fate, &reply)).await;
        }
        self.stream.push(&reply);
        Ok(Next::Line)
    }

    async fn check_sender(&mut self, path: ReversePath) -> Reply {
        self.transactions += 1;
        let (peer, identity, policy) = (self.peer.ip(), self.session.identity(), &self.gateway.policy);
        let mut verdict = policy.sender(peer, identity, &path).await;
        if self.port.is_for_submission() {
            verdict = submission::sender(policy, peer, identity, &path, verdict);
        }
        let reply = self.session.sender_checked(path, verdict);
        self.replied("MAIL", reply)
    }

    async fn check_recipient(&mut self, origin: Origin, path: ForwardPath) -> Reply {
        let octets = self.session.declared_octets();
        let verdict = self.gateway.policy.recipient(self.peer.ip(), origin, path, octets).await;
        let reply = self.session.recipient_checked(verdict);
        self.replied("RCPT", reply)
    }

    /// Counts and logs a reply, and words it for the client.
    fn replied(&self, command: &str, reply: Reply) -> Reply {
        self.gateway.replied(command, &reply);
        self.recording.mark(|| verdict(command, &reply));
        self.session.in_its_characters(reply)
    }

    /// The session begins anew over TLS, and what came of a message is dropped.
    fn begin_tls(&mut self, reply: &Reply) -> Next {
        let Some(certificate) = &self.gateway.certificate else {
            return Next::Close(Reply::new(421, (3, 0), "TLS is not available"));
        };
        self.incoming = None;
        self.stream.push(reply);
        Next::StartTls(certificate.current())
    }

    /// Has a password checked, and does what follows from that.
    async fn verify(&mut self, credentials: Credentials) -> Result<Next, Closed> {
        self.proving = None;
        let identity = self.gateway.logins.verify(self.peer.ip(), credentials).await;
        let step = self.session.verified(identity);
        Box::pin(self.perform(step)).await
    }

    /// Asks for what is known of a user's password, and does what follows from that.
    async fn find_verifier(&mut self, user: String) -> Result<Next, Closed> {
        self.proving = Some(user.as_str().into());
        let found = self.gateway.logins.find(self.peer.ip(), user).await;
        let step = self.session.verifier_found(found, &uuid::Uuid::new_v4().simple().to_string());
        Box::pin(self.perform(step)).await
    }

    /// Has a proof by SCRAM counted, if the client gave one. Whoever breaks off has not learned whether a guess was right.
    async fn proof_ended(&mut self, outcome: Result<(), Failure>) {
        let Some(user) = self.proving.take() else { return };
        if let Ok(()) | Err(Failure::Credentials) = outcome {
            self.gateway.logins.proof_ended(self.peer.ip(), user.into(), outcome.is_ok()).await;
        }
    }

    /// Reads a message, or a chunk of one. Once the message is whole, waits until it is durable.
    async fn receive(&mut self, go_ahead: Option<Reply>, framing: Framing) -> Result<Reply, Closed> {
        if let Some(go_ahead) = go_ahead {
            self.stream.push(&go_ahead);
        }
        let mut incoming = match (self.incoming.take(), self.session.envelope()) {
            (Some(incoming), _) => incoming,
            (None, Some(envelope)) => Box::new(Incoming::new(self.gateway, envelope, (self.port, self.peer))),
            (None, None) => return Ok(Reply::new(503, (5, 1), "say MAIL FROM first")),
        };
        if let Err(closed) = incoming.read(&mut self.stream, framing).await {
            // Also where the client has closed it as it should: a part of the message is missing.
            self.recording.breaks(format_args!("{closed}, in a message"));
            return Err(closed);
        }
        let wrong = if self.gateway.faults.is_on_at(Hop::AgentToSmtp) { self.session.envelope() } else { None };
        Ok(match self.session.received() {
            Received::Chunk(reply) => {
                self.incoming = Some(incoming);
                reply
            }
            Received::Message => {
                if let Some(envelope) = wrong {
                    self.end_wrong(&envelope, framing, &mut incoming).await;
                }
                let reply = incoming.commit(self.gateway, (self.recording, self.transactions)).await;
                self.session.committed(&reply);
                self.replied("DATA", reply)
            }
        })
    }
}

/// What is recorded of a reply to a client, a sender, a recipient or a message.
fn verdict(about: &str, reply: &Reply) -> Mark {
    Mark::Verdict { about: about.to_owned(), accepted: reply.is_positive(), reply: reply.on_one_line() }
}

/// Waits for the client's next line; `None` when the server stops before it comes.
async fn next_line(stream: &mut LineStream, shutdown: &CancellationToken) -> Option<Result<Line, Closed>> {
    let deadline = stream.deadline();
    tokio::select! {
        biased;
        line = stream.line(deadline) => Some(line),
        () = shutdown.cancelled() => None,
    }
}

/// Ends a connection that is of no use any more, and tells the client why if it may still listen.
async fn end(stream: LineStream, recording: &Recording, closed: Closed) -> Result<(), Closed> {
    let status = match closed {
        Closed::End => {
            recording.ends(closed);
            return Ok(());
        }
        Closed::Idle => (4, 2),
        Closed::Room => (3, 2),
        Closed::Unread | Closed::Truncated | Closed::Io(_) => {
            recording.is_lost(&closed);
            return Err(closed);
        }
    };
    recording.breaks(&closed);
    close(stream, &Reply::new(421, status, closed.to_string())).await;
    Ok(())
}

/// Sends the last reply.
async fn close(mut stream: LineStream, reply: &Reply) {
    stream.push(reply);
    stream.close().await;
}

fn stream_limits(limits: &Limits) -> StreamLimits {
    StreamLimits {
        line_octets: limits.smtp_line_octets,
        read_octets: READ_OCTETS,
        silence: limits.smtp_idle,
        write: limits.smtp_idle,
    }
}

fn session_config(stack: &Stack, mechanisms: Mechanisms) -> SessionConfig {
    SessionConfig {
        server_name: stack.name.clone(),
        greeting: stack.greeting.clone(),
        size_limit_octets: stack.limits.message_octets,
        recipient_limit: stack.limits.recipients,
        bad_command_limit: stack.limits.bad_commands,
        has_tls: false,
        mechanisms,
        plain_text_in_clear: false,
        discloses_addresses: false,
        tolerance: stack.tolerance(),
    }
}
