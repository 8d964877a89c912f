//! A store as it stands at one moment, for those who only look: beside a running store, or without one.

use super::{
    database, maildrop,
    messages::{self, Content, Location},
    open::OpenError,
    values::{self, Undecodable, key},
};
use crate::store::{
    StoreError,
    checksum::{Checksummer, Expected, OTHER_CHECKSUM, OTHER_LENGTH},
};
use jiff::Timestamp;
use mail_api::{Message, MessageId};
use mail_proto::ReversePath;
use rusqlite::Connection;
use std::{
    fs::{self, File, TryLockError},
    io::{self, Read},
    path::{Path, PathBuf},
};

/// What is read of a file at once.
const CHUNK_OCTETS: usize = 64 * 1024;

/// A read-only view of a store's directory. What happens to the store afterwards does not show in it, but
/// large bodies that the store lets go of are gone.
pub(crate) struct Snapshot {
    pub(super) connection: Connection,
    pub(super) database: PathBuf,
    pub(super) bodies: PathBuf,
    /// Whether a store is at work here.
    pub(crate) is_running: bool,
}

impl Snapshot {
    /// Opens the store in this directory.
    ///
    /// # Errors
    /// [`OpenError`], also when the database has not the schema that this program writes.
    pub(crate) fn open(directory: &Path) -> Result<Self, OpenError> {
        let database = directory.join("store.db");
        let inaccessible = |error| OpenError::Missing { path: database.clone(), error };
        fs::metadata(&database).map_err(inaccessible)?;
        let connection = Self::connect(&database)?;
        Ok(Self { connection, bodies: directory.join("bodies"), is_running: is_running(directory), database })
    }

    fn connect(database: &Path) -> Result<Connection, OpenError> {
        let failed = |error| OpenError::database(database, error);
        let connection = database::reader(database).map_err(failed)?;
        database::require_current(&connection, database)?;
        // From the first look on, everything is seen as of one moment.
        connection.execute_batch("BEGIN; SELECT COUNT(*) FROM probe").map_err(failed)?;
        Ok(connection)
    }

    /// Whether the store has this message now, and not only at the moment of this snapshot.
    pub(super) fn is_still_there(&self, message: i64) -> Result<bool, OpenError> {
        let exists = |connection: &Connection| {
            let sql = "SELECT EXISTS (SELECT 1 FROM messages WHERE id = ?1)";
            connection.query_row(sql, [message], |row| row.get(0))
        };
        Self::connect(&self.database)
            .and_then(|now| exists(&now).map_err(|error| OpenError::database(&self.database, error)))
    }

    /// The octets at this location, or what is wrong with them.
    pub(super) fn read(&self, location: Location) -> Result<Vec<u8>, Undecodable> {
        let Location { message, expected, prefix, content } = location;
        let undecodable = |reason: String| Undecodable { message, reason };
        let body = match content {
            Content::Database(body) => body,
            Content::File(name) => fs::read(self.bodies.join(&name))
                .map_err(|error| undecodable(format!("its body bodies/{name} cannot be read: {error}")))?,
            Content::Nowhere => return Err(undecodable("it has no body".to_owned())),
        };
        match expected.find_fault(&body) {
            None => Ok([prefix.into_bytes(), body].concat()),
            Some(fault) => Err(undecodable(fault.to_owned())),
        }
    }
}

fn is_running(directory: &Path) -> bool {
    let locked = File::open(directory.join("lock")).map(|file| file.try_lock_shared());
    matches!(locked, Ok(Err(TryLockError::WouldBlock)))
}

/// What is wrong with a body's file, if anything, read in bounded memory.
pub(super) fn find_fault_of_file(mut file: impl Read, expected: Expected) -> io::Result<Option<&'static str>> {
    let mut checksummer = Checksummer::default();
    let mut chunk = vec![0; CHUNK_OCTETS];
    let mut octets = 0;
    loop {
        let read = file.read(&mut chunk)?;
        if read == 0 {
            break;
        }
        octets += read as u64;
        checksummer.update(&chunk[..read]);
    }
    if octets != expected.octets {
        return Ok(Some(OTHER_LENGTH));
    }
    Ok(expected.checksum.filter(|checksum| *checksum != checksummer.checksum()).map(|_| OTHER_CHECKSUM))
}

/// A message of a maildrop, as its reader gets it.
#[derive(Debug)]
pub(crate) struct ExportedMessage {
    pub(crate) id: MessageId,
    pub(crate) reverse_path: ReversePath,
    pub(crate) received_at: Timestamp,
    pub(crate) octets: Vec<u8>,
}

impl Snapshot {
    /// The addresses that have a maildrop, or mail left from when they had one.
    pub(crate) fn maildrops(&self) -> Result<Vec<String>, OpenError> {
        let sql = "SELECT address FROM accounts UNION SELECT DISTINCT address FROM deliveries ORDER BY address";
        let addresses = || -> rusqlite::Result<Vec<String>> {
            self.connection.prepare(sql)?.query_map([], |row| row.get(0))?.collect()
        };
        addresses().map_err(|error| OpenError::database(&self.database, error))
    }

    /// How many messages all maildrops hold.
    pub(crate) fn maildrop_entries(&self) -> Result<u64, OpenError> {
        let sql = "SELECT COUNT(*) FROM deliveries WHERE quarantined_at_ms IS NULL";
        let count = self.connection.query_row(sql, [], |row| row.get(0).map(i64::unsigned_abs));
        count.map_err(|error| OpenError::database(&self.database, error))
    }

    /// Gives each message of a maildrop to `take`, in order of arrival, or why it cannot be read.
    pub(crate) fn each_message(
        &self,
        address: &str,
        mut take: impl FnMut(Result<ExportedMessage, String>) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        for entry in maildrop::entries(&self.connection, address)? {
            let read = entry.and_then(|entry| {
                let whole = messages::message(&self.connection, entry.id);
                let location = messages::delivered_location(&self.connection, address, entry.id);
                let failed = |reason: StoreError| Undecodable { message: key(entry.id), reason: reason.to_string() };
                let (message, location) = (whole.map_err(failed)??, location.map_err(failed)??);
                let Message { id, reverse_path, received_at, .. } = message;
                Ok(ExportedMessage { id, reverse_path, received_at, octets: self.read(location)? })
            });
            take(read.map_err(|undecodable| format!("{}: {}", values::id(undecodable.message), undecodable.reason)))?;
        }
        Ok(())
    }
}
