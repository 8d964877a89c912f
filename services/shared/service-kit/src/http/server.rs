//! Accepts HTTP connections, and ends those that do not get on.

use super::{
    HttpListener,
    listener::HttpSocket,
    room::{self, Connection, Place, Room, UnderWay},
    write_timeout::WriteTimeout,
};
use crate::{
    shutdown::{CancellationToken, GRACE},
    telemetry,
};
use axum::{
    Router,
    body::{Body, Bytes, HttpBody},
    response::Response,
};
use http_body::{Frame, SizeHint};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use internal_api::{STALL, patient};
use mail_net::{IoClock, accept_local, accept_one};
use std::{
    convert::Infallible,
    fmt::Display,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, UnixStream},
};
use tokio_util::task::TaskTracker;
use tower_service::Service;
use tracing::Instrument;

/// How long a client may take for the header of its first request.
const FIRST_HEADER: Duration = Duration::from_secs(10);
/// How long a connection is kept without a request. Longer than [`internal_api`]'s clients keep theirs, so that none
/// of them sends a request just as it is closed here.
const IDLE: Duration = Duration::from_secs(60);
/// The largest header, and the largest piece of a body.
const BUFFER_OCTETS: usize = 32 * 1024;
/// How many requests an HTTP/2 connection has at once.
const STREAMS: u32 = 64;

/// Serves until `shutdown`, then lets requests in flight finish, [`GRACE`] at most.
pub(super) async fn serve(listener: HttpListener, clock: IoClock, router: Router, shutdown: CancellationToken) {
    let (tcp, socket) = listener.into_parts();
    let local = async {
        if let Some(socket) = socket {
            serve_in(&room::PROCESS, socket, clock, router.clone(), shutdown.clone()).await;
        }
    };
    tokio::join!(serve_in(&room::PROCESS, tcp, clock, router.clone(), shutdown.clone()), local);
}

/// A socket that connections come to.
trait Listen: Send + Sync {
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// Where it is, for the log.
    fn address(&self) -> io::Result<impl Display>;

    /// Waits for the next connection.
    fn accept(&self, clock: IoClock) -> impl Future<Output = Self::Stream> + Send;
}

impl Listen for TcpListener {
    type Stream = TcpStream;

    fn address(&self) -> io::Result<impl Display> {
        self.local_addr()
    }

    async fn accept(&self, clock: IoClock) -> TcpStream {
        let (stream, _) = accept_one(self, clock).await;
        prepare(&stream);
        stream
    }
}

impl Listen for HttpSocket {
    type Stream = WriteTimeout<UnixStream>;

    fn address(&self) -> io::Result<impl Display> {
        Ok(format!("unix:{}", self.file.path().display()))
    }

    async fn accept(&self, clock: IoClock) -> Self::Stream {
        WriteTimeout::new(accept_local(&self.listener, clock).await, STALL, clock)
    }
}

async fn serve_in<L: Listen>(
    room: &Arc<Room>,
    listener: L,
    clock: IoClock,
    router: Router,
    shutdown: CancellationToken,
) {
    telemetry::listening("HTTP", listener.address());
    let connections = TaskTracker::new();
    // Whichever way this call ends, no connection outlives it.
    let cut_off = CancellationToken::new();
    let _cut_off = cut_off.clone().drop_guard();
    loop {
        let accepted = async { (listener.accept(clock).await, room.enter(clock).await) };
        let Some((stream, place)) = shutdown.run_until_cancelled(accepted).await else { break };
        let connection = Box::pin(connection(stream, place, router.clone(), shutdown.clone()));
        connections.spawn(cut_off.clone().run_until_cancelled_owned(connection).in_current_span());
    }
    drop(listener);
    connections.close();
    if clock.timeout(GRACE, connections.wait()).await.is_err() {
        facts::ServiceConnectionsCut { connections: connections.len() }.log();
    }
}

/// Serves a connection to its end.
async fn connection<S>(stream: S, place: Place, router: Router, shutdown: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let requests = Requests { router, connection: Arc::clone(&place.connection) };
    let builder = builder();
    let serving = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(requests));
    let mut serving = std::pin::pin!(serving);
    let ended = tokio::select! {
        ended = &mut serving => ended,
        () = place.connection.evicted.cancelled() => finish(&place.connection, serving.as_mut()).await,
        () = shutdown.cancelled() => finish(&place.connection, serving.as_mut()).await,
        () = overdue(&place.connection) => Ok(()),
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "an HTTP connection broke");
    }
}

type Ended = Result<(), Box<dyn std::error::Error + Send + Sync>>;
type Serving<'a, S> =
    hyper_util::server::conn::auto::Connection<'a, TokioIo<S>, TowerToHyperService<Requests>, TokioExecutor>;

/// Lets the requests that are under way finish. Without any, the connection is closed at once.
async fn finish<S>(connection: &Connection, mut serving: Pin<&mut Serving<'_, S>>) -> Ended
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    if connection.idle_for().is_some() {
        return Ok(());
    }
    serving.as_mut().graceful_shutdown();
    serving.await
}

/// Waits until a connection has been idle for too long.
async fn overdue(connection: &Connection) {
    loop {
        let limit = if connection.has_served() { IDLE } else { FIRST_HEADER };
        let left = match connection.idle_for() {
            Some(idle) if idle >= limit => return,
            Some(idle) => limit - idle,
            None => limit,
        };
        connection.clock.sleep(left).await;
    }
}

/// What the kernel does for a connection.
fn prepare(stream: &TcpStream) {
    // Neither keeps a connection from being served.
    let _ = stream.set_nodelay(true);
    #[cfg(target_os = "linux")]
    let _ = rustix::net::sockopt::set_tcp_user_timeout(stream, STALL.as_millis() as u32);
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().max_buf_size(BUFFER_OCTETS);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(STALL)
        .keep_alive_timeout(STALL)
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(BUFFER_OCTETS as u32);
    builder
}

/// The router, with each request counted at its connection.
#[derive(Clone)]
struct Requests {
    router: Router,
    connection: Arc<Connection>,
}

impl Service<hyper::Request<hyper::body::Incoming>> for Requests {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: hyper::Request<hyper::body::Incoming>) -> Self::Future {
        let under_way = self.connection.request();
        let request = patient(request.map(Body::new), self.connection.clock);
        let answering = self.router.call(request);
        Box::pin(async move {
            let response = answering.await?;
            Ok(response.map(|body| Body::new(Answer { body, _under_way: under_way })))
        })
    }
}

/// A response's body, with which its request ends.
struct Answer {
    body: Body,
    _under_way: UnderWay,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
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
    use crate::http::listener::HttpSocket;
    use mail_net::Clock;
    use tokio::io::AsyncWriteExt;

    /// As TCP_USER_TIMEOUT does for a TCP connection.
    #[tokio::test(start_paused = true)]
    async fn a_reader_over_a_unix_socket_may_not_stand_still() {
        let (directory, clock) = (tempfile::tempdir().unwrap(), Clock::system().io);
        let path = directory.path().join("store.sock");
        let socket = HttpSocket::bind(&path).await.unwrap();
        let _reader = UnixStream::connect(&path).await.unwrap();
        let mut stream = Listen::accept(&socket, clock).await;
        let started = clock.instant();
        let written = clock.timeout(STALL * 2, stream.write_all(&vec![0; 16 << 20])).await.unwrap();
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(clock.since(started) >= STALL);
    }
}
