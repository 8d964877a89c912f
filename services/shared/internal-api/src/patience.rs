//! How long the body of a request may stand still, over a connection and within a process alike.

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

/// How long the body of one request may stand still. It is an extension of the request, so that a handler which knows the
/// caller can allow more than [`STALL`]: the messages of SMTP clients come as fast as those send them.
///
/// Whoever waits longer takes more only of what is bounded anyway: a place among the connections of the process, and the
/// memory for messages that are arriving.
#[derive(Debug, Clone)]
pub struct Patience(Arc<AtomicU64>);

impl Patience {
    /// Lets the body stand still for this long from its next wait on.
    pub fn allow(&self, duration: Duration) {
        self.0.store(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn current(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }
}

/// The same request, whose body breaks when it stands still for too long.
pub fn patient(mut request: Request, io: IoClock) -> Request {
    let patience = Patience(Arc::default());
    patience.allow(STALL);
    request.extensions_mut().insert(patience.clone());
    request.map(|body| Body::new(PatientBody { body, patience, io, waiting: None }))
}

struct PatientBody {
    body: Body,
    patience: Patience,
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
        let Self { body, patience, io, waiting } = &mut *self;
        if let Poll::Ready(frame) = Pin::new(body).poll_frame(context) {
            *waiting = None;
            return Poll::Ready(frame);
        }
        let limit = patience.current();
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
        patient(Request::new(Body::from_stream(pieces)), io)
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
        let request = patient(Request::new(Body::from("octets")), Clock::system().io);
        assert_eq!(request.body().size_hint().exact(), Some(6));
        assert_eq!(to_bytes(request.into_body(), usize::MAX).await.unwrap(), "octets");
    }
}
