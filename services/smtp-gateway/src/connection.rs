//! One client's connection: the stream on one side, the session on the other.

use crate::{gateway::Gateway, receive};
use mail_net::{Closed, Io, Line, LineStream, Place, StreamLimits};
use mail_proto::smtp::{Reply, Session, SessionConfig, Step};
use service_kit::{shutdown::CancellationToken, telemetry};
use std::{net::SocketAddr, sync::Arc};
use town_config::{Limits, Stack};

/// How much is read at once.
const READ_OCTETS: usize = 16 * 1024;

/// Serves one client until it or we have had enough.
pub(crate) async fn serve(
    gateway: Arc<Gateway>,
    io: Box<dyn Io>,
    peer: SocketAddr,
    place: Place,
    shutdown: CancellationToken,
) {
    let span = |id: &_| tracing::info_span!("smtp", %peer, connection = %id);
    let serving = async move {
        gateway.metrics.connections.inc();
        let stack = gateway.stack.current();
        let stream = LineStream::new(io, stream_limits(&stack.limits), gateway.clock.clone()).with_place(place);
        if let Err(error) = converse(&gateway, &stack, stream, peer, shutdown).await {
            tracing::debug!(%error, "the connection broke");
        }
    };
    telemetry::connection(span, serving).await;
}

async fn converse(
    gateway: &Gateway,
    stack: &Stack,
    mut stream: LineStream,
    peer: SocketAddr,
    shutdown: CancellationToken,
) -> Result<(), Closed> {
    let mut session = Session::new(session_config(stack));
    stream.push(&session.greeting());
    loop {
        let line = match next_line(&mut stream, &shutdown).await {
            Some(Ok(line)) => line,
            Some(Err(closed)) => return end(stream, closed).await,
            None => {
                close(stream, &Reply::new(421, (3, 2), "this server is shutting down")).await;
                return Ok(());
            }
        };
        match session.line(line.as_deref().map_err(|error| *error)) {
            Step::Reply(reply) => {
                gateway.metrics.replied(&reply);
                stream.push(&reply);
            }
            Step::Close(reply) => {
                close(stream, &reply).await;
                return Ok(());
            }
            Step::CheckSender(path) => {
                let verdict = gateway.policy.sender(peer.ip(), &path).await;
                let reply = session.sender_checked(path, verdict);
                gateway.replied("MAIL", &reply);
                stream.push(&reply);
            }
            Step::CheckRecipient(origin, path) => {
                let verdict = gateway.policy.recipient(origin, path, session.declared_octets()).await;
                let reply = session.recipient_checked(verdict);
                gateway.replied("RCPT", &reply);
                stream.push(&reply);
            }
            Step::ReceiveBody(go_ahead, envelope) => {
                stream.push(&go_ahead);
                match receive::receive(gateway, &mut stream, envelope, peer).await {
                    Ok(reply) => {
                        gateway.replied("DATA", &reply);
                        session.body_received(&reply);
                        stream.push(&reply);
                    }
                    Err(closed) => return end(stream, closed).await,
                }
            }
        }
    }
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
async fn end(stream: LineStream, closed: Closed) -> Result<(), Closed> {
    let status = match closed {
        Closed::End => return Ok(()),
        Closed::Idle => (4, 2),
        Closed::Room => (3, 2),
        Closed::Unread | Closed::Truncated | Closed::Io(_) => return Err(closed),
    };
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

fn session_config(stack: &Stack) -> SessionConfig {
    SessionConfig {
        server_name: stack.name.clone(),
        greeting: stack.greeting.clone(),
        size_limit_octets: stack.limits.message_octets,
        recipient_limit: stack.limits.recipients,
        bad_command_limit: stack.limits.bad_commands,
    }
}
