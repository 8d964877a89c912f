//! Opening a store on a database, and giving the database its schema.

use super::{
    Options, PostgresStore,
    database::{Database, Transaction},
    failure::Failure,
    group_commit::GroupCommit,
    maintenance,
    pool::{Pool, Session},
    queue,
    url::{DatabaseUrl, InvalidDatabaseUrl},
    watch,
};
use crate::store::{StoreError, aliases::LiveRules, arrival::ArrivalMemory};
use futures_util::FutureExt;
use std::{fs, io, path::PathBuf, sync::Arc, time::Duration};
use tokio_postgres::error::SqlState;

/// The schema this program writes; kept in the database's table `properties`.
pub(super) const SCHEMA_VERSION: i64 = 7;
/// Brings a database from the version of its place in this list to the next one.
const MIGRATIONS: [&str; SCHEMA_VERSION as usize] = [
    include_str!("migrations/1.sql"),
    include_str!("migrations/2.sql"),
    include_str!("migrations/3.sql"),
    include_str!("migrations/4.sql"),
    include_str!("migrations/5.sql"),
    include_str!("migrations/6.sql"),
    include_str!("migrations/7.sql"),
];

/// What is known of the database as a whole, by name.
pub(super) const PROPERTIES: &str =
    "CREATE TABLE IF NOT EXISTS properties (name TEXT PRIMARY KEY, value TEXT NOT NULL)";

/// What a database that is being filled says instead of its version, before the name of who is at it. Stores of every
/// version refuse it.
pub(super) const INCOMING: &str = "incoming ";

/// How often to try to create what others are creating, too.
const ATTEMPTS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(100);

/// Why a store cannot be opened: one line that names what to change.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// This is no database.
    #[error(transparent)]
    Url(#[from] InvalidDatabaseUrl),
    /// The database cannot be used.
    #[error("{url}: {error}; start the database, or correct --database (MAILTOWN_DATABASE)")]
    Unusable {
        /// The database, without its password.
        url: DatabaseUrl,
        /// What it said.
        error: StoreError,
    },
    /// The database was written by a later version of this program.
    #[error("{url} has schema version {version}, this program knows {SCHEMA_VERSION}; use a newer mailbox-store")]
    Newer {
        /// The database, without its password.
        url: DatabaseUrl,
        /// The version it has.
        version: String,
    },
    /// The database was written by an earlier version of this program, and not opened by this one yet.
    #[error("{url} has schema version {version}; start mailbox-store on it once")]
    Older {
        /// The database, without its password.
        url: DatabaseUrl,
        /// The version it has.
        version: String,
    },
    /// There is no store.
    #[error("{url} holds no store; correct --database (MAILTOWN_DATABASE)")]
    Missing {
        /// The database, without its password.
        url: DatabaseUrl,
    },
    /// A copy of another store was not finished.
    #[error("{url}: an interrupted restore or move-backend has left this; repeat it, or give a new database")]
    Incomplete {
        /// The database, without its password.
        url: DatabaseUrl,
    },
    /// There is a store where a new one is to be.
    #[error("{url} has a store already; give an empty database")]
    Occupied {
        /// The database, without its password.
        url: DatabaseUrl,
    },
    /// Somebody else has begun to fill the database, or a store was started on it.
    #[error("{url} was taken by another command or store meanwhile; begin anew with an empty database")]
    Taken {
        /// The database, without its password.
        url: DatabaseUrl,
    },
    /// A store is at work.
    #[error("{url} is in use by a mailbox-store; stop all of its stores first")]
    InUse {
        /// The database, without its password.
        url: DatabaseUrl,
    },
    /// The database holds the mail of another stack.
    #[error("{url} holds the mail of {stack}; give every stack a database of its own")]
    Foreign {
        /// The database, without its password.
        url: DatabaseUrl,
        /// Whose it is.
        stack: String,
    },
    /// The directory cannot be created.
    #[error("{}: {error}; choose a directory that can be written to", path.display())]
    Inaccessible {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

/// What a database says of itself.
#[derive(Default)]
pub(super) struct Properties {
    pub(super) version: String,
    pub(super) stack: Option<String>,
}

impl PostgresStore {
    /// Opens a store on a database, which others may be using and opening at the same time.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open(options: Options) -> Result<Self, OpenError> {
        let Options { database: url, stack, spool, adds_return_path, clock, metrics } = options;
        fs::create_dir_all(&spool).map_err(|error| OpenError::Inaccessible { path: spool.clone(), error })?;
        let database = Arc::new(Database::new(Pool::new(url.config().clone(), clock.io), clock, metrics));
        let unusable = |error| OpenError::Unusable { url: url.clone(), error };

        let properties = prepared(&database).await.map_err(unusable)?;
        if properties.version.starts_with(INCOMING) {
            return Err(OpenError::Incomplete { url });
        }
        let version = properties.version.parse().ok().filter(|version| (0..=SCHEMA_VERSION).contains(version));
        let Some(version) = version else {
            return Err(OpenError::Newer { url, version: properties.version });
        };
        if let Some(other) = properties.stack.filter(|other| *other != stack) {
            return Err(OpenError::Foreign { url, stack: other });
        }
        migrate(&database, version).await.map_err(unusable)?;
        // Others may have been faster with this, too.
        if let Some(other) = claim(&database, &stack).await.map_err(unusable)?.filter(|other| *other != stack) {
            return Err(OpenError::Foreign { url, stack: other });
        }
        let greatest = database.read(&(), |tx, ()| maintenance::greatest_key(tx).boxed()).await;
        database.start_after(greatest.map_err(unusable)?.unwrap_or_default());
        let length = database.read(&(), |tx, ()| queue::length(tx).boxed()).await.map_err(unusable)?;
        database.metrics().queue_entries.set(length);
        let watch = tokio::spawn(watch::watch(Arc::clone(&database))).abort_handle();
        let group_commit = GroupCommit::start(Arc::clone(&database));
        let memory = ArrivalMemory::default();
        let rules = LiveRules::default();
        Ok(Self { database, group_commit, spool, memory, adds_return_path, rules, watch })
    }
}

/// The database's properties, after the table for them was created if need be.
async fn prepared(database: &Database) -> Result<Properties, StoreError> {
    // Nothing is created that is there: not everyone may create.
    let known = database.read(&(), |tx, ()| properties(tx.session()).boxed()).await?;
    if let Some(known) = known {
        return Ok(known);
    }
    create(database, PROPERTIES).await?;
    Ok(database.read(&(), |tx, ()| properties(tx.session()).boxed()).await?.unwrap_or_default())
}

/// `None` when there is no table of them.
pub(super) async fn properties(session: &Session) -> Result<Option<Properties>, Failure> {
    let mut properties = Properties { version: "0".to_owned(), stack: None };
    let rows = match session.query("SELECT name, value FROM properties", &[]).await {
        Err(Failure::Database(error)) if error.code() == Some(&SqlState::UNDEFINED_TABLE) => return Ok(None),
        rows => rows?,
    };
    for row in rows {
        match row.try_get(0)? {
            "schema_version" => properties.version = row.try_get(1)?,
            "stack" => properties.stack = Some(row.try_get(1)?),
            _ => {}
        }
    }
    Ok(Some(properties))
}

async fn migrate(database: &Database, from: i64) -> Result<(), StoreError> {
    for (version, migration) in (1..).zip(MIGRATIONS).skip(from as usize) {
        for statement in statements(migration) {
            create(database, statement).await?;
        }
        let value = i64::to_string(&version);
        database.write(&value, |tx, value| set_version(tx, value).boxed()).await?;
    }
    Ok(())
}

/// All statements that make the schema.
pub(super) fn schema() -> impl Iterator<Item = &'static str> {
    MIGRATIONS.into_iter().flat_map(statements)
}

/// The statements of a migration, one by one: not every database changes its schema within a transaction.
fn statements(migration: &'static str) -> impl Iterator<Item = &'static str> {
    migration.split(";\n").map(str::trim).filter(|statement| !statement.is_empty())
}

/// Creates something if it is not there. Two who do so at the same time may get in each other's way.
async fn create(database: &Database, statement: &'static str) -> Result<(), StoreError> {
    let mut attempt = 1;
    loop {
        match database.command(statement).await {
            Ok(()) => return Ok(()),
            Err(failure) if attempt < ATTEMPTS && is_race(&failure) => {
                attempt += 1;
                database.io().sleep(PAUSE).await;
            }
            Err(failure) => return Err(failure.into()),
        }
    }
}

fn is_race(failure: &Failure) -> bool {
    match failure {
        Failure::Database(error) => match error.code() {
            Some(code) => {
                matches!(
                    *code,
                    SqlState::UNIQUE_VIOLATION
                    | SqlState::DUPLICATE_TABLE
                    | SqlState::DUPLICATE_OBJECT
                    // "tuple concurrently updated"
                    | SqlState::INTERNAL_ERROR
                ) || failure.may_pass()
            }
            None => false,
        },
        _ => false,
    }
}

async fn set_version(tx: &mut Transaction<'_>, version: &str) -> Result<(), Failure> {
    let upsert = "INSERT INTO properties (name, value) VALUES ('schema_version', $1)
         ON CONFLICT (name) DO UPDATE SET value = EXCLUDED.value";
    tx.execute(upsert, &[&version]).await.map(drop)
}

/// Takes the database for a stack unless it is taken; returns whose it is.
async fn claim(database: &Database, stack: &str) -> Result<Option<String>, StoreError> {
    database
        .write(stack, |tx, stack| {
            async move {
                let insert = "INSERT INTO properties (name, value) VALUES ('stack', $1) ON CONFLICT (name) DO NOTHING";
                tx.execute(insert, &[&stack]).await?;
                Ok(properties(tx.session()).await?.and_then(|properties| properties.stack))
            }
            .boxed()
        })
        .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use xxhash_rust::xxh3::xxh3_64;

    /// There are databases that it has made. What another text makes would differ from them.
    #[test]
    fn a_released_migration_stays_as_it_is() {
        let released = [
            0xab24_a2ba_cce4_71b3,
            0x55b9_7d32_1dba_775e,
            0xcf34_e86d_886e_f003,
            0x1509_73c5_1e7c_e6a0,
            0xccf4_c0c4_44a2_c6a8,
            0x19f2_a2e6_8b65_a88e,
            0x8d38_dbb0_4054_b7fd,
        ];
        assert_eq!(MIGRATIONS.map(|migration| xxh3_64(migration.as_bytes())), released, "add another one instead");
    }
}
