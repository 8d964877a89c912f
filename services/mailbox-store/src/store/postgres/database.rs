//! Transactions that give way to one another, and are tried again.

use super::{
    events,
    failure::Failure,
    floor::Floor,
    pool::{Parameters, Pool, PooledSession, Session},
};
use crate::{
    metrics::Metrics,
    store::{
        Result,
        events::EventLog,
        ids,
        records::{Quarantined, log_admitted},
    },
};
use futures_util::{future::BoxFuture, join};
use jiff::Timestamp;
use mail_net::{Clock, IoClock};
use mail_proto::Mailbox;
use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::watch;
use tokio_postgres::Row;

/// How long something is tried while others are in its way. At least twice.
const PERSISTENCE: Duration = Duration::from_secs(10);

/// A database, shared with other stores.
pub(super) struct Database {
    pool: Pool,
    clock: Clock,
    metrics: Metrics,
    queue_changes: watch::Sender<()>,
    deletions: watch::Sender<()>,
    event_changes: watch::Sender<()>,
    /// The last id that this store gave.
    last_key: Mutex<i64>,
    /// Where looks for what is due begin.
    due_floor: Mutex<Floor>,
}

/// What a query or a change works with.
pub(super) struct Transaction<'database> {
    database: &'database Database,
    session: &'database Session,
    pub(super) effects: Effects,
    /// What the change tells of itself. Written with it.
    pub(super) events: EventLog,
}

/// What is to happen once a change is durable.
#[derive(Default)]
pub(super) struct Effects {
    /// Something may be due earlier than before.
    pub(super) queue_changed: bool,
    /// There is something to sweep.
    pub(super) deleted: bool,
    pub(super) submitted: u64,
    pub(super) delivered: u64,
    pub(super) quarantined: Vec<Quarantined>,
    pub(super) expired: u64,
    pub(super) swept: u64,
    /// Who has got a mailbox with his mail.
    pub(super) admitted: Vec<Mailbox>,
    /// By how much the queue has grown.
    pub(super) queued: i64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Query,
    Change,
}

impl Database {
    pub(super) fn new(pool: Pool, clock: Clock, metrics: Metrics) -> Self {
        let (queue_changes, deletions, event_changes) =
            (watch::Sender::new(()), watch::Sender::new(()), watch::Sender::new(()));
        let (last_key, due_floor) = (Mutex::new(0), Mutex::default());
        Self { pool, clock, metrics, queue_changes, deletions, event_changes, last_key, due_floor }
    }

    pub(super) fn io(&self) -> IoClock {
        self.clock.io
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.wall.now()
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    pub(super) fn queue_changes(&self) -> &watch::Sender<()> {
        &self.queue_changes
    }

    pub(super) fn deletions(&self) -> &watch::Sender<()> {
        &self.deletions
    }

    pub(super) fn event_changes(&self) -> &watch::Sender<()> {
        &self.event_changes
    }

    /// Ids are greater than this one from now on.
    pub(super) fn start_after(&self, key: i64) {
        let mut last = self.last_key.lock().unwrap_or_else(PoisonError::into_inner);
        *last = key.max(*last);
    }

    /// Nothing is due earlier than this. See [`Floor`].
    pub(super) fn due_floor_ms(&self) -> i64 {
        self.due_floor.lock().unwrap_or_else(PoisonError::into_inner).start(self.now().as_millisecond())
    }

    /// Ends all calls but those that are being carried out.
    pub(super) fn close(&self) {
        self.pool.close();
    }

    /// Carries out `query`, which changes nothing and may see changes between its statements.
    pub(super) async fn read<A, T, F>(&self, arguments: &A, query: F) -> Result<T>
    where
        A: Sync + ?Sized,
        T: Send,
        F: for<'t, 'd> Fn(&'t mut Transaction<'d>, &'t A) -> BoxFuture<'t, Result<T, Failure>> + Send + Sync,
    {
        self.carry_out(Kind::Query, arguments, query).await
    }

    /// Carries out `change` as one transaction and returns once it is durable. It may be carried out several times
    /// in vain before.
    pub(super) async fn write<A, T, F>(&self, arguments: &A, change: F) -> Result<T>
    where
        A: Sync + ?Sized,
        T: Send,
        F: for<'t, 'd> Fn(&'t mut Transaction<'d>, &'t A) -> BoxFuture<'t, Result<T, Failure>> + Send + Sync,
    {
        self.carry_out(Kind::Change, arguments, change).await
    }

    /// Carries out a statement outside of any transaction, once.
    pub(super) async fn command(&self, sql: &str) -> Result<(), Failure> {
        let pooled = self.pool.borrow().await?;
        let outcome = pooled.session().command(sql).await;
        if outcome.as_ref().err().is_none_or(Failure::spares_connection) {
            pooled.give_back();
        }
        outcome
    }

    async fn carry_out<A, T, F>(&self, kind: Kind, arguments: &A, work: F) -> Result<T>
    where
        A: Sync + ?Sized,
        T: Send,
        F: for<'t, 'd> Fn(&'t mut Transaction<'d>, &'t A) -> BoxFuture<'t, Result<T, Failure>> + Send + Sync,
    {
        let (started, mut attempt) = (self.clock.io.instant(), 1);
        loop {
            let pooled = self.pool.borrow().await?;
            let outcome = match kind {
                Kind::Query => self.query(pooled, arguments, &work).await,
                Kind::Change => self.change(pooled, arguments, &work).await,
            };
            match outcome {
                Ok(answer) => return Ok(answer),
                Err(failure) if failure.may_pass() && (attempt == 1 || self.clock.io.since(started) < PERSISTENCE) => {
                    tracing::debug!(?failure, attempt, "a transaction is tried again");
                    self.clock.io.sleep(pause(attempt)).await;
                    attempt += 1;
                }
                Err(failure) => return Err(failure.into()),
            }
        }
    }

    async fn query<A, T, F>(&self, pooled: PooledSession<'_>, arguments: &A, query: &F) -> Result<T, Failure>
    where
        A: Sync + ?Sized,
        F: for<'t, 'd> Fn(&'t mut Transaction<'d>, &'t A) -> BoxFuture<'t, Result<T, Failure>> + Send + Sync,
    {
        let mut tx = Transaction::new(self, pooled.session());
        let outcome = query(&mut tx, arguments).await;
        if outcome.as_ref().err().is_none_or(Failure::spares_connection) {
            pooled.give_back();
        }
        outcome
    }

    async fn change<A, T, F>(&self, pooled: PooledSession<'_>, arguments: &A, change: &F) -> Result<T, Failure>
    where
        A: Sync + ?Sized,
        F: for<'t, 'd> Fn(&'t mut Transaction<'d>, &'t A) -> BoxFuture<'t, Result<T, Failure>> + Send + Sync,
    {
        let session = pooled.session();
        let mut tx = Transaction::new(self, session);
        // Polled in this order, so the first statement follows without waiting for a response.
        let (begun, outcome) = join!(session.command("BEGIN"), change(&mut tx, arguments));
        let outcome = match begun.and(outcome) {
            Ok(answer) => events::prepare(&mut tx).await.map(|events| (answer, events)),
            Err(failure) => Err(failure),
        };
        match outcome {
            Ok((answer, events)) => {
                // Both are on their way at once. Where the connection ends meanwhile, nobody knows whether it was committed.
                let (told, committed) = join!(events.write(&tx), session.command("COMMIT"));
                committed.map_err(Failure::while_committing)?;
                let effects = tx.effects;
                pooled.give_back();
                // When the events failed, what was called a commit has rolled back.
                told?;
                self.publish(&effects);
                if !events.is_empty() {
                    self.event_changes.send_replace(());
                }
                Ok(answer)
            }
            Err(failure) => {
                if failure.spares_connection() && session.command("ROLLBACK").await.is_ok() {
                    pooled.give_back();
                }
                Err(failure)
            }
        }
    }

    /// Tells metrics and waiting callers of a commit.
    fn publish(&self, effects: &Effects) {
        self.metrics.submitted.inc_by(effects.submitted);
        self.metrics.delivered.inc_by(effects.delivered);
        effects.quarantined.iter().for_each(|records| records.publish(&self.metrics));
        log_admitted(&effects.admitted);
        self.metrics.expired.inc_by(effects.expired);
        self.metrics.swept.inc_by(effects.swept);
        self.metrics.queue_entries.inc_by(effects.queued);
        if effects.queue_changed {
            self.queue_changes.send_replace(());
        }
        if effects.deleted {
            self.deletions.send_replace(());
        }
    }
}

impl<'database> Transaction<'database> {
    fn new(database: &'database Database, session: &'database Session) -> Self {
        Self { database, session, effects: Effects::default(), events: EventLog::default() }
    }
}

impl Transaction<'_> {
    /// What it talks over.
    pub(super) fn session(&self) -> &Session {
        self.session
    }

    /// The time.
    pub(super) fn now(&self) -> Timestamp {
        self.database.now()
    }

    /// The time in milliseconds.
    pub(super) fn now_ms(&self) -> i64 {
        self.now().as_millisecond()
    }

    /// A key that this store has never given, greater than all it gave.
    pub(super) fn next_key(&self) -> i64 {
        let mut last = self.database.last_key.lock().unwrap_or_else(PoisonError::into_inner);
        *last = ids::next_key(*last, self.database.now());
        *last
    }

    /// As [`Database::due_floor_ms`].
    pub(super) fn due_floor_ms(&self) -> i64 {
        self.database.due_floor_ms()
    }

    /// Takes note of when the first living entry of all is due, if there is one.
    pub(super) fn raise_due_floor(&self, earliest_ms: Option<i64>) {
        self.database.due_floor.lock().unwrap_or_else(PoisonError::into_inner).raise(self.now_ms(), earliest_ms);
    }

    /// As [`Session::query`].
    pub(super) async fn query(&self, sql: &'static str, parameters: Parameters<'_>) -> Result<Vec<Row>, Failure> {
        self.session.query(sql, parameters).await
    }

    /// The first row that a query gives.
    pub(super) async fn query_one(
        &self,
        sql: &'static str,
        parameters: Parameters<'_>,
    ) -> Result<Option<Row>, Failure> {
        Ok(self.session.query(sql, parameters).await?.into_iter().next())
    }

    /// As [`Session::execute`].
    pub(super) async fn execute(&self, sql: &'static str, parameters: Parameters<'_>) -> Result<u64, Failure> {
        self.session.execute(sql, parameters).await
    }

    /// Makes sure that the statement is sent at once when it is polled.
    pub(super) async fn prepare(&self, sql: &'static str) -> Result<(), Failure> {
        self.session.statement(sql).await.map(drop)
    }
}

impl Failure {
    fn while_committing(self) -> Self {
        match self {
            Self::Database(error) => Self::Commit(error),
            other => other,
        }
    }
}

/// Some milliseconds, more and more, and not the same for everyone.
fn pause(attempt: u32) -> Duration {
    let most_us = 1000 << attempt.min(7);
    Duration::from_micros(500 + u64::from(uuid::Uuid::new_v4().as_fields().0) % most_us)
}
