//! Aliases, and what addresses mean.

use super::{accounts, database::Transaction, failure::Failure};
use crate::store::{
    Alias,
    aliases::{catch_all_of, resolved, targets, targets_column},
    plan::expansion::Entry,
};
use futures_util::try_join;
use internal_api::Resolved;
use mail_proto::Mailbox;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

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

/// What is known of some addresses.
#[derive(Default)]
pub(super) struct Directory {
    aliases: HashMap<String, Vec<Mailbox>>,
    mailboxes: HashSet<String>,
}

impl Directory {
    pub(super) fn entry(&self, address: &Mailbox) -> Entry {
        let name = address.to_string();
        Entry {
            alias: self.aliases.get(&name).cloned(),
            is_mailbox: self.mailboxes.contains(&name),
            catch_all: self.aliases.get(&catch_all_of(address)).cloned(),
        }
    }
}

/// Looks up addresses, with two statements that travel together.
pub(super) async fn look_up(tx: &Transaction<'_>, addresses: BTreeSet<&Mailbox>) -> Result<Directory, Failure> {
    let names: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let catch_alls: BTreeSet<String> = addresses.iter().map(|address| catch_all_of(address)).collect();
    let aliases: Vec<&str> = names.iter().copied().chain(catch_alls.iter().map(String::as_str)).collect();
    let (rows, mailboxes) = try_join!(
        async { tx.query("SELECT address, targets FROM aliases WHERE address = ANY($1)", &[&aliases]).await },
        accounts::existing(tx, &names)
    )?;
    let mut found = HashMap::new();
    for row in rows {
        let (address, column): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        if let Some(targets) = targets(&address, &column) {
            found.insert(address, targets);
        }
    }
    Ok(Directory { aliases: found, mailboxes })
}

pub(super) async fn resolve(tx: &Transaction<'_>, address: &Mailbox) -> Result<Resolved, Failure> {
    let (directory, mailbox) = try_join!(look_up(tx, BTreeSet::from([address])), accounts::find(tx, address))?;
    Ok(resolved(directory.entry(address), mailbox))
}
