//! One TCP connection to a server, blocking, with time-outs.

use anyhow::Context;
use bytes::BytesMut;
use std::{
    fmt,
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream, ToSocketAddrs},
    time::Duration,
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a server may be silent, or not listen (RFC 5321 §4.5.3.2).
const PATIENCE: Duration = Duration::from_secs(5 * 60);
const READ_OCTETS: usize = 16 * 1024;

/// Where a named service is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Location {
    /// The name that was looked up.
    pub(crate) name: String,
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}:{}", self.name, self.host, self.port)
    }
}

/// What was read and not yet understood stays in `input`.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    pub(crate) input: BytesMut,
}

impl Connection {
    pub(crate) fn open(location: &Location) -> anyhow::Result<Self> {
        let stream = connect(&location.host, location.port).with_context(|| format!("cannot reach {location}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream, input: BytesMut::new() })
    }

    pub(crate) fn local_address(&self) -> io::Result<SocketAddr> {
        self.stream.local_addr()
    }

    pub(crate) fn send(&mut self, octets: &[u8]) -> anyhow::Result<()> {
        self.stream.write_all(octets).context("the connection to the server broke")
    }

    /// Reads until `decode` finds something in `input`.
    pub(crate) fn receive<T, E>(
        &mut self,
        mut decode: impl FnMut(&mut BytesMut) -> Result<Option<T>, E>,
    ) -> anyhow::Result<T>
    where
        anyhow::Error: From<E>,
    {
        loop {
            if let Some(found) = decode(&mut self.input)? {
                return Ok(found);
            }
            let filled = self.input.len();
            self.input.resize(filled + READ_OCTETS, 0);
            let read = self.stream.read(&mut self.input[filled..]);
            self.input.truncate(filled + read.as_ref().unwrap_or(&0));
            match read {
                Ok(0) => anyhow::bail!("the server closed the connection"),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    anyhow::bail!("the server said nothing for {} seconds", PATIENCE.as_secs());
                }
                Err(error) => return Err(error).context("the connection to the server broke"),
            }
        }
    }
}

fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut failure = io::Error::from(io::ErrorKind::NotFound);
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}
