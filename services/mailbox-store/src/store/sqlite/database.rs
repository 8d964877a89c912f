//! The database file: how it is opened, and which schema it has.

use super::OpenError;
use crate::store::StoreError;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, config::DbConfig};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// The schema this program writes; kept in the file as `user_version`.
const SCHEMA_VERSION: i64 = 10;
/// Each brings a database from the version of its place in this list to the next one. One that was released is
/// never changed.
const MIGRATIONS: [&str; SCHEMA_VERSION as usize] = [
    include_str!("migrations/1.sql"),
    include_str!("migrations/2.sql"),
    include_str!("migrations/3.sql"),
    include_str!("migrations/4.sql"),
    include_str!("migrations/5.sql"),
    include_str!("migrations/6.sql"),
    include_str!("migrations/7.sql"),
    include_str!("migrations/8.sql"),
    include_str!("migrations/9.sql"),
    include_str!("migrations/10.sql"),
];

/// A schema that can be read with [`BEFORE_DELETIONS`].
const VERSION_BEFORE_DELETIONS: i64 = 2;
/// Schemas that can be read with [`BEFORE_PARAMETERS`], the second and later of the two as they are otherwise.
const VERSION_BEFORE_PROPERTIES: i64 = 3;
const VERSION_BEFORE_PARAMETERS: i64 = 4;
/// A schema that can be read with [`BEFORE_DELAYS`] and [`BEFORE_SUBMITTERS`].
const VERSION_BEFORE_DELAYS: i64 = 5;
/// Schemas that can be read with [`BEFORE_HOLDS`] and [`BEFORE_SUBMITTERS`]: they differ from each other in indexes only.
const VERSION_BEFORE_KEYS: i64 = 6;
const VERSION_BEFORE_HOLDS: i64 = 7;
/// A schema that can be read with [`BEFORE_SUBMITTERS`].
const VERSION_BEFORE_SUBMITTERS: i64 = 8;
/// A schema that has one table more, which no copy reads.
const VERSION_BEFORE_LEASES: i64 = 9;
/// Stands for what the schema has had since version 3.
const BEFORE_DELETIONS: &str = "CREATE TEMP VIEW maildrops AS SELECT * FROM deliveries;
     CREATE TEMP VIEW held_messages AS SELECT * FROM messages;";
/// Stands for the columns that the tables have had since versions 5, 6, 8 and 9.
const BEFORE_PARAMETERS: &str = "CREATE TEMP VIEW messages AS
         SELECT *, NULL AS identity, NULL AS body_type, NULL AS smtputf8, NULL AS ret, NULL AS envid,
             NULL AS requiretls, NULL AS submitter
         FROM main.messages;
     CREATE TEMP VIEW queue AS
         SELECT *, NULL AS original_recipient, NULL AS notify, NULL AS via, NULL AS delay_told, NULL AS held_at_ms
         FROM main.queue;
     CREATE TEMP VIEW aliases AS SELECT NULL AS address, NULL AS targets, NULL AS source LIMIT 0;
     CREATE TEMP VIEW accounts AS SELECT *, NULL AS source, NULL AS scram_verifier FROM main.accounts;";

/// Stands for the columns that the queue has had since versions 6 and 8.
const BEFORE_DELAYS: &str =
    "CREATE TEMP VIEW queue AS SELECT *, NULL AS delay_told, NULL AS held_at_ms FROM main.queue;";

/// Stands for the column that the queue has had since version 8.
const BEFORE_HOLDS: &str = "CREATE TEMP VIEW queue AS SELECT *, NULL AS held_at_ms FROM main.queue;";

/// Stands for the column that messages have had since version 9.
const BEFORE_SUBMITTERS: &str = "CREATE TEMP VIEW messages AS SELECT *, NULL AS submitter FROM main.messages;";

/// A backup's `application_id`: "mail".
const BACKUP: i64 = 0x6d61_696c;

/// More than there are different statements.
const CACHED_STATEMENTS: usize = 128;
/// This number of pages is written to the log before they are moved to the database, which takes a second fsync
/// and makes those who wait for the writer wait longer.
const LOG_PAGES: i64 = 4000;
/// The log's file is cut back to this length when its pages have been moved: what one large change has made of it does
/// not stay. Twice what it mostly holds, so that it is not cut and grown all the time.
const LOG_OCTETS: i64 = 2 * LOG_PAGES * 4096;
/// In KiB. The writer needs the inner pages of every index.
const WRITER_CACHE_KIB: i64 = 8 * 1024;
/// There may be eight readers. With the writer they are what a store of many messages holds in memory.
const READER_CACHE_KIB: i64 = 1024;

/// Opens the database for the writer, and makes it what it should be.
pub(super) fn open(path: &Path) -> Result<Connection, OpenError> {
    let mut connection = writer(path).map_err(|error| OpenError::database(path, error))?;
    migrate(&mut connection, path)?;
    Ok(connection)
}

/// Opens a database that is what it should be. There is no `auto_vacuum`: pages that deleted mail leaves are used
/// again before the file grows, and moving pages to make it shrink would cost every commit.
pub(super) fn writer(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // The log is synced at every commit, so a commit survives a loss of power.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "wal_autocheckpoint", LOG_PAGES)?;
    connection.pragma_update(None, "journal_size_limit", LOG_OCTETS)?;
    connection.pragma_update(None, "cache_size", -WRITER_CACHE_KIB)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    keep_statements(&connection)?;
    Ok(connection)
}

/// Prepares each statement once. Without this promise of SQLite's, one with a bound LIMIT is prepared anew whenever it is
/// used.
fn keep_statements(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_prepared_statement_cache_capacity(CACHED_STATEMENTS);
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map(drop)
}

/// Creates a database that is nobody's until it is whole, and begins to fill it.
pub(super) fn create(path: &Path) -> Result<Connection, OpenError> {
    let failed = |error| OpenError::database(path, error);
    let mut connection = Connection::open(path).map_err(failed)?;
    let configure = |connection: &Connection| {
        connection.pragma_update(None, "journal_mode", "OFF")?;
        connection.pragma_update(None, "synchronous", "OFF")?;
        connection.pragma_update(None, "cache_size", -WRITER_CACHE_KIB)
    };
    configure(&connection).map_err(failed)?;
    migrate(&mut connection, path)?;
    connection.execute_batch("BEGIN").map_err(failed)?;
    Ok(connection)
}

/// Says in the file what it is, for this program and for `file(1)`.
pub(super) fn mark_backup(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "application_id", BACKUP)
}

/// Whether a file is a backup, and whole.
pub(super) fn is_backup(connection: &Connection) -> rusqlite::Result<bool> {
    // A file that is shorter than it says fails here.
    Ok(connection.pragma_query_value(None, "application_id", |row| row.get::<_, i64>(0))? == BACKUP)
}

/// Whose mail the database holds; `None` where an earlier version did not write it down.
pub(super) fn stack(connection: &Connection) -> rusqlite::Result<Option<String>> {
    if !connection.table_exists(None, "properties")? {
        return Ok(None);
    }
    let select = "SELECT value FROM properties WHERE name = 'stack'";
    connection.query_row(select, [], |row| row.get(0)).optional()
}

/// Writes down whose mail the database holds.
pub(super) fn set_stack(connection: &Connection, stack: &str) -> rusqlite::Result<()> {
    connection.execute("INSERT INTO properties (name, value) VALUES ('stack', ?1)", [stack]).map(drop)
}

/// Refuses the database of another stack than `stack`; returns whether it is known to be of this one.
pub(super) fn require_stack(connection: &Connection, path: &Path, stack: &str) -> Result<bool, OpenError> {
    match self::stack(connection).map_err(|error| OpenError::database(path, error))? {
        Some(owner) if owner != stack => Err(OpenError::Foreign { path: path.to_owned(), owner }),
        owner => Ok(owner.is_some()),
    }
}

/// Opens a further connection that can only read, also where nothing can be written.
pub(super) fn reader(path: &Path) -> rusqlite::Result<Connection> {
    let mut connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let looked = connection.pragma_query_value(None, "schema_version", |row| row.get::<_, i64>(0));
    if let Err(error) = looked
        && error.sqlite_error_code() == Some(ErrorCode::CannotOpen)
        && !log(path).exists()
    {
        // It was closed in order, and SQLite cannot make the log that it would read along with it. Nobody writes one.
        connection = open_immutable(path)?;
    }
    connection.pragma_update(None, "cache_size", -READER_CACHE_KIB)?;
    keep_statements(&connection)?;
    Ok(connection)
}

/// Opens a connection that can only read, and is the only one. It keeps the index of the log in memory: several connections
/// share an index on the disk, and this disk has no room for it.
pub(super) fn lone_reader(path: &Path) -> rusqlite::Result<Connection> {
    let connection = match fs::metadata(log(path)).map_or(0, |log| log.len()) {
        // It was closed in order. No log is to be made.
        0 => open_immutable(path)?,
        _ => {
            let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
            connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
            // The log stays as it is when this is closed.
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
            connection.pragma_update(None, "query_only", true)?;
            connection
        }
    };
    connection.pragma_update(None, "cache_size", -READER_CACHE_KIB)?;
    keep_statements(&connection)?;
    Ok(connection)
}

/// Whether a database has the schema that this program writes.
pub(super) fn is_current(connection: &Connection) -> rusqlite::Result<bool> {
    Ok(connection.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0))? == SCHEMA_VERSION)
}

fn open_immutable(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    Connection::open_with_flags(immutable(path), flags)
}

/// The write-ahead log of a database.
fn log(path: &Path) -> PathBuf {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    log.into()
}

/// The URI of a file that does not change.
fn immutable(path: &Path) -> String {
    let mut uri = "file:".to_owned();
    for octet in path.as_os_str().as_encoded_bytes() {
        match octet {
            b'/' | b'-' | b'.' | b'_' | b'~' => uri.push(char::from(*octet)),
            octet if octet.is_ascii_alphanumeric() => uri.push(char::from(*octet)),
            octet => uri.push_str(&format!("%{octet:02X}")),
        }
    }
    uri + "?immutable=1"
}

/// Gives a snapshot of an earlier version the schema that this program writes.
pub(super) fn bring_up(path: &Path) -> Result<(), OpenError> {
    let failed = |error| OpenError::database(path, error);
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(failed)?;
    if is_current(&connection).map_err(failed)? {
        return Ok(());
    }
    drop(connection);
    migrate(&mut Connection::open(path).map_err(failed)?, path)
}

/// Makes sure that a database has a schema that this program reads: the one it writes, or that of an older backup.
pub(super) fn require_readable(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    let version = connection.pragma_query_value(None, "user_version", |row| row.get(0));
    let stand_in = |views: &[&str]| {
        let created = views.iter().try_for_each(|views| connection.execute_batch(views));
        created.map_err(|error| OpenError::database(path, error))
    };
    match version.map_err(|error| OpenError::database(path, error))? {
        SCHEMA_VERSION | VERSION_BEFORE_LEASES => Ok(()),
        VERSION_BEFORE_SUBMITTERS => stand_in(&[BEFORE_SUBMITTERS]),
        VERSION_BEFORE_HOLDS | VERSION_BEFORE_KEYS => stand_in(&[BEFORE_HOLDS, BEFORE_SUBMITTERS]),
        VERSION_BEFORE_DELAYS => stand_in(&[BEFORE_DELAYS, BEFORE_SUBMITTERS]),
        VERSION_BEFORE_PARAMETERS | VERSION_BEFORE_PROPERTIES => stand_in(&[BEFORE_PARAMETERS]),
        VERSION_BEFORE_DELETIONS => stand_in(&[BEFORE_DELETIONS, BEFORE_PARAMETERS]),
        version @ 0..SCHEMA_VERSION => Err(OpenError::Older { path: path.to_owned(), version }),
        version => Err(OpenError::Newer { path: path.to_owned(), version, known: SCHEMA_VERSION }),
    }
}

fn migrate(connection: &mut Connection, path: &Path) -> Result<(), OpenError> {
    let failed = |error| OpenError::database(path, error);
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(failed)?;
    let done = usize::try_from(version).ok().filter(|done| *done <= MIGRATIONS.len());
    let Some(done) = done else {
        return Err(OpenError::Newer { path: path.to_owned(), version, known: SCHEMA_VERSION });
    };
    // What fails or is killed in between goes on from the last version that was reached.
    for (migration, version) in MIGRATIONS.iter().zip(1..).skip(done) {
        let transaction = connection.transaction().map_err(failed)?;
        transaction.execute_batch(migration).map_err(failed)?;
        transaction.pragma_update(None, "user_version", version).map_err(failed)?;
        transaction.commit().map_err(failed)?;
        if done > 0 {
            tracing::info!(path = %path.display(), version, "brought the database to a newer schema");
        }
    }
    Ok(())
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(
                ErrorCode::DiskFull
                | ErrorCode::ReadOnly
                | ErrorCode::SystemIoFailure
                | ErrorCode::CannotOpen
                | ErrorCode::PermissionDenied
                | ErrorCode::OutOfMemory
                | ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::DatabaseCorrupt
                | ErrorCode::NotADatabase
                | ErrorCode::FileLockingProtocolFailed,
            ) => Self::Unavailable(error.to_string()),
            _ => Self::Internal(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use xxhash_rust::xxh3::xxh3_64;

    /// There are databases that it has made. What another text makes would differ from them.
    #[test]
    fn a_released_migration_stays_as_it_is() {
        let released = [
            0xac7f_14fe_35e9_3a63,
            0x8bfb_bed0_231c_7628,
            0xf30b_477f_891d_7925,
            0x923c_51cd_cf56_5080,
            0xe146_c686_7888_4415,
            0xbe05_e74e_dba1_1cb1,
            0x2f2d_3dfb_bff3_8d61,
            0x14a1_6e55_b94c_3205,
            0xcac9_76a1_1eb1_9616,
            0x8db5_397f_4670_a39e,
        ];
        assert_eq!(MIGRATIONS.map(|migration| xxh3_64(migration.as_bytes())), released, "add another one instead");
    }
}
