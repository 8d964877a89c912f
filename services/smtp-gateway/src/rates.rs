//! How much one client may do in a minute.

use governor::{Quota, RateLimiter, clock::Clock, middleware::NoOpMiddleware, state::keyed::HashMapStateStore};
use jiff::Timestamp;
use mail_net::{WallClock, client_network};
use mail_proto::smtp::Reply;
use std::{
    net::IpAddr,
    num::NonZeroU32,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use town_config::Limits;

/// How many clients are remembered for each limit. When there are more that have done something in the last minute, all
/// of them begin anew: memory is bounded, and a client that has so many addresses would pass anyway.
const REMEMBERED_CLIENTS: usize = 50_000;

/// What a client does, as far as it is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// It connects.
    Connect,
    /// It begins a message, with MAIL.
    Message,
    /// It names a recipient, with RCPT, whether it is taken or not.
    Recipient,
}

impl Action {
    /// How many of them the configuration allows in a minute; 0 is no limit.
    fn limit(self, limits: &Limits) -> u32 {
        match self {
            Self::Connect => limits.connections_per_minute,
            Self::Message => limits.messages_per_minute,
            Self::Recipient => limits.recipients_per_minute,
        }
    }

    /// The reply to a client that has done it too often (RFC 5321 §3.8, §4.2.1, RFC 3463 §3.8).
    fn refusal(self) -> Reply {
        let (code, what) = match self {
            Self::Connect => (421, "connections"),
            Self::Message => (451, "messages"),
            Self::Recipient => (451, "recipients"),
        };
        Reply::new(code, (7, 0), format!("too many {what} from your address in a minute, try again later"))
    }
}

/// Counts what the clients of a gateway do. A client is an IPv4 address or an IPv6 network of 64 bits.
///
/// A client that has done nothing for a minute may do as much as the limit at once. What it has used comes back evenly
/// over a minute. The time is the wall clock's.
#[derive(Debug)]
pub(crate) struct Rates {
    connections: Limiter,
    messages: Limiter,
    recipients: Limiter,
}

impl Rates {
    pub(crate) fn new(wall: WallClock) -> Self {
        let passed = Passed::since_now(wall);
        let [connections, messages, recipients] = [(); 3].map(|()| Limiter::new(passed.clone()));
        Self { connections, messages, recipients }
    }

    /// Counts an action, or refuses it.
    ///
    /// # Errors
    /// The reply, when this client has done it too often.
    pub(crate) fn count(&self, client: IpAddr, action: Action, limits: &Limits) -> Result<(), Reply> {
        let limiter = match action {
            Action::Connect => &self.connections,
            Action::Message => &self.messages,
            Action::Recipient => &self.recipients,
        };
        let Some(per_minute) = NonZeroU32::new(action.limit(limits)) else { return Ok(()) };
        if limiter.admits(client_network(client), per_minute) { Ok(()) } else { Err(action.refusal()) }
    }
}

type Keyed = RateLimiter<IpAddr, HashMapStateStore<IpAddr>, Passed, NoOpMiddleware<Duration>>;

/// One limit of all clients.
#[derive(Debug)]
struct Limiter {
    passed: Passed,
    /// What was last allowed in a minute, and what was done since.
    counted: Mutex<Option<(NonZeroU32, Keyed)>>,
}

impl Limiter {
    fn new(passed: Passed) -> Self {
        Self { passed, counted: Mutex::default() }
    }

    fn admits(&self, client: IpAddr, per_minute: NonZeroU32) -> bool {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((limit, keyed)) = &*counted
            && *limit == per_minute
        {
            if keyed.len() >= REMEMBERED_CLIENTS {
                keyed.retain_recent();
            }
            if keyed.len() < REMEMBERED_CLIENTS {
                return keyed.check_key(&client).is_ok();
            }
        }
        let store = HashMapStateStore::default();
        let keyed = RateLimiter::new(Quota::per_minute(per_minute), store, self.passed.clone());
        let admitted = keyed.check_key(&client).is_ok();
        *counted = Some((per_minute, keyed));
        admitted
    }
}

/// The time that has passed on a wall clock. When that is set back, it only goes on from there.
#[derive(Debug, Clone)]
struct Passed {
    wall: WallClock,
    last: Arc<Mutex<(Timestamp, Duration)>>,
}

impl Passed {
    fn since_now(wall: WallClock) -> Self {
        let last = Arc::new(Mutex::new((wall.now(), Duration::ZERO)));
        Self { wall, last }
    }
}

impl Clock for Passed {
    type Instant = Duration;

    fn now(&self) -> Duration {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let (then, passed) = *last;
        let passed = passed + self.wall.since(then);
        *last = (self.wall.now(), passed);
        passed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mail_net::ManualClock;
    use std::net::{Ipv4Addr, Ipv6Addr};

    const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    const SECOND: Duration = Duration::from_secs(1);

    fn rates() -> (ManualClock, Rates) {
        let time = ManualClock::starting_at("2026-01-01T00:00:00Z".parse().unwrap());
        let rates = Rates::new(time.clock().wall);
        (time, rates)
    }

    fn limits() -> Limits {
        Limits { connections_per_minute: 2, messages_per_minute: 3, recipients_per_minute: 60, ..Limits::default() }
    }

    /// How many of them are allowed at once.
    fn burst(rates: &Rates, client: IpAddr, action: Action) -> usize {
        (0..1000).take_while(|_| rates.count(client, action, &limits()).is_ok()).count()
    }

    #[test]
    fn each_action_has_its_own_limit_and_reply() {
        let (_, rates) = rates();
        for (action, allowed, refusal) in [
            (Action::Connect, 2, "421 4.7.0 too many connections from your address in a minute, try again later"),
            (Action::Message, 3, "451 4.7.0 too many messages from your address in a minute, try again later"),
            (Action::Recipient, 60, "451 4.7.0 too many recipients from your address in a minute, try again later"),
        ] {
            assert_eq!(burst(&rates, CLIENT, action), allowed, "{action:?}");
            let refused = rates.count(CLIENT, action, &limits()).unwrap_err();
            assert_eq!(refused.on_one_line(), refusal);
        }
    }

    #[test]
    fn what_was_used_comes_back_evenly() {
        let (time, rates) = rates();
        assert_eq!(burst(&rates, CLIENT, Action::Recipient), 60);
        time.advance(SECOND);
        assert_eq!(burst(&rates, CLIENT, Action::Recipient), 1);
        time.turn_back(3600 * SECOND);
        assert_eq!(burst(&rates, CLIENT, Action::Recipient), 0);
        time.advance(10 * SECOND);
        assert_eq!(burst(&rates, CLIENT, Action::Recipient), 10, "a clock that is set back keeps nobody out");
        time.advance(3600 * SECOND);
        assert_eq!(burst(&rates, CLIENT, Action::Recipient), 60);
    }

    #[test]
    fn clients_are_counted_apart_and_an_ipv6_network_is_one() {
        let (_, rates) = rates();
        let ipv6 = |network: u16, host| IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, network, 0, 0, 0, host));
        let mapped = IpAddr::V6(Ipv4Addr::new(192, 0, 2, 1).to_ipv6_mapped());
        for (client, allowed) in [(CLIENT, 2), (mapped, 0), (ipv6(1, 1), 2), (ipv6(1, 2), 0), (ipv6(2, 1), 2)] {
            assert_eq!(burst(&rates, client, Action::Connect), allowed, "{client}");
        }
    }

    #[test]
    fn zero_is_no_limit_and_a_changed_limit_is_in_force_at_once() {
        let (_, rates) = rates();
        assert_eq!(burst(&rates, CLIENT, Action::Connect), 2);
        for (per_minute, allowed) in [(0, 1000), (5, 5), (2, 2)] {
            let limits = Limits { connections_per_minute: per_minute, ..limits() };
            let counted = (0..1000).take_while(|_| rates.count(CLIENT, Action::Connect, &limits).is_ok()).count();
            assert_eq!(counted, allowed);
        }
    }

    #[test]
    fn many_clients_take_bounded_memory() {
        let (time, rates) = rates();
        for client in 0..3 * REMEMBERED_CLIENTS as u32 {
            let client = IpAddr::V4(Ipv4Addr::from_bits(client));
            assert!(rates.count(client, Action::Connect, &limits()).is_ok());
        }
        let remembered = || rates.connections.counted.lock().unwrap().as_ref().map(|(_, keyed)| keyed.len());
        assert!(remembered() <= Some(REMEMBERED_CLIENTS));
        // Those of before are forgotten first.
        time.advance(3600 * SECOND);
        for client in 0..2 * REMEMBERED_CLIENTS as u32 {
            let client = IpAddr::V4(Ipv4Addr::from_bits(client));
            assert!(rates.count(client, Action::Connect, &limits()).is_ok());
        }
        assert!(remembered() <= Some(REMEMBERED_CLIENTS));
    }
}
