//! Aliases, lists and catch-alls: what they are, and how the backends keep them.

use super::{Result, StoreError, plan::expansion::Entry};
use internal_api::{MailboxSummary, Resolved};
use mail_proto::{AddressRules, Domain, Mailbox};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{PoisonError, RwLock},
};

/// Addresses to which mail for another address goes. With several targets it is a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alias {
    /// The mail that it is for.
    pub name: AliasName,
    /// At least one address, here or elsewhere.
    pub targets: Vec<Mailbox>,
}

/// What an alias is for. As text, and in the storage, it is the address, or `@` and the domain.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum AliasName {
    /// One address.
    Address(Mailbox),
    /// All addresses of a domain that are neither mailboxes nor aliases.
    CatchAll(Domain),
}

impl fmt::Display for AliasName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::CatchAll(domain) => write!(f, "@{domain}"),
        }
    }
}

/// Targets as a column holds them.
///
/// # Errors
/// [`StoreError::Internal`] when they cannot be encoded, which is a bug.
pub(super) fn targets_column(targets: &[Mailbox]) -> Result<String> {
    serde_json::to_string(targets)
        .map_err(|error| StoreError::Internal(format!("the targets of an alias cannot be encoded: {error}")))
}

/// The targets in a column. Damaged ones are logged and count as none: they are written anew with the configuration.
fn targets(alias: &str, column: &str) -> Option<Vec<Mailbox>> {
    match serde_json::from_str::<Vec<_>>(column) {
        Ok(targets) => Some(targets).filter(|targets| !targets.is_empty()),
        Err(error) => {
            tracing::error!(%error, alias, "the targets of an alias cannot be decoded");
            None
        }
    }
}

/// The keys under which accounts and aliases are found that an address may mean: each address in lower case. The last one
/// is that of a catch-all.
pub(super) fn keys(rules: AddressRules, address: &Mailbox) -> (Vec<String>, String) {
    let candidates = rules.candidates(address);
    let keys = candidates.iter().map(|candidate| candidate.folded().to_string()).collect();
    (keys, AliasName::CatchAll(address.domain().clone()).to_string())
}

/// The accounts and aliases that were found under the keys of some addresses, by those keys.
#[derive(Debug, Default)]
pub(super) struct Directory {
    rules: AddressRules,
    accounts: BTreeMap<Mailbox, BTreeSet<Mailbox>>,
    aliases: BTreeMap<Mailbox, BTreeMap<Mailbox, Vec<Mailbox>>>,
    catch_alls: BTreeMap<String, Vec<Mailbox>>,
}

impl Directory {
    pub(super) fn new(rules: AddressRules) -> Self {
        Self { rules, ..Self::default() }
    }

    /// Adds an account. What cannot be decoded is nobody's.
    pub(super) fn add_account(&mut self, address: &str) {
        if let Ok(address) = address.parse::<Mailbox>() {
            self.accounts.entry(address.folded()).or_default().insert(address);
        }
    }

    /// Adds an alias, with the column of its targets.
    pub(super) fn add_alias(&mut self, name: &str, column: &str) {
        let Some(targets) = targets(name, column) else { return };
        if name.starts_with('@') {
            self.catch_alls.insert(name.to_owned(), targets);
        } else if let Ok(address) = name.parse::<Mailbox>() {
            self.aliases.entry(address.folded()).or_default().insert(address, targets);
        }
    }

    /// What is known of an address. What is known of all of it comes before what is known without its detail.
    pub(super) fn entry(&self, address: &Mailbox) -> Entry {
        let catch_all = self.catch_alls.get(&AliasName::CatchAll(address.domain().clone()).to_string()).cloned();
        for candidate in self.rules.candidates(address) {
            let aliases = self.aliases.get(&candidate.folded()).into_iter().flatten();
            let alias = self.spelled(&candidate, aliases, |(name, _)| name);
            let mailbox = self.account_of(&candidate).cloned();
            if alias.is_some() || mailbox.is_some() {
                let alias = alias.map(|(name, targets)| (name.clone(), targets.clone()));
                return Entry { alias, mailbox, catch_all };
            }
        }
        Entry { catch_all, ..Entry::default() }
    }

    /// The account that an address means, as it is spelled here.
    pub(super) fn account(&self, address: &Mailbox) -> Option<&Mailbox> {
        self.rules.candidates(address).iter().find_map(|candidate| self.account_of(candidate))
    }

    fn account_of(&self, candidate: &Mailbox) -> Option<&Mailbox> {
        let accounts = self.accounts.get(&candidate.folded()).into_iter().flatten();
        self.spelled(candidate, accounts, |account| account)
    }

    /// The record of this address: one of this very spelling, or else the first of another.
    fn spelled<'a, T>(
        &self,
        address: &Mailbox,
        records: impl Iterator<Item = T>,
        name: impl Fn(&T) -> &'a Mailbox,
    ) -> Option<T> {
        records.filter(|record| self.rules.are_same(name(record), address)).min_by_key(|record| name(record) != address)
    }
}

/// The rules by which a store compares addresses. They change with the configuration.
#[derive(Debug, Default)]
pub(super) struct LiveRules(RwLock<AddressRules>);

impl LiveRules {
    /// Those in force.
    pub(super) fn current(&self) -> AddressRules {
        *self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set(&self, rules: AddressRules) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = rules;
    }
}

/// What an address means, when `entry` and `mailbox` are what is known of it.
pub(super) fn resolved(entry: Entry, mailbox: Option<MailboxSummary>) -> Resolved {
    match (entry.alias, mailbox, entry.catch_all) {
        (Some((_, targets)), _, _) => match <[Mailbox; 1]>::try_from(targets) {
            Ok([target]) => Resolved::Alias { target },
            Err(members) => Resolved::List { members },
        },
        (None, Some(summary), _) => Resolved::Mailbox(summary),
        (None, None, Some(targets)) => Resolved::CatchAll { targets },
        (None, None, None) => Resolved::Unknown,
    }
}
