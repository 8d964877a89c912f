//! A pool of a few connections.

use super::failure::Failure;
use crate::store::StoreError;
use mail_net::IoClock;
use std::{
    collections::HashMap,
    future::Future,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_postgres::{Client, Config, NoTls, Row, SimpleQueryMessage, Statement, types::ToSql};

/// How many connections a store has at most.
const CONNECTIONS: usize = 16;
/// How long to wait for one of them.
const TURN: Duration = Duration::from_secs(5);
/// How long opening one may take, once its machine has taken the call.
const OPENING: Duration = Duration::from_secs(5);

/// How long statements may take.
pub(super) struct Patience {
    /// After so long a connection is given up. A little longer than the database itself gives a statement.
    silence: Duration,
    /// What the database is told about it.
    settings: &'static str,
}

/// Nobody's lock outlives its store for long.
pub(super) const SERVING: Patience = Patience {
    silence: Duration::from_secs(20),
    settings: "SET statement_timeout = 15000; SET idle_in_transaction_session_timeout = 30000;
    SET client_min_messages = warning",
};
/// Who reads or writes everything has time, and locks nothing that others need.
pub(super) const ADMINISTERING: Patience = Patience {
    silence: Duration::from_secs(60 * 60),
    settings: "SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0;
    SET client_min_messages = warning",
};

/// The values of a statement's parameters.
pub(super) type Parameters<'a> = &'a [&'a (dyn ToSql + Sync)];

/// Some connections, each used by one caller at a time.
pub(super) struct Pool {
    config: Config,
    idle: Mutex<Vec<Session>>,
    permits: Semaphore,
    io: IoClock,
}

/// A connection, with the statements that it knows already.
pub(super) struct Session {
    client: Client,
    silence: Duration,
    io: IoClock,
    statements: Mutex<HashMap<&'static str, Statement>>,
}

/// A connection of the pool in use. Unless it is given back it is closed: whoever drops it may have been interrupted anywhere.
pub(super) struct PooledSession<'pool> {
    session: Session,
    pool: &'pool Pool,
    _permit: SemaphorePermit<'pool>,
}

impl Pool {
    /// Connections are opened when they are needed.
    pub(super) fn new(config: Config, io: IoClock) -> Self {
        Self { config, idle: Mutex::default(), permits: Semaphore::new(CONNECTIONS), io }
    }

    /// A connection that is open, as far as anyone can tell.
    pub(super) async fn borrow(&self) -> Result<PooledSession<'_>, Failure> {
        let permit = match self.io.timeout(TURN, self.permits.acquire()).await {
            Ok(Ok(permit)) => permit,
            Ok(Err(_closed)) => return Err(StoreError::Unavailable("the store is closed".to_owned()).into()),
            Err(_elapsed) => return Err(StoreError::Overloaded("for the database").into()),
        };
        let session = match self.idle_session() {
            Some(session) => session,
            None => Session::open(&self.config, &SERVING, self.io).await?,
        };
        Ok(PooledSession { session, pool: self, _permit: permit })
    }

    /// Refuses further callers and closes what is idle.
    pub(super) fn close(&self) {
        self.permits.close();
        self.idle().clear();
    }

    fn idle_session(&self) -> Option<Session> {
        let mut idle = self.idle();
        idle.retain(|session| !session.client.is_closed());
        idle.pop()
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Session>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PooledSession<'_> {
    pub(super) fn session(&self) -> &Session {
        &self.session
    }

    /// Returns the connection to the pool. No transaction is open on it.
    pub(super) fn give_back(self) {
        if !self.pool.permits.is_closed() {
            self.pool.idle().push(self.session);
        }
    }
}

impl Session {
    /// Opens a connection.
    pub(super) async fn open(config: &Config, patience: &Patience, io: IoClock) -> Result<Self, Failure> {
        let opening = async {
            let (client, connection) = config.connect(NoTls).await?;
            // What it fails with reaches those who wait for a response. It ends with the client.
            tokio::spawn(connection);
            client.batch_execute(patience.settings).await?;
            if setting(&client, "SHOW synchronous_commit").await?.as_deref() == Some("off") {
                // Durable is durable, whatever else this database is for.
                client.batch_execute("SET synchronous_commit = on").await?;
            }
            Ok(Self { client, silence: patience.silence, io, statements: Mutex::default() })
        };
        match io.timeout(OPENING, opening).await {
            // Not tried again by itself: who asks next tries.
            Ok(opened) => opened.map_err(|error: tokio_postgres::Error| {
                let reason = format!("cannot connect to the database: {}", super::failure::describe(&error));
                StoreError::DatabaseUnavailable(reason).into()
            }),
            Err(_elapsed) => Err(StoreError::DatabaseUnavailable("the database greets nobody".to_owned()).into()),
        }
    }

    /// What a query gives. Statements that are polled one after the other travel together.
    pub(super) async fn query(&self, sql: &'static str, parameters: Parameters<'_>) -> Result<Vec<Row>, Failure> {
        let statement = self.statement(sql).await?;
        self.patiently(self.client.query(&statement, parameters)).await
    }

    /// How many rows a statement concerned.
    pub(super) async fn execute(&self, sql: &'static str, parameters: Parameters<'_>) -> Result<u64, Failure> {
        let statement = self.statement(sql).await?;
        self.patiently(self.client.execute(&statement, parameters)).await
    }

    /// Statements without parameters and rows.
    pub(super) async fn command(&self, sql: &str) -> Result<(), Failure> {
        self.patiently(self.client.batch_execute(sql)).await
    }

    /// Prepares a statement, so that from now on it is sent at once.
    pub(super) async fn statement(&self, sql: &'static str) -> Result<Statement, Failure> {
        if let Some(statement) = self.statements().get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.patiently(self.client.prepare(sql)).await?;
        self.statements().insert(sql, statement.clone());
        Ok(statement)
    }

    async fn patiently<T>(&self, answer: impl Future<Output = Result<T, tokio_postgres::Error>>) -> Result<T, Failure> {
        match self.io.timeout(self.silence, answer).await {
            Ok(answered) => Ok(answered?),
            Err(_elapsed) => Err(Failure::Silence),
        }
    }

    fn statements(&self) -> MutexGuard<'_, HashMap<&'static str, Statement>> {
        self.statements.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn setting(client: &Client, sql: &str) -> Result<Option<String>, tokio_postgres::Error> {
    let messages = client.simple_query(sql).await?;
    Ok(messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    }))
}
