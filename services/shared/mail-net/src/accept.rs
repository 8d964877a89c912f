//! A bounded accept loop.

mod peer;
mod places;

pub use peer::{SharedAddresses, client_network};
pub use places::{ConnectionLimits, Place, Places};

use crate::{IoClock, close::close, descriptors, io::Io, read_proxy_header};
use futures_util::{StreamExt, stream::FuturesUnordered};
use std::{
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    sync::Semaphore,
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument;

/// How many connections of proxies may not have told yet whose they are. More are dropped.
const UNTOLD: usize = 256;
/// How long a proxy may take to tell that.
const PROXY_TIMEOUT: Duration = Duration::from_secs(10);
/// How many refused connections are closed with care at once. More are dropped, and may be reset.
const REFUSALS: usize = 64;
/// How long a refused client may take to receive the refusal.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);
/// How long nothing is accepted after that has failed: one that waits would make it fail again at once.
const PAUSE: Duration = Duration::from_millis(50);
/// How often the log tells that nothing can be accepted. All listeners of a process lack the same descriptors.
const REMINDER: Duration = Duration::from_secs(60);

static REMINDED: Mutex<Option<Instant>> = Mutex::new(None);

/// Waits for the next connection. A failure, which is most likely a lack of descriptors, is logged and only delays it.
pub async fn accept_one(listener: &TcpListener, clock: IoClock) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) => failed(error, clock).await,
        }
    }
}

/// As [`accept_one`], on a Unix socket.
pub async fn accept_local(listener: &UnixListener, clock: IoClock) -> UnixStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) => failed(error, clock).await,
        }
    }
}

/// Logs that nothing could be accepted, now and then, and waits a little.
async fn failed(error: io::Error, clock: IoClock) {
    if is_due(&REMINDED, clock) {
        let remedy = descriptors::remedy(&error);
        facts::ServiceAcceptFailed { error, remedy: remedy.unwrap_or_default() }.log();
    }
    clock.sleep(PAUSE).await;
}

/// Whether [`REMINDER`] has passed since this was due the last time.
fn is_due(last: &Mutex<Option<Instant>>, clock: IoClock) -> bool {
    let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
    let due = last.is_none_or(|last| clock.since(last) >= REMINDER);
    if due {
        *last = Some(clock.instant());
    }
    due
}

/// Accepts the connections of a listener.
#[derive(Debug)]
pub struct AcceptLoop<L, R, P> {
    /// Where clients connect.
    pub listener: TcpListener,
    /// Whether connections from this address are those of a proxy, and tell first whose they are. It is called for each
    /// connection.
    pub is_proxy: P,
    /// Where its connections are counted. Listeners that share the places share the limits.
    pub places: Places,
    /// Returns the limits in force. It is called for each connection.
    pub limits: L,
    /// What a connection over the limits is sent before it is closed.
    pub refusal: &'static [u8],
    /// Called with the address of each client that is refused.
    pub refused: R,
    /// How long the open connections may go on after the shutdown has begun.
    pub grace: Duration,
    /// Tells which connections are idle.
    pub clock: IoClock,
}

impl<L: Fn() -> ConnectionLimits, R: Fn(SocketAddr), P: Fn(IpAddr) -> bool> AcceptLoop<L, R, P> {
    /// Serves each connection with `serve` until `shutdown`, then waits for the open ones.
    ///
    /// Each connection has a [`Place`], which it holds until it ends. A connection over the limits is refused. One that
    /// comes through a proxy is that of the client that the proxy tells of.
    pub async fn run<S, F>(self, shutdown: CancellationToken, serve: S)
    where
        S: Fn(Box<dyn Io>, SocketAddr, Place) -> F,
        F: Future<Output = ()> + Send + 'static,
    {
        let Self { listener, is_proxy, places, limits, refusal, refused, grace, clock } = self;
        let refusals = Arc::new(Semaphore::new(REFUSALS));
        let connections = TaskTracker::new();
        let mut untold = FuturesUnordered::new();
        loop {
            let (stream, peer) = tokio::select! {
                () = shutdown.cancelled() => break,
                Some(told) = untold.next() => match told {
                    Some(told) => told,
                    None => continue,
                },
                (stream, peer) = accept_one(&listener, clock) => {
                    // Replies are written whole, so there is nothing for Nagle's algorithm to gather.
                    let _ = stream.set_nodelay(true);
                    if !is_proxy(peer.ip()) {
                        (stream, peer)
                    } else {
                        if untold.len() < UNTOLD {
                            untold.push(told(stream, peer, clock));
                        }
                        continue;
                    }
                }
            };
            if let Some(place) = places.take(peer.ip(), limits()) {
                connections.spawn(serve(Box::new(stream), peer, place).in_current_span());
                continue;
            }
            refused(peer);
            if let Ok(permit) = Arc::clone(&refusals).try_acquire_owned() {
                connections.spawn(async move {
                    refuse(stream, refusal, clock).await;
                    drop(permit);
                });
            }
        }
        drop(listener);
        connections.close();
        if clock.timeout(grace, connections.wait()).await.is_err() {
            facts::ServiceConnectionsCut { connections: connections.len() }.log();
        }
    }
}

/// A proxy's connection with the address of its client, once that is known. One that does not tell is closed.
async fn told(mut stream: TcpStream, proxy: SocketAddr, clock: IoClock) -> Option<(TcpStream, SocketAddr)> {
    match read_proxy_header(&mut stream, PROXY_TIMEOUT, clock).await {
        Ok(client) => Some((stream, client.unwrap_or(proxy))),
        Err(error) => {
            facts::ServiceProxyFailed { peer: proxy, error }.log();
            None
        }
    }
}

async fn refuse(mut stream: TcpStream, refusal: &[u8], clock: IoClock) {
    if let Ok(Ok(())) = clock.timeout(REFUSAL_TIMEOUT, stream.write_all(refusal)).await {
        close(stream, clock).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Clock, read_some};
    use bytes::BytesMut;
    use tokio::io::AsyncReadExt;

    /// Far longer than anything here takes.
    const PATIENCE: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn a_reminder_is_due_once_in_a_while() {
        let reminded = Mutex::new(None);
        let clock = Clock::system().io;
        assert!(is_due(&reminded, clock) && !is_due(&reminded, clock));
        tokio::time::advance(REMINDER).await;
        assert!(is_due(&reminded, clock) && !is_due(&reminded, clock));
    }

    async fn heard(client: &mut TcpStream) -> String {
        let mut text = String::new();
        Clock::system().io.timeout(PATIENCE, client.read_to_string(&mut text)).await.unwrap().unwrap();
        text
    }

    async fn accepting(total: usize) -> (SocketAddr, CancellationToken) {
        accepting_with(Places::new(Clock::system().io), total).await
    }

    async fn accepting_with(places: Places, total: usize) -> (SocketAddr, CancellationToken) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let (limits, clock) = (ConnectionLimits { total, per_peer: total }, Clock::system().io);
        let serve = move |mut stream: Box<dyn Io>, _, place: Place| async move {
            stream.write_all(b"hello\n").await.unwrap();
            if place.idle(read_some(&mut *stream, &mut BytesMut::new(), 1)).await.is_none() {
                stream.write_all(b"bye\n").await.unwrap();
            }
            close(stream, clock).await;
        };
        let limits = move || limits;
        let accepting = AcceptLoop {
            listener,
            is_proxy: |_| false,
            places,
            limits,
            refusal: b"full\n",
            refused: drop,
            grace: PATIENCE,
            clock,
        };
        tokio::spawn(accepting.run(shutdown.clone(), serve));
        (address, shutdown)
    }

    /// Listens for a proxy on this machine, and says whose each connection is.
    async fn proxied(per_peer: usize) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, clock) = (listener.local_addr().unwrap(), Clock::system().io);
        let serve = |mut stream: Box<dyn Io>, peer: SocketAddr, place: Place| async move {
            stream.write_all(peer.to_string().as_bytes()).await.unwrap();
            stream.flush().await.unwrap();
            let _ = place.idle(read_some(&mut *stream, &mut BytesMut::new(), 1)).await;
        };
        let accepting = AcceptLoop {
            listener,
            is_proxy: |peer| peer == IpAddr::from([127, 0, 0, 1]),
            places: Places::new(clock),
            limits: move || ConnectionLimits { total: 100, per_peer },
            refusal: b"full\n",
            refused: drop,
            grace: PATIENCE,
            clock,
        };
        tokio::spawn(accepting.run(CancellationToken::new(), serve));
        address
    }

    async fn through_proxy(address: SocketAddr, header: &[u8]) -> TcpStream {
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(header).await.unwrap();
        client
    }

    #[tokio::test]
    async fn a_client_behind_a_proxy_is_counted_by_its_own_address() {
        let address = proxied(1).await;
        let second = [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"[..], &[192, 0, 2, 8, 127, 0, 0, 1, 0, 9, 0, 25]].concat();
        let mut open = Vec::new();
        for (header, expected) in
            [(&b"PROXY TCP4 192.0.2.7 127.0.0.1 4660 25\r\n"[..], "192.0.2.7:4660"), (&second, "192.0.2.8:9")]
        {
            let mut client = through_proxy(address, header).await;
            let mut said = vec![0; expected.len()];
            client.read_exact(&mut said).await.unwrap();
            assert_eq!(String::from_utf8_lossy(&said), expected);
            open.push(client);
        }
        // What is no header ends a connection; what was sent beyond resets it.
        let mut other = through_proxy(address, b"EHLO client.example\r\n").await;
        assert!(matches!(other.read(&mut [0]).await, Ok(0) | Err(_)));
    }

    #[tokio::test]
    async fn proxies_that_tell_nothing_are_bounded_and_keep_nobody() {
        let address = proxied(1).await;
        let mut silent = Vec::new();
        for _ in 0..UNTOLD {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        // Whoever comes then is dropped, until one has told.
        let mut dropped = TcpStream::connect(address).await.unwrap();
        assert_eq!(heard(&mut dropped).await, "");
        silent[0].write_all(b"PROXY TCP4 192.0.2.7 127.0.0.1 4660 25\r\n").await.unwrap();
        let mut said = [0; 14];
        silent[0].read_exact(&mut said).await.unwrap();
        assert_eq!(&said, b"192.0.2.7:4660");
    }

    #[tokio::test]
    async fn listeners_with_the_same_places_share_the_limits() {
        let places = Places::new(Clock::system().io);
        let (one, _) = accepting_with(places.clone(), 1).await;
        let (other, _) = accepting_with(places, 1).await;
        an_idle_connection_makes_room(one, other).await;
    }

    #[tokio::test]
    async fn the_last_words_reach_a_client_that_has_sent_much() {
        // A total of 0 refuses everybody.
        for (total, expected) in [(0, "full\n"), (1, "hello\n")] {
            let (address, shutdown) = accepting(total).await;
            let mut client = TcpStream::connect(address).await.unwrap();
            // Unread input at the moment of closing is what would reset the connection.
            client.write_all(&[b'x'; 100_000]).await.unwrap();
            client.shutdown().await.unwrap();
            assert_eq!(heard(&mut client).await, expected);
            shutdown.cancel();
        }
    }

    #[tokio::test]
    async fn an_idle_connection_from_this_machine_makes_room() {
        let (address, shutdown) = accepting(1).await;
        an_idle_connection_makes_room(address, address).await;
        shutdown.cancel();
    }

    /// The connection to `one` gives way to one to `other`.
    async fn an_idle_connection_makes_room(one: SocketAddr, other: SocketAddr) {
        let mut first = TcpStream::connect(one).await.unwrap();
        let mut greeting = [0; 6];
        Clock::system().io.timeout(PATIENCE, first.read_exact(&mut greeting)).await.unwrap().unwrap();
        // It may be a moment until the first counts as idle; until then others are refused.
        let served = async {
            loop {
                let mut second = TcpStream::connect(other).await.unwrap();
                second.read_exact(&mut greeting[..5]).await.unwrap();
                if &greeting[..5] == b"hello" {
                    return;
                }
            }
        };
        Clock::system().io.timeout(PATIENCE, served).await.unwrap();
        assert_eq!(heard(&mut first).await, "bye\n");
    }
}
