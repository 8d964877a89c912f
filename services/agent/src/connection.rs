//! One TCP connection to a server, blocking, with time-outs and limits.

use crate::{printable, transcript::Transcript};
use anyhow::Context;
use bytes::Bytes;
use mail_net::{Address, Clock, Closed, Dial, Encode, Hop, Kind, LineStream, Pace, StreamLimits, TcpDial};
use mail_proto::dot::{DotDecoder, DotEncoder};
use std::{
    fmt,
    io::{self, ErrorKind},
    net::{IpAddr, SocketAddr},
    time::Duration,
};
use tokio::{
    runtime::{Builder, Runtime},
    time::Instant,
};
use town_config::zone::Port;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a server may be silent, or not listen (RFC 5321 §4.5.3.2).
const SILENCE: Duration = Duration::from_secs(5 * 60);
/// How long one reply may take, however slowly it drips: what RFC 5321 §4.5.3.2.6 gives the longest one.
pub(crate) const REPLY_TIMEOUT: Duration = Duration::from_secs(10 * 60);
/// How long a listing or a message may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(60 * 60);
/// How much is read or sent at once.
const BUFFER_OCTETS: usize = 16 * 1024;
/// Far more than RFC 5321 §4.5.3.1.5 and RFC 2449 §4 allow for a line of a reply.
const LINE_OCTETS: usize = 4096;
const LIMITS: StreamLimits =
    StreamLimits { line_octets: LINE_OCTETS, read_octets: BUFFER_OCTETS, silence: SILENCE, write: SILENCE };

/// Where a named service is, and who said so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Location {
    /// The name that was looked up.
    pub(crate) name: String,
    /// Its P record.
    pub(crate) record: Port,
    /// Who has the record: a pseudo-dns or the zone file.
    pub(crate) source: String,
    pub(crate) host: String,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, record, source, host } = self;
        write!(f, "{name}: P {record} by {source}; {host}:{}", record.number)
    }
}

/// A dialogue with a server.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: LineStream,
    clock: Clock,
    runtime: Runtime,
}

impl Connection {
    pub(crate) fn open(hop: Hop, location: &Location, transcript: Transcript, clock: Clock) -> anyhow::Result<Self> {
        transcript.note(&location.to_string());
        let runtime = Builder::new_current_thread().enable_all().build().context("cannot start the runtime")?;
        let dial = TcpDial::default().with_limit_per_address(CONNECT_TIMEOUT, clock.io);
        let address = Address { host: location.host.clone(), port: location.record.number.get() };
        let io = runtime.block_on(dial.dial(hop, &address)).map_err(|error| explain(error, &address.host))?;
        let stream = LineStream::new(io, LIMITS, clock.clone()).with_taps(transcript.taps(&clock));
        Ok(Self { stream, clock, runtime })
    }

    pub(crate) fn local_address(&self) -> io::Result<SocketAddr> {
        Ok(self.stream.ends()?.local)
    }

    pub(crate) fn send(&mut self, line: &(impl Encode + ?Sized)) -> anyhow::Result<()> {
        self.stream.push(line);
        self.flush(self.stream.deadline_after(BODY_TIMEOUT))
    }

    /// As [`Connection::send`]; the transcript shows its first word only.
    pub(crate) fn send_secret(&mut self, line: &[u8]) -> anyhow::Result<()> {
        self.stream.write(Kind::Secret, |output| output.extend_from_slice(line));
        self.flush(self.stream.deadline_after(BODY_TIMEOUT))
    }

    /// Sends a message and its final dot.
    pub(crate) fn send_message(&mut self, message: &[u8]) -> anyhow::Result<()> {
        let deadline = self.stream.deadline_after(BODY_TIMEOUT);
        let mut dots = DotEncoder::default();
        for piece in message.chunks(BUFFER_OCTETS) {
            self.stream.write(Kind::Body, |output| dots.encode(piece, output));
            self.flush(deadline)?;
        }
        self.stream.write(Kind::Body, |output| dots.finish(output));
        self.flush(deadline)
    }

    fn flush(&mut self, deadline: Instant) -> anyhow::Result<()> {
        let Self { stream, clock, runtime } = self;
        let flushed = runtime.block_on(async { clock.io.timeout_at(deadline, stream.flush()).await });
        flushed.unwrap_or(Err(Closed::Unread)).map_err(|closed| self.broken(closed, deadline))
    }

    /// When a server that has this long from now on must have said what it has to say.
    pub(crate) fn deadline_after(&self, patience: Duration) -> Instant {
        self.stream.deadline_after(patience)
    }

    /// The next line, without its CRLF.
    pub(crate) fn line(&mut self, deadline: Instant) -> anyhow::Result<Bytes> {
        let line = self.runtime.block_on(self.stream.line(deadline));
        line.map_err(|closed| self.broken(closed, deadline))?.context("the server's reply")
    }

    /// A listing or a message that comes now.
    pub(crate) fn body(&self) -> Body {
        let deadline = self.stream.deadline_after(BODY_TIMEOUT);
        Body { dots: DotDecoder::default(), pace: self.stream.pace_until(deadline), deadline }
    }

    /// The octets of it that come next, and whether they are the last ones.
    pub(crate) fn next_piece(&mut self, body: &mut Body) -> anyhow::Result<(Vec<u8>, bool)> {
        let mut piece = Vec::new();
        let has_ended = self.runtime.block_on(self.stream.body(&mut body.dots, &mut body.pace, &mut piece));
        Ok((piece, has_ended.map_err(|closed| self.broken(closed, body.deadline))?))
    }

    /// What to tell the user.
    fn broken(&self, closed: Closed, deadline: Instant) -> anyhow::Error {
        let seconds = SILENCE.as_secs();
        match closed {
            Closed::End => anyhow::anyhow!("the server closed the connection"),
            Closed::Idle | Closed::Unread if self.clock.io.instant() >= deadline => {
                anyhow::anyhow!("the server took too long")
            }
            Closed::Idle => anyhow::anyhow!("the server said nothing for {seconds} seconds"),
            Closed::Unread => anyhow::anyhow!("the server read nothing for {seconds} seconds"),
            closed => anyhow::Error::from(io::Error::from(closed)).context("the connection to the server broke"),
        }
    }
}

/// A listing or a message that is being received.
#[derive(Debug)]
pub(crate) struct Body {
    dots: DotDecoder,
    pace: Pace,
    deadline: Instant,
}

/// A connection that was refused on this machine has most likely a simple reason.
fn explain(error: io::Error, host: &str) -> io::Error {
    let is_here = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    match error.kind() {
        ErrorKind::ConnectionRefused if is_here => {
            io::Error::new(error.kind(), format!("{error}; is the town running?"))
        }
        _ => error,
    }
}

/// Octets that are shown to a user as the server's words.
pub(crate) fn words(octets: &[u8]) -> String {
    printable(&String::from_utf8_lossy(octets))
}
