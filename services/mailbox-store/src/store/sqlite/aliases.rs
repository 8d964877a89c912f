//! Aliases, and what addresses mean.

use super::{
    accounts,
    values::{RawText, collect},
    writer::WriteTransaction,
};
use crate::store::{
    Alias, Result,
    aliases::{Directory, keys, resolved, targets_column},
    plan::expansion::Entry,
};
use internal_api::Resolved;
use mail_proto::{AddressRules, Mailbox};
use rusqlite::{Connection, params};
use std::collections::BTreeMap;

/// Makes these the aliases of the configuration.
pub(super) fn put(tx: &mut WriteTransaction<'_>, aliases: &[Alias]) -> Result<()> {
    let named = aliases.iter().map(|alias| Ok((alias.name.to_string(), targets_column(&alias.targets)?)));
    let wanted: BTreeMap<String, String> = named.collect::<Result<_>>()?;
    let select = "SELECT address FROM aliases WHERE source IS NULL";
    let stored: Vec<RawText> = collect(tx.connection.prepare(select)?.query_map([], |row| row.get(0))?)?;
    for address in stored.iter().filter(|address| !wanted.contains_key(&address.to_string())) {
        tx.connection.execute("DELETE FROM aliases WHERE address = ?1", [address])?;
    }
    // Nothing is written when nothing changes.
    let mut upsert = tx.connection.prepare(
        "INSERT INTO aliases (address, targets, source) VALUES (?1, ?2, NULL)
         ON CONFLICT (address) DO UPDATE SET targets = excluded.targets, source = NULL
         WHERE targets IS NOT excluded.targets OR source IS NOT NULL",
    )?;
    for (address, targets) in &wanted {
        upsert.execute(params![address, targets])?;
    }
    Ok(())
}

/// What is known of an address. The accounts and aliases that it may mean are found in one look.
pub(super) fn look_up(connection: &Connection, rules: AddressRules, address: &Mailbox) -> Result<Entry> {
    Ok(directory(connection, rules, address)?.entry(address))
}

fn directory(connection: &Connection, rules: AddressRules, address: &Mailbox) -> Result<Directory> {
    let (keys, catch_all) = keys(rules, address);
    let (key, shorter) = (keys.first(), keys.get(1));
    let mut statement = connection.prepare_cached(LOOK_UP)?;
    let rows = statement.query_map(params![key, shorter, catch_all], |row| {
        Ok((row.get::<_, RawText>(0)?.to_string(), row.get::<_, Option<RawText>>(1)?))
    })?;
    let mut directory = Directory::new(rules);
    for (name, targets) in collect(rows)? {
        match targets {
            Some(column) => directory.add_alias(&name, &column.to_string()),
            None => directory.add_account(&name),
        }
    }
    Ok(directory)
}

pub(super) fn resolve(connection: &Connection, rules: AddressRules, address: &Mailbox) -> Result<Resolved> {
    let entry = look_up(connection, rules, address)?;
    let mailbox = entry.mailbox.clone().map(|mailbox| accounts::mailbox(connection, mailbox)).transpose()?;
    Ok(resolved(entry, mailbox))
}

/// The account that an address means, as it is spelled.
pub(super) fn account(connection: &Connection, rules: AddressRules, address: &Mailbox) -> Result<Option<Mailbox>> {
    Ok(directory(connection, rules, address)?.account(address).cloned())
}

/// Accounts have no targets. The names are those of an address, of the address without its detail, and of a catch-all.
const LOOK_UP: &str = "SELECT address, NULL FROM accounts WHERE lower(address) IN (?1, ?2)
     UNION ALL SELECT address, targets FROM aliases WHERE lower(address) IN (?1, ?2, ?3)";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_up_uses_the_indexes() {
        let directory = tempfile::tempdir().unwrap();
        let connection = super::super::database::open(&directory.path().join("store.db")).unwrap();
        let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {LOOK_UP}")).unwrap();
        let plan = statement.query_map(params!["a", "b", "c"], |row| row.get::<_, String>("detail")).unwrap();
        let plan: Vec<_> = plan.map(Result::unwrap).filter(|step| step.contains(" USING ")).collect();
        assert_eq!(
            plan,
            [
                "SEARCH accounts USING COVERING INDEX accounts_by_key (<expr>=?)",
                "SEARCH aliases USING INDEX aliases_by_key (<expr>=?)"
            ]
        );
    }
}
