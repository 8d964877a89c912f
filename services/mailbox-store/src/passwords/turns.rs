//! Who may compute a hash now: a few at a time, each client's network in its turn, and there each account.

use std::{
    collections::VecDeque,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::oneshot;

/// How many logins may wait, how many networks may have one, and how many one network may have. An account of a network
/// that waits for nothing has a place beyond that, up to so many logins in all.
const WAITING: usize = 512;
const NETWORKS: usize = 512;
const WAITING_OF_ONE: usize = 256;
const WAITING_WITH_NEW_ACCOUNTS: usize = 2 * WAITING;

/// For whom a password is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Client {
    /// The client's network. Those of which it is unknown are one.
    pub(crate) network: Option<IpAddr>,
    /// Stands for the account.
    pub(crate) account: u64,
    /// Whether its logins are delayed. Then all others come first.
    pub(crate) is_delayed: bool,
}

/// Gives out turns. One network alone gets all of them; where several wait, each gets one after the other. So a client
/// never waits for more than one hash of each other network, however many of its logins wait. The accounts of a network
/// take the network's turns one after the other: so who guesses at one holds nobody up who shares the address.
#[derive(Debug, Clone)]
pub(super) struct Turns(Arc<Mutex<Queue>>);

/// The right to compute one hash, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn(Option<Turns>);

/// Too many are waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Crowded;

impl Turns {
    /// So many at once.
    pub(super) fn new(at_once: usize) -> Self {
        Self(Arc::new(Mutex::new(Queue { free: at_once, first: Line::default(), last: Line::default() })))
    }

    /// Waits for a turn of the store itself, as a client that is not delayed does.
    pub(super) async fn own(&self) -> Turn {
        let waiting = self.lock().take_or_wait(None);
        self.taken(waiting).await
    }

    /// Waits for a turn of a client.
    ///
    /// # Errors
    /// [`Crowded`].
    pub(super) async fn of(&self, client: Client) -> Result<Turn, Crowded> {
        let waiting = {
            let mut queue = self.lock();
            queue.check_room(client)?;
            queue.take_or_wait(Some(client))
        };
        Ok(self.taken(waiting).await)
    }

    async fn taken(&self, waiting: Option<oneshot::Receiver<Turn>>) -> Turn {
        match waiting {
            // The sender is in the queue until the turn comes, and the queue lives as long as `self`.
            Some(waiting) => waiting.await.unwrap_or(Turn(None)),
            None => Turn(Some(self.clone())),
        }
    }

    /// Passes a turn on to whoever is next and still waits.
    fn pass_on(&self) {
        loop {
            // The queue must not be locked while a turn is dropped.
            let next = self.lock().next();
            let Some(next) = next else { return };
            match next.send(Turn(Some(self.clone()))) {
                Ok(()) => return,
                Err(mut turn) => turn.0 = None,
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn are_those_of(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(turns) = self.0.take() {
            turns.pass_on();
        }
    }
}

/// Who waits. While a turn is free, nobody does.
#[derive(Debug)]
struct Queue {
    free: usize,
    /// The store itself, and clients that are not delayed.
    first: Line,
    /// Clients that are delayed.
    last: Line,
}

impl Queue {
    fn line(&mut self, client: Option<Client>) -> &mut Line {
        if client.is_some_and(|client| client.is_delayed) { &mut self.last } else { &mut self.first }
    }

    fn check_room(&mut self, client: Client) -> Result<(), Crowded> {
        let (who, account) = (Who::Client(client.network), client.account);
        let line = self.line(Some(client));
        if line.has_room_for(who, account) {
            return Ok(());
        }
        line.forget_those_who_have_gone();
        if line.has_room_for(who, account) { Ok(()) } else { Err(Crowded) }
    }

    /// Takes a free turn, or returns where it will come.
    fn take_or_wait(&mut self, client: Option<Client>) -> Option<oneshot::Receiver<Turn>> {
        if self.free > 0 {
            self.free -= 1;
            return None;
        }
        let (sender, receiver) = oneshot::channel();
        let (who, account) = client.map_or((Who::Store, 0), |client| (Who::Client(client.network), client.account));
        self.line(client).push(who, account, sender);
        Some(receiver)
    }

    /// Whose turn it is; the turn is free when nobody waits.
    fn next(&mut self) -> Option<oneshot::Sender<Turn>> {
        let next = self.first.pop().or_else(|| self.last.pop());
        if next.is_none() {
            self.free += 1;
        }
        next
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Store,
    Client(Option<IpAddr>),
}

/// Keys with what waits for each. The one in front is next, and then goes to the end.
type Round<K, W> = VecDeque<(K, W)>;

/// What waits for a key.
fn waiting_of<'r, K: PartialEq, W>(round: &'r Round<K, W>, key: &K) -> Option<&'r W> {
    round.iter().find(|(other, _)| other == key).map(|(_, waiting)| waiting)
}

/// What waits for a key, which comes last if there was nothing.
fn entry<K: PartialEq + Copy, W: Default>(round: &mut Round<K, W>, key: K) -> Option<&mut W> {
    if !round.iter().any(|(other, _)| *other == key) {
        round.push_back((key, W::default()));
    }
    round.iter_mut().find(|(other, _)| *other == key).map(|(_, waiting)| waiting)
}

/// Takes from the key whose turn it is.
fn take<K, W, T>(
    round: &mut Round<K, W>,
    take: impl Fn(&mut W) -> Option<T>,
    is_empty: impl Fn(&W) -> bool,
) -> Option<T> {
    loop {
        let (key, mut waiting) = round.pop_front()?;
        let taken = take(&mut waiting);
        if !is_empty(&waiting) {
            round.push_back((key, waiting));
        }
        if taken.is_some() {
            return taken;
        }
    }
}

/// The logins that wait for one account.
type Waiters = VecDeque<oneshot::Sender<Turn>>;

/// Those of a network who wait, by account.
#[derive(Debug, Default)]
struct Network(Round<u64, Waiters>);

impl Network {
    fn waiting(&self) -> usize {
        self.0.iter().map(|(_, waiting)| waiting.len()).sum()
    }

    fn has(&self, account: u64) -> bool {
        waiting_of(&self.0, &account).is_some()
    }

    /// The next who has not gone.
    fn pop(&mut self) -> Option<oneshot::Sender<Turn>> {
        let next = |waiting: &mut Waiters| {
            while waiting.pop_front_if(|sender| sender.is_closed()).is_some() {}
            waiting.pop_front()
        };
        take(&mut self.0, next, VecDeque::is_empty)
    }

    fn forget_those_who_have_gone(&mut self) {
        self.0.iter_mut().for_each(|(_, waiting)| waiting.retain(|sender| !sender.is_closed()));
        self.0.retain(|(_, waiting)| !waiting.is_empty());
    }
}

/// Those who wait, by network.
#[derive(Debug, Default)]
struct Line(Round<Who, Network>);

impl Line {
    /// A network that waits already cannot fill the line, and an account cannot fill its network's part. One that does not
    /// wait has a place, unless too many networks or logins wait.
    fn has_room_for(&self, who: Who, account: u64) -> bool {
        let Some(network) = waiting_of(&self.0, &who) else { return self.0.len() < NETWORKS };
        if network.has(account) {
            network.waiting() < WAITING_OF_ONE && self.waiting() < WAITING
        } else {
            network.0.len() < WAITING_OF_ONE && self.waiting() < WAITING_WITH_NEW_ACCOUNTS
        }
    }

    fn waiting(&self) -> usize {
        self.0.iter().map(|(_, network)| network.waiting()).sum()
    }

    fn push(&mut self, who: Who, account: u64, sender: oneshot::Sender<Turn>) {
        if let Some(waiting) = entry(&mut self.0, who).and_then(|network| entry(&mut network.0, account)) {
            waiting.push_back(sender);
        }
    }

    fn pop(&mut self) -> Option<oneshot::Sender<Turn>> {
        take(&mut self.0, Network::pop, |network| network.0.is_empty())
    }

    fn forget_those_who_have_gone(&mut self) {
        self.0.iter_mut().for_each(|(_, network)| network.forget_those_who_have_gone());
        self.0.retain(|(_, network)| !network.0.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::{future::BoxFuture, poll};
    use std::{net::Ipv4Addr, task::Poll};

    fn client(network: u8, is_delayed: bool) -> Client {
        Client { network: Some(Ipv4Addr::new(192, 0, 2, network).into()), account: 0, is_delayed }
    }

    type Waiting = BoxFuture<'static, Result<Turn, Crowded>>;

    /// A client that has asked for its turn.
    async fn ask(turns: &Turns, client: Client) -> Waiting {
        let turns = turns.clone();
        let mut waiting: Waiting = Box::pin(async move { turns.of(client).await });
        match poll!(&mut waiting) {
            Poll::Ready(turn) => Box::pin(async move { turn }),
            Poll::Pending => waiting,
        }
    }

    /// In which order these get the one turn that there is.
    async fn order(turns: &Turns, held: Turn, mut waiting: Vec<(&'static str, Waiting)>) -> Vec<&'static str> {
        let mut order = Vec::new();
        drop(held);
        while !waiting.is_empty() {
            let mut next = None;
            for (index, (_, waits)) in waiting.iter_mut().enumerate() {
                if let Poll::Ready(turn) = poll!(waits) {
                    assert!(next.is_none(), "there is one turn");
                    next = Some((index, turn.unwrap()));
                }
            }
            let (index, turn) = next.expect("a turn is never lost");
            order.push(waiting.remove(index).0);
            drop(turn);
        }
        assert_eq!(turns.lock().free, 1);
        order
    }

    #[tokio::test]
    async fn networks_take_turns_however_many_of_one_wait() {
        let turns = Turns::new(1);
        let held = turns.of(client(1, false)).await.unwrap();
        let mut waiting = Vec::new();
        for (name, from) in [("a", 1), ("a", 1), ("a", 1), ("b", 2), ("b", 2), ("c", 3)] {
            waiting.push((name, ask(&turns, client(from, false)).await));
        }
        assert_eq!(order(&turns, held, waiting).await, ["a", "b", "c", "a", "b", "a"]);
    }

    /// Many users may share an address, or nobody knows whose it is.
    #[tokio::test]
    async fn accounts_of_one_network_take_turns_however_many_logins_of_one_wait() {
        let turns = Turns::new(1);
        let held = turns.own().await;
        let to = |account| Client { network: None, account, is_delayed: false };
        let mut waiting = Vec::new();
        for _ in 0..WAITING_OF_ONE {
            waiting.push(("guess", ask(&turns, to(1)).await));
        }
        assert_eq!(turns.of(to(1)).await.unwrap_err(), Crowded);
        waiting.truncate(3);
        waiting.push(("good", ask(&turns, to(2)).await));
        waiting.push(("elsewhere", ask(&turns, client(1, false)).await));
        assert_eq!(order(&turns, held, waiting).await[..4], ["guess", "elsewhere", "good", "guess"]);
    }

    #[tokio::test]
    async fn whoever_is_delayed_comes_last() {
        let turns = Turns::new(1);
        let held = turns.own().await;
        let mut waiting = Vec::new();
        for (name, from, is_delayed) in [("a", 1, true), ("b", 2, true), ("a", 1, true), ("good", 3, false)] {
            waiting.push((name, ask(&turns, client(from, is_delayed)).await));
        }
        assert_eq!(order(&turns, held, waiting).await, ["good", "a", "b", "a"]);
    }

    /// One network alone is as fast as all turns make it.
    #[tokio::test]
    async fn one_network_gets_all_turns_that_are_free() {
        let turns = Turns::new(3);
        let mut held = Vec::new();
        for _ in 0..3 {
            held.push(turns.of(client(1, false)).await.unwrap());
        }
        let mut more = ask(&turns, client(1, false)).await;
        assert!(poll!(&mut more).is_pending());
        held.pop();
        assert!(poll!(&mut more).is_ready());
        drop(held);
        assert_eq!(turns.lock().free, 3);
    }

    #[tokio::test]
    async fn who_has_gone_takes_no_turn_and_no_room() {
        let turns = Turns::new(1);
        let held = turns.own().await;
        let mut gone = Vec::new();
        for _ in 0..WAITING_OF_ONE {
            gone.push(ask(&turns, client(1, false)).await);
        }
        assert_eq!(turns.of(client(1, false)).await.unwrap_err(), Crowded);
        let other = ask(&turns, client(2, false)).await;
        gone.pop();
        let last = ask(&turns, client(1, false)).await;
        gone.clear();
        assert_eq!(order(&turns, held, vec![("other", other), ("last", last)]).await, ["last", "other"]);
    }

    /// One that has got its turn, and goes before it learns of it.
    #[tokio::test]
    async fn a_turn_that_nobody_fetches_is_passed_on() {
        let turns = Turns::new(1);
        let held = turns.own().await;
        let (gone, stays) = (ask(&turns, client(1, false)).await, ask(&turns, client(2, false)).await);
        drop(held);
        drop(gone);
        assert_eq!(order(&turns, Turn(None), vec![("stays", stays)]).await, ["stays"]);
    }

    #[tokio::test]
    async fn a_bounded_number_of_networks_waits() {
        let turns = Turns::new(1);
        let _held = turns.own().await;
        let network = |number: usize| Client {
            network: Some(std::net::Ipv4Addr::from_bits(u32::try_from(number).unwrap()).into()),
            account: 0,
            is_delayed: false,
        };
        let mut waiting = Vec::new();
        for number in 0..NETWORKS {
            waiting.push(ask(&turns, network(number)).await);
        }
        assert_eq!(turns.of(network(NETWORKS)).await.unwrap_err(), Crowded);
    }

    #[tokio::test]
    async fn a_bounded_number_of_logins_of_all_networks_waits() {
        let turns = Turns::new(1);
        let held = turns.own().await;
        let mut waiting = Vec::new();
        for number in 0..WAITING {
            waiting.push(ask(&turns, client(u8::try_from(number % 8).unwrap(), true)).await);
        }
        // Those that wait already have no more room; one that does not has a place.
        assert_eq!(turns.of(client(0, true)).await.unwrap_err(), Crowded);
        let _ninth = ask(&turns, client(9, true)).await;
        // Others, and the store itself, still find room.
        let mut good = ask(&turns, client(9, false)).await;
        drop(held);
        assert!(poll!(&mut good).is_ready());
    }
}
