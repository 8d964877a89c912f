//! What was read of accounts. A SQLite store is the only one that changes its accounts, so what it has read stays right
//! until it writes.

use crate::store::StoredPassword;
use mail_proto::{AddressRules, Mailbox};
use std::{
    collections::{HashMap, HashSet},
    hash::Hash,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// How many of each are remembered. With more, all of the same kind are forgotten.
const REMEMBERED: usize = 10_000;

/// The spellings and passwords of accounts that were asked for, and what was asked for in vain: whoever guesses at users
/// does not learn from the time that it takes which of them exist.
#[derive(Default)]
pub(super) struct KnownAccounts(Mutex<Known>);

#[derive(Default)]
struct Known {
    /// How often accounts have changed.
    changes: u64,
    spellings: Answers<(AddressRules, Mailbox), Mailbox>,
    passwords: Answers<Mailbox, StoredPassword>,
}

/// What was found, and what there is not. However much is asked for in vain, what was found stays.
struct Answers<K, V> {
    found: HashMap<K, V>,
    missing: HashSet<K>,
}

/// When something was read: what has changed since is not remembered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading(u64);

impl KnownAccounts {
    /// To be called before accounts are read.
    pub(super) fn reading(&self) -> Reading {
        Reading(self.known().changes)
    }

    /// How the account is spelled that this address means by these rules, if there is one. `None` when that is not known.
    pub(super) fn spelling(&self, rules: AddressRules, address: &Mailbox) -> Option<Option<Mailbox>> {
        self.known().spellings.known(&(rules, address.clone()))
    }

    pub(super) fn remember_spelling(
        &self,
        reading: Reading,
        rules: AddressRules,
        address: Mailbox,
        account: Option<&Mailbox>,
    ) {
        if let Some(mut known) = self.unchanged_since(reading) {
            known.spellings.remember((rules, address), account.cloned());
        }
    }

    /// The password of this account, as it is spelled, if it has one. `None` when that is not known.
    pub(super) fn password(&self, address: &Mailbox) -> Option<Option<StoredPassword>> {
        self.known().passwords.known(address)
    }

    pub(super) fn remember_password(&self, reading: Reading, address: Mailbox, password: Option<&StoredPassword>) {
        if let Some(mut known) = self.unchanged_since(reading) {
            known.passwords.remember(address, password.cloned());
        }
    }

    /// Forgets everything. To be called once a change of accounts can be read, and before anybody hears of it; and when it
    /// is not certain whether there was one.
    pub(super) fn forget(&self) {
        let mut known = self.known();
        *known = Known { changes: known.changes + 1, ..Known::default() };
    }

    fn unchanged_since(&self, Reading(changes): Reading) -> Option<MutexGuard<'_, Known>> {
        Some(self.known()).filter(|known| known.changes == changes)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K, V> Default for Answers<K, V> {
    fn default() -> Self {
        Self { found: HashMap::new(), missing: HashSet::new() }
    }
}

impl<K: Eq + Hash, V: Clone> Answers<K, V> {
    fn known(&self, key: &K) -> Option<Option<V>> {
        let found = self.found.get(key).cloned().map(Some);
        found.or_else(|| self.missing.contains(key).then_some(None))
    }

    fn remember(&mut self, key: K, value: Option<V>) {
        match value {
            Some(value) => {
                if self.found.len() >= REMEMBERED {
                    self.found.clear();
                }
                self.found.insert(key, value);
            }
            None => {
                if self.missing.len() >= REMEMBERED {
                    self.missing.clear();
                }
                self.missing.insert(key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: AddressRules = AddressRules { ignores_case: true, delimiter: None };

    fn mailbox(address: &str) -> Mailbox {
        address.parse().unwrap()
    }

    fn password() -> StoredPassword {
        StoredPassword { hash: "hash".to_owned(), verifier: None }
    }

    #[test]
    fn what_was_read_before_a_change_is_not_remembered_after_it() {
        let known = KnownAccounts::default();
        let [lower, upper] = ["a@local.test", "A@local.test"].map(mailbox);
        for (account, stored) in [(Some(&lower), Some(password())), (None, None)] {
            let remember = |reading| {
                known.remember_spelling(reading, RULES, upper.clone(), account);
                known.remember_password(reading, lower.clone(), stored.as_ref());
            };
            let is_known = || {
                let other_rules = AddressRules { delimiter: Some('+'), ..RULES };
                assert_eq!(known.spelling(other_rules, &upper), None);
                let (spelling, password) = (known.spelling(RULES, &upper), known.password(&lower));
                assert_eq!(spelling.is_some(), password.is_some());
                assert!(spelling.is_none_or(|spelling| spelling.as_ref() == account));
                assert!(password.is_none_or(|password| password == stored));
                known.spelling(RULES, &upper).is_some()
            };
            known.forget();
            remember(known.reading());
            assert!(is_known());
            let reading = known.reading();
            known.forget();
            assert!(!is_known());
            remember(reading);
            assert!(!is_known());
            remember(known.reading());
            assert!(is_known());
        }
    }

    #[test]
    fn guesses_do_not_push_out_accounts_and_are_bounded() {
        let (known, account) = (KnownAccounts::default(), mailbox("a@local.test"));
        known.remember_spelling(known.reading(), RULES, account.clone(), Some(&account));
        known.remember_password(known.reading(), account.clone(), Some(&password()));
        for guess in 0..REMEMBERED + 5 {
            let guess = mailbox(&format!("guess{guess}@local.test"));
            known.remember_spelling(known.reading(), RULES, guess.clone(), None);
            known.remember_password(known.reading(), guess.clone(), None);
            assert_eq!((known.spelling(RULES, &guess), known.password(&guess)), (Some(None), Some(None)));
        }
        assert_eq!(known.spelling(RULES, &account), Some(Some(account.clone())));
        assert_eq!(known.password(&account), Some(Some(password())));
        let held = known.known();
        assert_eq!((held.spellings.missing.len(), held.passwords.missing.len()), (5, 5));
    }
}
