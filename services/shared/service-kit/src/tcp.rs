//! A bounded accept loop.

use crate::{
    config::Limits,
    shutdown::{CancellationToken, GRACE},
};
use std::{
    collections::HashMap,
    future::Future,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;
use tracing::Instrument;

/// How many connections a listener serves at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// In all.
    pub total: usize,
    /// From one address.
    pub per_peer: usize,
}

impl From<&Limits> for ConnectionLimits {
    fn from(limits: &Limits) -> Self {
        Self { total: limits.connections, per_peer: limits.connections_per_peer }
    }
}

/// Serves each connection with `serve` until `shutdown`; then waits for those that are open, [`GRACE`] at
/// most. `limits` is asked for each connection; one over the limit is sent `refusal` and closed.
pub async fn accept<S, F>(
    listener: TcpListener,
    limits: impl Fn() -> ConnectionLimits,
    refusal: &'static [u8],
    shutdown: CancellationToken,
    serve: S,
) where
    S: Fn(TcpStream, SocketAddr) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    let slots = Slots::default();
    let connections = TaskTracker::new();
    loop {
        let (stream, peer) = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok(connection) => connection,
                Err(error) => {
                    // Out of file descriptors, most likely: those in use will be closed some time.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
        };
        // Replies are written whole, so there is nothing for Nagle's algorithm to gather.
        let _ = stream.set_nodelay(true);
        match slots.take(peer.ip(), limits()) {
            Some(slot) => {
                let connection = serve(stream, peer);
                let served = async move {
                    connection.await;
                    drop(slot);
                };
                connections.spawn(served.in_current_span());
            }
            None => {
                tracing::info!(%peer, "connection refused: too many are open");
                let _ = stream.try_write(refusal);
            }
        }
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(GRACE, connections.wait()).await.is_err() {
        tracing::warn!(connections = connections.len(), "cut off connections that did not finish in time");
    }
}

#[derive(Debug, Default)]
struct Open {
    total: usize,
    by_peer: HashMap<IpAddr, usize>,
}

#[derive(Default)]
struct Slots {
    open: Arc<Mutex<Open>>,
}

impl Slots {
    fn take(&self, peer: IpAddr, limits: ConnectionLimits) -> Option<Slot> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let from_peer = open.by_peer.get(&peer).copied().unwrap_or(0);
        if open.total >= limits.total || from_peer >= limits.per_peer {
            return None;
        }
        open.total += 1;
        open.by_peer.insert(peer, from_peer + 1);
        Some(Slot { peer, open: Arc::clone(&self.open) })
    }
}

/// A place among the open connections, given back when dropped.
struct Slot {
    peer: IpAddr,
    open: Arc<Mutex<Open>>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.total -= 1;
        if let Some(from_peer) = open.by_peer.get_mut(&self.peer) {
            *from_peer -= 1;
            if *from_peer == 0 {
                open.by_peer.remove(&self.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_counted_in_all_and_by_peer() {
        let slots = Slots::default();
        let take = |peer| slots.take(peer, ConnectionLimits { total: 3, per_peer: 2 });
        let [one, other]: [IpAddr; 2] = [[127, 0, 0, 1].into(), [127, 0, 0, 2].into()];
        let first = take(one);
        let second = take(one);
        assert!(first.is_some() && second.is_some() && take(one).is_none());
        let third = take(other);
        assert!(third.is_some() && take(other).is_none());
        drop(first);
        assert!(take(one).is_some());
    }
}
