//! Accounts, and the mailboxes they make.

use super::{
    values::{Natural, Parsed, collect, column},
    writer::Unit,
};
use crate::store::{Account, Result, StoreError};
use mail_api::{MailboxPage, MailboxSummary};
use mail_proto::Mailbox;
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::{HashMap, HashSet};

pub(super) fn replace(unit: &mut Unit<'_>, accounts: &[Account]) -> Result<()> {
    let mut gone: HashSet<String> =
        collect(unit.connection.prepare("SELECT address FROM accounts")?.query_map([], |row| row.get(0))?)?
            .into_iter()
            .collect();
    for Account { address, password_hash } in accounts {
        let address = address.to_string();
        let existed = gone.remove(&address);
        let sql = if existed {
            // Nothing is written when nothing changes.
            "UPDATE accounts SET password_hash = ?2 WHERE address = ?1 AND password_hash IS NOT ?2"
        } else {
            // Messages of an account that was gone for a while are still there.
            "INSERT INTO accounts (address, password_hash, messages, octets)
             SELECT ?1, ?2, COUNT(*), COALESCE(SUM(octets), 0)
             FROM deliveries WHERE address = ?1 AND quarantined_at_ms IS NULL"
        };
        unit.connection.prepare_cached(sql)?.execute(params![address, password_hash])?;
    }
    for address in gone {
        unit.connection.prepare_cached("DELETE FROM accounts WHERE address = ?1")?.execute([address])?;
    }
    Ok(())
}

pub(super) fn password_hashes(connection: &Connection) -> Result<HashMap<Mailbox, String>> {
    let mut statement =
        connection.prepare_cached("SELECT address, password_hash FROM accounts WHERE password_hash IS NOT NULL")?;
    let accounts: Vec<(String, String)> = collect(statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?)?;
    Ok(accounts.into_iter().filter_map(|(address, hash)| Some((address.parse().ok()?, hash))).collect())
}

pub(super) fn password_hash(connection: &Connection, address: &str) -> Result<Option<String>> {
    let mut statement = connection.prepare_cached("SELECT password_hash FROM accounts WHERE address = ?1")?;
    Ok(statement.query_row([address], |row| row.get::<_, Option<String>>(0)).optional()?.flatten())
}

pub(super) fn mailbox(connection: &Connection, address: Mailbox) -> Result<MailboxSummary> {
    let mut statement = connection.prepare_cached("SELECT messages, octets FROM accounts WHERE address = ?1")?;
    let (Natural(messages), Natural(octets)) = statement
        .query_row([address.to_string()], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?
        .ok_or(StoreError::MailboxUnknown)?;
    Ok(MailboxSummary { address, messages, octets })
}

pub(super) fn page(connection: &Connection, after: &str, limit: u32) -> Result<MailboxPage> {
    let mut statement = connection.prepare_cached(
        "SELECT address, messages, octets FROM accounts WHERE address > ?1 ORDER BY address LIMIT ?2",
    )?;
    let rows = statement.query_map(params![after, i64::from(limit) + 1], |row| {
        let address: String = row.get(0)?;
        let summary = |Parsed(address)| -> rusqlite::Result<_> {
            let (Natural(messages), Natural(octets)) = (row.get(1)?, row.get(2)?);
            Ok(MailboxSummary { address, messages, octets })
        };
        Ok((address, row.get(0).and_then(summary)))
    })?;
    let mut rows = collect(rows)?;
    let more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    let next_after = rows.last().filter(|_| more).map(|(address, _)| address.clone());
    let mut mailboxes = Vec::new();
    for (address, summary) in rows {
        match summary {
            Ok(summary) => mailboxes.push(summary),
            // Accounts come from the configuration, so there is nothing to quarantine.
            Err(error) => tracing::error!(%error, address, "an account cannot be decoded"),
        }
    }
    Ok(MailboxPage { mailboxes, next_after })
}

/// Counts a message into a mailbox; answers whether there is such a mailbox.
pub(super) fn count_in(connection: &Connection, address: &str, octets: u64) -> Result<bool> {
    let mut statement = connection
        .prepare_cached("UPDATE accounts SET messages = messages + 1, octets = octets + ?2 WHERE address = ?1")?;
    Ok(statement.execute(params![address, column(octets)])? == 1)
}

/// Counts messages out of a mailbox, which need not exist any more.
pub(super) fn count_out(connection: &Connection, address: &str, messages: u64, octets: i64) -> Result<()> {
    connection
        .prepare_cached("UPDATE accounts SET messages = messages - ?2, octets = octets - ?3 WHERE address = ?1")?
        .execute(params![address, column(messages), octets])?;
    Ok(())
}
