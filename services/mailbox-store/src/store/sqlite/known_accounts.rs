//! What was read of accounts. A SQLite store is the only one that changes its accounts, so what it has read stays right
//! until it writes.

use crate::store::StoredPassword;
use mail_proto::{AddressRules, Mailbox};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// How many of each are remembered. With more, all are forgotten.
const REMEMBERED: usize = 10_000;

/// The spellings and passwords of accounts that were asked for.
#[derive(Default)]
pub(super) struct KnownAccounts(Mutex<Known>);

#[derive(Default)]
struct Known {
    /// How often accounts have changed.
    changes: u64,
    spellings: HashMap<(AddressRules, Mailbox), Mailbox>,
    passwords: HashMap<Mailbox, StoredPassword>,
}

/// When something was read: what has changed since is not remembered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading(u64);

impl KnownAccounts {
    /// To be called before accounts are read.
    pub(super) fn reading(&self) -> Reading {
        Reading(self.known().changes)
    }

    /// How the account is spelled that this address means by these rules.
    pub(super) fn spelling(&self, rules: AddressRules, address: &Mailbox) -> Option<Mailbox> {
        self.known().spellings.get(&(rules, address.clone())).cloned()
    }

    pub(super) fn remember_spelling(&self, reading: Reading, rules: AddressRules, address: Mailbox, account: &Mailbox) {
        if let Some(mut known) = self.unchanged_since(reading) {
            remember(&mut known.spellings, (rules, address), account.clone());
        }
    }

    /// The password of this account, as it is spelled.
    pub(super) fn password(&self, address: &Mailbox) -> Option<StoredPassword> {
        self.known().passwords.get(address).cloned()
    }

    pub(super) fn remember_password(&self, reading: Reading, address: Mailbox, password: &StoredPassword) {
        if let Some(mut known) = self.unchanged_since(reading) {
            remember(&mut known.passwords, address, password.clone());
        }
    }

    /// To be held by a change of accounts until it is durable or has failed. Then everything is forgotten.
    pub(super) fn changing(self: &Arc<Self>) -> Changing {
        Changing(Arc::clone(self))
    }

    fn unchanged_since(&self, Reading(changes): Reading) -> Option<MutexGuard<'_, Known>> {
        Some(self.known()).filter(|known| known.changes == changes)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn remember<K: Eq + std::hash::Hash, V>(known: &mut HashMap<K, V>, key: K, value: V) {
    if known.len() >= REMEMBERED {
        known.clear();
    }
    known.insert(key, value);
}

/// A change of accounts that is under way.
pub(super) struct Changing(Arc<KnownAccounts>);

impl Drop for Changing {
    fn drop(&mut self) {
        let mut known = self.0.known();
        *known = Known { changes: known.changes + 1, ..Known::default() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_before_a_change_is_not_remembered_after_it() {
        let known = Arc::new(KnownAccounts::default());
        let rules = AddressRules { ignores_case: true, delimiter: None };
        let [lower, upper] = ["a@local.test", "A@local.test"].map(|address| address.parse::<Mailbox>().unwrap());
        let password = StoredPassword { hash: "hash".to_owned(), verifier: None };
        let remember = |reading| {
            known.remember_spelling(reading, rules, upper.clone(), &lower);
            known.remember_password(reading, lower.clone(), &password);
        };
        let is_known = || {
            let other_rules = AddressRules { delimiter: Some('+'), ..rules };
            assert_eq!(known.spelling(other_rules, &upper), None);
            let found = (known.spelling(rules, &upper), known.password(&lower));
            assert!(matches!(found, (Some(_), Some(_)) | (None, None)), "{found:?}");
            found.0.is_some()
        };
        remember(known.reading());
        assert!(is_known());
        let reading = known.reading();
        drop(known.changing());
        assert!(!is_known());
        remember(reading);
        assert!(!is_known());
        remember(known.reading());
        assert!(is_known());
    }
}
