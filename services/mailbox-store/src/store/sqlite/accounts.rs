//! Accounts, and the mailboxes they make.

use super::{
    aliases,
    values::{Natural, Parsed, RawText, collect, column},
    writer::WriteTransaction,
};
use crate::store::{
    Account, Result, StoreError, StoredPassword,
    records::{AccountRow, account_page},
};
use internal_api::{AccountPage, MailboxPage, MailboxSummary};
use mail_proto::{AddressRules, Mailbox, sasl::ScramVerifier};
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::collections::HashMap;

/// Adds and updates accounts; returns how many others there are.
pub(super) fn put(tx: &mut WriteTransaction<'_>, accounts: &[Account]) -> Result<u64> {
    tx.effects.accounts_changed = true;
    // Each with whether the API has added it.
    let mut others: HashMap<RawText, bool> = collect(
        tx.connection
            .prepare("SELECT address, source IS NOT NULL FROM accounts")?
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?,
    )?
    .into_iter()
    .collect();
    for Account { address, password_hash, quota } in accounts {
        let address = address.to_string();
        let existed = others.remove(&RawText::from(address.as_str())).is_some();
        let sql = if existed {
            // Nothing is written when nothing changes.
            "UPDATE accounts SET quota_messages = ?3, quota_octets = ?4, source = NULL,
                 scram_verifier = CASE WHEN password_hash IS COALESCE(?2, password_hash) THEN scram_verifier END,
                 password_hash = COALESCE(?2, password_hash)
             WHERE address = ?1 AND (password_hash, quota_messages, quota_octets, source)
                 IS NOT (COALESCE(?2, password_hash), ?3, ?4, NULL)"
        } else {
            // An address may have mail from a time when it had another account.
            "INSERT INTO accounts (address, password_hash, quota_messages, quota_octets, messages, octets)
             SELECT ?1, ?2, ?3, ?4, COUNT(*), COALESCE(SUM(octets), 0)
             FROM maildrops WHERE address = ?1 AND quarantined_at_ms IS NULL"
        };
        let (quota_messages, quota_octets) = (quota.messages.map(column), quota.octets.map(column));
        tx.connection.prepare_cached(sql)?.execute(params![address, password_hash, quota_messages, quota_octets])?;
    }
    Ok(others.values().filter(|is_added| !**is_added).count() as u64)
}

/// Adds an account of the API. An address may have mail from a time when it had another account.
pub(super) fn add(tx: &mut WriteTransaction<'_>, account: &Account, password: &StoredPassword) -> Result<()> {
    tx.effects.accounts_changed = true;
    let Account { address, quota, .. } = account;
    let StoredPassword { hash, verifier } = password;
    let insert = "INSERT INTO accounts
             (address, password_hash, scram_verifier, quota_messages, quota_octets, source, messages, octets)
         SELECT ?1, ?2, ?3, ?4, ?5, 'api', COUNT(*), COALESCE(SUM(octets), 0)
         FROM maildrops WHERE address = ?1 AND quarantined_at_ms IS NULL
         ON CONFLICT (address) DO NOTHING";
    let verifier = verifier.as_ref().map(ScramVerifier::to_string);
    let (messages, octets) = (quota.messages.map(column), quota.octets.map(column));
    let parameters = params![address.to_string(), hash, verifier, messages, octets];
    let added = tx.connection.prepare_cached(insert)?.execute(parameters)?;
    if added == 1 { Ok(()) } else { Err(StoreError::AccountExists) }
}

/// Adds those accounts that are not there in whatever spelling; returns them.
pub(super) fn admit(
    tx: &mut WriteTransaction<'_>,
    rules: AddressRules,
    accounts: &[Account],
    password: &StoredPassword,
) -> Result<Vec<Mailbox>> {
    let mut admitted = Vec::new();
    for account in accounts {
        let known = aliases::account(tx.connection, rules, &account.address)?;
        if known.is_none_or(|known| !rules.are_same(&known, &account.address)) {
            add(tx, account, password)?;
            admitted.push(account.address.clone());
        }
    }
    tx.effects.admitted.extend_from_slice(&admitted);
    Ok(admitted)
}

/// Removes an account without messages; returns whether it is gone.
pub(super) fn remove_empty(tx: &mut WriteTransaction<'_>, address: &str) -> Result<bool> {
    tx.effects.accounts_changed = true;
    let delete = "DELETE FROM accounts WHERE address = ?1 AND messages = 0";
    if tx.connection.prepare_cached(delete)?.execute([address])? == 1 {
        return Ok(true);
    }
    if exists(tx.connection, address)? { Ok(false) } else { Err(StoreError::MailboxUnknown) }
}

pub(super) fn accounts(connection: &Connection, after: &str, limit: u32) -> Result<AccountPage> {
    let mut statement = connection.prepare_cached(
        "SELECT address, messages, octets, source, password_hash FROM accounts
         WHERE address > ?1 ORDER BY address LIMIT ?2",
    )?;
    let rows = statement.query_map(params![after, i64::from(limit) + 1], |row| {
        let (source, hash): (Option<RawText>, Option<RawText>) = (row.get(3)?, row.get(4)?);
        let (Natural(messages), Natural(octets)) = (row.get(1)?, row.get(2)?);
        let hash = hash.map(|hash| hash.to_string());
        Ok((row.get::<_, RawText>(0)?.to_string(), AccountRow { is_added: source.is_some(), hash, messages, octets }))
    })?;
    Ok(account_page(collect(rows)?, limit))
}

pub(super) fn alike(connection: &Connection, limit: u32) -> Result<Vec<(Mailbox, Mailbox)>> {
    let select = "SELECT MIN(address), MAX(address) FROM accounts
         GROUP BY lower(address) HAVING COUNT(*) > 1 ORDER BY 1 LIMIT ?1";
    let mut statement = connection.prepare_cached(select)?;
    let pairs: Vec<(RawText, RawText)> = collect(statement.query_map([limit], |row| Ok((row.get(0)?, row.get(1)?)))?)?;
    Ok(pairs.iter().filter_map(|(one, other)| Some((one.parse()?, other.parse()?))).collect())
}

pub(super) fn set_password(tx: &mut WriteTransaction<'_>, address: &str, password: &StoredPassword) -> Result<()> {
    tx.effects.accounts_changed = true;
    let StoredPassword { hash, verifier } = password;
    let sql = "UPDATE accounts SET password_hash = ?2, scram_verifier = ?3 WHERE address = ?1";
    let verifier = verifier.as_ref().map(ScramVerifier::to_string);
    let updated = tx.connection.prepare_cached(sql)?.execute(params![address, hash, verifier])?;
    if updated == 1 { Ok(()) } else { Err(StoreError::MailboxUnknown) }
}

pub(super) fn passwords(connection: &Connection) -> Result<HashMap<Mailbox, StoredPassword>> {
    let mut statement = connection.prepare_cached(
        "SELECT address, password_hash, scram_verifier FROM accounts WHERE password_hash IS NOT NULL",
    )?;
    let accounts: Vec<(RawText, Option<StoredPassword>)> =
        collect(statement.query_map([], |row| Ok((row.get(0)?, password_of(row, 1)?)))?)?;
    // What cannot be decoded is written anew with the accounts.
    Ok(accounts.into_iter().filter_map(|(address, password)| Some((address.parse()?, password?))).collect())
}

pub(super) fn password(connection: &Connection, address: &str) -> Result<Option<StoredPassword>> {
    let sql = "SELECT password_hash, scram_verifier FROM accounts WHERE address = ?1 AND password_hash IS NOT NULL";
    Ok(connection.prepare_cached(sql)?.query_row([address], |row| password_of(row, 0)).optional()?.flatten())
}

/// A password from the columns `password_hash, scram_verifier`, from this one on. A verifier that cannot be decoded is
/// none, and a hash that cannot be decoded is no password.
fn password_of(row: &Row<'_>, first: usize) -> rusqlite::Result<Option<StoredPassword>> {
    let (hash, verifier): (RawText, Option<RawText>) = (row.get(first)?, row.get(first + 1)?);
    let verifier = verifier.and_then(|verifier| verifier.parse());
    Ok(hash.parse().map(|hash| StoredPassword { hash, verifier }))
}

pub(super) fn without_verifier(connection: &Connection, limit: u32) -> Result<Vec<Mailbox>> {
    let sql = "SELECT address FROM accounts WHERE password_hash NOT LIKE '!%' AND scram_verifier IS NULL LIMIT ?1";
    let mut statement = connection.prepare_cached(sql)?;
    let addresses: Vec<RawText> = collect(statement.query_map([limit], |row| row.get(0))?)?;
    Ok(addresses.iter().filter_map(RawText::parse).collect())
}

pub(super) fn secret(tx: &mut WriteTransaction<'_>, name: &str, proposed: &str) -> Result<String> {
    let insert = "INSERT INTO properties (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO NOTHING";
    tx.connection.prepare_cached(insert)?.execute([name, proposed])?;
    let mut select = tx.connection.prepare_cached("SELECT value FROM properties WHERE name = ?1")?;
    Ok(select.query_row([name], |row| row.get(0))?)
}

pub(super) fn mailbox(connection: &Connection, address: Mailbox) -> Result<MailboxSummary> {
    let mut statement = connection.prepare_cached(
        "SELECT address, messages, octets, quota_messages, quota_octets FROM accounts WHERE address = ?1",
    )?;
    let found = statement.query_row([address.to_string()], |row| summary(row, address)).optional()?;
    found.ok_or(StoreError::MailboxUnknown)
}

pub(super) fn page(connection: &Connection, after: &str, limit: u32) -> Result<MailboxPage> {
    let mut statement = connection.prepare_cached(
        "SELECT address, messages, octets, quota_messages, quota_octets FROM accounts
         WHERE address > ?1 ORDER BY address LIMIT ?2",
    )?;
    let rows = statement.query_map(params![after, i64::from(limit) + 1], |row| {
        let address: RawText = row.get(0)?;
        Ok((address, row.get(0).and_then(|Parsed(address)| summary(row, address))))
    })?;
    let mut rows = collect(rows)?;
    let more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    let next_after = rows.last().filter(|_| more).map(|(address, _)| address.to_string());
    let mut mailboxes = Vec::new();
    for (address, summary) in rows {
        match summary {
            Ok(summary) => mailboxes.push(summary),
            // Accounts come from the configuration, so there is nothing to quarantine.
            Err(error) => tracing::error!(%error, %address, "an account cannot be decoded"),
        }
    }
    Ok(MailboxPage { mailboxes, next_after })
}

/// The mailbox of this address, from a row of its address, sums and quotas.
fn summary(row: &Row<'_>, address: Mailbox) -> rusqlite::Result<MailboxSummary> {
    let (Natural(messages), Natural(octets)) = (row.get(1)?, row.get(2)?);
    let quota = |column| row.get(column).map(|quota: Option<Natural<u64>>| quota.map(|Natural(quota)| quota));
    let (quota_messages, quota_octets) = (quota(3)?, quota(4)?);
    Ok(MailboxSummary { address, messages, octets, quota_messages, quota_octets })
}

/// Whether there is such a mailbox.
pub(super) fn exists(connection: &Connection, address: &str) -> Result<bool> {
    let mut statement = connection.prepare_cached("SELECT EXISTS (SELECT 1 FROM accounts WHERE address = ?1)")?;
    Ok(statement.query_row([address], |row| row.get(0))?)
}

/// Counts a message into a mailbox; returns whether there is such a mailbox and room in it.
pub(super) fn count_in(connection: &Connection, address: &str, octets: u64) -> Result<bool> {
    let mut statement = connection.prepare_cached(
        "UPDATE accounts SET messages = messages + 1, octets = octets + ?2
         WHERE address = ?1 AND (quota_messages IS NULL OR messages < quota_messages)
         AND (quota_octets IS NULL OR octets + ?2 <= quota_octets)",
    )?;
    Ok(statement.execute(params![address, column(octets)])? == 1)
}

/// Counts messages out of a mailbox, which need not exist any more.
pub(super) fn count_out(connection: &Connection, address: &RawText, messages: u64, octets: i64) -> Result<()> {
    connection
        .prepare_cached("UPDATE accounts SET messages = messages - ?2, octets = octets - ?3 WHERE address = ?1")?
        .execute(params![address, column(messages), octets])?;
    Ok(())
}
