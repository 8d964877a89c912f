//! Aliases, and what addresses mean.

use super::{
    accounts,
    values::{RawText, collect},
    writer::WriteTransaction,
};
use crate::store::{
    Alias, Result, StoreError,
    aliases::{catch_all_of, resolved, targets, targets_column},
    plan::expansion::Entry,
};
use internal_api::Resolved;
use mail_proto::Mailbox;
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

/// What is known of an address.
pub(super) fn look_up(connection: &Connection, address: &Mailbox) -> Result<Entry> {
    let (name, catch_all) = (address.to_string(), catch_all_of(address));
    let mut statement = connection.prepare_cached(
        "SELECT (SELECT targets FROM aliases WHERE address = ?1), EXISTS (SELECT 1 FROM accounts WHERE address = ?1),
             (SELECT targets FROM aliases WHERE address = ?2)",
    )?;
    let (alias_targets, is_mailbox, catch_all_targets) = statement.query_row([&name, &catch_all], |row| {
        Ok((row.get::<_, Option<RawText>>(0)?, row.get(1)?, row.get::<_, Option<RawText>>(2)?))
    })?;
    let alias = alias_targets.and_then(|column| targets(&name, &column.to_string()));
    let catch_all = catch_all_targets.and_then(|column| targets(&catch_all, &column.to_string()));
    Ok(Entry { alias, is_mailbox, catch_all })
}

pub(super) fn resolve(connection: &Connection, address: Mailbox) -> Result<Resolved> {
    let entry = look_up(connection, &address)?;
    let mailbox = match accounts::mailbox(connection, address) {
        Err(StoreError::MailboxUnknown) => None,
        summary => Some(summary?),
    };
    Ok(resolved(entry, mailbox))
}
