//! The places of a listener's connections, and who has to leave when there are too few.

use super::peer::{SharedAddresses, client_network};
use crate::IoClock;
use std::{
    collections::HashMap,
    future::Future,
    net::IpAddr,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{sync::Notify, time::Instant};

/// How many connections have been asked to leave and are still open, at most.
const MOST_LEAVING: usize = 64;
/// How long a client that is in the middle of something may do nothing before it counts as idle.
const SILENCE: Duration = Duration::from_secs(5);

/// How many connections a listener serves at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// In all.
    pub total: usize,
    /// From one IPv4 address or one IPv6 network of 64 bits.
    pub per_peer: usize,
}

impl ConnectionLimits {
    /// Those of DNS over TCP, which is for the few answers that are too large for UDP.
    pub const DNS: Self = Self { total: 100, per_peer: 25 };
}

/// The places of the connections of one listener, or of several that share their limits. Clones are the same places.
#[derive(Debug, Clone)]
pub struct Places {
    shared: SharedAddresses,
    clock: IoClock,
    open: Arc<Mutex<Open>>,
}

#[derive(Debug, Default)]
struct Open {
    by_origin: HashMap<IpAddr, usize>,
    connections: HashMap<u64, Arc<Connection>>,
    next_number: u64,
    /// Connections that were asked to leave. They have no place any more, but are still open.
    leaving: usize,
}

#[derive(Debug)]
struct Connection {
    origin: IpAddr,
    /// Many clients have this address, so that its idle connections give way to new ones.
    shared: bool,
    activity: Mutex<Activity>,
    asked_to_leave: Notify,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Activity {
    Busy,
    IdleSince(Instant),
    Leaving,
}

impl Places {
    /// All of them free.
    pub fn new(clock: IoClock) -> Self {
        Self::sharing(SharedAddresses::of_this_machine(), clock)
    }

    fn sharing(shared: SharedAddresses, clock: IoClock) -> Self {
        Self { shared, clock, open: Arc::default() }
    }

    /// A place for a new connection from `peer`, if there is one. At a limit, the connection that has been idle for the
    /// longest time gives way, where it comes from an address that many clients share.
    pub(super) fn take(&self, peer: IpAddr, limits: ConnectionLimits) -> Option<Place> {
        let (origin, shared) = (client_network(peer), self.shared.contain(peer));
        let mut open = lock(&self.open);
        if open.from(origin) >= limits.per_peer && !(shared && open.make_room(|connection| connection.origin == origin))
        {
            return None;
        }
        if open.connections.len() >= limits.total && !open.make_room(|connection| connection.shared) {
            return None;
        }
        let (activity, asked_to_leave) = (Mutex::new(Activity::Busy), Notify::new());
        let connection = Arc::new(Connection { origin, shared, activity, asked_to_leave });
        let number = open.next_number;
        open.next_number += 1;
        open.connections.insert(number, Arc::clone(&connection));
        *open.by_origin.entry(origin).or_default() += 1;
        Some(Place { number, connection, clock: self.clock, open: Arc::clone(&self.open) })
    }
}

impl Open {
    fn from(&self, origin: IpAddr) -> usize {
        self.by_origin.get(&origin).copied().unwrap_or(0)
    }

    /// Asks one idle connection to leave; false when there is none, or too many are leaving.
    fn make_room(&mut self, may_leave: impl Fn(&Connection) -> bool) -> bool {
        if self.leaving >= MOST_LEAVING {
            return false;
        }
        let idle = self.connections.iter().filter(|(_, connection)| may_leave(connection));
        let idle = idle.filter_map(|(number, connection)| Some((connection.idle_since()?, *number)));
        let Some((_, longest)) = idle.min() else { return false };
        // It may have become busy in this moment; then the new connection is the one that comes too late.
        if !self.connections.get(&longest).is_some_and(|connection| connection.ask_to_leave()) {
            return false;
        }
        self.remove(longest);
        self.leaving += 1;
        true
    }

    /// Frees a place; false when the connection had none any more.
    fn remove(&mut self, number: u64) -> bool {
        let Some(connection) = self.connections.remove(&number) else { return false };
        if let Some(count) = self.by_origin.get_mut(&connection.origin) {
            *count -= 1;
            if *count == 0 {
                self.by_origin.remove(&connection.origin);
            }
        }
        true
    }
}

impl Connection {
    fn idle_since(&self) -> Option<Instant> {
        match *lock(&self.activity) {
            Activity::IdleSince(since) => Some(since),
            Activity::Busy | Activity::Leaving => None,
        }
    }

    fn ask_to_leave(&self) -> bool {
        let mut activity = lock(&self.activity);
        let idle = matches!(*activity, Activity::IdleSince(_));
        if idle {
            *activity = Activity::Leaving;
            self.asked_to_leave.notify_one();
        }
        idle
    }

    /// Changes the activity, unless the connection has to leave; returns whether it may stay.
    fn set(&self, new: Activity) -> bool {
        let mut activity = lock(&self.activity);
        let stays = *activity != Activity::Leaving;
        if stays {
            *activity = new;
        }
        stays
    }
}

/// A place among the open connections of a listener. It is free again when this is dropped.
pub struct Place {
    number: u64,
    connection: Arc<Connection>,
    clock: IoClock,
    open: Arc<Mutex<Open>>,
}

impl Place {
    /// Waits, as an idle connection, for the end of `wait`. Returns `None` when the connection has to close in order to
    /// make room for another.
    pub async fn idle<T>(&self, wait: impl Future<Output = T>) -> Option<T> {
        self.connection.set(Activity::IdleSince(self.clock.instant()));
        tokio::select! {
            biased;
            () = self.connection.asked_to_leave.notified() => None,
            done = wait => self.connection.set(Activity::Busy).then_some(done),
        }
    }

    /// Until when a client that is in the middle of something now counts as busy, if it does nothing.
    pub fn busy_until(&self) -> Instant {
        self.clock.instant() + SILENCE
    }

    /// Waits for the end of `wait`, as a busy connection until `busy_until` and then as an idle one. Returns `None` as
    /// [`Place::idle`] does.
    pub async fn idle_from<T>(&self, busy_until: Instant, wait: impl Future<Output = T>) -> Option<T> {
        // A timer does not fire at once, even when its time has passed.
        if busy_until <= self.clock.instant() {
            return self.idle(wait).await;
        }
        let mut wait = pin!(wait);
        match self.clock.timeout_at(busy_until, &mut wait).await {
            Ok(done) => Some(done),
            Err(_) => self.idle(wait).await,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = lock(&self.open);
        if !open.remove(self.number) {
            open.leaving -= 1;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Clock;
    use std::{future::pending, pin::Pin, task::Poll};

    type Waiting<'a> = Pin<Box<dyn Future<Output = Option<()>> + 'a>>;

    /// Places under fixed limits.
    struct Fixed(Places, ConnectionLimits);

    impl Fixed {
        fn take(&self, peer: IpAddr) -> Option<Place> {
            self.0.take(peer, self.1)
        }
    }

    fn places(total: usize, per_peer: usize) -> Fixed {
        Fixed(Places::sharing(SharedAddresses::default(), Clock::system().io), ConnectionLimits { total, per_peer })
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// A connection that has begun to be idle.
    async fn idle(place: &Place) -> Waiting<'_> {
        let mut waiting: Waiting<'_> = Box::pin(place.idle(pending()));
        assert_eq!(state(&mut waiting).await, Poll::Pending);
        waiting
    }

    async fn state(waiting: &mut Waiting<'_>) -> Poll<Option<()>> {
        std::future::poll_fn(|context| Poll::Ready(waiting.as_mut().poll(context))).await
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_silent_in_the_middle_of_something_is_idle_after_a_while() {
        let places = places(1, 1);
        let place = places.take(ip("127.0.0.1")).unwrap();
        let mut waiting: Waiting<'_> = Box::pin(place.idle_from(place.busy_until(), pending()));
        assert_eq!(state(&mut waiting).await, Poll::Pending);
        assert!(places.take(ip("127.0.0.1")).is_none(), "it may be about to go on");
        tokio::time::advance(SILENCE).await;
        assert_eq!(state(&mut waiting).await, Poll::Pending);
        let _next = places.take(ip("127.0.0.1")).unwrap();
        assert_eq!(state(&mut waiting).await, Poll::Ready(None));
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_not_busy_any_more_is_idle_at_once() {
        let places = places(1, 1);
        let place = places.take(ip("127.0.0.1")).unwrap();
        let mut waiting: Waiting<'_> = Box::pin(place.idle_from(place.clock.instant(), pending()));
        assert_eq!(state(&mut waiting).await, Poll::Pending);
        assert!(places.take(ip("127.0.0.1")).is_some());
        assert_eq!(state(&mut waiting).await, Poll::Ready(None));
    }

    #[test]
    fn places_are_counted_in_all_and_by_peer() {
        let places = places(3, 2);
        let [one, other] = ["192.0.2.1", "192.0.2.2"].map(ip);
        let first = places.take(one);
        let second = places.take(one);
        assert!(first.is_some() && second.is_some() && places.take(one).is_none());
        let third = places.take(other);
        assert!(third.is_some() && places.take(other).is_none());
        drop(first);
        assert!(places.take(one).is_some());
        let network = self::places(3, 1);
        let _held = network.take(ip("2001:db8::1")).unwrap();
        assert!(network.take(ip("2001:db8::2")).is_none());
        assert!(network.take(ip("2001:db8:0:1::1")).is_some());
    }

    #[tokio::test]
    async fn of_a_shared_address_the_longest_idle_connection_gives_way() {
        let places = places(10, 3);
        let taken: Vec<_> = (0..3).map(|_| places.take(ip("127.0.0.1")).unwrap()).collect();
        assert!(places.take(ip("127.0.0.1")).is_none(), "nobody is idle");
        let (mut longest, mut other) = (idle(&taken[1]).await, idle(&taken[0]).await);
        let new = places.take(ip("127.0.0.1"));
        assert!(new.is_some());
        assert_eq!(state(&mut longest).await, Poll::Ready(None));
        assert_eq!(state(&mut other).await, Poll::Pending);
        drop((longest, other));
        // Back at work, it stays.
        assert_eq!(taken[0].idle(async { 7 }).await, Some(7));
        assert!(places.take(ip("127.0.0.1")).is_none());
        drop((new, taken));
        let open = lock(&places.0.open);
        assert_eq!((open.connections.len(), open.by_origin.len(), open.leaving), (0, 0, 0));
    }

    #[tokio::test]
    async fn idle_connections_of_an_address_of_its_own_stay() {
        let own = places(2, 1);
        let place = own.take(ip("192.0.2.1")).unwrap();
        let mut waiting = idle(&place).await;
        assert!(own.take(ip("192.0.2.1")).is_none());
        assert_eq!(state(&mut waiting).await, Poll::Pending);
        // At the total limit, those of a shared address give way to anybody.
        let shared = own.take(ip("127.0.0.1")).unwrap();
        assert!(own.take(ip("192.0.2.2")).is_none(), "nobody of a shared address is idle");
        let mut leaving = idle(&shared).await;
        assert!(own.take(ip("192.0.2.2")).is_some());
        assert_eq!(state(&mut leaving).await, Poll::Ready(None));
        assert_eq!(state(&mut waiting).await, Poll::Pending);
    }
}
