//! Accounts, and the mailboxes they make.

use super::{
    aliases,
    database::Transaction,
    failure::Failure,
    values::{Natural, Parsed},
};
use crate::store::{
    Account, StoreError, StoredPassword,
    records::{AccountRow, account_page, column},
};
use futures_util::future::try_join_all;
use internal_api::{AccountPage, MailboxPage, MailboxSummary};
use mail_proto::{AddressRules, Mailbox, sasl::ScramVerifier};
use std::collections::{BTreeMap, HashMap, HashSet};
use tokio_postgres::Row;

/// How many statements travel together at most.
const TOGETHER: usize = 500;

/// What an account is configured to be: hash, then quotas.
type Configured = (Option<String>, Option<i64>, Option<i64>);
/// What is stored of it; with whether the API has added it.
type Known = (Configured, bool);

/// Adds and updates accounts; returns how many others there are.
pub(super) async fn put(tx: &mut Transaction<'_>, accounts: &[Account]) -> Result<u64, Failure> {
    let select = "SELECT address, password_hash, quota_messages, quota_octets, source IS NOT NULL FROM accounts";
    let rows = tx.query(select, &[]).await?;
    let known = |row: &Row| Ok(((row.try_get(1)?, row.try_get(2)?, row.try_get(3)?), row.try_get(4)?));
    let stored = rows.iter().map(|row| Ok((row.try_get(0)?, known(row)?)));
    let mut stored: HashMap<String, Known> = stored.collect::<Result<_, tokio_postgres::Error>>()?;
    // In order, as everyone who changes several accounts.
    let accounts: BTreeMap<String, Configured> = accounts.iter().map(configured).collect();
    // Nothing is written when nothing changes.
    let changed: Vec<_> = accounts
        .iter()
        .filter(|(address, account)| stored.remove(*address).is_none_or(|stored| changes(&stored, account)))
        .collect();
    // An address may have mail from a time when it had another account.
    let upsert = "INSERT INTO accounts (address, password_hash, quota_messages, quota_octets, messages, octets)
         SELECT $1::text, $2::text, $3::bigint, $4::bigint, COUNT(*), COALESCE(SUM(octets), 0)::bigint
         FROM maildrops WHERE address = $1 AND quarantined_at_ms IS NULL
         ON CONFLICT (address) DO UPDATE SET
             scram_verifier = CASE WHEN accounts.password_hash = COALESCE(EXCLUDED.password_hash, accounts.password_hash)
                 THEN accounts.scram_verifier END,
             password_hash = COALESCE(EXCLUDED.password_hash, accounts.password_hash),
             quota_messages = EXCLUDED.quota_messages, quota_octets = EXCLUDED.quota_octets, source = NULL";
    tx.prepare(upsert).await?;
    for some in changed.chunks(TOGETHER) {
        let tx = &*tx;
        try_join_all(some.iter().map(|(address, (hash, quota_messages, quota_octets))| async move {
            tx.execute(upsert, &[address, hash, quota_messages, quota_octets]).await
        }))
        .await?;
    }
    Ok(stored.values().filter(|(_, is_added)| !is_added).count() as u64)
}

/// Adds an account of the API. An address may have mail from a time when it had another account.
pub(super) async fn add(tx: &Transaction<'_>, account: &Account, password: &StoredPassword) -> Result<(), Failure> {
    let (address, (_, quota_messages, quota_octets)) = configured(account);
    let StoredPassword { hash, verifier } = password;
    let verifier = verifier.as_ref().map(ScramVerifier::to_string);
    let insert = "INSERT INTO accounts
             (address, password_hash, scram_verifier, quota_messages, quota_octets, source, messages, octets)
         SELECT $1::text, $2::text, $3::text, $4::bigint, $5::bigint, 'api', COUNT(*), COALESCE(SUM(octets), 0)::bigint
         FROM maildrops WHERE address = $1 AND quarantined_at_ms IS NULL
         ON CONFLICT (address) DO NOTHING";
    let added = tx.execute(insert, &[&address, hash, &verifier, &quota_messages, &quota_octets]).await?;
    if added == 1 { Ok(()) } else { Err(StoreError::AccountExists.into()) }
}

/// Adds those accounts that are not there in whatever spelling; returns them.
pub(super) async fn admit(
    tx: &mut Transaction<'_>,
    rules: AddressRules,
    accounts: &[Account],
    password: &StoredPassword,
) -> Result<Vec<Mailbox>, Failure> {
    let named = accounts.iter().map(|account| &account.address).collect();
    let directory = aliases::look_up(tx, rules, named).await?;
    let is_new = |address: &Mailbox| directory.account(address).is_none_or(|known| !rules.are_same(known, address));
    // In order, as everyone who changes several accounts, and one spelling of each.
    let new: BTreeMap<_, _> = accounts.iter().map(|account| (rules.key(&account.address), account)).collect();
    let new: Vec<_> = new.into_values().filter(|account| is_new(&account.address)).collect();
    let mut admitted = Vec::new();
    for some in new.chunks(TOGETHER) {
        let tx = &*tx;
        let adding = some.iter().map(|account| async move {
            match add(tx, account, password).await {
                Ok(()) => Ok(Some(account.address.clone())),
                // Another store was faster.
                Err(Failure::Store(StoreError::AccountExists)) => Ok(None),
                Err(failure) => Err(failure),
            }
        });
        admitted.extend(try_join_all(adding).await?.into_iter().flatten());
    }
    tx.effects.admitted.extend_from_slice(&admitted);
    Ok(admitted)
}

/// Removes an account without messages; returns whether it is gone.
pub(super) async fn remove_empty(tx: &mut Transaction<'_>, address: &str) -> Result<bool, Failure> {
    if tx.execute("DELETE FROM accounts WHERE address = $1 AND messages = 0", &[&address]).await? == 1 {
        return Ok(true);
    }
    if existing(tx, &[address]).await?.is_empty() { Err(StoreError::MailboxUnknown.into()) } else { Ok(false) }
}

pub(super) async fn accounts(tx: &mut Transaction<'_>, after: &str, limit: u32) -> Result<AccountPage, Failure> {
    let select = "SELECT address, messages, octets, source IS NOT NULL, password_hash FROM accounts
         WHERE address > $1 ORDER BY address LIMIT $2";
    let account = |row: &Row| {
        let (Natural(messages), Natural(octets)) = (row.try_get(1)?, row.try_get(2)?);
        let account = AccountRow { is_added: row.try_get(3)?, hash: row.try_get(4)?, messages, octets };
        Ok::<_, tokio_postgres::Error>((row.try_get(0)?, account))
    };
    let rows = tx.query(select, &[&after, &(i64::from(limit) + 1)]).await?;
    Ok(account_page(rows.iter().map(account).collect::<Result<_, _>>()?, limit))
}

/// Whether an account would change. A hash that is not given stays.
fn changes((stored, is_added): &Known, (hash, quota_messages, quota_octets): &Configured) -> bool {
    (hash.is_some() && stored.0 != *hash)
        || stored.1 != *quota_messages
        || stored.2 != *quota_octets
        // The configuration takes it over.
        || *is_added
}

/// By the expression of the index. In the order of octets, as addresses are compared elsewhere.
pub(super) async fn alike(tx: &mut Transaction<'_>, limit: u32) -> Result<Vec<(Mailbox, Mailbox)>, Failure> {
    let select = "SELECT MIN(address COLLATE \"C\"), MAX(address COLLATE \"C\") FROM accounts
         GROUP BY translate(address, 'ABCDEFGHIJKLMNOPQRSTUVWXYZ', 'abcdefghijklmnopqrstuvwxyz')
         HAVING COUNT(*) > 1 ORDER BY 1 LIMIT $1";
    let rows = tx.query(select, &[&i64::from(limit)]).await?;
    let pairs = rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?)));
    let pairs: Vec<(String, String)> = pairs.collect::<Result<_, tokio_postgres::Error>>()?;
    Ok(pairs.iter().filter_map(|(one, other)| Some((one.parse().ok()?, other.parse().ok()?))).collect())
}

pub(super) async fn set_password(
    tx: &mut Transaction<'_>,
    address: &str,
    password: &StoredPassword,
) -> Result<(), Failure> {
    let update = "UPDATE accounts SET password_hash = $2, scram_verifier = $3 WHERE address = $1";
    let verifier = password.verifier.as_ref().map(ScramVerifier::to_string);
    let updated = tx.execute(update, &[&address, &password.hash, &verifier]).await?;
    if updated == 1 { Ok(()) } else { Err(StoreError::MailboxUnknown.into()) }
}

fn configured(account: &Account) -> (String, Configured) {
    let Account { address, password_hash, quota } = account;
    (address.to_string(), (password_hash.clone(), quota.messages.map(column), quota.octets.map(column)))
}

pub(super) async fn passwords(tx: &mut Transaction<'_>) -> Result<HashMap<Mailbox, StoredPassword>, Failure> {
    let select = "SELECT password_hash, scram_verifier, address FROM accounts WHERE password_hash IS NOT NULL";
    let rows = tx.query(select, &[]).await?;
    let accounts = rows.iter().map(|row| Ok((row.try_get::<_, String>(2)?, password_of(row)?)));
    let accounts: Vec<_> = accounts.collect::<Result<_, tokio_postgres::Error>>()?;
    Ok(accounts.into_iter().filter_map(|(address, password)| Some((address.parse().ok()?, password))).collect())
}

pub(super) async fn password(tx: &mut Transaction<'_>, address: &str) -> Result<Option<StoredPassword>, Failure> {
    let select = "SELECT password_hash, scram_verifier FROM accounts WHERE address = $1 AND password_hash IS NOT NULL";
    let row = tx.query_one(select, &[&address]).await?;
    Ok(row.as_ref().map(password_of).transpose()?)
}

/// A password from the columns `password_hash, scram_verifier`. A verifier that cannot be decoded is none.
fn password_of(row: &Row) -> Result<StoredPassword, tokio_postgres::Error> {
    let (hash, verifier): (String, Option<String>) = (row.try_get(0)?, row.try_get(1)?);
    Ok(StoredPassword { hash, verifier: verifier.and_then(|text| text.parse().ok()) })
}

pub(super) async fn without_verifier(tx: &mut Transaction<'_>, limit: u32) -> Result<Vec<Mailbox>, Failure> {
    let select = "SELECT address FROM accounts WHERE password_hash NOT LIKE '!%' AND scram_verifier IS NULL LIMIT $1";
    let rows = tx.query(select, &[&i64::from(limit)]).await?;
    let addresses = rows.iter().map(|row| row.try_get(0));
    let addresses: Vec<String> = addresses.collect::<Result<_, tokio_postgres::Error>>()?;
    Ok(addresses.iter().filter_map(|address| address.parse().ok()).collect())
}

pub(super) async fn secret(tx: &mut Transaction<'_>, name: &str, proposed: &str) -> Result<String, Failure> {
    let insert = "INSERT INTO properties (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING";
    tx.execute(insert, &[&name, &proposed]).await?;
    let row = tx.query_one("SELECT value FROM properties WHERE name = $1", &[&name]).await?;
    let value = row.map(|row| row.try_get(0)).transpose()?;
    value.ok_or_else(|| StoreError::Internal(format!("the property {name} is gone")).into())
}

pub(super) async fn mailbox(tx: &Transaction<'_>, address: &Mailbox) -> Result<MailboxSummary, Failure> {
    Ok(find(tx, address).await?.ok_or(StoreError::MailboxUnknown)?)
}

pub(super) async fn find(tx: &Transaction<'_>, address: &Mailbox) -> Result<Option<MailboxSummary>, Failure> {
    let select = "SELECT address, messages, octets, quota_messages, quota_octets FROM accounts WHERE address = $1";
    let row = tx.query_one(select, &[&address.to_string()]).await?;
    Ok(row.map(|row| summary(&row)).transpose()?)
}

pub(super) async fn page(tx: &mut Transaction<'_>, after: &str, limit: u32) -> Result<MailboxPage, Failure> {
    let select = "SELECT address, messages, octets, quota_messages, quota_octets FROM accounts
         WHERE address > $1 ORDER BY address LIMIT $2";
    let mut rows = tx.query(select, &[&after, &(i64::from(limit) + 1)]).await?;
    let more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    let next_after = rows.last().filter(|_| more).map(|row| row.try_get(0)).transpose()?;
    let mut mailboxes = Vec::new();
    for row in rows {
        match summary(&row) {
            Ok(summary) => mailboxes.push(summary),
            // Accounts come from the configuration, so there is nothing to quarantine.
            Err(error) => tracing::error!(%error, "an account cannot be decoded"),
        }
    }
    Ok(MailboxPage { mailboxes, next_after })
}

fn summary(row: &Row) -> Result<MailboxSummary, tokio_postgres::Error> {
    let (Parsed(address), Natural(messages), Natural(octets)) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    let quota = |column| Ok::<_, tokio_postgres::Error>(row.try_get::<_, Option<Natural<u64>>>(column)?.map(|of| of.0));
    Ok(MailboxSummary { address, messages, octets, quota_messages: quota(3)?, quota_octets: quota(4)? })
}

/// A number of messages, and their octets.
pub(super) type Count = (i64, i64);

/// Counts messages and octets into mailboxes; returns which of the addresses are mailboxes here that have room for
/// all of it. Those stay until the transaction ends.
pub(super) async fn count_in<'a>(
    tx: &Transaction<'_>,
    counts: &BTreeMap<&'a str, Count>,
) -> Result<HashSet<&'a str>, Failure> {
    let update = "UPDATE accounts SET messages = messages + $2, octets = octets + $3
         WHERE address = $1 AND (quota_messages IS NULL OR messages + $2 <= quota_messages)
         AND (quota_octets IS NULL OR octets + $3 <= quota_octets)";
    count(tx, update, counts).await
}

/// Counts messages out of mailboxes, which need not exist any more.
pub(super) async fn count_out(tx: &Transaction<'_>, counts: &BTreeMap<&str, Count>) -> Result<(), Failure> {
    let update = "UPDATE accounts SET messages = messages - $2, octets = octets - $3 WHERE address = $1";
    count(tx, update, counts).await.map(drop)
}

/// Which of these addresses are mailboxes here.
pub(super) async fn existing(tx: &Transaction<'_>, addresses: &[&str]) -> Result<HashSet<String>, Failure> {
    let rows = tx.query("SELECT address FROM accounts WHERE address = ANY($1)", &[&addresses]).await?;
    Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
}

/// One by one and in order, lest two stores lock the same accounts crosswise.
async fn count<'a>(
    tx: &Transaction<'_>,
    update: &'static str,
    counts: &BTreeMap<&'a str, Count>,
) -> Result<HashSet<&'a str>, Failure> {
    tx.prepare(update).await?;
    let mut counted = HashSet::new();
    let counts: Vec<_> = counts.iter().collect();
    for some in counts.chunks(TOGETHER) {
        let counting = some.iter().map(|(address, (messages, octets))| async move {
            tx.execute(update, &[*address, messages, octets]).await
        });
        for ((address, _), accounts) in some.iter().zip(try_join_all(counting).await?) {
            if accounts == 1 {
                counted.insert(**address);
            }
        }
    }
    Ok(counted)
}
