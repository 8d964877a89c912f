//! Opening a store's directory.

use super::{
    Options, SqliteStore,
    attempts::Attempts,
    bodies::Bodies,
    database,
    known_accounts::KnownAccounts,
    leases::Leases,
    queue,
    reader_pool::ReaderPool,
    snapshots::SnapshotDirectory,
    writer::{Writer, WriterContext},
};
use crate::store::{StoreError, aliases::LiveRules, arrival::ArrivalMemory};
use rusqlite::{Connection, ErrorCode};
use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io,
    net::SocketAddr,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{self, Path, PathBuf},
    sync::Arc,
};
use tokio::sync::watch;

/// Why a store cannot be opened: one line that names what to change.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another store has it.
    #[error("{} is in use by another mailbox-store; stop it, or choose another directory (--data; --state of mailtown)", path.display())]
    InUse {
        /// The store's directory.
        path: PathBuf,
    },
    /// A file or directory is not accessible.
    #[error("{}: {error}; choose a directory that can be written to", path.display())]
    Inaccessible {
        /// What was accessed.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// There is no store.
    #[error("{}: {error}; name the directory of a store with --data", path.display())]
    Missing {
        /// The database file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// A copy of another store was not finished.
    #[error(
        "{}: an interrupted restore or move-backend has left this; repeat it, or remove this file and bodies/ beside it",
        path.display()
    )]
    Incomplete {
        /// What is left.
        path: PathBuf,
    },
    /// There is a store where a new one is to be.
    #[error("{} has a store already; choose an empty directory", path.display())]
    Occupied {
        /// The store's directory.
        path: PathBuf,
    },
    /// There is a file where a backup is to be.
    #[error("{} exists; choose another name, or remove it", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// A backup cannot be read.
    #[error("cannot read {}: {error}; check the path", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// A file is no backup.
    #[error("{} is no backup of a mailbox-store, or not a whole one; use another", path.display())]
    NoBackup {
        /// The file.
        path: PathBuf,
    },
    /// The database was written by an earlier version of this program, and not opened by this one yet.
    #[error("{} has schema version {version}; start mailbox-store on it once", path.display())]
    Older {
        /// The database file.
        path: PathBuf,
        /// The version it has.
        version: i64,
    },
    /// The database was written by a later version of this program.
    #[error("{} has schema version {version}, this program knows {known}; use a newer mailbox-store", path.display())]
    Newer {
        /// The database file.
        path: PathBuf,
        /// The version it has.
        version: i64,
        /// The latest version that is known.
        known: i64,
    },
    /// The store or backup is another stack's.
    #[error("{} holds the mail of {owner}; name that server with --name, or choose another directory or file", path.display())]
    Foreign {
        /// The database file.
        path: PathBuf,
        /// The name of that stack.
        owner: String,
    },
    /// The disk does not do what the database needs.
    #[error(
        "{}: {error}; the disk may be full, read-only or failing: make room in {}, or repair it, and start again",
        path.display(), directory.display()
    )]
    Storage {
        /// The database file.
        path: PathBuf,
        /// Its directory.
        directory: PathBuf,
        /// What SQLite said.
        error: rusqlite::Error,
    },
    /// The database cannot be used.
    #[error("{}: {error}", path.display())]
    Database {
        /// The database file.
        path: PathBuf,
        /// What SQLite said.
        error: rusqlite::Error,
    },
    /// The store was opened but cannot work.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl OpenError {
    pub(super) fn database(path: &Path, error: rusqlite::Error) -> Self {
        let path = path.to_owned();
        match (error.sqlite_error_code(), path.parent()) {
            (
                Some(ErrorCode::DiskFull | ErrorCode::SystemIoFailure | ErrorCode::ReadOnly | ErrorCode::CannotOpen),
                Some(directory),
            ) => Self::Storage { directory: directory.to_owned(), path, error },
            _ => Self::Database { path, error },
        }
    }
}

impl SqliteStore {
    /// Opens the store in a directory, and clears away what a crash left there. Where the disk is full, a store that this
    /// version has opened before can be read; each change tries again to open it for writing. Blocks.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(options: Options) -> Result<Self, OpenError> {
        let Options { directory, stack, adds_return_path, clock, metrics } = options;
        let bodies_directory = directory.join("bodies");
        create(&directory)?;
        let directory_lock = lock(&directory)?;
        refuse_incomplete(&directory)?;
        create(&bodies_directory)?;
        let path = directory.join("store.db");
        accessible(&path, File::options().create(true).append(true).mode(PRIVATE).open(&path))?;
        let (connection, is_lone) = open_database(&path)?;
        if !database::require_stack(&connection, &path, &stack)? {
            database::set_stack(&connection, &stack).map_err(|error| OpenError::database(&path, error))?;
        }
        // The name of the database is as durable as what is in it.
        sync(&directory)?;

        let bodies = Arc::new(Bodies::new(bodies_directory, ArrivalMemory::default()));
        remove_orphans(&bodies, &connection)?;
        metrics.queue_entries.set(queue::length(&connection)?);
        let (queue_changes, deletions, event_changes) =
            (watch::Sender::new(()), watch::Sender::new(()), watch::Sender::new(()));
        let (known, restores) = (Arc::new(KnownAccounts::default()), watch::Sender::new(()));
        let (rules, leases) = (LiveRules::default(), Arc::new(Leases::new(clock.wall.clone())));
        let snapshots = Arc::new(SnapshotDirectory::open(&directory, stack, Arc::clone(&bodies)));
        let context = WriterContext {
            path: path.clone(),
            directory_lock,
            bodies: Arc::clone(&bodies),
            clock: clock.clone(),
            metrics,
            queue_changes: queue_changes.clone(),
            deletions: deletions.clone(),
            event_changes: event_changes.clone(),
            known: Arc::clone(&known),
            leases: Arc::clone(&leases),
            restores: restores.clone(),
        };
        let (writer, readers) = if is_lone {
            let readers = Arc::new(ReaderPool::lone(path, connection));
            (Writer::start_pending(context, Arc::clone(&readers)), readers)
        } else {
            (Writer::start(context, connection)?, Arc::new(ReaderPool::new(path)))
        };
        let (writer, attempts) = (Arc::new(writer), Arc::new(Attempts::new(clock.io)));
        Ok(Self {
            writer,
            readers,
            bodies,
            adds_return_path,
            rules,
            leases,
            known,
            clock,
            queue_changes,
            deletions,
            event_changes,
            snapshots,
            restores,
            attempts,
        })
    }
}

/// Opens the database for its writer or, where the disk has no room for that, for one reader; returns whether it is that.
fn open_database(path: &Path) -> Result<(Connection, bool), OpenError> {
    let failure = match database::open(path) {
        Err(failure @ OpenError::Storage { .. }) => failure,
        opened => return Ok((opened?, false)),
    };
    let lone_reader = || -> rusqlite::Result<Option<Connection>> {
        let connection = database::lone_reader(path)?;
        let is_usable = database::is_current(&connection)? && database::stack(&connection)?.is_some();
        Ok(is_usable.then_some(connection))
    };
    let Ok(Some(connection)) = lone_reader() else { return Err(failure) };
    if let OpenError::Storage { directory, error, .. } = &failure {
        tracing::warn!(
            %error, directory = %directory.display(),
            "nothing can be written: the disk may be full. Mail can be read; none is taken until there is room"
        );
    }
    Ok((connection, true))
}

/// The mode of files with people's mail in them.
pub(crate) const PRIVATE: u32 = 0o600;

/// The database of a store that is not whole yet.
pub(super) const INCOMPLETE: &str = "store.db.incoming";

/// Refuses a directory where a store was to come, and did not.
pub(super) fn refuse_incomplete(directory: &Path) -> Result<(), OpenError> {
    let path = directory.join(INCOMPLETE);
    if path.exists() { Err(OpenError::Incomplete { path }) } else { Ok(()) }
}

/// Creates a directory for nobody else's eyes. Its name is durable: else a loss of power may take it, with all that is
/// synced in it.
pub(super) fn create(directory: &Path) -> Result<(), OpenError> {
    let directory = accessible(directory, path::absolute(directory))?;
    let missing: Vec<_> = directory.ancestors().take_while(|ancestor| !ancestor.is_dir()).collect();
    accessible(&directory, DirBuilder::new().recursive(true).mode(0o700).create(&directory))?;
    for parent in missing.into_iter().filter_map(Path::parent) {
        sync(parent)?;
    }
    Ok(())
}

fn sync(directory: &Path) -> Result<(), OpenError> {
    accessible(directory, File::open(directory).and_then(|directory| directory.sync_all()))
}

/// Holds a directory for oneself, as a running store does.
pub(crate) fn lock(directory: &Path) -> Result<File, OpenError> {
    let path = directory.join("lock");
    let file = lock_file(&path, directory)?;
    match file.set_len(0) {
        // Some file systems need room for that, too. The announcement of the store before stays for a while.
        Err(error) if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => {}
        cleared => accessible(&path, cleared)?,
    }
    Ok(file)
}

/// Says in the lock of a directory where the store that holds it can be asked.
pub(crate) fn announce(directory: &Path, address: SocketAddr) -> Result<(), OpenError> {
    let path = directory.join("lock");
    accessible(&path, fs::write(&path, format!("{address}\n")))
}

/// Where the store that holds this directory can be asked; `None` when it is held by what is no running store.
pub(crate) fn announced(directory: &Path) -> Option<SocketAddr> {
    fs::read_to_string(directory.join("lock")).ok()?.trim().parse().ok()
}

/// Holds a file, so that nobody else uses what it stands for.
pub(super) fn lock_file(path: &Path, subject: &Path) -> Result<File, OpenError> {
    let opened = OpenOptions::new().create(true).truncate(false).write(true).mode(PRIVATE).open(path);
    let file = accessible(path, opened)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse { path: subject.to_owned() }),
        Err(TryLockError::Error(error)) => Err(OpenError::Inaccessible { path: path.to_owned(), error }),
    }
}

pub(super) fn accessible<T>(path: &Path, outcome: io::Result<T>) -> Result<T, OpenError> {
    outcome.map_err(|error| OpenError::Inaccessible { path: path.to_owned(), error })
}

/// Removes the bodies that a crash has left behind.
fn remove_orphans(bodies: &Bodies, connection: &Connection) -> Result<(), StoreError> {
    let orphans = bodies.remove_orphans(|name| is_referenced(connection, name))?;
    if orphans > 0 {
        tracing::info!(orphans, "removed bodies that a crash had left behind");
    }
    Ok(())
}

fn is_referenced(connection: &Connection, name: &str) -> rusqlite::Result<bool> {
    connection
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM messages WHERE body_file = ?1)")?
        .query_row([name], |row| row.get(0))
}
