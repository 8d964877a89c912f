//! DNS over TCP (RFC 1035 §4.2.2, RFC 7766).

use crate::{Answering, metrics::Transport};
use ::records::{Opening, Recording};
use bytes::{Buf, BytesMut};
use internal_api::{Protocol, Role};
use mail_net::{AcceptLoop, ConnectionLimits, Direction, Io, IoClock, Kind, Place, Places, read_some};
use service_kit::shutdown::{CancellationToken, GRACE};
use std::{io, net::IpAddr, time::Duration};
use tokio::{io::AsyncWriteExt, net::TcpListener};

/// How long a client may say nothing between two messages (RFC 7766 §6.2.3).
const IDLE: Duration = Duration::from_secs(5);
/// How long a client may take to send a whole message from its first octet on, or to receive a response.
const PATIENCE: Duration = Duration::from_secs(5);
/// The octets of the length in front of each message.
const LENGTH_OCTETS: usize = 2;
/// How many octets are read at once: a query and its length fit in.
const READ_OCTETS: usize = 512;

/// Answers queries until `shutdown`. A connection too many gets no message: DNS has none that refuses a connection.
pub(crate) async fn serve(listener: TcpListener, answering: Answering, shutdown: CancellationToken) {
    let io = answering.io;
    let serve = |stream: Box<dyn Io>, peer, place| {
        let local = stream.ends().ok().map(|ends| ends.local);
        let (role, protocol) = (Role::Server, Protocol::DnsTcp);
        let recording = answering.recorder.open(Opening { role, protocol, local, remote: Some(peer) });
        let connection = Connection { stream, input: BytesMut::new(), io, recording };
        serve_one((answering.clone(), peer.ip()), connection, place, shutdown.clone())
    };
    let accepting = AcceptLoop {
        listener,
        is_proxy: |_| false,
        places: Places::new(io),
        limits: || ConnectionLimits::DNS,
        refusal: b"",
        refused: |peer| facts::DnsConnectionRefused { peer }.log(),
        grace: GRACE,
        clock: io,
    };
    accepting.run(shutdown.clone(), serve).await;
}

/// Answers the messages of one connection in their order, until it is idle for too long, breaks a rule, or its place is
/// wanted by another. Whoever waits for the rest of a message gives way too.
async fn serve_one(
    (answering, peer): (Answering, IpAddr),
    mut connection: Connection,
    place: Place,
    shutdown: CancellationToken,
) {
    loop {
        let message = shutdown.run_until_cancelled(place.idle(connection.message())).await;
        let message = match message {
            Some(Some(Ok(Some(message)))) => message,
            Some(Some(Ok(None))) => break connection.recording.ends("the connection was closed"),
            Some(Some(Err(error))) => break connection.recording.breaks(error),
            Some(None) => break connection.recording.ends("closed to make room for another"),
            None => break connection.recording.ends("the server is shutting down"),
        };
        let about = (peer, &connection.recording);
        let response = shutdown.run_until_cancelled(answering.respond(&message, Transport::tcp, about)).await;
        let Some(Some(response)) = response else { continue };
        if let Err(error) = connection.send(&response).await {
            break connection.recording.breaks(error);
        }
    }
}

struct Connection {
    stream: Box<dyn Io>,
    /// What was read and not answered yet: a message at most, and what was read at once with its end.
    input: BytesMut,
    io: IoClock,
    recording: Recording,
}

impl Connection {
    /// The next message without its length; `None` at the end of the connection.
    async fn message(&mut self) -> io::Result<Option<BytesMut>> {
        if self.input.is_empty() {
            match self.io.timeout(IDLE, self.read()).await {
                Ok(Ok(0)) => return Ok(None),
                Ok(read) => read?,
                Err(_) => {
                    self.recording.ends("idle for too long");
                    return Ok(None);
                }
            };
        }
        self.io.timeout(PATIENCE, self.rest_of_message()).await?
    }

    async fn rest_of_message(&mut self) -> io::Result<Option<BytesMut>> {
        loop {
            if let Some((length, rest)) = self.input.split_first_chunk::<LENGTH_OCTETS>() {
                let length = usize::from(u16::from_be_bytes(*length));
                if rest.len() >= length {
                    self.recording.octets(Direction::Received, Kind::Body, &self.input[..LENGTH_OCTETS + length]);
                    self.input.advance(LENGTH_OCTETS);
                    return Ok(Some(self.input.split_to(length)));
                }
            }
            if self.read().await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    async fn read(&mut self) -> io::Result<usize> {
        read_some(&mut *self.stream, &mut self.input, READ_OCTETS).await
    }

    /// Sends length and message at once (RFC 7766 §8).
    async fn send(&mut self, message: &[u8]) -> io::Result<()> {
        let length = u16::try_from(message.len()).map_err(io::Error::other)?;
        let octets = [&length.to_be_bytes(), message].concat();
        self.io.timeout(PATIENCE, self.stream.write_all(&octets)).await??;
        self.recording.octets(Direction::Sent, Kind::Body, &octets);
        Ok(())
    }
}
