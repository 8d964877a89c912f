//! How many HTTP connections a process has at once, and which of them make room for others.

use mail_net::IoClock;
use std::{
    collections::BTreeMap,
    sync::{
        Arc, LazyLock, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;

/// HTTP's part of the descriptors is this fraction: the rest is for SMTP, POP3, DNS and files.
const FRACTION: usize = 4;
/// The most HTTP connections, however many descriptors there are.
const MOST: usize = 4096;
/// For how long a connection may be idle before it has to make room. A new client has this long to send its request,
/// however many others come after it.
const SAFE: Duration = Duration::from_millis(200);

/// The room of this process. It belongs to the process because the limit of descriptors does.
pub(super) static PROCESS: LazyLock<Arc<Room>> =
    LazyLock::new(|| Arc::new(Room::new((town_config::descriptors::limit() / FRACTION).clamp(1, MOST))));

/// A bounded set of connections.
pub(super) struct Room {
    limit: usize,
    connections: Mutex<BTreeMap<u64, Arc<Connection>>>,
    next: AtomicU64,
    left: Notify,
}

/// What is known of a connection from outside.
pub(super) struct Connection {
    pub(super) clock: IoClock,
    born: Instant,
    requests: AtomicUsize,
    /// When it fell idle, in milliseconds since it was accepted.
    idle_since: AtomicU64,
    served: AtomicUsize,
    /// Cancelled when it has to make room.
    pub(super) evicted: CancellationToken,
}

/// A connection's place in the room, which it leaves when this is dropped.
pub(super) struct Place {
    pub(super) connection: Arc<Connection>,
    number: u64,
    room: Arc<Room>,
}

impl Room {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, connections: Mutex::default(), next: AtomicU64::new(0), left: Notify::new() }
    }

    /// Takes a place. Where all are taken, the connection that has been idle the longest has to leave first, once it
    /// has been idle for [`SAFE`]. Where every connection has a request under way, this waits until one is done.
    pub(super) async fn enter(self: &Arc<Self>, clock: IoClock) -> Place {
        loop {
            // Registered before the look, so that nobody leaves unseen between the two.
            let left = self.left.notified();
            match self.take(clock) {
                Ok(place) => return place,
                // Whoever leaves or becomes idle meanwhile is seen by the next look.
                Err(look_again) => drop(clock.timeout(look_again, left).await),
            }
        }
    }

    /// Takes a place, or else says after how long to look again if nobody leaves before.
    fn take(self: &Arc<Self>, clock: IoClock) -> Result<Place, Duration> {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        if connections.len() >= self.limit {
            let idle = connections.values().filter_map(|connection| Some((connection.idle_for()?, connection)));
            return match idle.max_by_key(|(idle, _)| *idle) {
                Some((idle, longest)) if idle >= SAFE => {
                    longest.evicted.cancel();
                    Err(SAFE)
                }
                Some((idle, _)) => Err(SAFE - idle),
                None => Err(SAFE),
            };
        }
        let connection = Arc::new(Connection::new(clock));
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        connections.insert(number, Arc::clone(&connection));
        Ok(Place { connection, number, room: Arc::clone(self) })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.room.connections.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.number);
        self.room.left.notify_waiters();
    }
}

impl Connection {
    fn new(clock: IoClock) -> Self {
        Self {
            clock,
            born: clock.instant(),
            requests: AtomicUsize::new(0),
            idle_since: AtomicU64::new(0),
            served: AtomicUsize::new(0),
            evicted: CancellationToken::new(),
        }
    }

    /// Counts a request as under way until the answer is dropped.
    pub(super) fn request(self: &Arc<Self>) -> UnderWay {
        self.requests.fetch_add(1, Ordering::AcqRel);
        UnderWay(Arc::clone(self))
    }

    /// For how long it has had no request under way. One whose header is not complete is idle.
    pub(super) fn idle_for(&self) -> Option<Duration> {
        let idle = self.requests.load(Ordering::Acquire) == 0;
        idle.then(|| self.age().saturating_sub(Duration::from_millis(self.idle_since.load(Ordering::Acquire))))
    }

    /// Whether a request has been answered on it.
    pub(super) fn has_served(&self) -> bool {
        self.served.load(Ordering::Acquire) > 0
    }

    fn age(&self) -> Duration {
        self.clock.since(self.born)
    }
}

/// A request that is being answered.
pub(super) struct UnderWay(Arc<Connection>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        let now = u64::try_from(self.0.age().as_millis()).unwrap_or(u64::MAX);
        self.0.idle_since.store(now, Ordering::Release);
        self.0.served.fetch_add(1, Ordering::AcqRel);
        self.0.requests.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mail_net::Clock;
    use std::future::Future;
    use std::task::{Context, Waker};

    fn is_pending(future: &mut std::pin::Pin<Box<impl Future<Output = Place>>>) -> bool {
        future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending()
    }

    #[tokio::test(start_paused = true)]
    async fn the_connection_that_is_idle_the_longest_makes_room() {
        let (room, clock) = (Arc::new(Room::new(2)), Clock::system().io);
        let first = room.enter(clock).await;
        let second = room.enter(clock).await;
        let busy = first.connection.request();
        let mut third = Box::pin(room.enter(clock));
        assert!(is_pending(&mut third));
        assert!(!second.connection.evicted.is_cancelled(), "its request may be on its way");
        tokio::time::advance(SAFE).await;
        assert!(is_pending(&mut third));
        assert!(second.connection.evicted.is_cancelled() && !first.connection.evicted.is_cancelled());
        drop(second);
        let third = third.await;
        let other = third.connection.request();
        let mut fourth = Box::pin(room.enter(clock));
        assert!(is_pending(&mut fourth), "all are busy");
        drop((other, third));
        fourth.await;
        assert!(!first.connection.evicted.is_cancelled());
        drop(busy);
        assert!(first.connection.has_served() && first.connection.idle_for().is_some());
    }
}
