//! A socket as lines in and octets out, in bounded memory and bounded time.

use bytes::{BufMut, Bytes, BytesMut};
use mail_net::{Clock, Place, close};
use mail_proto::line::{LineDecoder, LineError};
use std::{io, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout, timeout_at},
};

/// How much is read at a time.
const READ_OCTETS: usize = 4 * 1024;
/// How much output waits at most before it is sent, a single reply aside.
pub(crate) const OUTPUT_OCTETS: usize = 16 * 1024;

/// Why the connection is of no use any more.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WireError {
    /// The client said nothing, or read nothing, for too long.
    #[error("idle for too long")]
    Idle,
    /// The client did not go on reading, and a new connection needs the place of this one.
    #[error("closed to make room for another")]
    Room,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// One side of a connection.
pub(crate) struct Wire {
    stream: TcpStream,
    place: Place,
    decoder: LineDecoder,
    input: BytesMut,
    /// What waits to be sent. Append, then call [`Wire::flush`] when there is reason to.
    pub(crate) output: Vec<u8>,
    idle: Duration,
}

impl Wire {
    pub(crate) fn new(stream: TcpStream, place: Place, line_octets: usize, idle: Duration) -> Self {
        let decoder = LineDecoder::new(line_octets);
        Self { stream, place, decoder, input: BytesMut::new(), output: Vec::new(), idle }
    }

    /// The next line, if all of it was read already.
    pub(crate) fn buffered_line(&mut self) -> Option<Result<Bytes, LineError>> {
        self.decoder.decode(&mut self.input)
    }

    /// When a command that is awaited from now on must have come.
    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.idle
    }

    /// Reads more, as an idle connection; false at the end of the stream. Nothing is lost when the future is dropped.
    /// Returns `None` when the connection has to make room for another.
    ///
    /// The deadline is the whole line's: an octet a minute does not move it.
    pub(crate) async fn read(&mut self, deadline: Instant) -> Option<Result<bool, WireError>> {
        self.input.reserve(READ_OCTETS);
        let mut input = (&mut self.input).limit(READ_OCTETS);
        let read = self.place.idle(timeout_at(deadline, self.stream.read_buf(&mut input))).await?;
        Some(match read {
            Ok(Ok(octets)) => Ok(octets > 0),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(WireError::Idle),
        })
    }

    /// Sends what waits.
    pub(crate) async fn flush(&mut self) -> Result<(), WireError> {
        if self.output.is_empty() {
            return Ok(());
        }
        let written = timeout(self.idle, self.stream.write_all(&self.output));
        let written = self.place.idle_from(self.place.busy_until(), written).await;
        written.ok_or(WireError::Room)?.map_err(|_| WireError::Idle)??;
        self.output.clear();
        self.output.shrink_to(OUTPUT_OCTETS);
        Ok(())
    }

    /// Sends what waits if it is much.
    pub(crate) async fn flush_if_full(&mut self) -> Result<(), WireError> {
        if self.output.len() >= OUTPUT_OCTETS { self.flush().await } else { Ok(()) }
    }

    /// Sends what waits and closes, so that the client gets the last reply. It does not need a place: the connection may
    /// have just lost its own.
    pub(crate) async fn close(mut self) {
        if let Ok(Ok(())) = timeout(self.idle, self.stream.write_all(&self.output)).await {
            close(self.stream, Clock::system().io).await;
        }
    }
}
