//! What can go wrong with a database, and which of it passes when tried again.

use crate::store::StoreError;
use tokio_postgres::error::{Error, SqlState};

/// Why an attempt at a change or a query failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// What was asked cannot be done.
    Store(StoreError),
    /// The database says so, or is silent.
    Database(Error),
    /// The database failed while it was committing: it may have done so.
    Commit(Error),
    /// The database did not respond in time.
    Silence,
    /// Another was at the same thing at the same time.
    Conflict(&'static str),
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Database(error)
    }
}

impl Failure {
    /// Whether nothing has happened, and something may when it is tried again at once.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Store(_) | Self::Silence => false,
            Self::Conflict(_) => true,
            Self::Database(error) => gave_way(error) || lost_connection(error),
            Self::Commit(error) => gave_way(error),
        }
    }

    /// Whether the connection is as good as before, once the transaction is rolled back.
    pub(super) fn spares_connection(&self) -> bool {
        match self {
            Self::Store(_) | Self::Conflict(_) => true,
            Self::Silence => false,
            Self::Database(error) | Self::Commit(error) => gave_way(error),
        }
    }
}

/// Whether the database has sacrificed this transaction to another.
fn gave_way(error: &Error) -> bool {
    matches!(error.code(), Some(&SqlState::T_R_SERIALIZATION_FAILURE | &SqlState::T_R_DEADLOCK_DETECTED))
}

/// Whether the connection ended, as when the database is restarted. The next one may fare better.
fn lost_connection(error: &Error) -> bool {
    match error.code() {
        Some(code) => matches!(*code, SqlState::ADMIN_SHUTDOWN | SqlState::CRASH_SHUTDOWN),
        None => error.is_closed() || is_io(error),
    }
}

fn is_io(error: &Error) -> bool {
    std::error::Error::source(error).is_some_and(|source| source.is::<std::io::Error>())
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Store(error) => error,
            Failure::Silence => Self::DatabaseUnavailable("the database does not answer".to_owned()),
            Failure::Conflict(what) => Self::DatabaseUnavailable(what.to_owned()),
            Failure::Database(error) | Failure::Commit(error) => store_error(&error),
        }
    }
}

fn store_error(error: &Error) -> StoreError {
    let reason = describe(error);
    match error.code().map(|code| (code.code(), code.code().get(..2))) {
        // The database holds no NUL, and nothing that we store should.
        Some(("22021", _)) => StoreError::Invalid("a text holds an octet that no text may".to_owned()),
        // Programming errors, and constraints that are violated.
        Some((_, Some("22" | "23" | "42" | "0A"))) => StoreError::Internal(reason),
        // Its disk is full, it is read-only, its files are damaged, or its operating system fails.
        Some(("53100" | "25006" | "XX001" | "XX002", _) | (_, Some("58"))) => StoreError::Unavailable(reason),
        Some(_) => StoreError::DatabaseUnavailable(reason),
        None if error.is_closed() || is_io(error) => StoreError::DatabaseUnavailable(reason),
        None => StoreError::Internal(reason),
    }
}

/// What the database said, in one line.
pub(super) fn describe(error: &Error) -> String {
    match (error.as_db_error(), std::error::Error::source(error)) {
        (Some(said), _) => format!("{} ({})", said.message(), said.code().code()),
        (None, Some(source)) if !error.to_string().contains(&source.to_string()) => format!("{error}: {source}"),
        (None, _) => error.to_string(),
    }
}
