//! A bounded accept loop, and the one way to close a connection.

mod peer;
mod places;

pub use places::{ConnectionLimits, Place};

use crate::shutdown::{CancellationToken, GRACE};
use bytes::BytesMut;
use peer::SharedAddresses;
use places::Places;
use std::{
    future::Future,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{Instant, timeout},
};
use tokio_util::task::TaskTracker;
use town_config::descriptors;
use tracing::Instrument;

/// How long a client may take to close its side after we have closed ours, and how many octets of it are dropped.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_OCTETS: usize = 1024 * 1024;
const READ_OCTETS: usize = 4 * 1024;
/// How many refused connections are closed with care at once. More are dropped, and may be reset.
const REFUSALS: usize = 64;
/// How long nothing is accepted after that has failed: one that waits would make it fail again at once.
const PAUSE: Duration = Duration::from_millis(50);
/// How often the log tells that nothing can be accepted. All listeners of a process lack the same descriptors.
const REMINDER: Duration = Duration::from_secs(60);

static REMINDED: Mutex<Option<Instant>> = Mutex::new(None);

/// Waits for the next connection. A failure, which is most likely a lack of descriptors, is logged and only delays it.
pub async fn accept_one(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) => {
                if is_due(&REMINDED) {
                    let remedy = descriptors::remedy(&error);
                    tracing::warn!(%error, remedy, "cannot accept connections");
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Whether [`REMINDER`] has passed since this was due the last time.
fn is_due(last: &Mutex<Option<Instant>>) -> bool {
    let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
    let due = last.is_none_or(|last| last.elapsed() >= REMINDER);
    if due {
        *last = Some(Instant::now());
    }
    due
}

/// Serves each connection with `serve` until `shutdown`, then waits for the open ones, [`GRACE`] at most. A connection
/// over the limits, which are asked for each time, is sent `refusal` and closed. Each connection has a [`Place`], which it holds until it ends.
pub async fn accept<S, F>(
    listener: TcpListener,
    limits: impl Fn() -> ConnectionLimits,
    refusal: &'static [u8],
    shutdown: CancellationToken,
    serve: S,
) where
    S: Fn(TcpStream, SocketAddr, Place) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    let places = Places::new(SharedAddresses::of_this_machine());
    let refusals = Arc::new(Semaphore::new(REFUSALS));
    let connections = TaskTracker::new();
    loop {
        let (stream, peer) = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = accept_one(&listener) => accepted,
        };
        // Replies are written whole, so there is nothing for Nagle's algorithm to gather.
        let _ = stream.set_nodelay(true);
        if let Some(place) = places.take(peer.ip(), limits()) {
            connections.spawn(serve(stream, peer, place).in_current_span());
            continue;
        }
        tracing::info!(%peer, "connection refused: too many are open");
        if let Ok(permit) = Arc::clone(&refusals).try_acquire_owned() {
            connections.spawn(async move {
                refuse(stream, refusal).await;
                drop(permit);
            });
        }
    }
    drop(listener);
    connections.close();
    if timeout(GRACE, connections.wait()).await.is_err() {
        tracing::warn!(connections = connections.len(), "cut off connections that did not finish in time");
    }
}

/// Closes a connection so that the client gets the last reply. To close a socket with unread input is to reset the
/// connection, and a reset destroys replies on their way. So this reads, and drops, what the client still sends until
/// it closes its side, for a bounded time and a bounded number of octets.
pub async fn close(mut stream: TcpStream) {
    if stream.shutdown().await.is_err() {
        return;
    }
    let drained = async {
        let (mut input, mut octets) = (BytesMut::with_capacity(READ_OCTETS), 0);
        while let Ok(read @ 1..) = stream.read_buf(&mut input).await {
            input.clear();
            octets += read;
            if octets > LINGER_OCTETS {
                break;
            }
        }
    };
    let _ = timeout(LINGER, drained).await;
}

async fn refuse(mut stream: TcpStream, refusal: &[u8]) {
    if let Ok(Ok(())) = timeout(LINGER, stream.write_all(refusal)).await {
        close(stream).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;

    /// Far longer than anything here takes.
    const PATIENCE: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn a_reminder_is_due_once_in_a_while() {
        let reminded = Mutex::new(None);
        assert!(is_due(&reminded) && !is_due(&reminded));
        tokio::time::advance(REMINDER).await;
        assert!(is_due(&reminded) && !is_due(&reminded));
    }

    async fn heard(client: &mut TcpStream) -> String {
        let mut text = String::new();
        timeout(PATIENCE, client.read_to_string(&mut text)).await.unwrap().unwrap();
        text
    }

    async fn accepting(total: usize) -> (SocketAddr, CancellationToken) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let limits = ConnectionLimits { total, per_peer: total };
        let serve = |mut stream: TcpStream, _, place: Place| async move {
            stream.write_all(b"hello\n").await.unwrap();
            if place.idle(stream.peek(&mut [0])).await.is_none() {
                stream.write_all(b"bye\n").await.unwrap();
            }
            close(stream).await;
        };
        tokio::spawn(accept(listener, move || limits, b"full\n", shutdown.clone(), serve));
        (address, shutdown)
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
        let mut first = TcpStream::connect(address).await.unwrap();
        let mut greeting = [0; 6];
        timeout(PATIENCE, first.read_exact(&mut greeting)).await.unwrap().unwrap();
        // It may be a moment until the first counts as idle; until then others are refused.
        let served = async {
            loop {
                let mut second = TcpStream::connect(address).await.unwrap();
                second.read_exact(&mut greeting[..5]).await.unwrap();
                if &greeting[..5] == b"hello" {
                    return;
                }
            }
        };
        timeout(PATIENCE, served).await.unwrap();
        assert_eq!(heard(&mut first).await, "bye\n");
        shutdown.cancel();
    }
}
