//! A stream whose writer does not wait for ever for a reader that stands still.
//!
//! Over TCP, the kernel sees to that (TCP_USER_TIMEOUT). Over a Unix socket, it does not.

use mail_net::IoClock;
use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Sleep,
};

/// A stream that breaks when nothing can be written for too long.
#[derive(Debug)]
pub(super) struct WriteTimeout<S> {
    stream: S,
    limit: Duration,
    clock: IoClock,
    /// There while nothing can be written.
    waiting: Option<Pin<Box<Sleep>>>,
}

impl<S> WriteTimeout<S> {
    /// Whoever reads from the other end of `stream` may stand still for `limit`.
    pub(super) fn new(stream: S, limit: Duration, clock: IoClock) -> Self {
        Self { stream, limit, clock, waiting: None }
    }

    /// The outcome of a write, or a failure when none has come for too long.
    fn limited<T>(&mut self, written: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.waiting = None;
            return written;
        }
        let (clock, limit) = (self.clock, self.limit);
        let sleep = self.waiting.get_or_insert_with(|| Box::pin(clock.sleep(limit)));
        ready!(sleep.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the other side has stopped reading")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WriteTimeout<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WriteTimeout<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, octets);
        self.limited(written, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.limited(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.limited(flushed, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mail_net::Clock;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    const LIMIT: Duration = Duration::from_secs(30);

    #[tokio::test(start_paused = true)]
    async fn a_reader_may_be_slow_and_not_stand_still() {
        let clock = Clock::system().io;
        let (stream, mut reader) = duplex(1);
        let mut stream = WriteTimeout::new(stream, LIMIT, clock);
        let writing = async move { stream.write_all(b"12345").await };
        let reading = async {
            for _ in 0..3 {
                clock.sleep(LIMIT - Duration::from_secs(1)).await;
                reader.read_u8().await.unwrap();
            }
            reader
        };
        let started = clock.instant();
        let (written, _reader) = tokio::join!(writing, reading);
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(clock.since(started), (LIMIT - Duration::from_secs(1)) * 3 + LIMIT);
    }
}
