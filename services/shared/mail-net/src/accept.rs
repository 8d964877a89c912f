//! A bounded accept loop.

mod peer;
mod places;

pub use peer::client_network;
pub use places::{ConnectionLimits, Place, Places};

use crate::{IoClock, close::close, descriptors, io::Io};
use std::{
    future::Future,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument;

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
            Err(error) => {
                if is_due(&REMINDED, clock) {
                    let remedy = descriptors::remedy(&error);
                    facts::ServiceAcceptFailed { error, remedy: remedy.unwrap_or_default() }.log();
                }
                clock.sleep(PAUSE).await;
            }
        }
    }
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
pub struct AcceptLoop<L, R> {
    /// Where clients connect.
    pub listener: TcpListener,
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

impl<L: Fn() -> ConnectionLimits, R: Fn(SocketAddr)> AcceptLoop<L, R> {
    /// Serves each connection with `serve` until `shutdown`, then waits for the open ones.
    ///
    /// Each connection has a [`Place`], which it holds until it ends. A connection over the limits is refused.
    pub async fn run<S, F>(self, shutdown: CancellationToken, serve: S)
    where
        S: Fn(Box<dyn Io>, SocketAddr, Place) -> F,
        F: Future<Output = ()> + Send + 'static,
    {
        let Self { listener, places, limits, refusal, refused, grace, clock } = self;
        let refusals = Arc::new(Semaphore::new(REFUSALS));
        let connections = TaskTracker::new();
        loop {
            let (stream, peer) = tokio::select! {
                () = shutdown.cancelled() => break,
                accepted = accept_one(&listener, clock) => accepted,
            };
            // Replies are written whole, so there is nothing for Nagle's algorithm to gather.
            let _ = stream.set_nodelay(true);
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
        let accepting =
            AcceptLoop { listener, places, limits, refusal: b"full\n", refused: drop, grace: PATIENCE, clock };
        tokio::spawn(accepting.run(shutdown.clone(), serve));
        (address, shutdown)
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
