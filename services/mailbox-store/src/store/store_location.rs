//! Where a store is.

use super::{
    copy::Destination,
    postgres::{DatabaseUrl, InvalidDatabaseUrl, PostgresDestination, PostgresSnapshot},
    snapshot::{Result, Snapshot},
    sqlite::{self, SqliteDestination, SqliteSnapshot},
};
use mail_net::IoClock;
use std::{fmt, fs::File, path::PathBuf, str::FromStr};

/// A directory, or a PostgreSQL database.
#[derive(Debug, Clone)]
pub(crate) enum StoreLocation {
    Directory(PathBuf),
    Database(DatabaseUrl),
}

impl StoreLocation {
    /// The store that is here, as of now.
    pub(crate) fn snapshot(&self, stack: &str, io: IoClock) -> Result<Box<dyn Snapshot>> {
        Ok(match self {
            Self::Directory(directory) => Box::new(SqliteSnapshot::of_directory(directory)?.of_stack(stack)?),
            Self::Database(url) => Box::new(PostgresSnapshot::open(url, stack, io)?),
        })
    }

    /// A store that is to be here, where none is.
    pub(crate) fn destination(&self, stack: &str, io: IoClock) -> Result<Box<dyn Destination>> {
        Ok(match self {
            Self::Directory(directory) => Box::new(SqliteDestination::directory(directory)?.of_stack(stack)?),
            Self::Database(url) => Box::new(PostgresDestination::open(url, stack, io)?),
        })
    }

    /// The store that is here, which is not running. A directory is locked as long as the file is open. Databases have
    /// no lock that all of them know; there it is only seen that no store is connected.
    pub(crate) fn unused_snapshot(&self, stack: &str, io: IoClock) -> Result<(Box<dyn Snapshot>, Option<File>)> {
        Ok(match self {
            Self::Directory(directory) => {
                let lock = sqlite::lock(directory)?;
                (Box::new(SqliteSnapshot::of_directory(directory)?.of_stack(stack)?), Some(lock))
            }
            Self::Database(url) => (Box::new(PostgresSnapshot::open_unused(url, stack, io)?), None),
        })
    }
}

impl FromStr for StoreLocation {
    type Err = InvalidDatabaseUrl;

    fn from_str(text: &str) -> std::result::Result<Self, InvalidDatabaseUrl> {
        // A slip in a URL must not become a directory.
        match text.contains("://") || text.starts_with("postgres:") || text.starts_with("postgresql:") {
            true => text.parse().map(Self::Database),
            false => Ok(Self::Directory(text.into())),
        }
    }
}

impl fmt::Display for StoreLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(directory) => directory.display().fmt(f),
            Self::Database(url) => url.fmt(f),
        }
    }
}
