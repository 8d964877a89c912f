//! What a dialogue runs over.

use bytes::{Buf, Bytes, BytesMut};
use rustix::net::{RecvFlags, recv};
use std::{
    future::poll_fn,
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_util::io::poll_read_buf;

/// A connection as a stream of octets in both directions: TCP, TLS over it, or a pipe in memory.
pub trait Io: AsyncRead + AsyncWrite + Send + Sync + Unpin {
    /// The addresses of the connection.
    ///
    /// # Errors
    /// When the connection has none any more.
    fn ends(&self) -> io::Result<Ends>;

    /// Waits until a read is likely to return something, for callers that want to have no buffer before.
    ///
    /// It is a hint: a read after it may have to wait all the same. An implementation that cannot tell returns at once.
    fn poll_readable(&self, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Whether octets of the peer are here that nobody has read. Does not wait, and reads nothing.
    ///
    /// An implementation that cannot tell says no.
    fn has_arrived(&self) -> bool {
        false
    }
}

/// The addresses of the two ends of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    /// Ours.
    pub local: SocketAddr,
    /// That of the peer.
    pub peer: SocketAddr,
}

impl Io for TcpStream {
    fn ends(&self) -> io::Result<Ends> {
        Ok(Ends { local: self.local_addr()?, peer: self.peer_addr()? })
    }

    fn poll_readable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_read_ready(context)
    }

    /// Asks the socket itself: of a new one, tokio has not heard yet what has arrived.
    fn has_arrived(&self) -> bool {
        let peeked = recv(self, &mut [0_u8; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT);
        peeked.is_ok_and(|(_, octets)| octets > 0)
    }
}

/// A connection of which the first octets were read already. They are read again.
pub(crate) struct Prefixed {
    prefix: Bytes,
    io: Box<dyn Io>,
}

impl Prefixed {
    pub(crate) fn new(prefix: Bytes, io: Box<dyn Io>) -> Self {
        Self { prefix, io }
    }
}

impl Io for Prefixed {
    fn ends(&self) -> io::Result<Ends> {
        self.io.ends()
    }

    fn poll_readable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.prefix.is_empty() { self.io.poll_readable(context) } else { Poll::Ready(Ok(())) }
    }

    fn has_arrived(&self) -> bool {
        !self.prefix.is_empty() || self.io.has_arrived()
    }
}

impl AsyncRead for Prefixed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.prefix.is_empty() {
            return Pin::new(&mut self.io).poll_read(context, buffer);
        }
        let octets = self.prefix.len().min(buffer.remaining());
        buffer.put_slice(&self.prefix[..octets]);
        self.prefix.advance(octets);
        if self.prefix.is_empty() {
            self.prefix = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Prefixed {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, octets)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

/// Reads once, at most about `octets`, to the end of `input`. Returns how many octets came; 0 at the end of the stream.
///
/// While nothing comes, an empty `input` holds no memory. Nothing is lost when the future is dropped.
///
/// # Errors
/// Those of the stream.
pub async fn read_some(io: &mut dyn Io, input: &mut BytesMut, octets: usize) -> io::Result<usize> {
    poll_fn(|context| {
        if input.is_empty() {
            *input = BytesMut::new();
        }
        ready!(io.poll_readable(context))?;
        input.reserve(octets);
        let read = poll_read_buf(Pin::new(&mut *io), context, input);
        if input.is_empty() {
            *input = BytesMut::new();
        }
        read
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::{io::AsyncWriteExt, net::TcpListener};

    #[tokio::test]
    async fn what_has_arrived_is_told_and_stays() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        assert!(!server.has_arrived());
        client.write_all(b"EHLO a\r\n").await.unwrap();
        server.readable().await.unwrap();
        assert!(server.has_arrived() && server.has_arrived());
        let mut server: Box<dyn Io> = Box::new(server);
        let mut input = BytesMut::new();
        read_some(&mut *server, &mut input, 100).await.unwrap();
        assert_eq!(input, b"EHLO a\r\n"[..]);
        assert!(!server.has_arrived());
        let prefixed = Prefixed { prefix: input.freeze(), io: server };
        assert!(prefixed.has_arrived());
    }

    /// Who closes has not talked.
    #[tokio::test]
    async fn the_end_is_nothing_that_has_arrived() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        drop(client);
        server.readable().await.unwrap();
        assert!(!server.has_arrived());
    }
}
