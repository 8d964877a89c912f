//! The counts and delays, on a clock that only the test moves.

use super::*;
use crate::throttle::table::ROOM;
use std::net::{Ipv4Addr, Ipv6Addr};

const LIMIT: u32 = 3;
const MINUTE: Duration = FORGOTTEN_AFTER;

/// The counts, and what time it is.
struct Fixture {
    failures: Failures,
    now: Timestamp,
}

impl Fixture {
    fn new() -> Self {
        Self { failures: Failures::default(), now: "2026-01-01T00:00:00Z".parse().unwrap() }
    }

    fn advance(&mut self, by: Duration) {
        self.now += by;
    }

    fn failed(&mut self, client: IpAddr, account: &str) -> u128 {
        let guess = self.failures.guess(Some(client), account);
        self.failures.failed(guess, LIMIT, self.now).delay.as_millis()
    }

    fn succeeded(&mut self, client: IpAddr, account: &str) -> u128 {
        let guess = self.failures.guess(Some(client), account);
        self.failures.succeeded(guess, LIMIT, self.now).as_millis()
    }

    fn delay(&mut self, client: IpAddr, account: &str) -> u128 {
        let guess = self.failures.guess(Some(client), account);
        self.failures.delay(guess, LIMIT, self.now).as_millis()
    }

    /// Lets in as many logins of a client as it is let in.
    fn enter_all(&mut self, client: IpAddr) -> usize {
        let guess = self.failures.guess(Some(client), "a@a.test");
        (0..2 * WAITING).take_while(|_| self.failures.enter(guess, LIMIT, self.now) == Ok(true)).count()
    }
}

fn client(number: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + number))
}

#[test]
fn delays_double_beyond_the_limit_up_to_the_longest() {
    let mut fixture = Fixture::new();
    let delays: Vec<_> = (0..11).map(|_| fixture.failed(client(1), "a@a.test")).collect();
    assert_eq!(delays, [0, 0, 0, 250, 500, 1000, 2000, 4000, 8000, 8000, 8000]);
    // Whatever the account: the network is delayed, and no other one is.
    assert_eq!(fixture.failed(client(1), "nobody@a.test"), 8000);
    assert_eq!(fixture.failed(client(2), "b@a.test"), 0);
}

#[test]
fn a_failure_is_forgotten_each_minute() {
    let mut fixture = Fixture::new();
    for _ in 0..5 {
        fixture.failed(client(1), "a@a.test");
    }
    assert_eq!(fixture.delay(client(1), "b@a.test"), 500);
    fixture.advance(MINUTE - Duration::from_millis(1));
    assert_eq!(fixture.delay(client(1), "b@a.test"), 500);
    fixture.advance(Duration::from_millis(1));
    assert_eq!(fixture.delay(client(1), "b@a.test"), 250);
    fixture.advance(MINUTE);
    assert_eq!(fixture.delay(client(1), "b@a.test"), 0);
    // One more is the fourth again.
    assert_eq!(fixture.failed(client(1), "a@a.test"), 250);
    fixture.advance(60 * MINUTE);
    let delays: Vec<_> = (0..4).map(|_| fixture.failed(client(1), "a@a.test")).collect();
    assert_eq!(delays, [0, 0, 0, 250]);
}

/// However much somebody has guessed, his network is free again after a while.
#[test]
fn a_bounded_number_of_failures_is_counted() {
    let mut fixture = Fixture::new();
    for _ in 0..10_000 {
        fixture.failed(client(1), "a@a.test");
    }
    fixture.advance(MINUTE * (MOST_BEYOND - 1));
    assert_eq!(fixture.delay(client(1), "b@a.test"), 250);
    fixture.advance(MINUTE);
    assert_eq!(fixture.delay(client(1), "b@a.test"), 0);
}

#[test]
fn a_clock_that_is_set_back_keeps_nobody_out() {
    let mut fixture = Fixture::new();
    for _ in 0..5 {
        fixture.failed(client(1), "a@a.test");
    }
    fixture.now -= 60 * MINUTE;
    assert_eq!(fixture.delay(client(1), "a@a.test"), 500);
    fixture.advance(2 * MINUTE);
    assert_eq!(fixture.delay(client(1), "a@a.test"), 0);
}

/// A user elsewhere gets in within a second, however many networks guess at his password.
#[test]
fn an_account_alone_delays_little() {
    let mut fixture = Fixture::new();
    for number in 0..100 {
        assert!(fixture.failed(client(number), "a@a.test") <= 500);
    }
    assert_eq!(fixture.delay(client(1000), "A@a.test"), 500);
    assert_eq!(fixture.delay(client(1000), "b@a.test"), 0);
    assert_eq!(fixture.succeeded(client(1000), "a@a.test"), 500);
    assert_eq!(fixture.delay(client(1001), "a@a.test"), 0, "a right login clears the account's count");
}

/// A client is not slowed down by others of its network once it is known, and whoever guesses gains nothing by it.
#[test]
fn who_has_logged_in_from_a_network_does_not_wait_for_others_of_it() {
    let mut fixture = Fixture::new();
    assert_eq!(fixture.succeeded(client(1), "good@a.test"), 0);
    for _ in 0..20 {
        fixture.failed(client(1), "a@a.test");
    }
    assert_eq!(fixture.succeeded(client(1), "good@a.test"), 0);
    assert_eq!(fixture.succeeded(client(1), "other@a.test"), 8000, "it was never here before");
    assert_eq!(fixture.succeeded(client(1), "other@a.test"), 0);
    assert_eq!(fixture.delay(client(1), "good@a.test"), 8000, "as long as nobody knows the outcome");
    assert_eq!(fixture.failed(client(1), "good@a.test"), 8000);
    // Its own failures count.
    for _ in 0..3 {
        fixture.failed(client(1), "good@a.test");
    }
    assert_eq!(fixture.succeeded(client(1), "good@a.test"), 250);
    assert_eq!(fixture.succeeded(client(1), "good@a.test"), 0);
    // A day later it is known no more.
    fixture.advance(PROVED_FOR);
    for _ in 0..20 {
        fixture.failed(client(1), "a@a.test");
    }
    assert_eq!(fixture.succeeded(client(1), "good@a.test"), 8000);
}

#[test]
fn successes_are_never_delayed() {
    let mut fixture = Fixture::new();
    for _ in 0..1000 {
        assert_eq!(fixture.delay(client(1), "a@a.test"), 0);
        assert_eq!(fixture.succeeded(client(1), "a@a.test"), 0);
    }
}

#[test]
fn an_ipv6_network_is_one_client() {
    let ipv6 = |network: u16, host| IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, network, 0, 0, 0, host));
    let mut fixture = Fixture::new();
    for host in 0..4 {
        fixture.failed(ipv6(1, host), "a@a.test");
    }
    assert_eq!(fixture.delay(ipv6(1, 9), "b@a.test"), 250);
    assert_eq!(fixture.delay(ipv6(2, 9), "b@a.test"), 0);
    // One written as IPv6 is the same as IPv4.
    for _ in 0..4 {
        fixture.failed(client(1), "a@a.test");
    }
    let mapped = IpAddr::V6(Ipv4Addr::from_bits(0x0a00_0001).to_ipv6_mapped());
    assert_eq!(fixture.delay(mapped, "b@a.test"), 250);
}

/// A gateway of the version before does not say who its clients are: they are not delayed together.
#[test]
fn clients_that_nobody_names_are_delayed_by_account_only() {
    let mut fixture = Fixture::new();
    let guess = fixture.failures.guess(None, "a@a.test");
    for _ in 0..20 {
        assert!(fixture.failures.failed(guess, LIMIT, fixture.now).delay <= LONGEST_DELAY_BY_ACCOUNT);
    }
    for _ in 0..WAITING_OF_ONE {
        assert_eq!(fixture.failures.enter(guess, LIMIT, fixture.now), Ok(true));
    }
    assert_eq!(fixture.failures.enter(guess, LIMIT, fixture.now), Err(Crowded));
    fixture.failures.leave(guess);
    assert_eq!(fixture.failures.enter(guess, LIMIT, fixture.now), Ok(true));
    let other = fixture.failures.guess(None, "b@a.test");
    assert_eq!(fixture.failures.enter(other, LIMIT, fixture.now), Ok(false));
    assert_eq!(fixture.failures.succeeded(other, LIMIT, fixture.now), Duration::ZERO);
}

#[test]
fn that_a_network_is_delayed_from_now_on_is_told_once() {
    let mut fixture = Fixture::new();
    let guess = fixture.failures.guess(Some(client(1)), "a@a.test");
    let told: Vec<_> = (0..8).filter_map(|_| fixture.failures.failed(guess, LIMIT, fixture.now).begins).collect();
    assert_eq!(told, [LIMIT + 1]);
}

#[test]
fn a_limit_of_zero_switches_it_off_and_a_changed_one_is_in_force_at_once() {
    let mut fixture = Fixture::new();
    let guess = fixture.failures.guess(Some(client(1)), "a@a.test");
    for _ in 0..100 {
        let off = Failed { delay: Duration::ZERO, begins: None };
        assert_eq!(fixture.failures.failed(guess, 0, fixture.now), off);
    }
    assert_eq!(fixture.delay(client(1), "a@a.test"), 0);
    for _ in 0..20 {
        fixture.failed(client(1), "a@a.test");
    }
    assert_eq!(fixture.failures.enter(guess, 0, fixture.now), Ok(false));
    assert_eq!(fixture.failures.delay(guess, 0, fixture.now), Duration::ZERO);
    assert_eq!(fixture.failures.delay(guess, 1000, fixture.now), Duration::ZERO);
    assert_eq!(fixture.failures.succeeded(guess, 0, fixture.now), Duration::ZERO);
}

/// As long as a network is not delayed, its logins take no place.
#[test]
fn a_bounded_number_of_logins_of_a_delayed_network_waits() {
    let mut fixture = Fixture::new();
    assert_eq!(fixture.enter_all(client(1)), 0);
    let guess = fixture.failures.guess(Some(client(1)), "a@a.test");
    for _ in 0..1000 {
        assert_eq!(fixture.failures.enter(guess, LIMIT, fixture.now), Ok(false));
    }
    for _ in 0..4 {
        fixture.failed(client(1), "a@a.test");
    }
    assert_eq!(fixture.enter_all(client(1)), WAITING_OF_ONE);
    assert_eq!(fixture.failures.enter(guess, LIMIT, fixture.now), Err(Crowded));
    fixture.failures.leave(guess);
    assert_eq!(fixture.enter_all(client(1)), 1);
    for _ in 0..WAITING_OF_ONE {
        fixture.failures.leave(guess);
    }
    assert!(fixture.failures.waiting.is_empty() && fixture.failures.all_waiting == 0);
}

#[test]
fn a_bounded_number_of_logins_of_all_delayed_networks_waits() {
    let mut fixture = Fixture::new();
    let mut waiting = 0;
    for number in 0..100 {
        for _ in 0..4 {
            fixture.failed(client(number), "a@a.test");
        }
        waiting += fixture.enter_all(client(number));
    }
    assert_eq!(waiting, WAITING);
    // A network that is not delayed needs no place.
    let good = fixture.failures.guess(Some(client(1000)), "a@a.test");
    assert_eq!(fixture.failures.enter(good, LIMIT, fixture.now), Ok(false));
}

/// Whoever has many addresses does not make his own count forgotten, and memory does not grow.
#[test]
fn what_counts_least_is_forgotten_first() {
    let mut fixture = Fixture::new();
    fixture.succeeded(client(1), "good@a.test");
    for _ in 0..9 {
        fixture.failed(client(1), "a@a.test");
    }
    for number in 0..3 * ROOM as u32 {
        fixture.failed(client(1000 + number), &format!("u{number}@a.test"));
    }
    let Failures { networks, accounts, pairs, .. } = &fixture.failures;
    assert_eq!([networks.len(), accounts.len(), pairs.len()], [ROOM; 3]);
    assert_eq!(fixture.delay(client(1), "b@a.test"), 8000);
    assert_eq!(fixture.delay(client(2), "a@a.test"), 500);
    assert_eq!(fixture.succeeded(client(1), "good@a.test"), 0, "guesses do not make it unknown");
    // What time has forgotten gives its memory back.
    fixture.advance(60 * MINUTE);
    fixture.failed(client(1), "a@a.test");
    assert_eq!(fixture.failures.networks.len(), 1);
}

/// Behind one address may be many users: who guesses there does not shut out those who have logged in.
#[test]
fn who_has_logged_in_from_there_is_let_in() {
    let mut fixture = Fixture::new();
    assert_eq!(fixture.succeeded(client(1), "good@a.test"), 0);
    for _ in 0..LIMIT + 3 {
        fixture.failed(client(1), "a@a.test");
    }
    assert_eq!(fixture.enter_all(client(1)), WAITING_OF_ONE);
    let good = fixture.failures.guess(Some(client(1)), "good@a.test");
    assert_eq!(fixture.failures.enter(good, LIMIT, fixture.now), Ok(false));
    // Unless it is his account at which somebody there guesses.
    for _ in 0..=LIMIT {
        fixture.failed(client(1), "good@a.test");
    }
    assert_eq!(fixture.failures.enter(good, LIMIT, fixture.now), Err(Crowded));
}
