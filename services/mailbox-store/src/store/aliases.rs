//! Aliases, lists and catch-alls: what they are, and how the backends keep them.

use super::{Result, StoreError, plan::expansion::Entry};
use internal_api::{MailboxSummary, Resolved};
use mail_proto::{Domain, Mailbox};
use std::fmt;

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

/// The name under which the catch-all for an address is kept.
pub(super) fn catch_all_of(address: &Mailbox) -> String {
    AliasName::CatchAll(address.domain().clone()).to_string()
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
pub(super) fn targets(alias: &str, column: &str) -> Option<Vec<Mailbox>> {
    match serde_json::from_str::<Vec<_>>(column) {
        Ok(targets) => Some(targets).filter(|targets| !targets.is_empty()),
        Err(error) => {
            tracing::error!(%error, alias, "the targets of an alias cannot be decoded");
            None
        }
    }
}

/// What an address means, when `entry` and `mailbox` are what is known of it.
pub(super) fn resolved(entry: Entry, mailbox: Option<MailboxSummary>) -> Resolved {
    match (entry.alias, mailbox, entry.catch_all) {
        (Some(targets), _, _) => match <[Mailbox; 1]>::try_from(targets) {
            Ok([target]) => Resolved::Alias { target },
            Err(members) => Resolved::List { members },
        },
        (None, Some(summary), _) => Resolved::Mailbox(summary),
        (None, None, Some(targets)) => Resolved::CatchAll { targets },
        (None, None, None) => Resolved::Unknown,
    }
}
