//! A network in memory, for tests of whole dialogues in one process.

use super::{Address, Dial, Dialing, Hop};
use crate::io::{Ends, Io};
use std::{
    collections::HashMap,
    io,
    net::{Ipv4Addr, SocketAddr},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf, duplex},
    sync::mpsc,
};

/// How many octets are on their way in one direction.
const PIPE_OCTETS: usize = 64 * 1024;
/// The addresses of the two ends, which are for documentation (RFC 5737).
const CLIENT: (Ipv4Addr, u16) = (Ipv4Addr::new(192, 0, 2, 1), 50_000);
const SERVER: (Ipv4Addr, u16) = (Ipv4Addr::new(192, 0, 2, 2), 25);

/// The two ends of a connection in memory: that of the client, and that of the server.
pub fn pair() -> (Box<dyn Io>, Box<dyn Io>) {
    let (client, server) = duplex(PIPE_OCTETS);
    let ends = Ends { local: SocketAddr::from(CLIENT), peer: SocketAddr::from(SERVER) };
    let reverse = Ends { local: ends.peer, peer: ends.local };
    (Box::new(Pipe { stream: client, ends }), Box::new(Pipe { stream: server, ends: reverse }))
}

struct Pipe {
    stream: DuplexStream,
    ends: Ends,
}

impl Io for Pipe {
    fn ends(&self) -> io::Result<Ends> {
        Ok(self.ends)
    }
}

impl AsyncRead for Pipe {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, octets)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

type Incoming = (Hop, Box<dyn Io>);

/// A network in which connections are pipes. Its clones are the same network.
#[derive(Debug, Clone, Default)]
pub struct MemoryNetwork(Arc<Mutex<HashMap<Address, mpsc::UnboundedSender<Incoming>>>>);

impl MemoryNetwork {
    /// Listens on this address, in place of whoever has listened on it before.
    pub fn listen(&self, address: Address) -> MemoryListener {
        let (sender, incoming) = mpsc::unbounded_channel();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(address, sender);
        MemoryListener(incoming)
    }
}

impl Dial for MemoryNetwork {
    fn dial<'a>(&'a self, hop: Hop, to: &'a Address) -> Dialing<'a> {
        let (client, server) = pair();
        let listener = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(to).cloned();
        let connected = match listener.map(|listener| listener.send((hop, server))) {
            Some(Ok(())) => Ok(client),
            Some(Err(_)) | None => Err(io::ErrorKind::ConnectionRefused.into()),
        };
        Box::pin(std::future::ready(connected))
    }
}

/// Takes the connections to one address of a [`MemoryNetwork`].
#[derive(Debug)]
pub struct MemoryListener(mpsc::UnboundedReceiver<Incoming>);

impl MemoryListener {
    /// The next connection, and over which edge of the town it comes. `None` once somebody else listens.
    pub async fn accept(&mut self) -> Option<(Hop, Box<dyn Io>)> {
        self.0.recv().await
    }
}
