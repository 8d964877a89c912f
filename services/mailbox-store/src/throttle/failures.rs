//! Counts failed logins, and says how long the next ones are delayed. It reads no clock and waits for nothing.

use super::table::Table;
use jiff::Timestamp;
use mail_net::client_network;
use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    time::Duration,
};

/// A failure is forgotten after this time.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);
/// The delay of the first failure beyond the limit. Each further one doubles it.
const FIRST_DELAY: Duration = Duration::from_millis(250);
/// The longest delay. A login that has waited for its turn before waits less: see [`super::LOGIN_TIME`].
const LONGEST_DELAY: Duration = Duration::from_secs(8);
/// The longest delay of a client whose own network has not failed: the account's user shall get in.
const LONGEST_DELAY_BY_ACCOUNT: Duration = Duration::from_millis(500);
/// How many failures beyond the limit are counted. Six have the longest delay.
const MOST_BEYOND: u32 = 16;
/// How long it is remembered that a user has logged in from a network.
const PROVED_FOR: Duration = Duration::from_secs(24 * 60 * 60);
/// How many logins of one delayed network, or account, are in the store at once, and how many of all of them.
const WAITING_OF_ONE: usize = 16;
const WAITING: usize = 1024;

/// What a login is counted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Guess {
    /// The client's network. It is unknown where many clients share the address, or the gateway is of the version before.
    pub(super) network: Option<IpAddr>,
    /// Stands for the account, whether there is one or not.
    pub(super) account: u64,
}

/// Whose logins are delayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Culprit {
    Network(IpAddr),
    /// Where the network is unknown.
    Account(u64),
}

impl Guess {
    fn culprit(self) -> Culprit {
        self.network.map_or(Culprit::Account(self.account), Culprit::Network)
    }

    fn pair(self) -> Option<(IpAddr, u64)> {
        self.network.map(|network| (network, self.account))
    }
}

/// What follows from a failed login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Failed {
    /// How long its answer waits.
    pub(super) delay: Duration,
    /// Whether the network is delayed from now on and was not before: how many of its logins have failed.
    pub(super) begins: Option<u32>,
}

/// Too many logins of the network or account, or of all that are delayed, are waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Crowded;

/// The failed logins of the last minutes: by network, by account, and by both.
///
/// A count is kept as the time at which it will have fallen to zero. So what counts least is what is forgotten first.
#[derive(Debug, Default)]
pub(super) struct Failures {
    elapsed: Elapsed,
    networks: Table<IpAddr>,
    accounts: Table<u64>,
    pairs: Table<(IpAddr, u64)>,
    /// Who has logged in from where. Only right passwords get in here, so nobody who guesses drives them out.
    proved: Table<(IpAddr, u64)>,
    /// The delayed logins that are in the store now.
    waiting: HashMap<Culprit, usize>,
    all_waiting: usize,
    accounts_as_numbers: RandomState,
}

impl Failures {
    /// What a login of this client to this account is counted by.
    pub(super) fn guess(&self, client: Option<IpAddr>, account: &str) -> Guess {
        // Spellings that may mean the same account count together, whether there is such an account or not.
        let account = self.accounts_as_numbers.hash_one(account.to_lowercase());
        Guess { network: client.map(client_network), account }
    }

    /// Lets a login in. Returns whether its network is delayed, or its account where the network is unknown; then [`Failures::leave`] has to follow.
    ///
    /// # Errors
    /// [`Crowded`], whatever the password may be.
    pub(super) fn enter(&mut self, guess: Guess, limit: u32, now: Timestamp) -> Result<bool, Crowded> {
        let now = self.elapsed.at(now);
        let culprit = guess.culprit();
        let failures = match culprit {
            Culprit::Network(network) => failures(&self.networks, &network, now),
            Culprit::Account(account) => failures(&self.accounts, &account, now),
        };
        if limit == 0 || failures <= limit || self.is_at_home(guess, limit, now) {
            return Ok(false);
        }
        let waiting = self.waiting.get(&culprit).copied().unwrap_or_default();
        if waiting >= WAITING_OF_ONE || self.all_waiting >= WAITING {
            return Err(Crowded);
        }
        self.waiting.insert(culprit, waiting + 1);
        self.all_waiting += 1;
        Ok(true)
    }

    /// Whether the user has logged in from there, and nobody there guesses at the account. Many users may share one
    /// address, as behind a container bridge; who guesses must not shut the others out.
    fn is_at_home(&self, guess: Guess, limit: u32, now: Duration) -> bool {
        guess.pair().is_some_and(|pair| self.proved.until(&pair) > now && failures(&self.pairs, &pair, now) <= limit)
    }

    /// Lets out a login that is delayed.
    pub(super) fn leave(&mut self, guess: Guess) {
        let culprit = guess.culprit();
        if let Some(waiting) = self.waiting.get_mut(&culprit) {
            *waiting -= 1;
            self.all_waiting -= 1;
            if *waiting == 0 {
                self.waiting.remove(&culprit);
            }
        }
    }

    /// How long a login waits of which nobody knows yet whether it will fail.
    pub(super) fn delay(&mut self, guess: Guess, limit: u32, now: Timestamp) -> Duration {
        let now = self.elapsed.at(now);
        self.delay_at(guess, limit, now)
    }

    /// Counts a login that has failed.
    pub(super) fn failed(&mut self, guess: Guess, limit: u32, now: Timestamp) -> Failed {
        let now = self.elapsed.at(now);
        if limit == 0 {
            return Failed { delay: Duration::ZERO, begins: None };
        }
        count(&mut self.accounts, guess.account, limit, now);
        let mut begins = None;
        if let Some(pair @ (network, _)) = guess.pair() {
            let before = failures(&self.networks, &network, now);
            count(&mut self.pairs, pair, limit, now);
            count(&mut self.networks, network, limit, now);
            begins = (before == limit).then_some(limit + 1);
        }
        Failed { delay: self.delay_at(guess, limit, now), begins }
    }

    /// Forgets the failures of an account whose user has logged in. Returns how long the answer waits. Users who have
    /// logged in from the same network before do not wait for what others of the network have done.
    pub(super) fn succeeded(&mut self, guess: Guess, limit: u32, now: Timestamp) -> Duration {
        let now = self.elapsed.at(now);
        let mut delay = self.delay_at(guess, limit, now);
        self.accounts.remove(&guess.account);
        if let Some(pair) = guess.pair() {
            if self.proved.until(&pair) > now {
                delay = delay.min(delay_of(failures(&self.pairs, &pair, now), limit));
            }
            self.pairs.remove(&pair);
            self.proved.set(pair, now + PROVED_FOR, now);
        }
        delay
    }

    #[cfg(test)]
    pub(super) fn forget_proofs(&mut self) {
        self.proved = Table::default();
    }

    fn delay_at(&self, guess: Guess, limit: u32, now: Duration) -> Duration {
        let by_account = delay_of(failures(&self.accounts, &guess.account, now), limit).min(LONGEST_DELAY_BY_ACCOUNT);
        let by_network = guess.network.map(|network| delay_of(failures(&self.networks, &network, now), limit));
        by_account.max(by_network.unwrap_or_default())
    }
}

/// How many failures are counted at this time.
fn failures<K: Copy + Ord + std::hash::Hash>(table: &Table<K>, key: &K, now: Duration) -> u32 {
    let left = table.until(key).saturating_sub(now);
    u32::try_from(left.as_millis().div_ceil(FORGOTTEN_AFTER.as_millis())).unwrap_or(u32::MAX)
}

/// Counts one more failure.
fn count<K: Copy + Ord + std::hash::Hash>(table: &mut Table<K>, key: K, limit: u32, now: Duration) {
    let most = FORGOTTEN_AFTER * limit.saturating_add(MOST_BEYOND);
    let until = (table.until(&key).max(now) + FORGOTTEN_AFTER).min(now + most);
    table.set(key, until, now);
}

/// The delay of a login after this number of failures.
fn delay_of(failures: u32, limit: u32) -> Duration {
    match failures.saturating_sub(limit) {
        0 => Duration::ZERO,
        _ if limit == 0 => Duration::ZERO,
        beyond => FIRST_DELAY.saturating_mul(2_u32.saturating_pow(beyond - 1)).min(LONGEST_DELAY),
    }
}

/// The time that has passed on a wall clock. When that is set back, it only goes on from there.
#[derive(Debug, Default)]
struct Elapsed {
    last: Option<Timestamp>,
    passed: Duration,
}

impl Elapsed {
    fn at(&mut self, now: Timestamp) -> Duration {
        let step = self.last.map(|last| now.duration_since(last).try_into().unwrap_or_default());
        self.last = Some(now);
        self.passed += step.unwrap_or(Duration::ZERO);
        self.passed
    }
}

#[cfg(test)]
mod tests;
