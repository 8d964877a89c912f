//! The one stream under every dialogue: lines and bodies in, replies out, in bounded memory and bounded time.

mod tls;

pub use tls::{Tls, TlsError};

use crate::{
    Clock, Place,
    close::close,
    io::{Ends, Io, read_some},
    tap::{Kind, Taps},
};
use bytes::{Bytes, BytesMut};
use mail_proto::{
    chunk::ChunkDecoder,
    dot::DotDecoder,
    line::{LineDecoder, LineError},
    pop3,
    sasl::ChannelBindings,
    smtp,
};
use std::{
    fmt,
    future::Future,
    io,
    pin::pin,
    task::{Context, Waker},
    time::Duration,
};
use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    task::unconstrained,
    time::Instant,
};

/// How many octets of replies are gathered before they are sent, a single reply aside.
pub const OUTPUT_OCTETS: usize = 16 * 1024;
/// The most memory that an idle connection keeps for its next reply.
const KEPT_OUTPUT_OCTETS: usize = 512;

/// A line without its CRLF, or why it is refused.
pub type Line = Result<Bytes, LineError>;

/// What a peer may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamLimits {
    /// The longest line, its CRLF included.
    pub line_octets: usize,
    /// How many octets are read at once.
    pub read_octets: usize,
    /// How long the peer may say nothing.
    pub silence: Duration,
    /// How long the peer may take to receive what is sent at once: about [`OUTPUT_OCTETS`].
    pub write: Duration,
}

/// Why a connection is of no use any more.
#[derive(Debug, thiserror::Error)]
pub enum Closed {
    /// The peer has closed it.
    #[error("the connection was closed")]
    End,
    /// The peer has said nothing for too long.
    #[error("idle for too long")]
    Idle,
    /// A new connection needs the place of this one, which was idle. Nothing was half said: a last reply may follow.
    #[error("closed to make room for another")]
    Room,
    /// The peer does not receive what it was sent, which is incomplete.
    #[error("the client reads nothing")]
    Unread,
    /// The end of a TLS connection was not announced: somebody may have cut it off.
    #[error("the TLS connection was cut off")]
    Truncated,
    /// The connection broke.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<Closed> for io::Error {
    fn from(closed: Closed) -> Self {
        match closed {
            Closed::Io(error) => error,
            Closed::Idle | Closed::Unread => io::ErrorKind::TimedOut.into(),
            Closed::End => Self::new(io::ErrorKind::ConnectionAborted, closed),
            Closed::Truncated => Self::new(io::ErrorKind::UnexpectedEof, closed),
            Closed::Room => Self::other(closed),
        }
    }
}

/// What can be sent as a line, or as several.
pub trait Encode {
    /// Appends the octets that travel, CRLFs included.
    fn encode(&self, output: &mut Vec<u8>);
}

impl Encode for smtp::Reply {
    fn encode(&self, output: &mut Vec<u8>) {
        self.encode(output);
    }
}

impl Encode for pop3::Reply {
    fn encode(&self, output: &mut Vec<u8>) {
        self.encode(output);
    }
}

/// Octets that are encoded already.
impl Encode for [u8] {
    fn encode(&self, output: &mut Vec<u8>) {
        output.extend_from_slice(self);
    }
}

/// Finds the end of a body.
pub trait Decode {
    /// Moves octets from `input`, all of them up to the end of the body, to `content`; returns whether the end was found.
    fn decode(&mut self, input: &mut BytesMut, content: &mut Vec<u8>) -> bool;
}

impl Decode for DotDecoder {
    fn decode(&mut self, input: &mut BytesMut, content: &mut Vec<u8>) -> bool {
        self.decode(input, content)
    }
}

impl Decode for ChunkDecoder {
    fn decode(&mut self, input: &mut BytesMut, content: &mut Vec<u8>) -> bool {
        self.decode(input, content)
    }
}

/// How fast a body has to come.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// When `least_octets` must have come.
    deadline: Instant,
    /// From then on, a connection without them counts as idle, and may have to make room for another.
    busy_until: Instant,
    least_octets: usize,
    octets: usize,
}

/// A connection as a dialogue has it.
pub struct LineStream {
    io: Box<dyn Io>,
    /// Its place among the connections of a listener, if it came from one.
    place: Option<Place>,
    /// Received, not yet understood.
    input: BytesMut,
    /// Replies that wait for the peer to have said all it wants to say (RFC 2920 §3.2).
    output: Vec<u8>,
    /// How many octets of `output` are sent. They stay until all are.
    sent: usize,
    lines: LineDecoder,
    taps: Taps,
    clock: Clock,
    limits: StreamLimits,
    is_encrypted: bool,
    /// The version of TLS and the cipher suite.
    tls: Option<Box<str>>,
    bindings: ChannelBindings,
}

impl LineStream {
    /// A connection to a server.
    pub fn new(io: Box<dyn Io>, limits: StreamLimits, clock: Clock) -> Self {
        Self {
            io,
            place: None,
            input: BytesMut::new(),
            output: Vec::new(),
            sent: 0,
            lines: LineDecoder::new(limits.line_octets),
            taps: Taps::none(),
            clock,
            limits,
            is_encrypted: false,
            tls: None,
            bindings: ChannelBindings::default(),
        }
    }

    /// The same, accepted by a listener. It counts as idle while it waits for a line.
    #[must_use]
    pub fn with_place(self, place: Place) -> Self {
        Self { place: Some(place), ..self }
    }

    /// The same, with these taps.
    #[must_use]
    pub fn with_taps(self, taps: Taps) -> Self {
        Self { taps, ..self }
    }

    /// The addresses of the connection.
    ///
    /// # Errors
    /// When the connection has none any more.
    pub fn ends(&self) -> io::Result<Ends> {
        self.io.ends()
    }

    /// Whether TLS is spoken.
    pub fn is_encrypted(&self) -> bool {
        self.is_encrypted
    }

    /// The version of TLS that is spoken and the cipher suite: `TLS 1.3, TLS13_AES_256_GCM_SHA384`.
    pub fn tls(&self) -> Option<&str> {
        self.tls.as_deref()
    }

    /// When a peer that begins now to say something must have said it.
    pub fn deadline(&self) -> Instant {
        self.deadline_after(self.limits.silence)
    }

    /// When a peer that has this long from now on must have said what it has to say.
    pub fn deadline_after(&self, patience: Duration) -> Instant {
        self.clock.io.instant() + patience
    }

    /// The next line. What waits to be sent is sent before this waits, and when it has become much.
    ///
    /// `deadline` is that of the whole line: an octet now and then does not move it. While this waits, the connection
    /// holds no buffer, unless a part of the line has come. Nothing is lost when the future is dropped.
    ///
    /// # Errors
    /// [`Closed`].
    pub async fn line(&mut self, deadline: Instant) -> Result<Line, Closed> {
        self.flush_if_full().await?;
        loop {
            if let Some(line) = self.buffered_line() {
                return Ok(line);
            }
            self.flush().await?;
            if self.output.capacity() > KEPT_OUTPUT_OCTETS {
                self.output = Vec::new();
            }
            self.read(deadline, self.clock.io.instant()).await?;
        }
    }

    /// The next line, if all of it was read already.
    fn buffered_line(&mut self) -> Option<Line> {
        let before = self.input.len();
        let line = self.lines.decode(&mut self.input);
        self.taps.took_lines(before - self.input.len());
        line
    }

    /// From now on lines have at most this number of octets, their CRLF included.
    pub fn limit_lines(&mut self, octets: usize) {
        self.lines.set_limit(octets);
    }

    /// From now on a LF alone ends a line as well, or does not.
    pub fn take_bare_lf(&mut self, takes: bool) {
        self.lines.take_bare_lf(takes);
    }

    /// What was received of the next line.
    pub fn unfinished_line(&self) -> &[u8] {
        &self.input
    }

    /// The next line holds a password, whatever it looks like; see [`Taps::new`].
    pub fn expect_secret(&mut self) {
        self.taps.expect_secret();
    }

    /// Appends what comes next of a body to `content`; returns whether the body has ended with it. What waits to be sent
    /// is sent before this waits. What follows the body is left for the next call.
    ///
    /// # Errors
    /// [`Closed`]; that includes [`Closed::Idle`] when the body comes too slowly.
    pub async fn body(
        &mut self,
        decoder: &mut impl Decode,
        pace: &mut Pace,
        content: &mut Vec<u8>,
    ) -> Result<bool, Closed> {
        loop {
            let before = self.input.len();
            let has_ended = decoder.decode(&mut self.input, content);
            let taken = before - self.input.len();
            self.taps.took_body(taken);
            if has_ended || taken > 0 {
                return Ok(has_ended);
            }
            self.flush().await?;
            pace.octets += self.read(pace.deadline, pace.busy_until).await?;
            if pace.octets >= pace.least_octets {
                *pace = self.pace(pace.least_octets);
            }
        }
    }

    /// The pace of a peer that sends `least_octets`, or all that is left, in the time that it may be silent.
    pub fn pace(&self, least_octets: usize) -> Pace {
        let (deadline, busy_until) = (self.deadline(), self.busy_until());
        Pace { deadline, busy_until, least_octets, octets: 0 }
    }

    /// The pace of a peer that has until `deadline` for the whole body.
    pub fn pace_until(&self, deadline: Instant) -> Pace {
        Pace { deadline, busy_until: self.busy_until(), least_octets: usize::MAX, octets: 0 }
    }

    /// Queues a reply or a command.
    pub fn push(&mut self, line: &(impl Encode + ?Sized)) {
        self.write(Kind::Line, |output| line.encode(output));
    }

    /// Queues what `encode` appends, which is of this kind. What is queued is sent by [`LineStream::flush`].
    pub fn write<T>(&mut self, kind: Kind, encode: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        let before = self.output.len();
        let encoded = encode(&mut self.output);
        self.taps.queued(kind, self.output.len() - before);
        encoded
    }

    /// Sends what is queued. When the future is dropped, the next call goes on where it was.
    ///
    /// # Errors
    /// [`Closed`].
    pub async fn flush(&mut self) -> Result<(), Closed> {
        if self.output.is_empty() {
            return Ok(());
        }
        let busy_until = self.busy_until();
        let Self { io, output, sent, taps, place, clock, limits, .. } = self;
        let sending = clock.io.timeout(limits.write, send(io, output, sent, taps));
        let sent = match place {
            Some(place) => place.idle_from(busy_until, sending).await.ok_or(Closed::Unread)?,
            None => sending.await,
        };
        sent.map_err(|_| Closed::Unread)??;
        self.output.clear();
        self.sent = 0;
        self.taps.all_sent();
        Ok(())
    }

    /// Sends what is queued if it is much.
    ///
    /// # Errors
    /// [`Closed`].
    pub async fn flush_if_full(&mut self) -> Result<(), Closed> {
        if self.output.len() >= OUTPUT_OCTETS { self.flush().await } else { Ok(()) }
    }

    /// Whether something was received that nobody has asked for yet.
    pub fn has_input(&self) -> bool {
        !self.input.is_empty()
    }

    /// Whether the peer has said anything that nobody has asked for yet, as far as the stream can tell. Does not wait, and
    /// reads nothing.
    pub fn has_arrived(&self) -> bool {
        self.has_input() || self.io.has_arrived()
    }

    /// Whether the peer has neither closed the connection nor said anything that nobody has asked for. Does not wait.
    pub fn is_quiet(&mut self) -> bool {
        if self.has_input() {
            return false;
        }
        let Self { io, input, .. } = self;
        // Without tokio's budget, which would have a busy task see nothing.
        let looking = pin!(unconstrained(read_some(&mut **io, input, 1)));
        looking.poll(&mut Context::from_waker(Waker::noop())).is_pending()
    }

    /// Sends what is queued and closes the connection so that the peer gets it. It needs no place: the connection may have
    /// just lost its own.
    pub async fn close(mut self) {
        self.taps.took_rest();
        let sending = send(&mut self.io, &self.output, &mut self.sent, &mut self.taps);
        if let Ok(Ok(())) = self.clock.io.timeout(self.limits.write, sending).await {
            close(self.io, self.clock.io).await;
        }
    }

    /// Waits for input until `deadline`. From `busy_until` on, the connection is one that makes room for a new one.
    async fn read(&mut self, deadline: Instant, busy_until: Instant) -> Result<usize, Closed> {
        let deadline = deadline.min(self.deadline());
        let Self { io, input, place, clock, limits, .. } = self;
        let reading = clock.io.timeout_at(deadline, read_some(&mut **io, input, limits.read_octets));
        let read = match place {
            Some(place) => place.idle_from(busy_until, reading).await.ok_or(Closed::Room)?,
            None => reading.await,
        };
        let closed = match read {
            Ok(Ok(octets @ 1..)) => {
                self.taps.heard(&self.input[self.input.len() - octets..]);
                return Ok(octets);
            }
            Ok(Ok(0)) => Closed::End,
            Ok(Err(error)) if self.is_encrypted && error.kind() == io::ErrorKind::UnexpectedEof => Closed::Truncated,
            Ok(Err(error)) => Closed::Io(error),
            Err(_) => Closed::Idle,
        };
        self.taps.took_rest();
        Err(closed)
    }

    fn busy_until(&self) -> Instant {
        self.place.as_ref().map_or_else(|| self.clock.io.instant(), Place::busy_until)
    }
}

impl fmt::Debug for LineStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { input, output, sent, limits, is_encrypted, .. } = self;
        f.debug_struct("LineStream")
            .field("ends", &self.ends().ok())
            .field("input_octets", &input.len())
            .field("unsent_octets", &(output.len() - sent))
            .field("limits", limits)
            .field("is_encrypted", is_encrypted)
            .finish_non_exhaustive()
    }
}

/// Sends the octets after the first `sent` of them, and counts them.
async fn send(io: &mut (impl AsyncWrite + Unpin), octets: &[u8], sent: &mut usize, taps: &mut Taps) -> io::Result<()> {
    while *sent < octets.len() {
        let written = io.write(&octets[*sent..]).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        *sent += written;
        taps.sent(octets, *sent);
    }
    io.flush().await
}

#[cfg(test)]
mod tests;
