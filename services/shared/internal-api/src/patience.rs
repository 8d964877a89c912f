//! How long the body of a request may stand still, over a connection and within a process alike; and how long the reader of
//! a response may.

use axum::{
    Error,
    body::{Body, Bytes, HttpBody},
    extract::Request,
};
use http_body::{Frame, SizeHint};
use mail_net::IoClock;
use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::Sleep;

/// How long a body may stand still, unless its handler allows more.
pub const STALL: Duration = Duration::from_secs(30);

/// A limit of time that changes: [`STALL`] at first. Clones are the same.
#[derive(Debug, Clone)]
pub struct StallLimit(Arc<AtomicU64>);

impl StallLimit {
    /// Makes it this long from the next wait on.
    pub fn set(&self, duration: Duration) {
        self.0.store(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// How long it is.
    pub fn get(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }
}

impl Default for StallLimit {
    fn default() -> Self {
        let limit = Self(Arc::default());
        limit.set(STALL);
        limit
    }
}

/// How long the body of one request and the reader of its response may stand still. It is an extension of the request, so
/// that a handler which knows the caller can allow more than [`STALL`]: messages come as fast as SMTP clients send them, and
/// go as fast as POP3 clients read them.
///
/// Whoever waits longer takes more only of what is bounded anyway: a place among the connections of the process, and the
/// memory for messages that are arriving.
#[derive(Debug, Clone, Default)]
pub struct Patience {
    body: StallLimit,
    reader: StallLimit,
}

impl Patience {
    /// Lets the body stand still for this long from its next wait on.
    pub fn allow(&self, duration: Duration) {
        self.body.set(duration);
    }

    /// Lets the reader of the response stand still for this long.
    pub fn allow_reader(&self, duration: Duration) {
        self.reader.set(duration);
    }
}

/// The same request, whose body breaks when it stands still for too long. `reader` limits how long the response may.
pub fn patient(mut request: Request, io: IoClock, reader: StallLimit) -> Request {
    let patience = Patience { reader, ..Patience::default() };
    let limit = patience.body.clone();
    request.extensions_mut().insert(patience);
    request.map(|body| Body::new(PatientBody { body, limit, io, waiting: None }))
}

struct PatientBody {
    body: Body,
    limit: StallLimit,
    io: IoClock,
    /// There while nothing comes.
    waiting: Option<Pin<Box<Sleep>>>,
}

/// Why a body has broken.
#[derive(Debug, thiserror::Error)]
#[error("the body of the request stood still for {} s", .0.as_secs())]
struct StoodStill(Duration);

impl HttpBody for PatientBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let Self { body, limit, io, waiting } = &mut *self;
        if let Poll::Ready(frame) = Pin::new(body).poll_frame(context) {
            *waiting = None;
            return Poll::Ready(frame);
        }
        let limit = limit.get();
        let sleep = waiting.get_or_insert_with(|| Box::pin(io.sleep(limit)));
        sleep.as_mut().poll(context).map(|()| Some(Err(Error::new(StoodStill(limit)))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::to_bytes;
    use futures_util::stream;
    use mail_net::Clock;

    /// A body with this number of pieces, each after this pause, which stands still then.
    fn slow(pieces: u32, pause: Duration) -> Request {
        let io = Clock::system().io;
        let pieces = stream::unfold(0, move |sent| async move {
            if sent == pieces {
                std::future::pending::<()>().await;
            }
            io.sleep(pause).await;
            Some((Ok::<_, std::io::Error>(Bytes::from_static(b"x")), sent + 1))
        });
        patient(Request::new(Body::from_stream(pieces)), io, StallLimit::default())
    }

    /// Each piece has as long as the whole silence may be.
    #[tokio::test(start_paused = true)]
    async fn a_body_that_stands_still_breaks_and_a_slow_one_does_not() {
        let (io, second) = (Clock::system().io, Duration::from_secs(1));
        for (pieces, allowed) in [(0, None), (1, None), (5, None), (3, Some(Duration::from_secs(360)))] {
            let limit = allowed.unwrap_or(STALL);
            let request = slow(pieces, limit - second);
            if let Some(allowed) = allowed {
                request.extensions().get::<Patience>().unwrap().allow(allowed);
            }
            let started = io.instant();
            assert!(to_bytes(request.into_body(), usize::MAX).await.is_err());
            assert_eq!(io.since(started).as_secs(), ((limit - second) * pieces + limit).as_secs());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_whole_is_what_was_sent() {
        let request = patient(Request::new(Body::from("octets")), Clock::system().io, StallLimit::default());
        assert_eq!(request.body().size_hint().exact(), Some(6));
        assert_eq!(to_bytes(request.into_body(), usize::MAX).await.unwrap(), "octets");
    }
}
