//! Group commit: one thread writes, and commits everything that waits at once.
//!
//! A commit costs an fsync whether it holds one change or five hundred. While one group is being synced the
//! next one gathers, so nobody waits longer than for the group before, and a lone change is not delayed.

use super::{
    bodies::{Bodies, SpooledFile},
    database,
    effects::Effects,
    events,
    gate::Gate,
    known_accounts::KnownAccounts,
    leases::Leases,
    reader_pool::{ReaderPool, closed},
};
use crate::{
    metrics::Metrics,
    store::{Result, StoreError, events::EventLog, ids, records::log_admitted},
};
use internal_api::{HoldStage, MessageId};
use jiff::Timestamp;
use mail_net::Clock;
use rusqlite::Connection;
use std::{
    fs::File,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    thread::{self, JoinHandle},
    time::Duration,
};
use tokio::sync::{mpsc, oneshot, watch};

/// How many changes may wait. Each holds a body of at most 256 KiB.
const WAITING: usize = 1024;
/// How many changes are committed together at most: the first should not wait for an endless group.
const GROUP: usize = 512;

/// Hands changes to the writing thread.
pub(super) struct Writer {
    state: RwLock<State>,
    gate: Gate,
    metrics: Metrics,
}

enum State {
    /// The storage lets nobody write. The next change tries to start the thread.
    Pending {
        readers: Arc<ReaderPool>,
        /// What the thread needs. `None` for as long as a change tries to start it.
        context: Option<Box<WriterContext>>,
    },
    Running(Running),
    Closed,
}

struct Running {
    jobs: mpsc::Sender<Box<dyn Job>>,
    thread: JoinHandle<()>,
}

/// What the writing thread works with.
pub(super) struct WriterContext {
    pub(super) path: PathBuf,
    /// Held until the database is closed.
    pub(super) directory_lock: File,
    pub(super) bodies: Arc<Bodies>,
    pub(super) clock: Clock,
    pub(super) metrics: Metrics,
    pub(super) queue_changes: watch::Sender<()>,
    pub(super) deletions: watch::Sender<()>,
    pub(super) event_changes: watch::Sender<()>,
    pub(super) known: Arc<KnownAccounts>,
    pub(super) leases: Arc<Leases>,
    pub(super) restores: watch::Sender<()>,
}

/// What a change works with.
pub(super) struct WriteTransaction<'group> {
    pub(super) connection: &'group Connection,
    pub(super) bodies: &'group Bodies,
    pub(super) effects: Effects,
    /// What the change tells of itself. Written with it.
    pub(super) events: EventLog,
    clock: &'group Clock,
    last_id: &'group mut i64,
}

impl Writer {
    /// Starts the writing thread.
    pub(super) fn start(context: WriterContext, connection: Connection) -> Result<Self> {
        let (metrics, gate) = (context.metrics.clone(), gate(&context));
        let (thread, last_id) = (IdleThread::spawn()?, last_id(&connection)?);
        Ok(Self { state: RwLock::new(State::Running(thread.start(context, connection, last_id)?)), gate, metrics })
    }

    /// Starts the writing thread as soon as the storage allows. Until then changes fail.
    pub(super) fn start_pending(context: WriterContext, readers: Arc<ReaderPool>) -> Self {
        let (metrics, gate) = (context.metrics.clone(), gate(&context));
        Self { state: RwLock::new(State::Pending { readers, context: Some(Box::new(context)) }), gate, metrics }
    }

    /// Starts the writing thread where that was put off.
    async fn start_late(self: &Arc<Self>) -> Result<()> {
        let readers = match &*self.read_state() {
            State::Pending { readers, .. } => Arc::clone(readers),
            State::Running(_) | State::Closed => return Ok(()),
        };
        let paused = readers.pause().await?;
        let writer = Arc::clone(self);
        // Goes on when the caller has gone.
        let started = tokio::task::spawn_blocking(move || {
            let _paused = paused;
            writer.start_now()
        });
        started
            .await
            .unwrap_or_else(|panic| Err(StoreError::Internal(format!("opening the database panicked: {panic}"))))
    }

    /// As [`Writer::start_late`], while nobody reads and nobody else tries. Blocks.
    fn start_now(&self) -> Result<()> {
        // Before the context is taken: a change that finds no thread leaves it to the next one.
        let thread = IdleThread::spawn()?;
        let (readers, context) = match &mut *self.write_state() {
            State::Pending { readers, context } => (Arc::clone(readers), context.take()),
            State::Running(_) | State::Closed => return Ok(()),
        };
        let Some(context) = context else { return Err(closed()) };
        readers.disconnect();
        let opened = database::writer(&context.path).and_then(|connection| Ok((last_id(&connection)?, connection)));
        let mut state = self.write_state();
        if matches!(*state, State::Closed) {
            return Err(closed());
        }
        match opened {
            Ok((last_id, connection)) => {
                tracing::info!(path = %context.path.display(), "the database can be written again");
                *state = State::Running(thread.start(*context, connection, last_id)?);
                readers.join_writer();
                Ok(())
            }
            Err(error) => {
                let path = context.path.display().to_string();
                *state = State::Pending { readers, context: Some(context) };
                Err(StoreError::Unavailable(format!("{path}: {error}; the disk may be full, read-only or failing")))
            }
        }
    }

    /// Carries out `change` and returns once it is durable. The change happens (or fails) as a whole, also
    /// when the caller does not wait for it. While the store is held, it waits.
    pub(super) async fn write<T, F>(self: &Arc<Self>, change: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut WriteTransaction<'_>) -> Result<T> + Send + 'static,
    {
        self.pass(change, false).await
    }

    /// As [`Writer::write`], also while the store is held: for what is done under a hold.
    pub(super) async fn write_held<T, F>(self: &Arc<Self>, change: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut WriteTransaction<'_>) -> Result<T> + Send + 'static,
    {
        self.pass(change, true).await
    }

    async fn pass<T, F>(self: &Arc<Self>, change: F, is_under_hold: bool) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut WriteTransaction<'_>) -> Result<T> + Send + 'static,
    {
        if matches!(*self.read_state(), State::Pending { .. }) {
            self.start_late().await?;
        }
        let (answer, answered) = oneshot::channel();
        let mut job: Box<dyn Job> = Box::new(Change { change: Some(change), outcome: None, answer });
        while let Some(kept_back) = self.send(job, is_under_hold)? {
            job = kept_back;
            self.gate.open().await?;
        }
        answered.await.unwrap_or_else(|_| Err(StoreError::Internal("the writing thread ended".to_owned())))
    }

    /// Holds the store from now on. What was sent to the thread before is on its way.
    pub(super) fn hold(&self, holder: &str, stage: HoldStage, lease: Duration) -> Result<()> {
        // Nobody is between a look at the gate and the channel.
        let _alone = self.write_state();
        self.gate.hold(holder, stage, lease)
    }

    /// Keeps changes back until the hold is dropped. What was sent to the thread before is on its way.
    pub(super) fn hold_itself(self: &Arc<Self>) -> OwnHold {
        // As above.
        let _alone = self.write_state();
        self.gate.begin_own();
        OwnHold(Arc::clone(self))
    }

    pub(super) fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Sends a job to the thread; returns it while the store is held.
    fn send(&self, job: Box<dyn Job>, is_under_hold: bool) -> Result<Option<Box<dyn Job>>> {
        let state = self.read_state();
        let State::Running(running) = &*state else { return Err(closed()) };
        if !is_under_hold && self.gate.keeps_changes() {
            return Ok(Some(job));
        }
        self.metrics.waiting_writes.inc();
        let sent = running.jobs.try_send(job).map_err(|error| {
            self.metrics.waiting_writes.dec();
            match error {
                mpsc::error::TrySendError::Full(_) => StoreError::Overloaded("to be written"),
                mpsc::error::TrySendError::Closed(_) => StoreError::Internal("the writing thread ended".to_owned()),
            }
        });
        sent.map(|()| None)
    }

    /// Commits what is waiting and closes the database. Blocks.
    pub(super) fn close(&self) {
        let state = std::mem::replace(&mut *self.write_state(), State::Closed);
        if let State::Running(Running { jobs, thread }) = state {
            drop(jobs);
            if thread.join().is_err() {
                tracing::error!("the writing thread panicked");
            }
        }
    }

    fn read_state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_state(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A hold of the store itself.
pub(super) struct OwnHold(Arc<Writer>);

impl Drop for OwnHold {
    fn drop(&mut self) {
        self.0.gate.end_own();
    }
}

/// A writing thread that waits for what it works with. It ends when this is dropped.
struct IdleThread {
    hand_over: oneshot::Sender<WriterThread>,
    thread: JoinHandle<()>,
}

impl IdleThread {
    fn spawn() -> Result<Self> {
        let (hand_over, writer_thread) = oneshot::channel::<WriterThread>();
        let span = tracing::Span::current();
        let run = move || {
            if let Ok(writer_thread) = writer_thread.blocking_recv() {
                span.in_scope(|| writer_thread.run());
            }
        };
        let thread = thread::Builder::new().name("store-writer".to_owned()).spawn(run);
        let thread =
            thread.map_err(|error| StoreError::Unavailable(format!("cannot start the writing thread: {error}")))?;
        Ok(Self { hand_over, thread })
    }

    fn start(self, context: WriterContext, connection: Connection, last_id: i64) -> Result<Running> {
        let (jobs, waiting) = mpsc::channel(WAITING);
        let writer_thread = WriterThread { context, connection, last_id, waiting };
        let taken = self.hand_over.send(writer_thread);
        taken.map_err(|_| StoreError::Internal("the writing thread ended".to_owned()))?;
        Ok(Running { jobs, thread: self.thread })
    }
}

fn gate(context: &WriterContext) -> Gate {
    Gate::new(context.clock.io, WAITING, context.metrics.waiting_writes.clone())
}

/// The greatest id that was given: that of the last submission, or one that a restore has taken back.
pub(super) fn last_id(connection: &Connection) -> rusqlite::Result<i64> {
    let select = "SELECT MAX(
             COALESCE((SELECT MAX(message_id) FROM submissions), 0),
             COALESCE((SELECT CAST(value AS INTEGER) FROM properties WHERE name = 'last_id'), 0)
         )";
    connection.query_row(select, [], |row| row.get(0))
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.close();
    }
}

impl WriteTransaction<'_> {
    /// The time.
    pub(super) fn now(&self) -> Timestamp {
        self.clock.wall.now()
    }

    /// An id greater than all before.
    pub(super) fn next_id(&mut self) -> MessageId {
        *self.last_id = ids::next_key(*self.last_id, self.now());
        super::values::id(*self.last_id)
    }

    /// The greatest id that was given.
    pub(super) fn last_id(&self) -> i64 {
        *self.last_id
    }

    /// No id up to this one is given any more. Returns the greatest that was given.
    pub(super) fn reserve_ids(&mut self, up_to: i64) -> i64 {
        *self.last_id = (*self.last_id).max(up_to);
        *self.last_id
    }

    /// Writes what the change tells of itself.
    fn write_events(&mut self) -> Result<()> {
        let log = std::mem::take(&mut self.events);
        self.effects.told |= events::write(self.connection, log, self.now())?;
        Ok(())
    }
}

/// A change without its type.
trait Job: Send {
    fn run(&mut self, tx: &mut WriteTransaction<'_>) -> Result<()>;
    /// Returns with what `run` came to, unless the commit failed.
    fn answer(self: Box<Self>, commit: Result<()>);
}

struct Change<T, F> {
    change: Option<F>,
    outcome: Option<Result<T>>,
    answer: oneshot::Sender<Result<T>>,
}

impl<T, F> Job for Change<T, F>
where
    T: Send,
    F: FnOnce(&mut WriteTransaction<'_>) -> Result<T> + Send,
{
    fn run(&mut self, tx: &mut WriteTransaction<'_>) -> Result<()> {
        let Some(change) = self.change.take() else { return Ok(()) };
        // A bug in one change must not end the thread that all others need.
        let whole = |tx: &mut WriteTransaction<'_>| {
            let value = change(tx)?;
            tx.write_events().map(|()| value)
        };
        let outcome = catch_unwind(AssertUnwindSafe(|| whole(tx)))
            .unwrap_or_else(|_| Err(StoreError::Internal("a change panicked".to_owned())));
        let status = outcome.as_ref().map(|_| ()).map_err(StoreError::clone);
        self.outcome = Some(outcome);
        status
    }

    fn answer(self: Box<Self>, commit: Result<()>) {
        let Self { change, outcome, answer } = *self;
        // What it holds is gone by the time that anybody hears of its failure: an upload's file, above all.
        drop(change);
        let outcome = match (commit, outcome) {
            (Err(error), _) => Err(error),
            (Ok(()), Some(outcome)) => outcome,
            (Ok(()), None) => Err(StoreError::Internal("a change was not carried out".to_owned())),
        };
        // Nobody may be waiting any more.
        let _ = answer.send(outcome);
    }
}

/// The writing thread.
struct WriterThread {
    context: WriterContext,
    connection: Connection,
    last_id: i64,
    waiting: mpsc::Receiver<Box<dyn Job>>,
}

impl WriterThread {
    fn run(mut self) {
        while let Some(first) = self.waiting.blocking_recv() {
            let mut group = vec![first];
            while group.len() < GROUP
                && let Ok(job) = self.waiting.try_recv()
            {
                group.push(job);
            }
            self.context.metrics.waiting_writes.dec_by(group.len() as i64);
            self.context.metrics.group_changes.observe(group.len() as f64);
            self.commit(group);
        }
        if let Err(error) = self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())) {
            tracing::warn!(%error, "cannot fold the log into the database; it will be done at the next start");
        }
        drop(self.connection);
        drop(self.context.directory_lock);
    }

    fn commit(&mut self, mut group: Vec<Box<dyn Job>>) {
        let io = self.context.clock.io;
        let started = io.instant();
        match self.apply(&mut group) {
            Ok(effects) => {
                self.context.metrics.commit_seconds.observe(io.since(started).as_secs_f64());
                let removed_files = self.publish(effects);
                group.into_iter().for_each(|job| job.answer(Ok(())));
                removed_files.iter().for_each(|name| self.context.bodies.remove(name));
            }
            Err(error) => {
                self.roll_back();
                // A commit that has failed may be found in the log all the same, when the database is opened anew.
                self.context.known.forget();
                group.into_iter().for_each(|job| job.answer(Err(error.clone())));
            }
        }
    }

    /// Carries out a group and commits it. When this fails nothing of it has happened.
    fn apply(&mut self, group: &mut [Box<dyn Job>]) -> Result<Effects> {
        let connection = &self.connection;
        let command = |sql: &str| connection.prepare_cached(sql)?.execute([]);
        command("BEGIN IMMEDIATE")?;
        let mut effects = Effects::default();
        for job in group {
            command("SAVEPOINT change")?;
            let mut tx = WriteTransaction {
                connection,
                bodies: &self.context.bodies,
                effects: Effects::default(),
                events: EventLog::default(),
                clock: &self.context.clock,
                last_id: &mut self.last_id,
            };
            match job.run(&mut tx) {
                Ok(()) => effects.absorb(tx.effects),
                // SQLite gives up the whole transaction after some failures of the storage.
                Err(error) if connection.is_autocommit() => return Err(error),
                Err(_) => {
                    command("ROLLBACK TO change")?;
                }
            }
            command("RELEASE change")?;
        }
        command("COMMIT")?;
        Ok(effects)
    }

    fn roll_back(&mut self) {
        if self.connection.is_autocommit() || self.connection.execute_batch("ROLLBACK").is_ok() {
            return;
        }
        // The storage is worse than full. A new connection sees it recover.
        match database::writer(&self.context.path) {
            Ok(connection) => self.connection = connection,
            Err(error) => tracing::warn!(%error, "cannot open the database anew"),
        }
    }

    /// Tells metrics and waiting callers of a commit; returns the files that can go.
    fn publish(&self, effects: Effects) -> Vec<String> {
        effects.kept_files.into_iter().for_each(SpooledFile::keep);
        if effects.restored {
            self.context.leases.end_all();
            self.context.restores.send_replace(());
        }
        let metrics = &self.context.metrics;
        metrics.submitted.inc_by(effects.submitted);
        metrics.delivered.inc_by(effects.delivered);
        effects.quarantined.iter().for_each(|records| records.publish(metrics));
        if effects.accounts_changed {
            self.context.known.forget();
        }
        log_admitted(&effects.admitted);
        metrics.expired.inc_by(effects.expired);
        metrics.swept.inc_by(effects.swept);
        metrics.queue_entries.inc_by(effects.queued);
        if effects.queue_changed {
            self.context.queue_changes.send_replace(());
        }
        if effects.deleted {
            self.context.deletions.send_replace(());
        }
        if effects.told {
            self.context.event_changes.send_replace(());
        }
        effects.removed_files
    }
}
