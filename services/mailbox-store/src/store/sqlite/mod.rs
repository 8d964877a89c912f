//! The embedded backend: SQLite for what is small, files for what is large, in a directory of its own.
//!
//! ```text
//! DIR/lock       held while the store is open
//! DIR/store.db   accounts, messages, maildrops, queue (and -wal, -shm beside it)
//! DIR/bodies/    the messages that are too large for the database
//! DIR/snapshots/ what it was at some moments, each a database with all bodies in it
//! DIR/store.db.incoming    a copy of another store that is not whole yet
//! ```

mod accounts;
mod action;
mod aliases;
mod attempts;
mod bodies;
mod claims;
mod database;
mod destination;
mod effects;
mod events;
mod gate;
mod known_accounts;
mod leases;
mod maildrop;
mod maintenance;
mod messages;
mod open;
mod quarantine;
mod queue;
mod reader_pool;
mod reading;
mod snapshot;
mod snapshots;
mod submit;
#[cfg(test)]
mod tests;
mod values;
mod writer;

pub(crate) use destination::SqliteDestination;
pub use open::OpenError;
pub(crate) use open::{PRIVATE, announce, announced, lock};
pub(crate) use snapshot::SqliteSnapshot;

use super::{
    Abilities, Account, Accounts, Alias, Backlog, ClaimOutcome, EventRetention, Events, Lifecycle, Listing, LocalMail,
    Maildrops, MessageStream, Messages, Queue, QueueAction, QueuePosition, Result, StoreError, StoredMessage,
    StoredPassword, Submitted, Upcoming,
    aliases::LiveRules,
    records::{QUEUED_PAGE, check},
};
use crate::metrics::Metrics;
use async_trait::async_trait;
use attempts::Attempts;
use bodies::Bodies;
use bytes::Bytes;
use internal_api::{
    AccountPage, Event, EventPage, EventPosition, Flushed, MailboxPage, MailboxSummary, MaildropPage, Message,
    MessageId, MessagePage, QueueEntry, QueuePage, Resolved, Settlement, Submission,
};
use jiff::Timestamp;
use known_accounts::KnownAccounts;
use leases::Leases;
use mail_net::Clock;
use mail_proto::{AddressRules, Domain, Mailbox};
use messages::Location;
use reader_pool::ReaderPool;
use snapshots::SnapshotDirectory;
use std::{collections::HashMap, path::PathBuf, sync::Arc, time::Duration};
use submit::Ways;
use tokio::sync::watch;
use writer::{WriteTransaction, Writer};

/// How a store is opened.
pub struct Options {
    /// Where it keeps everything. Created when it is missing.
    pub directory: PathBuf,
    /// Whether messages stored from now on are delivered with a `Return-Path:` line before them.
    pub adds_return_path: bool,
    /// The name of the stack whose mail it is to hold.
    pub stack: String,
    /// Measures leases, retention and dates with its wall part.
    pub clock: Clock,
    /// Counts what happens.
    pub metrics: Metrics,
}

/// A store in one directory, which it has to itself.
pub struct SqliteStore {
    writer: Arc<Writer>,
    readers: Arc<ReaderPool>,
    bodies: Arc<Bodies>,
    adds_return_path: bool,
    rules: LiveRules,
    leases: Arc<Leases>,
    known: Arc<KnownAccounts>,
    clock: Clock,
    queue_changes: watch::Sender<()>,
    deletions: watch::Sender<()>,
    event_changes: watch::Sender<()>,
    snapshots: Arc<SnapshotDirectory>,
    restores: watch::Sender<()>,
    attempts: Arc<Attempts>,
}

#[async_trait]
impl Accounts for SqliteStore {
    async fn put_accounts(&self, accounts: Vec<Account>) -> Result<u64> {
        self.writer.write(move |tx| accounts::put(tx, &accounts)).await
    }

    async fn put_aliases(&self, aliases: Vec<Alias>) -> Result<()> {
        self.writer.write(move |tx| aliases::put(tx, &aliases)).await
    }

    fn set_address_rules(&self, rules: AddressRules) {
        self.rules.set(rules);
    }

    async fn account(&self, address: &Mailbox) -> Result<Option<Mailbox>> {
        let rules = self.rules.current();
        if let Some(known) = self.known.spelling(rules, address) {
            return Ok(known);
        }
        let (reading, asked) = (self.known.reading(), address.clone());
        let account = self.readers.read(move |connection| aliases::account(connection, rules, &asked)).await?;
        self.known.remember_spelling(reading, rules, address.clone(), account.as_ref());
        Ok(account)
    }

    async fn add_account(&self, account: Account, password: StoredPassword) -> Result<()> {
        self.writer.write(move |tx| accounts::add(tx, &account, &password)).await
    }

    async fn admit_accounts(&self, accounts: Vec<Account>, password: StoredPassword) -> Result<Vec<Mailbox>> {
        let rules = self.rules.current();
        self.writer.write(move |tx| accounts::admit(tx, rules, &accounts, &password)).await
    }

    async fn remove_empty_account(&self, address: &Mailbox) -> Result<bool> {
        let address = address.to_string();
        self.writer.write(move |tx| accounts::remove_empty(tx, &address)).await
    }

    async fn accounts(&self, after: &str, limit: u32) -> Result<AccountPage> {
        let after = after.to_owned();
        self.readers.read(move |connection| accounts::accounts(connection, &after, limit)).await
    }

    async fn alike(&self, limit: u32) -> Result<Vec<(Mailbox, Mailbox)>> {
        self.readers.read(move |connection| accounts::alike(connection, limit)).await
    }

    async fn set_password(&self, address: &Mailbox, password: StoredPassword) -> Result<()> {
        let address = address.to_string();
        self.writer.write(move |tx| accounts::set_password(tx, &address, &password)).await
    }

    async fn passwords(&self) -> Result<HashMap<Mailbox, StoredPassword>> {
        self.readers.read(accounts::passwords).await
    }

    async fn password(&self, address: &Mailbox) -> Result<Option<StoredPassword>> {
        if let Some(known) = self.known.password(address) {
            return Ok(known);
        }
        let (reading, account) = (self.known.reading(), address.to_string());
        let password = self.readers.read(move |connection| accounts::password(connection, &account)).await?;
        self.known.remember_password(reading, address.clone(), password.as_ref());
        Ok(password)
    }

    async fn without_verifier(&self, limit: u32) -> Result<Vec<Mailbox>> {
        self.readers.read(move |connection| accounts::without_verifier(connection, limit)).await
    }

    async fn secret(&self, name: &'static str, proposed: String) -> Result<String> {
        self.writer.write(move |tx| accounts::secret(tx, name, &proposed)).await
    }

    async fn resolve(&self, address: &Mailbox) -> Result<Resolved> {
        let (address, rules) = (address.clone(), self.rules.current());
        self.readers.read(move |connection| aliases::resolve(connection, rules, &address)).await
    }

    async fn mailbox(&self, address: &Mailbox) -> Result<MailboxSummary> {
        let address = address.clone();
        self.readers.read(move |connection| accounts::mailbox(connection, address)).await
    }

    async fn mailboxes(&self, after: &str, limit: u32) -> Result<MailboxPage> {
        let after = after.to_owned();
        self.readers.read(move |connection| accounts::page(connection, &after, limit)).await
    }
}

#[async_trait]
impl Messages for SqliteStore {
    async fn submit(&self, submission: Submission, message: MessageStream) -> Result<Submitted> {
        check(&submission)?;
        let message = if self.adds_return_path { message.set_apart().await } else { message };
        let body = self.bodies.receive(message).await?;
        let ways = self.ways();
        self.writer.write(move |tx| submit::submit(tx, &submission, body, ways)).await
    }

    async fn transaction(&self, name: &str) -> Result<Option<MessageId>> {
        let name = name.to_owned();
        // By the writer, which comes to it after all that was submitted before.
        self.writer.write(move |tx| submit::earlier(tx, &name)).await
    }

    async fn message(&self, id: MessageId) -> Result<Message> {
        let found = self.readers.read(move |connection| messages::message(connection, id)).await?;
        self.decoded(found).await
    }

    async fn messages(&self, after: MessageId, limit: u32) -> Result<MessagePage> {
        let page = self.readers.read(move |connection| messages::page(connection, after, limit)).await?;
        Ok(MessagePage { messages: self.good_ones(page.0).await, next_after: page.1 })
    }

    async fn raw(&self, id: MessageId) -> Result<StoredMessage> {
        let found = self.readers.read(move |connection| messages::location(connection, id)).await?;
        let location = self.decoded(found).await?;
        self.stream(Location { prefix: String::new(), ..location }).await
    }

    async fn inline_bodies(&self, ids: Vec<MessageId>) -> Result<HashMap<MessageId, Bytes>> {
        self.readers.read(move |connection| messages::inline_bodies(connection, &ids)).await
    }
}

#[async_trait]
impl Events for SqliteStore {
    async fn events(&self, after: EventPosition, limit: u32) -> Result<EventPage> {
        self.readers.read(move |connection| events::page(connection, after, limit)).await
    }

    async fn last_event(&self) -> Result<EventPosition> {
        self.readers.read(events::last).await
    }

    async fn message_events(&self, id: MessageId) -> Result<Vec<Event>> {
        self.readers.read(move |connection| events::story(connection, id)).await
    }

    fn event_changes(&self) -> watch::Receiver<()> {
        self.event_changes.subscribe()
    }
}

#[async_trait]
impl Maildrops for SqliteStore {
    async fn delivered_raw(&self, address: &Mailbox, id: MessageId) -> Result<StoredMessage> {
        let address = address.to_string();
        let find = move |connection: &_| messages::delivered_location(connection, &address, id);
        let found = self.readers.read(find).await?;
        let location = self.decoded(found).await?;
        self.stream(location).await
    }

    async fn maildrop(&self, address: &Mailbox, after: MessageId, limit: u32) -> Result<MaildropPage> {
        let address = address.clone();
        let page = self.readers.read(move |connection| maildrop::page(connection, &address, after, limit)).await?;
        Ok(MaildropPage { messages: self.good_ones(page.0).await, next_after: page.1 })
    }

    async fn delivered_inline(&self, address: &Mailbox, ids: Vec<MessageId>) -> Result<Vec<(MessageId, Bytes)>> {
        let address = address.to_string();
        self.readers.read(move |connection| messages::delivered_inline(connection, &address, &ids)).await
    }

    async fn open_maildrop(&self, address: &Mailbox, session: &str, lease: Duration, limit: u32) -> Result<Listing> {
        let _opening = self.leases.opening().await;
        let (leases, mailbox, session) = (Arc::clone(&self.leases), address.to_string(), session.to_owned());
        // What is in the maildrop stays there, now that it is locked; what arrives meanwhile is seen one session earlier.
        let open = move |connection: &_| {
            if !accounts::exists(connection, &mailbox)? {
                return Err(StoreError::MailboxUnknown);
            }
            leases.take(&mailbox, &session, lease)?;
            let listed = maildrop::entries(connection, &mailbox, MessageId::from_number(0), limit);
            listed.inspect_err(|_| leases.release(&mailbox, &session))
        };
        let (entries, next_after) = self.readers.read(open).await?;
        Ok(Listing { entries: self.good_ones(entries).await, next_after })
    }

    async fn listing(&self, address: &Mailbox, after: MessageId, limit: u32) -> Result<Listing> {
        let address = address.to_string();
        let list = move |connection: &_| maildrop::entries(connection, &address, after, limit);
        let (entries, next_after) = self.readers.read(list).await?;
        Ok(Listing { entries: self.good_ones(entries).await, next_after })
    }

    async fn renew_maildrop(&self, address: &Mailbox, session: &str, lease: Duration) -> Result<()> {
        self.leases.renew(&address.to_string(), session, lease)
    }

    async fn update_maildrop(&self, address: &Mailbox, session: &str, delete: Vec<MessageId>) -> Result<()> {
        let mailbox = address.to_string();
        let Some(updating) = self.leases.update(&mailbox, session) else {
            return self.readers.read(move |connection| maildrop::without_lock(connection, &mailbox, &delete)).await;
        };
        if delete.is_empty() {
            return Ok(());
        }
        let address = address.clone();
        // The lock goes when the change is durable or has failed, also when the caller does not wait for that.
        let updated = self.writer.write(move |tx| match updating.is_due() {
            true => maildrop::delete(tx, &address, &delete).map(|()| updating),
            false => Err(StoreError::LeaseLost),
        });
        updated.await.map(drop)
    }

    async fn close_maildrop(&self, address: &Mailbox, session: &str) -> Result<()> {
        self.leases.release(&address.to_string(), session);
        Ok(())
    }
}

#[async_trait]
impl Queue for SqliteStore {
    async fn queue(&self, after: Option<QueuePosition>, limit: u32) -> Result<QueuePage> {
        let now = self.clock.wall.now();
        let page =
            self.readers.read(move |connection| queue::page(connection, after.as_ref(), None, limit, now)).await?;
        let next_after = page.next_after.map(|position| position.to_string());
        Ok(QueuePage { entries: self.good_ones(page.entries).await, next_after })
    }

    async fn queued(&self, id: MessageId) -> Result<Vec<QueueEntry>> {
        let (mut entries, mut after) = (Vec::new(), Some(QueuePosition::before(id)));
        while let Some(position) = after {
            let now = self.clock.wall.now();
            let read = move |connection: &_| queue::page(connection, Some(&position), Some(id), QUEUED_PAGE, now);
            let page = self.readers.read(read).await?;
            entries.extend(self.good_ones(page.entries).await);
            after = page.next_after;
        }
        if entries.is_empty() { Err(StoreError::NotQueued) } else { Ok(entries) }
    }

    async fn backlog(&self) -> Result<Backlog> {
        self.readers.read(queue::backlog).await
    }

    async fn act(&self, id: MessageId, action: QueueAction) -> Result<u64> {
        self.writer.write(move |tx| action::act(tx, id, action)).await
    }

    async fn claim(
        &self,
        lease: Duration,
        limit: u32,
        except: Vec<Domain>,
        local: LocalMail,
        abilities: Abilities,
    ) -> Result<ClaimOutcome> {
        let (writer, attempts) = (Arc::clone(&self.writer), Arc::clone(&self.attempts));
        let claim = move |tx: &mut WriteTransaction<'_>| {
            if writer.gate().keeps_claims() {
                return Ok(ClaimOutcome::NothingDue { next_due_at: None });
            }
            let outcome = claims::claim(tx, lease, limit, &except, &local, abilities)?;
            if let ClaimOutcome::Claimed(claim) = &outcome {
                attempts.begin(
                    &claim.lease,
                    lease,
                    claim.messages.iter().map(|message| message.recipients.len()).sum(),
                );
            }
            Ok(outcome)
        };
        self.writer.write(claim).await
    }

    fn queue_changes(&self) -> watch::Receiver<()> {
        self.queue_changes.subscribe()
    }

    async fn renew_claim(&self, lease: &str, duration: Duration) -> Result<()> {
        let (lease, attempts) = (lease.to_owned(), Arc::clone(&self.attempts));
        self.writer
            .write(move |tx| claims::renew(tx, &lease, duration).inspect(|()| attempts.renew(&lease, duration)))
            .await
    }

    async fn settle(&self, lease: &str, settlement: Settlement, failure_message: MessageStream) -> Result<()> {
        settlement.failure_message.as_ref().map_or(Ok(()), check)?;
        let body = self.bodies.receive(failure_message).await?;
        if settlement.failure_message.is_none() && body.octets() > 0 {
            return Err(StoreError::Invalid("octets follow, but no failure_message says whose they are".to_owned()));
        }
        if settlement.outcomes.is_empty() {
            return Err(StoreError::Invalid("a settlement has at least one outcome".to_owned()));
        }
        let (lease, ways, attempts) = (lease.to_owned(), self.ways(), Arc::clone(&self.attempts));
        let settle = move |tx: &mut WriteTransaction<'_>| {
            claims::settle(tx, &lease, &settlement, body, ways)?;
            attempts.settle(&lease, settlement.outcomes.len());
            Ok(())
        };
        self.writer.write(settle).await
    }

    async fn flush_queue(&self) -> Result<Flushed> {
        let (mut entries, mut after) = (0, None);
        loop {
            let (flushed, last) = self.writer.write(move |tx| queue::flush(tx, after.as_ref())).await?;
            entries += flushed;
            after = last;
            if after.is_none() {
                return Ok(Flushed { entries });
            }
        }
    }
}

#[async_trait]
impl Lifecycle for SqliteStore {
    async fn probe(&self) -> Result<()> {
        self.bodies.require_room().await?;
        self.writer.write(maintenance::probe).await
    }

    async fn expire(&self, age: Duration) -> Result<()> {
        loop {
            let _expiring = self.leases.expiring().await;
            let open = self.leases.open_maildrops();
            if !self.writer.write(move |tx| maintenance::expire(tx, age, &open)).await? {
                return Ok(());
            }
        }
    }

    async fn sweep(&self) -> Result<bool> {
        self.writer.write(maildrop::sweep).await
    }

    fn deletions(&self) -> watch::Receiver<()> {
        self.deletions.subscribe()
    }

    async fn prune_events(&self, retention: EventRetention) -> Result<()> {
        while self.writer.write(move |tx| events::prune(tx, retention)).await? {}
        Ok(())
    }

    async fn maintain(&self, local: LocalMail) -> Result<()> {
        self.leases.forget();
        while self.writer.write(maintenance::forget).await? {}
        let domains = self.readers.read(queue::domains).await?;
        for domain in domains.into_iter().filter(|domain| local.is_local(domain)) {
            let delivery = (domain, local.clone());
            while {
                let (domain, local) = delivery.clone();
                self.writer.write(move |tx| claims::deliver_waiting(tx, &domain, &local)).await?
            } {}
        }
        Ok(())
    }

    async fn upcoming(&self) -> Result<Upcoming> {
        self.readers.read(maintenance::upcoming).await
    }

    async fn newest_event_at(&self) -> Result<Option<Timestamp>> {
        self.readers.read(events::newest_at).await
    }

    async fn close(&self) {
        self.readers.close();
        let writer = Arc::clone(&self.writer);
        // It has logged what there is to say.
        let _ = tokio::task::spawn_blocking(move || writer.close()).await;
    }
}

impl SqliteStore {
    fn ways(&self) -> Ways {
        Ways { adds_return_path: self.adds_return_path, rules: self.rules.current() }
    }
}
