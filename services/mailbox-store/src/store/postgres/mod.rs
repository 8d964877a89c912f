//! The backend for more than one machine: a PostgreSQL database, or one that speaks like it. Any number of stores share it
//! as equals. Each stack has a database of its own.
//!
//! - PostgreSQL, CockroachDB and YugabyteDB take all statements, except those of the module `events`: these need
//!   PostgreSQL's numbers of transactions. Whatever gives way to another transaction is tried again.
//! - Leases are measured by the stores' own clocks, which should agree to within a second.
//! - Others' changes to the queue are seen within half a second while somebody waits for them.

mod accounts;
mod action;
mod admin_connection;
mod aliases;
mod bodies;
mod claims;
mod database;
mod deletions;
mod destination;
mod events;
mod failure;
mod floor;
mod group_commit;
mod maildrop;
mod maintenance;
mod messages;
mod open;
mod pool;
mod quarantine;
mod queue;
mod schema;
mod snapshot;
mod submit;
#[cfg(test)]
mod tests;
mod url;
mod values;
mod watch;

pub(crate) use destination::PostgresDestination;
pub use open::OpenError;
pub(crate) use schema::{Engine, script as schema_script};
pub(crate) use snapshot::PostgresSnapshot;
pub use url::{DatabaseUrl, InvalidDatabaseUrl};

use super::{
    Abilities, Account, Accounts, Alias, Backlog, ClaimOutcome, EventRetention, Events, Lifecycle, Listing, LocalMail,
    Maildrops, MessageStream, Messages, Queue, QueueAction, QueuePosition, Result, Snapshots, StoreError,
    StoredMessage, StoredPassword, Submitted, Upcoming,
    aliases::LiveRules,
    arrival::ArrivalMemory,
    checksum::verified,
    records::{self, Decoded, QUEUED_PAGE, Undecodable, check, partition},
    space,
};
use crate::metrics::Metrics;
use async_trait::async_trait;
use bodies::ReceivedContent;
use bytes::Bytes;
use database::Database;
use futures_util::{FutureExt, StreamExt, stream};
use group_commit::{GroupCommit, submit_all};
use internal_api::{
    AccountPage, Event, EventPage, EventPosition, Flushed, MailboxPage, MailboxSummary, MaildropPage, Message,
    MessageId, MessagePage, QueueEntry, QueuePage, Resolved, Settlement, Submission,
};
use jiff::Timestamp;
use mail_net::Clock;
use mail_proto::{AddressRules, Domain, Mailbox};
use messages::Location;
use std::{collections::HashMap, path::PathBuf, sync::Arc, time::Duration};
use submit::Incoming;
use tokio::{sync::watch::Receiver, task::AbortHandle};

/// How a store is opened.
pub struct Options {
    /// The database.
    pub database: DatabaseUrl,
    /// The name of the stack whose mail it holds.
    pub stack: String,
    /// Where large messages wait until they have arrived whole. Nothing durable is kept there.
    pub spool: PathBuf,
    /// Whether messages stored from now on are delivered with a `Return-Path:` line before them.
    pub adds_return_path: bool,
    /// Measures leases, retention and dates with its wall part.
    pub clock: Clock,
    /// Counts what happens.
    pub metrics: Metrics,
}

/// One of the stores on a database.
pub struct PostgresStore {
    database: Arc<Database>,
    group_commit: GroupCommit,
    spool: PathBuf,
    memory: ArrivalMemory,
    adds_return_path: bool,
    rules: LiveRules,
    watch: AbortHandle,
}

#[async_trait]
impl Accounts for PostgresStore {
    async fn put_accounts(&self, accounts: Vec<Account>) -> Result<u64> {
        self.database.write(&accounts, |tx, accounts| accounts::put(tx, accounts).boxed()).await
    }

    async fn put_aliases(&self, aliases: Vec<Alias>) -> Result<()> {
        self.database.write(&aliases, |tx, aliases| aliases::put(tx, aliases).boxed()).await
    }

    fn set_address_rules(&self, rules: AddressRules) {
        self.rules.set(rules);
    }

    async fn account(&self, address: &Mailbox) -> Result<Option<Mailbox>> {
        let rules = self.rules.current();
        self.database.read(address, |tx, address| aliases::account(tx, rules, address).boxed()).await
    }

    async fn add_account(&self, account: Account, password: StoredPassword) -> Result<()> {
        let values = (account, password);
        self.database.write(&values, |tx, (account, password)| accounts::add(tx, account, password).boxed()).await
    }

    async fn admit_accounts(&self, accounts: Vec<Account>, password: StoredPassword) -> Result<Vec<Mailbox>> {
        let (rules, values) = (self.rules.current(), (accounts, password));
        let admit =
            self.database.write(&values, |tx, (new, password)| accounts::admit(tx, rules, new, password).boxed());
        admit.await
    }

    async fn remove_empty_account(&self, address: &Mailbox) -> Result<bool> {
        let address = address.to_string();
        self.database.write(&address, |tx, address| accounts::remove_empty(tx, address).boxed()).await
    }

    async fn accounts(&self, after: &str, limit: u32) -> Result<AccountPage> {
        self.database.read(after, |tx, after| accounts::accounts(tx, after, limit).boxed()).await
    }

    async fn alike(&self, limit: u32) -> Result<Vec<(Mailbox, Mailbox)>> {
        self.database.read(&limit, |tx, limit| accounts::alike(tx, *limit).boxed()).await
    }

    async fn set_password(&self, address: &Mailbox, password: StoredPassword) -> Result<()> {
        let values = (address.to_string(), password);
        self.database.write(&values, |tx, (to, password)| accounts::set_password(tx, to, password).boxed()).await
    }

    async fn passwords(&self) -> Result<HashMap<Mailbox, StoredPassword>> {
        self.database.read(&(), |tx, ()| accounts::passwords(tx).boxed()).await
    }

    async fn password(&self, address: &Mailbox) -> Result<Option<StoredPassword>> {
        let address = address.to_string();
        self.database.read(&address, |tx, address| accounts::password(tx, address).boxed()).await
    }

    async fn without_verifier(&self, limit: u32) -> Result<Vec<Mailbox>> {
        self.database.read(&limit, |tx, limit| accounts::without_verifier(tx, *limit).boxed()).await
    }

    async fn secret(&self, name: &'static str, proposed: String) -> Result<String> {
        self.database.write(&(name, proposed), |tx, (name, to)| accounts::secret(tx, name, to).boxed()).await
    }

    async fn resolve(&self, address: &Mailbox) -> Result<Resolved> {
        let rules = self.rules.current();
        self.database.read(address, |tx, address| aliases::resolve(tx, rules, address).boxed()).await
    }

    async fn mailbox(&self, address: &Mailbox) -> Result<MailboxSummary> {
        self.database.read(address, |tx, address| accounts::mailbox(tx, address).boxed()).await
    }

    async fn mailboxes(&self, after: &str, limit: u32) -> Result<MailboxPage> {
        self.database.read(after, |tx, after| accounts::page(tx, after, limit).boxed()).await
    }
}

#[async_trait]
impl Messages for PostgresStore {
    async fn submit(&self, submission: Submission, message: MessageStream) -> Result<Submitted> {
        check(&submission)?;
        let message = if self.adds_return_path { message.set_apart().await } else { message };
        let body = bodies::receive(&self.spool, &self.memory, message).await?;
        let (adds_return_path, rules) = (self.adds_return_path, self.rules.current());
        let incoming = Incoming { submission, body, adds_return_path, rules };
        match incoming.body.content {
            ReceivedContent::Memory(_) => self.group_commit.submit(incoming).await,
            // Nobody else should wait for its many pieces.
            ReceivedContent::File(_) => Ok(submit_all(&self.database, &[incoming]).await?[0]),
        }
    }

    async fn transaction(&self, name: &str) -> Result<Option<MessageId>> {
        self.database.read(name, |tx, name| submit::transaction(tx, name).boxed()).await
    }

    async fn message(&self, id: MessageId) -> Result<Message> {
        let found = self.database.read(&id, |tx, id| messages::message(tx, *id).boxed()).await?;
        self.decoded(found).await
    }

    async fn messages(&self, after: MessageId, limit: u32) -> Result<MessagePage> {
        let page = self.database.read(&after, |tx, after| messages::page(tx, *after, limit).boxed()).await?;
        Ok(MessagePage { messages: self.good_ones(page.0).await, next_after: page.1 })
    }

    async fn raw(&self, id: MessageId) -> Result<StoredMessage> {
        let found = self.database.read(&id, |tx, id| messages::location(tx, *id).boxed()).await?;
        let location = self.decoded(found).await?;
        self.stream(Location { prefix: String::new(), ..location }).await
    }

    async fn inline_bodies(&self, ids: Vec<MessageId>) -> Result<HashMap<MessageId, Bytes>> {
        self.database.read(&ids, |tx, ids| messages::inline_bodies(tx, ids).boxed()).await
    }
}

#[async_trait]
impl Events for PostgresStore {
    async fn events(&self, after: EventPosition, limit: u32) -> Result<EventPage> {
        self.database.read(&after, |tx, after| events::page(tx, *after, limit).boxed()).await
    }

    async fn last_event(&self) -> Result<EventPosition> {
        self.database.read(&(), |tx, ()| events::last(tx).boxed()).await
    }

    async fn message_events(&self, id: MessageId) -> Result<Vec<Event>> {
        self.database.read(&id, |tx, id| events::story(tx, *id).boxed()).await
    }

    fn event_changes(&self) -> Receiver<()> {
        self.database.event_changes().subscribe()
    }
}

#[async_trait]
impl Maildrops for PostgresStore {
    async fn delivered_raw(&self, address: &Mailbox, id: MessageId) -> Result<StoredMessage> {
        let address = address.to_string();
        let find = self.database.read(&address, |tx, address| messages::delivered_location(tx, address, id).boxed());
        let found = find.await?;
        let location = self.decoded(found).await?;
        self.stream(location).await
    }

    async fn maildrop(&self, address: &Mailbox, after: MessageId, limit: u32) -> Result<MaildropPage> {
        let page = self.database.read(address, |tx, address| maildrop::page(tx, address, after, limit).boxed());
        let page = page.await?;
        Ok(MaildropPage { messages: self.good_ones(page.0).await, next_after: page.1 })
    }

    async fn delivered_inline(&self, address: &Mailbox, ids: Vec<MessageId>) -> Result<Vec<(MessageId, Bytes)>> {
        let wanted = (address.to_string(), ids);
        self.database.read(&wanted, |tx, (address, ids)| messages::delivered_inline(tx, address, ids).boxed()).await
    }

    async fn open_maildrop(&self, address: &Mailbox, session: &str, lease: Duration, limit: u32) -> Result<Listing> {
        let session = (address, session);
        let open = self
            .database
            .write(&session, |tx, (address, session)| maildrop::open(tx, address, session, lease, limit).boxed());
        let (entries, next_after) = open.await?;
        Ok(Listing { entries: self.good_ones(entries).await, next_after })
    }

    async fn listing(&self, address: &Mailbox, after: MessageId, limit: u32) -> Result<Listing> {
        let address = address.to_string();
        let list = self.database.read(&address, |tx, address| maildrop::entries(tx, address, after, limit).boxed());
        let (entries, next_after) = list.await?;
        Ok(Listing { entries: self.good_ones(entries).await, next_after })
    }

    async fn renew_maildrop(&self, address: &Mailbox, session: &str, lease: Duration) -> Result<()> {
        let renew = (address.to_string(), session);
        self.database.write(&renew, |tx, (address, session)| maildrop::renew(tx, address, session, lease).boxed()).await
    }

    async fn update_maildrop(&self, address: &Mailbox, session: &str, delete: Vec<MessageId>) -> Result<()> {
        let update = (address, session, delete);
        self.database
            .write(&update, |tx, (address, session, delete)| maildrop::update(tx, address, session, delete).boxed())
            .await
    }

    async fn close_maildrop(&self, address: &Mailbox, session: &str) -> Result<()> {
        let close = (address.to_string(), session);
        self.database.write(&close, |tx, (address, session)| maildrop::close(tx, address, session).boxed()).await
    }
}

#[async_trait]
impl Queue for PostgresStore {
    async fn queue(&self, after: Option<QueuePosition>, limit: u32) -> Result<QueuePage> {
        let page = self.database.read(&after, |tx, after| queue::page(tx, after.as_ref(), None, limit).boxed()).await?;
        let next_after = page.next_after.map(|position| position.to_string());
        Ok(QueuePage { entries: self.good_ones(page.entries).await, next_after })
    }

    async fn queued(&self, id: MessageId) -> Result<Vec<QueueEntry>> {
        let (mut entries, mut after) = (Vec::new(), Some(QueuePosition::before(id)));
        while after.is_some() {
            let read =
                self.database.read(&after, |tx, after| queue::page(tx, after.as_ref(), Some(id), QUEUED_PAGE).boxed());
            let page = read.await?;
            entries.extend(self.good_ones(page.entries).await);
            after = page.next_after;
        }
        if entries.is_empty() { Err(StoreError::NotQueued) } else { Ok(entries) }
    }

    async fn backlog(&self) -> Result<Backlog> {
        self.database.read(&(), |tx, ()| queue::backlog(tx).boxed()).await
    }

    async fn act(&self, id: MessageId, action: QueueAction) -> Result<u64> {
        self.database.write(&(id, action), |tx, (id, action)| action::act(tx, *id, *action).boxed()).await
    }

    async fn claim(
        &self,
        lease: Duration,
        limit: u32,
        except: Vec<Domain>,
        local: LocalMail,
        abilities: Abilities,
    ) -> Result<ClaimOutcome> {
        let claim = (except, local);
        self.database
            .write(&claim, |tx, (except, local)| claims::claim(tx, lease, limit, except, local, abilities).boxed())
            .await
    }

    fn queue_changes(&self) -> Receiver<()> {
        self.database.queue_changes().subscribe()
    }

    async fn renew_claim(&self, lease: &str, duration: Duration) -> Result<()> {
        self.database.write(lease, |tx, lease| claims::renew(tx, lease, duration).boxed()).await
    }

    async fn settle(&self, lease: &str, settlement: Settlement, failure_message: MessageStream) -> Result<()> {
        settlement.failure_message.as_ref().map_or(Ok(()), check)?;
        let body = bodies::receive(&self.spool, &self.memory, failure_message).await?;
        if settlement.failure_message.is_none() && body.octets() > 0 {
            return Err(StoreError::Invalid("octets follow, but no failure_message says whose they are".to_owned()));
        }
        if settlement.outcomes.is_empty() {
            return Err(StoreError::Invalid("a settlement has at least one outcome".to_owned()));
        }
        let (adds_return_path, rules) = (self.adds_return_path, self.rules.current());
        let submission = settlement.failure_message.clone();
        let failure_message: Vec<_> =
            submission.map(|submission| Incoming { submission, body, adds_return_path, rules }).into_iter().collect();
        let settle = (lease, settlement, failure_message);
        self.database
            .write(&settle, |tx, (lease, settlement, failure_message)| {
                claims::settle(tx, lease, settlement, failure_message, rules).boxed()
            })
            .await
    }

    async fn flush_queue(&self) -> Result<Flushed> {
        let (mut entries, mut after) = (0, None);
        loop {
            let flush = self.database.write(&after, |tx, after| queue::flush(tx, after.as_ref()).boxed());
            let (flushed, last) = flush.await?;
            entries += flushed;
            after = last;
            if after.is_none() {
                return Ok(Flushed { entries });
            }
        }
    }
}

#[async_trait]
impl Lifecycle for PostgresStore {
    async fn probe(&self) -> Result<()> {
        space::require_room(self.spool.clone()).await?;
        self.database.write(&(), |tx, ()| maintenance::probe(tx).boxed()).await
    }

    async fn expire(&self, age: Duration) -> Result<()> {
        while self.database.write(&age, |tx, age| maintenance::expire(tx, *age).boxed()).await? {}
        Ok(())
    }

    async fn sweep(&self) -> Result<bool> {
        self.database.write(&(), |tx, ()| deletions::sweep(tx).boxed()).await
    }

    fn deletions(&self) -> Receiver<()> {
        self.database.deletions().subscribe()
    }

    async fn prune_events(&self, retention: EventRetention) -> Result<()> {
        while self.database.write(&retention, |tx, retention| events::prune(tx, *retention).boxed()).await? {}
        Ok(())
    }

    async fn maintain(&self, local: LocalMail) -> Result<()> {
        while self.database.write(&(), |tx, ()| maintenance::forget(tx).boxed()).await? {}
        let domains = self.database.read(&local, |tx, local| queue::due_domains(tx, local).boxed()).await?;
        for domain in &domains {
            let waiting = (domain.as_str(), &local);
            while self
                .database
                .write(&waiting, |tx, (domain, local)| claims::deliver_waiting(tx, domain, local).boxed())
                .await?
            {}
        }
        // Others have been at it, too.
        let length = self.database.read(&(), |tx, ()| queue::length(tx).boxed()).await?;
        self.database.metrics().queue_entries.set(length);
        Ok(())
    }

    async fn upcoming(&self) -> Result<Upcoming> {
        self.database.read(&(), |tx, ()| maintenance::upcoming(tx).boxed()).await
    }

    async fn newest_event_at(&self) -> Result<Option<Timestamp>> {
        self.database.read(&(), |tx, ()| events::newest_at(tx).boxed()).await
    }

    async fn close(&self) {
        self.watch.abort();
        self.group_commit.close().await;
        self.database.close();
    }
}

impl Drop for PostgresStore {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

// The stores of one database would have to be held together.
impl Snapshots for PostgresStore {}

impl PostgresStore {
    /// The record, or else [`StoreError::Damaged`] after it was quarantined.
    async fn decoded<T>(&self, found: Decoded<T>) -> Result<T> {
        match found {
            Ok(record) => Ok(record),
            Err(undecodable) => Err(quarantine_record(&self.database, undecodable).await),
        }
    }

    /// The records that could be decoded. The others are quarantined.
    async fn good_ones<T>(&self, records: Vec<Decoded<T>>) -> Vec<T> {
        let (good, bad) = partition(records);
        for undecodable in bad {
            quarantine_record(&self.database, undecodable).await;
        }
        good
    }

    /// The octets at this location.
    async fn stream(&self, location: Location) -> Result<StoredMessage> {
        let Location { message, expected, prefix, first_piece } = location;
        let octets = prefix.len() as u64 + expected.octets;
        let prefix = stream::iter([Ok(Bytes::from(prefix))]);
        let chunks = if first_piece.len() as u64 == expected.octets {
            if let Some(fault) = expected.find_fault(&first_piece) {
                let undecodable = Undecodable { message, reason: fault.to_owned() };
                return Err(quarantine_record(&self.database, undecodable).await);
            }
            prefix.chain(stream::iter([Ok(first_piece)])).boxed()
        } else {
            let rest = bodies::pieces(Arc::clone(&self.database), message, 1, expected.octets);
            let pieces = stream::iter([Ok(first_piece)]).chain(rest);
            let database = Arc::clone(&self.database);
            let damaged = async move |fault: &'static str| {
                quarantine_record(&database, Undecodable { message, reason: fault.to_owned() }).await
            };
            prefix.chain(verified(pieces, expected, damaged)).boxed()
        };
        Ok(StoredMessage { octets, chunks })
    }
}

async fn quarantine_record(database: &Database, undecodable: Undecodable) -> StoreError {
    let quarantined = database.write(&undecodable, |tx, Undecodable { message, reason }| {
        quarantine::message(tx, *message, None, reason).boxed()
    });
    match quarantined.await {
        Ok(()) => StoreError::Damaged(records::id(undecodable.message)),
        Err(error) => error,
    }
}
