//! Aliases, and what addresses mean.

use super::{accounts, database::Transaction, failure::Failure, pool::Parameters};
use crate::store::{
    Alias,
    aliases::{Directory, keys, resolved, targets_column},
};
use futures_util::try_join;
use internal_api::Resolved;
use mail_proto::{AddressRules, Mailbox};
use std::collections::{BTreeMap, BTreeSet};

/// Makes these the aliases of the configuration.
pub(super) async fn put(tx: &mut Transaction<'_>, aliases: &[Alias]) -> Result<(), Failure> {
    let mut wanted = BTreeMap::new();
    for alias in aliases {
        wanted.insert(alias.name.to_string(), targets_column(&alias.targets)?);
    }
    let mut gone = Vec::new();
    for row in tx.query("SELECT address, targets, source FROM aliases ORDER BY address", &[]).await? {
        let (address, targets): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        let is_configured = row.try_get::<_, Option<String>>(2)?.is_none();
        match wanted.get(&address) {
            // Nothing is written when nothing changes.
            Some(same) if is_configured && *same == targets => drop(wanted.remove(&address)),
            None if is_configured => gone.push(address),
            _ => {}
        }
    }
    if !gone.is_empty() {
        tx.execute("DELETE FROM aliases WHERE address = ANY($1)", &[&gone]).await?;
    }
    if !wanted.is_empty() {
        let (addresses, targets): (Vec<String>, Vec<String>) = wanted.into_iter().unzip();
        let upsert = "INSERT INTO aliases (address, targets)
             SELECT address, targets FROM unnest($1::text[], $2::text[]) AS wanted (address, targets)
             ON CONFLICT (address) DO UPDATE SET targets = EXCLUDED.targets, source = NULL";
        tx.execute(upsert, &[&addresses, &targets]).await?;
    }
    Ok(())
}

/// Looks up addresses, with two statements that travel together.
pub(super) async fn look_up(
    tx: &Transaction<'_>,
    rules: AddressRules,
    addresses: BTreeSet<&Mailbox>,
) -> Result<Directory, Failure> {
    let (mut names, mut catch_alls) = (BTreeSet::new(), BTreeSet::new());
    for address in addresses {
        let (keys, catch_all) = keys(rules, address);
        names.extend(keys);
        catch_alls.insert(catch_all);
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let aliases: Vec<&str> = names.iter().copied().chain(catch_alls.iter().map(String::as_str)).collect();
    let parameters: (Parameters<'_>, Parameters<'_>) = (&[&names], &[&aliases]);
    let (accounts, aliases) =
        try_join!(async { tx.query(ACCOUNTS, parameters.0).await }, async { tx.query(ALIASES, parameters.1).await })?;
    let mut directory = Directory::new(rules);
    for row in accounts {
        directory.add_account(row.try_get(0)?);
    }
    for row in aliases {
        directory.add_alias(row.try_get(0)?, row.try_get(1)?);
    }
    Ok(directory)
}

/// By the expression of the indexes.
const ACCOUNTS: &str = "SELECT address FROM accounts
     WHERE translate(address, 'ABCDEFGHIJKLMNOPQRSTUVWXYZ', 'abcdefghijklmnopqrstuvwxyz') = ANY($1)";
const ALIASES: &str = "SELECT address, targets FROM aliases
     WHERE translate(address, 'ABCDEFGHIJKLMNOPQRSTUVWXYZ', 'abcdefghijklmnopqrstuvwxyz') = ANY($1)";

pub(super) async fn resolve(tx: &Transaction<'_>, rules: AddressRules, address: &Mailbox) -> Result<Resolved, Failure> {
    let entry = look_up(tx, rules, BTreeSet::from([address])).await?.entry(address);
    let mailbox = match &entry.mailbox {
        Some(mailbox) if entry.alias.is_none() => accounts::find(tx, mailbox).await?,
        _ => None,
    };
    Ok(resolved(entry, mailbox))
}

/// The account that an address means, as it is spelled.
pub(super) async fn account(
    tx: &Transaction<'_>,
    rules: AddressRules,
    address: &Mailbox,
) -> Result<Option<Mailbox>, Failure> {
    Ok(look_up(tx, rules, BTreeSet::from([address])).await?.account(address).cloned())
}
