//! The files of snapshots.

use super::restore::{LAST_ID, Prepared};
use crate::store::{
    Result, SnapshotName, StoreError, space,
    sqlite::{
        bodies::{Bodies, IN_DATABASE_OCTETS},
        database,
        open::{self, OpenError, PRIVATE},
        values::id,
    },
};
use internal_api::StoreSnapshot;
use jiff::Timestamp;
use rusqlite::{Connection, MAIN_DB, OpenFlags, OptionalExtension, blob::ZeroBlob, params};
use std::{
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::sync::{Mutex, OwnedMutexGuard};

/// The most snapshots of a store.
const MOST: usize = 100;
/// The most octets of all of them.
const MOST_OCTETS: u64 = 8 * 1024 * 1024 * 1024;
/// The end of a file's name, and that of one that is not whole.
const SUFFIX: &str = ".db";
const PARTIAL: &str = ".partial";

/// A message whose mail can be fetched or sent, and has no body. What is in quarantine is there all the same.
const WITHOUT_BODY: &str = "SELECT id FROM messages WHERE body IS NULL AND (
         EXISTS (SELECT 1 FROM deliveries WHERE message_id = id AND quarantined_at_ms IS NULL)
         OR EXISTS (SELECT 1 FROM queue WHERE message_id = id AND quarantined_at_ms IS NULL)
     ) LIMIT 1";

/// What a snapshot has besides the store.
pub(super) struct Label {
    pub(super) note: String,
    pub(super) taken_at: Timestamp,
    /// The greatest id that was given.
    pub(super) last_id: i64,
}

/// The directory of a store's snapshots.
pub(in crate::store::sqlite) struct SnapshotDirectory {
    path: PathBuf,
    database: PathBuf,
    stack: String,
    bodies: Arc<Bodies>,
    /// One at a time.
    busy: Arc<Mutex<()>>,
}

impl SnapshotDirectory {
    /// The snapshots of the store in this directory. What a crash has left of one is removed.
    pub(in crate::store::sqlite) fn open(store: &Path, stack: String, bodies: Arc<Bodies>) -> Self {
        let path = store.join("snapshots");
        for entry in fs::read_dir(&path).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            // SQLite may have left a journal of it.
            if name.contains(PARTIAL) && !name.ends_with(SUFFIX) {
                // It is in nobody's way, and the next start tries again.
                let _ = fs::remove_file(entry.path());
            }
        }
        Self { path, database: store.join("store.db"), stack, bodies, busy: Arc::default() }
    }

    /// Waits until what was begun before has ended.
    pub(super) async fn alone(&self) -> OwnedMutexGuard<()> {
        Arc::clone(&self.busy).lock_owned().await
    }

    fn file(&self, name: &SnapshotName) -> PathBuf {
        self.path.join(format!("{name}{SUFFIX}"))
    }

    /// The file of a snapshot that there is.
    pub(super) fn whole(&self, name: &SnapshotName) -> Result<PathBuf> {
        let file = self.file(name);
        if file.exists() { Ok(file) } else { Err(StoreError::SnapshotUnknown) }
    }

    pub(super) fn list(&self) -> Result<Vec<StoreSnapshot>> {
        let mut names: Vec<SnapshotName> = self.names().collect();
        names.sort();
        let known = names.iter().filter_map(|name| match self.read(name) {
            Ok((snapshot, _)) => Some(snapshot),
            Err(error) => {
                tracing::warn!(%name, %error, "a snapshot cannot be read; remove it");
                None
            }
        });
        Ok(known.collect())
    }

    fn names(&self) -> impl Iterator<Item = SnapshotName> {
        let entries = fs::read_dir(&self.path).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().to_str()?.strip_suffix(SUFFIX)?.parse().ok())
    }

    /// A snapshot, and a connection to it that can only read.
    fn read(&self, name: &SnapshotName) -> Result<(StoreSnapshot, Connection)> {
        let file = self.whole(name)?;
        let connection = Connection::open_with_flags(&file, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let property = |key: &str| {
            let select = "SELECT value FROM properties WHERE name = ?1";
            connection.query_row(select, [key], |row| row.get::<_, String>(0)).optional()
        };
        let count = |select: &str| connection.query_row(select, [], |row| row.get(0)).map(i64::unsigned_abs);
        let taken_at = property("snapshot_taken_at")?.and_then(|text| text.parse().ok());
        let snapshot = StoreSnapshot {
            name: name.to_string(),
            taken_at: taken_at.ok_or_else(|| StoreError::Internal(format!("{} is no snapshot", file.display())))?,
            octets: fs::metadata(&file)?.len(),
            messages: count("SELECT COUNT(*) FROM held_messages")?,
            queued: count("SELECT COUNT(*) FROM queue")?,
            note: property("snapshot_note")?.unwrap_or_default(),
        };
        Ok((snapshot, connection))
    }

    pub(super) fn take(&self, name: &SnapshotName, label: &Label) -> Result<StoreSnapshot> {
        self.require_new(name)?;
        self.require_room()?;
        self.put(name, |partial| self.fill(partial, label))?;
        let taken = self.read(name);
        if taken.is_err() {
            let _ = fs::remove_file(self.file(name));
        }
        Ok(taken?.0)
    }

    /// Takes in the file of a snapshot that was taken elsewhere. Blocks.
    pub(super) fn import(&self, name: &SnapshotName, from: &Path) -> Result<()> {
        self.require_new(name)?;
        self.put(name, |partial| {
            let mut file = File::options().create(true).truncate(true).write(true).mode(PRIVATE).open(partial)?;
            Ok(io::copy(&mut File::open(from)?, &mut file).map(drop)?)
        })
    }

    fn require_new(&self, name: &SnapshotName) -> Result<()> {
        if self.file(name).exists() { Err(StoreError::SnapshotExists) } else { Ok(()) }
    }

    /// Makes the file of a snapshot: under another name first, so that it is whole under its own. Nothing is left when this
    /// fails.
    fn put(&self, name: &SnapshotName, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        open::create(&self.path).map_err(|error| unusable(&error))?;
        let (file, partial) = (self.file(name), self.path.join(format!("{name}{SUFFIX}{PARTIAL}")));
        let durable = |outcome: io::Result<()>| outcome.map_err(StoreError::from);
        let written = write(&partial)
            .and_then(|()| durable(File::open(&partial).and_then(|file| file.sync_all())))
            .and_then(|()| durable(fs::rename(&partial, &file)))
            .and_then(|()| durable(File::open(&self.path).and_then(|directory| directory.sync_all())));
        if written.is_err() {
            let _ = fs::remove_file(&partial);
            let _ = fs::remove_file(&file);
        }
        written
    }

    /// Fails when the disk has no room for a snapshot, or there are too many snapshots, or too large ones.
    fn require_room(&self) -> Result<()> {
        let needed = self.octets()?;
        open::create(&self.path).map_err(|error| unusable(&error))?;
        space::require_octets(&self.path, needed)?;
        let kept: Vec<u64> = self.names().filter_map(|name| Some(fs::metadata(self.file(&name)).ok()?.len())).collect();
        if kept.len() < MOST && kept.iter().sum::<u64>().saturating_add(needed) <= MOST_OCTETS {
            return Ok(());
        }
        let most = format!("a store keeps {MOST} snapshots and {} GiB of them at most", MOST_OCTETS >> 30);
        Err(StoreError::SnapshotsFull(most))
    }

    /// What the database has, and the bodies beside it.
    fn octets(&self) -> Result<u64> {
        let select = "SELECT page_count * page_size + (SELECT TOTAL(octets) FROM messages WHERE body_file IS NOT NULL)
             FROM pragma_page_count(), pragma_page_size()";
        let octets = database::reader(&self.database)?.query_row(select, [], |row| row.get::<_, f64>(0))?;
        Ok(octets as u64)
    }

    /// Copies the database to a file of this name, and the large bodies into that.
    fn fill(&self, partial: &Path, label: &Label) -> Result<()> {
        // SQLite takes an empty file, and keeps its mode.
        File::options().create(true).write(true).truncate(true).mode(PRIVATE).open(partial)?;
        let path = partial.to_str().ok_or_else(|| StoreError::Unavailable("the path is no UTF-8".to_owned()))?;
        database::reader(&self.database)?.execute("VACUUM main INTO ?1", [path])?;
        let connection = Connection::open(partial)?;
        connection.pragma_update(None, "journal_mode", "OFF")?;
        connection.pragma_update(None, "synchronous", "OFF")?;
        connection.execute_batch("BEGIN")?;
        let property = "INSERT OR REPLACE INTO properties (name, value) VALUES (?1, ?2)";
        connection.execute(property, ["snapshot_taken_at", &label.taken_at.to_string()])?;
        connection.execute(property, ["snapshot_note", &label.note])?;
        connection.execute(property, [LAST_ID, &label.last_id.to_string()])?;
        let mut select =
            connection.prepare("SELECT id, body_file, octets FROM messages WHERE body_file IS NOT NULL")?;
        let large = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        let large: Vec<(i64, String, i64)> = large.collect::<rusqlite::Result<_>>()?;
        for (message, name, octets) in large {
            self.take_in(&connection, message, &name, octets)?;
        }
        drop(select);
        require_bodies(&connection)?;
        database::mark_backup(&connection)?;
        Ok(connection.execute_batch("COMMIT")?)
    }

    /// Puts a body into the snapshot. One that is missing or cut off is missing there.
    fn take_in(&self, connection: &Connection, message: i64, name: &str, octets: i64) -> Result<()> {
        let file = match self.bodies.read(name) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let length = octets.unsigned_abs();
        if file.metadata()?.len() < length {
            return Ok(());
        }
        let room = "UPDATE messages SET body_file = NULL, body = ?2 WHERE id = ?1";
        connection.execute(room, params![message, ZeroBlob(length)])?;
        let mut blob = connection.blob_open(MAIN_DB, "messages", "body", message, false)?;
        io::copy(&mut file.take(length), &mut blob)?;
        Ok(())
    }

    /// Fails unless the store can become what this snapshot is.
    pub(super) fn check(&self, name: &SnapshotName) -> Result<(StoreSnapshot, Connection)> {
        let file = self.whole(name)?;
        database::bring_up(&file).map_err(|error| unusable(&error))?;
        let (snapshot, connection) = self.read(name)?;
        database::require_stack(&connection, &file, &self.stack).map_err(|error| unusable(&error))?;
        require_bodies(&connection)?;
        space::require_octets(&self.path, snapshot.octets)?;
        Ok((snapshot, connection))
    }

    /// Does all that need not be done within the change.
    pub(in crate::store::sqlite) fn prepare(&self, name: &SnapshotName) -> Result<Prepared> {
        let (snapshot, connection) = self.check(name)?;
        let mut select = connection.prepare("SELECT id FROM messages WHERE length(body) > ?1")?;
        let large = select.query_map([IN_DATABASE_OCTETS as i64], |row| row.get(0))?;
        let large: Vec<i64> = large.collect::<rusqlite::Result<_>>()?;
        drop(select);
        let mut files = Vec::new();
        for message in large {
            let mut body = connection.blob_open(MAIN_DB, "messages", "body", message, true)?;
            files.push((message, self.bodies.write(&mut body)?));
        }
        Ok(Prepared { snapshot, connection, files })
    }
}

/// Fails when the snapshot has a message without its body.
fn require_bodies(snapshot: &Connection) -> Result<()> {
    let found: Option<i64> = snapshot.query_row(WITHOUT_BODY, [], |row| row.get(0)).optional()?;
    found.map_or(Ok(()), |message| Err(StoreError::Damaged(id(message))))
}

fn unusable(error: &OpenError) -> StoreError {
    StoreError::Unavailable(error.to_string())
}
