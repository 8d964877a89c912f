//! One client's connection: the socket on one side, the session on the other.

use crate::{body, metrics::Metrics, policy::Policy, submitter::Submitter};
use bytes::BytesMut;
use internal_api::StoreClient;
use mail_net::{Clock, Place, close};
use mail_proto::{
    line::LineDecoder,
    smtp::{Reply, Session, SessionConfig, Step},
};
use service_kit::shutdown::CancellationToken;
use std::{io, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    io::AsyncWriteExt,
    net::TcpStream,
    time::{Instant, timeout, timeout_at},
};
use town_config::{LiveStack, Stack};
use tracing::Instrument;

/// How much is read at once, and how many octets of replies are gathered before they are sent.
const BUFFER_OCTETS: usize = 16 * 1024;

/// What all connections of a gateway share.
pub(crate) struct Gateway {
    pub(crate) stack: LiveStack,
    pub(crate) store: StoreClient,
    pub(crate) submitter: Submitter,
    pub(crate) policy: Policy,
    pub(crate) metrics: Metrics,
}

/// Serves one client until it or we have had enough.
pub(crate) async fn serve(
    gateway: Arc<Gateway>,
    stream: TcpStream,
    peer: SocketAddr,
    place: Place,
    shutdown: CancellationToken,
) {
    let span = tracing::info_span!("smtp", %peer);
    async move {
        gateway.metrics.connections.inc();
        let stack = gateway.stack.current();
        let idle_limit = stack.limits.smtp_idle;
        let socket = Socket { stream, place, input: BytesMut::new(), output: Vec::new(), idle_limit };
        if let Err(error) = converse(&gateway, &stack, socket, peer, shutdown).await {
            tracing::debug!(%error, "the connection broke");
        }
    }
    .instrument(span)
    .await;
}

async fn converse(
    gateway: &Gateway,
    stack: &Stack,
    mut socket: Socket,
    peer: SocketAddr,
    shutdown: CancellationToken,
) -> Result<(), Cut> {
    let mut lines = LineDecoder::new(stack.limits.smtp_line_octets);
    let mut session = Session::new(session_config(stack));
    socket.push(&session.greeting()).await?;
    // For a whole line: an octet now and then does not keep a connection open.
    let mut deadline = socket.deadline();
    loop {
        while let Some(line) = lines.decode(&mut socket.input) {
            match session.line(line.as_deref().map_err(|error| *error)) {
                Step::Reply(reply) => socket.push(&reply).await?,
                Step::Close(reply) => return socket.close(&reply).await,
                Step::CheckSender(path) => {
                    let verdict = gateway.policy.sender(peer.ip(), &path).await;
                    socket.push(&session.sender_checked(path, verdict)).await?;
                }
                Step::CheckRecipient(origin, path) => {
                    let verdict = gateway.policy.recipient(origin, path, session.declared_octets()).await;
                    socket.push(&session.recipient_checked(verdict)).await?;
                }
                Step::ReceiveBody(go_ahead, envelope) => {
                    socket.push(&go_ahead).await?;
                    match body::receive(gateway, &mut socket, envelope, peer).await {
                        Ok(reply) => {
                            session.body_received(&reply);
                            socket.push(&reply).await?;
                        }
                        Err(cut) => return socket.cut(cut).await,
                    }
                }
            }
            deadline = socket.deadline();
        }
        socket.flush().await?;
        tokio::select! {
            read = socket.receive(deadline, Instant::now()) => match read {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(cut) => return socket.cut(cut).await,
            },
            () = shutdown.cancelled() => {
                return socket.close(&Reply::new(421, (3, 2), "this server is shutting down")).await;
            }
        }
    }
}

fn session_config(stack: &Stack) -> SessionConfig {
    SessionConfig {
        server_name: stack.name.clone(),
        greeting: stack.greeting.clone(),
        size_limit_octets: stack.limits.message_octets,
        recipient_limit: stack.limits.recipients,
        bad_command_limit: stack.limits.bad_commands,
    }
}

/// Why a connection ends before its client says QUIT.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Cut {
    /// The client said nothing for too long.
    #[error("idle for too long")]
    Idle,
    /// A new connection needs the place of this one.
    #[error("closed to make room for another")]
    Room,
    /// The client reads nothing, and what it was sent is incomplete.
    #[error("the client reads nothing")]
    Unread,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The socket with its two buffers. Both stay below a fixed size.
pub(crate) struct Socket {
    stream: TcpStream,
    place: Place,
    /// Received, not yet understood.
    pub(crate) input: BytesMut,
    /// Replies that wait for the client to have said all it wants to say (RFC 2920 §3.2).
    output: Vec<u8>,
    idle_limit: Duration,
}

impl Socket {
    /// Queues a reply.
    async fn push(&mut self, reply: &Reply) -> Result<(), Cut> {
        reply.encode(&mut self.output);
        if self.output.len() >= BUFFER_OCTETS { self.flush().await } else { Ok(()) }
    }

    /// Sends what is queued, then waits for input until `deadline`; returns how many octets came, 0 at the end. From
    /// `busy_until` on, the connection is one that gives way to a new one.
    pub(crate) async fn read(&mut self, deadline: Instant, busy_until: Instant) -> Result<usize, Cut> {
        self.flush().await?;
        self.receive(deadline, busy_until).await
    }

    /// Until when a client that is in the middle of something now counts as busy.
    pub(crate) fn busy_until(&self) -> Instant {
        self.place.busy_until()
    }

    /// When a client that starts now to say what it has to say must have said it.
    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.idle_limit
    }

    /// Waits for input without holding a buffer for it: most connections are idle most of the time.
    async fn receive(&mut self, deadline: Instant, busy_until: Instant) -> Result<usize, Cut> {
        let ready = async {
            loop {
                if self.input.is_empty() {
                    self.input = BytesMut::new();
                }
                self.stream.readable().await?;
                self.input.reserve(BUFFER_OCTETS);
                match self.stream.try_read_buf(&mut self.input) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    read => return read,
                }
            }
        };
        let read = self.place.idle_from(busy_until, timeout_at(deadline, ready)).await;
        Ok(read.ok_or(Cut::Room)?.map_err(|_| Cut::Idle)??)
    }

    async fn flush(&mut self) -> Result<(), Cut> {
        if !self.output.is_empty() {
            let written = timeout(self.idle_limit, self.stream.write_all(&self.output));
            let written = self.place.idle_from(self.place.busy_until(), written).await;
            written.ok_or(Cut::Unread)?.map_err(|_| Cut::Unread)??;
            self.output.clear();
        }
        Ok(())
    }

    /// Ends a connection, and tells the client why if it may still listen.
    async fn cut(self, cut: Cut) -> Result<(), Cut> {
        match cut {
            Cut::Idle => self.close(&Reply::new(421, (4, 2), cut.to_string())).await,
            Cut::Room => self.close(&Reply::new(421, (3, 2), cut.to_string())).await,
            Cut::Unread | Cut::Io(_) => Err(cut),
        }
    }

    /// Sends the last reply. It does not need a place: the connection may have just lost its own.
    async fn close(mut self, reply: &Reply) -> Result<(), Cut> {
        reply.encode(&mut self.output);
        timeout(self.idle_limit, self.stream.write_all(&self.output)).await.map_err(|_| Cut::Unread)??;
        close(self.stream, Clock::system().io).await;
        Ok(())
    }
}
