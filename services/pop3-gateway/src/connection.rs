//! One client: its stream on one side of the session, the store on the other.

use crate::{
    Gateway,
    lease::{self, Lease},
    session_config,
};
use bytes::Bytes;
use internal_api::{ApiError, MessageId, OpenSession, ProblemKind, RawMessage};
use mail_net::{Closed, Io, IoClock, Kind, LineStream, OUTPUT_OCTETS, Place, StreamLimits};
use mail_proto::{
    Mailbox, Password,
    pop3::{
        Extent, OpenFailure, ReadFailure, Reply, ResponseCode, SendMessage, Session, Step, Transfer, UpdateFailure,
        WrongLength,
    },
};
use service_kit::{
    shutdown::{CancellationToken, GRACE},
    telemetry,
};
use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

/// How much is read at once.
const READ_OCTETS: usize = 4 * 1024;

/// Serves a client until it or we have enough.
pub(crate) async fn serve(gateway: Arc<Gateway>, io: Box<dyn Io>, peer: SocketAddr, place: Place) {
    // The filter of fail2ban in docs/operation reads the peer at this place.
    let span = move |id: &_| tracing::info_span!("pop3", %peer, connection = %id, user = tracing::field::Empty);
    let serving = async move {
        let _open = gateway.metrics.connected();
        let stack = gateway.config.stack.current();
        let limits = &stack.limits;
        let stream_limits = StreamLimits {
            line_octets: limits.pop3_line_octets,
            read_octets: READ_OCTETS,
            silence: limits.pop3_idle,
            write: limits.pop3_idle,
        };
        let mut stream = LineStream::new(io, stream_limits, gateway.config.clock.clone()).with_place(place);
        if stack.tolerance().lf_commands {
            stream.take_bare_lf(true);
        }
        let session = Session::new(session_config(&stack));
        let mut connection = Connection {
            gateway: &gateway,
            peer: peer.ip(),
            stream,
            session,
            lease_seconds: limits.pop3_lease_seconds,
            lease: None,
        };
        let end = tokio::select! {
            end = connection.talk() => end,
            () = out_of_grace(&gateway.shutdown, gateway.config.clock.io) => Err(Broken::Cut),
        };
        let Connection { stream, lease, .. } = connection;
        // The lock goes first: the client may be back before this socket is closed.
        if let Some(lease) = lease {
            lease.release().await;
        }
        match &end {
            Ok(end) => tracing::debug!(?end, "connection ends"),
            Err(error) => facts::Pop3ConnectionBroke { error }.log(),
        }
        // What was cut off in the middle of a write must not be begun again.
        if !matches!(end, Err(Broken::Stream(_) | Broken::Cut)) {
            stream.close().await;
        }
    };
    telemetry::connection(span, serving).await;
}

/// Just before the accept loop stops waiting, so that there is time to unlock the maildrop.
async fn out_of_grace(shutdown: &CancellationToken, io: IoClock) {
    shutdown.cancelled().await;
    io.sleep(GRACE.saturating_sub(Duration::from_secs(1))).await;
}

/// How a connection comes to its end.
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
}

/// Why a connection cannot go on.
#[derive(Debug, thiserror::Error)]
enum Broken {
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

struct Connection<'a> {
    gateway: &'a Gateway,
    /// The client's address.
    peer: IpAddr,
    stream: LineStream,
    session: Session<MessageId>,
    /// How long the maildrop stays locked when this gateway dies. The lock is renewed three times as often.
    lease_seconds: u32,
    /// There while a maildrop is open.
    lease: Option<Lease>,
}

impl Connection<'_> {
    /// Replies wait until there is no command left to carry out: that makes pipelining fast.
    async fn talk(&mut self) -> Result<End, Broken> {
        let shutdown = &self.gateway.shutdown;
        self.stream.push(&self.session.greeting());
        loop {
            let deadline = self.stream.deadline();
            let line = tokio::select! {
                biased;
                line = self.stream.line(deadline) => line,
                () = shutdown.cancelled() => return Ok(End::Service),
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
            let step = self.session.line(line.as_deref().map_err(|error| *error));
            if let Some(end) = self.perform(step).await? {
                return Ok(end);
            }
            if shutdown.is_cancelled() {
                return Ok(End::Service);
            }
        }
    }

    /// Does what the session asks for until the command is answered.
    async fn perform(&mut self, mut step: Step<MessageId>) -> Result<Option<End>, Broken> {
        loop {
            step = match step {
                Step::Reply(reply) => {
                    self.stream.push(&reply);
                    return Ok(None);
                }
                Step::Close(reply) => {
                    self.stream.push(&reply);
                    return Ok(Some(End::Session));
                }
                Step::OpenMaildrop { user, password } => {
                    let clock = self.gateway.config.clock.io;
                    let started = clock.instant();
                    let outcome = self.open(user, &password).await;
                    self.gateway.metrics.login(&outcome, clock.since(started));
                    self.session.opened(outcome)
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

    async fn open(&mut self, user: Mailbox, password: &Password) -> Result<Vec<(MessageId, u64)>, OpenFailure> {
        tracing::Span::current().record("user", tracing::field::display(&user));
        let (store, lease_seconds) = (&self.gateway.config.store, self.lease_seconds);
        // One who guesses at an address that many share would delay all others.
        let client = self.gateway.shared.telling(self.peer);
        let request =
            OpenSession { password: password.expose().to_owned(), lease_seconds, client, proved: false };
        let name = uuid::Uuid::new_v4().simple().to_string();
        match store.open_named_session(&user, &name, &request).await {
            Ok(maildrop) => {
                facts::Pop3Login { messages: maildrop.messages.len() }.log();
                self.lease = Some(Lease::keep(
                    store.clone(),
                    user,
                    maildrop.session,
                    lease_seconds,
                    self.gateway.config.clock.io,
                ));
                Ok(maildrop.messages.into_iter().map(|message| (message.id, message.octets)).collect())
            }
            Err(error) => Err(match error.kind() {
                Some(ProblemKind::AuthenticationFailed | ProblemKind::MailboxUnknown) => {
                    facts::Pop3LoginRefused {}.log();
                    OpenFailure::Authentication
                }
                Some(ProblemKind::MaildropInUse) => {
                    facts::Pop3MaildropInUse {}.log();
                    OpenFailure::InUse
                }
                _ => {
                    facts::Pop3OpenFailed { error: &error }.log();
                    if error.kind().is_none() {
                        lease::release_in_background(
                            store.clone(),
                            user,
                            name,
                            lease_seconds,
                            self.gateway.config.clock.io,
                        );
                    }
                    OpenFailure::Unavailable
                }
            }),
        }
    }

    /// The inner error: nothing of the message was sent.
    async fn send(&mut self, message: SendMessage<MessageId>) -> Result<Result<(), ReadFailure>, Broken> {
        let (mut content, first) = match self.begin(message.uid).await {
            Ok(begun) => begun,
            Err(failure) => return Ok(Err(failure)),
        };
        self.stream.push(&message.reply);
        let mut transfer = Transfer::new(message.octets, message.extent);
        let mut piece = first;
        while let Some(octets) = piece {
            self.send_piece(&octets, &mut transfer).await?;
            piece = if transfer.is_complete() { None } else { content.chunk().await? };
        }
        self.stream.write(Kind::Body, |output| transfer.finish(output))?;
        if message.extent == Extent::Whole {
            self.gateway.metrics.retrieved();
        }
        Ok(Ok(()))
    }

    /// The message with its first octets: until they are here, there is still a proper answer to a failure.
    async fn begin(&self, id: MessageId) -> Result<(RawMessage, Option<Bytes>), ReadFailure> {
        let Some(lease) = &self.lease else { return Err(ReadFailure::Gone) };
        let begun = async {
            let mut content = lease.message(id).await?;
            let first = content.chunk().await?;
            Ok((content, first))
        };
        begun.await.map_err(|error: ApiError| match error.kind() {
            Some(ProblemKind::MessageUnknown) => ReadFailure::Gone,
            Some(ProblemKind::MessageDamaged) => ReadFailure::Damaged,
            _ => {
                facts::Pop3ReadFailed { message_id: id, error }.log();
                ReadFailure::Unavailable
            }
        })
    }

    /// Sends what was had from the store, in portions that keep the output small.
    async fn send_piece(&mut self, octets: &[u8], transfer: &mut Transfer) -> Result<(), Broken> {
        for portion in octets.chunks(OUTPUT_OCTETS) {
            let octets = self.stream.write(Kind::Body, |output| {
                let before = output.len();
                transfer.piece(portion, output).map(|()| output.len() - before)
            })?;
            self.gateway.metrics.sent(octets);
            self.stream.flush_if_full().await?;
        }
        Ok(())
    }

    async fn update(&mut self, delete: Vec<MessageId>) -> Result<(), UpdateFailure> {
        let Some(lease) = self.lease.take() else { return Err(UpdateFailure::LockLost) };
        let messages = delete.len();
        match lease.update(delete).await {
            Ok(()) => {
                self.gateway.metrics.deleted(messages);
                if messages > 0 {
                    facts::Pop3Deleted { messages }.log();
                }
                Ok(())
            }
            Err(error) => {
                facts::Pop3DeleteFailed { messages, error: &error }.log();
                let lost = error.kind() == Some(ProblemKind::LeaseLost);
                Err(if lost { UpdateFailure::LockLost } else { UpdateFailure::Unavailable })
            }
        }
    }
}
