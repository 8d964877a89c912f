//! One TCP connection to a server, blocking, with time-outs and limits.

use crate::{printable, transcript::Transcript};
use anyhow::{Context, bail};
use bytes::{Bytes, BytesMut};
use mail_proto::line::LineDecoder;
use std::{
    fmt,
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream, ToSocketAddrs},
    time::{Duration, Instant},
};
use town_config::zone::Port;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a server may be silent, or not listen (RFC 5321 §4.5.3.2).
const SILENCE: Duration = Duration::from_secs(5 * 60);
/// How long one reply may take, however slowly it drips: what RFC 5321 §4.5.3.2.6 gives the longest one.
pub(crate) const REPLY_TIMEOUT: Duration = Duration::from_secs(10 * 60);
/// How long a listing or a message may take.
pub(crate) const BODY_TIMEOUT: Duration = Duration::from_secs(60 * 60);
const READ_OCTETS: usize = 16 * 1024;
/// Far more than RFC 5321 §4.5.3.1.5 and RFC 2449 §4 allow for a line of a reply.
const LINE_OCTETS: usize = 4096;

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

/// What was read and not yet understood stays in `input`, which holds one line or one read at most.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    pub(crate) input: BytesMut,
    lines: LineDecoder,
    transcript: Transcript,
}

impl Connection {
    pub(crate) fn open(location: &Location, transcript: Transcript) -> anyhow::Result<Self> {
        transcript.note(&location.to_string());
        let stream = connect(&location.host, location.record.number.get())?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, input: BytesMut::new(), lines: LineDecoder::new(LINE_OCTETS), transcript })
    }

    pub(crate) fn local_address(&self) -> io::Result<SocketAddr> {
        self.stream.local_addr()
    }

    pub(crate) fn send(&mut self, octets: &[u8]) -> anyhow::Result<()> {
        self.transcript.sent(octets);
        self.write(octets)
    }

    /// As [`Connection::send`]; the transcript shows `mask` instead.
    pub(crate) fn send_secret(&mut self, octets: &[u8], mask: &str) -> anyhow::Result<()> {
        self.transcript.sent(mask.as_bytes());
        self.write(octets)
    }

    fn write(&mut self, mut octets: &[u8]) -> anyhow::Result<()> {
        let deadline = Instant::now() + BODY_TIMEOUT;
        while !octets.is_empty() {
            self.stream.set_write_timeout(Some(patience(deadline)?))?;
            match self.stream.write(octets) {
                Ok(0) => bail!("the server closed the connection"),
                Ok(written) => octets = &octets[written..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_timeout(&error) => bail!("the server read nothing for {} seconds", SILENCE.as_secs()),
                Err(error) => return Err(error).context("the connection to the server broke"),
            }
        }
        Ok(())
    }

    /// Reads once: at most [`READ_OCTETS`] are added to `input`.
    pub(crate) fn fill(&mut self, deadline: Instant) -> anyhow::Result<()> {
        self.stream.set_read_timeout(Some(patience(deadline)?))?;
        let filled = self.input.len();
        self.input.resize(filled + READ_OCTETS, 0);
        let read = self.stream.read(&mut self.input[filled..]);
        self.input.truncate(filled + read.as_ref().unwrap_or(&0));
        match read {
            Ok(0) => bail!("the server closed the connection"),
            Ok(_) => self.transcript.received(&self.input[filled..]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if is_timeout(&error) => bail!("the server said nothing for {} seconds", SILENCE.as_secs()),
            Err(error) => return Err(error).context("the connection to the server broke"),
        }
        Ok(())
    }

    /// The next line, without its CRLF.
    pub(crate) fn line(&mut self, deadline: Instant) -> anyhow::Result<Bytes> {
        loop {
            match self.lines.decode(&mut self.input) {
                Some(line) => return line.context("the server's reply"),
                None => self.fill(deadline)?,
            }
        }
    }
}

/// How long the next read or write may wait.
fn patience(deadline: Instant) -> anyhow::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        bail!("the server took too long");
    }
    Ok(left.min(SILENCE))
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

fn connect(host: &str, port: u16) -> anyhow::Result<TcpStream> {
    let addresses = (host, port)
        .to_socket_addrs()
        .context("no such host; a container's name is known only while the container runs")?;
    let mut failure = io::Error::from(io::ErrorKind::NotFound);
    for address in addresses {
        match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
            Ok(stream) => return Ok(stream),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused && address.ip().is_loopback() => {
                failure = io::Error::new(error.kind(), format!("{error}; is the town running?"));
            }
            Err(error) => failure = error,
        }
    }
    Err(failure.into())
}

/// Octets that are shown to a user as the server's words.
pub(crate) fn words(octets: &[u8]) -> String {
    printable(&String::from_utf8_lossy(octets))
}
