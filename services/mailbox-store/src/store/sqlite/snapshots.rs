//! Snapshots of a running store in files beside it.
//!
//! A snapshot is a copy of the database with all bodies in it, so it is a backup, too. To restore one, all rows are replaced
//! in one transaction. A crash leaves the store as it was or as it is to be.

use super::{
    SqliteStore,
    bodies::{Bodies, IN_DATABASE_OCTETS, SpooledFile},
    database,
    leases::Leases,
    open::{self, OpenError, PRIVATE},
    queue,
    writer::WriteTransaction,
};
use crate::store::{Result, SnapshotFile, SnapshotName, Snapshots, StoreError, events};
use async_trait::async_trait;
use futures_util::{StreamExt, stream};
use internal_api::{HoldStage, StoreSnapshot};
use jiff::Timestamp;
use rusqlite::{
    Connection, MAIN_DB, OpenFlags, OptionalExtension,
    blob::ZeroBlob,
    params,
    types::{ToSqlOutput, ValueRef},
};
use std::{
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::sync::{Mutex, watch};

/// The most snapshots of a store.
const MOST: usize = 100;
/// The most octets of all of them.
const MOST_OCTETS: u64 = 8 * 1024 * 1024 * 1024;
/// A snapshot that takes longer than this is not of one moment any more, and fails.
const LONGEST: Duration = Duration::from_secs(60);
/// How much of a file is read at once.
const CHUNK_OCTETS: usize = 64 * 1024;
/// The end of a file's name, and that of one that is not whole.
const SUFFIX: &str = ".db";
const PARTIAL: &str = ".partial";

/// What a snapshot has of each table, and what it stands for where that is not the column itself. `probe` and `properties`
/// are the store's own.
const TABLES: [(&str, Option<(&str, &str)>); 8] = [
    ("accounts", None),
    ("aliases", None),
    ("messages", Some(("body", IN_MEMORY))),
    ("submissions", None),
    ("deliveries", None),
    ("deletions", None),
    // Who has claimed something has lost it.
    ("queue", Some(("lease", "NULL"))),
    ("events", None),
];
/// A large body has become a file before.
const IN_MEMORY: &str = "CASE WHEN length(body) > 262144 THEN NULL ELSE body END";
const _: () = assert!(IN_DATABASE_OCTETS == 262_144, "see above");

/// The directory of a store's snapshots.
pub(super) struct SnapshotDirectory {
    path: PathBuf,
    database: PathBuf,
    stack: String,
    bodies: Arc<Bodies>,
    /// One at a time.
    busy: Arc<Mutex<()>>,
}

/// A snapshot that is about to become the store.
struct Prepared {
    snapshot: StoreSnapshot,
    connection: Connection,
    /// The large bodies by message.
    files: Vec<(i64, SpooledFile)>,
}

#[async_trait]
impl Snapshots for SqliteStore {
    async fn hold(&self, holder: &str, stage: HoldStage, lease: Duration) -> Result<u64> {
        self.writer.hold(holder, stage, lease)?;
        // It comes to this one after all that was sent before.
        let claimed = self.writer.write_held(|tx| queue::claimed(tx.connection, tx.now())).await;
        if claimed.is_err() {
            let _ = self.writer.gate().release(holder);
        }
        claimed
    }

    async fn release_hold(&self, holder: &str) -> Result<()> {
        self.writer.gate().release(holder)?;
        // Those who wait for something to do look again.
        self.queue_changes.send_replace(());
        Ok(())
    }

    async fn take_snapshot(&self, name: &SnapshotName, note: String) -> Result<StoreSnapshot> {
        let own_hold = uuid::Uuid::new_v4().to_string();
        // Where somebody else holds the store, that is for this snapshot.
        let is_own = match self.hold(&own_hold, HoldStage::Commits, LONGEST).await {
            Ok(_) => true,
            Err(StoreError::Held) => false,
            Err(error) => return Err(error),
        };
        let (name, taken_at) = (name.clone(), self.clock.wall.now());
        let taken = self.snapshots.work(move |directory| directory.take(&name, &note, taken_at)).await;
        if is_own {
            self.release_hold(&own_hold).await?;
        }
        taken
    }

    async fn snapshots(&self) -> Result<Vec<StoreSnapshot>> {
        self.snapshots.work(|directory| directory.list()).await
    }

    async fn snapshot_file(&self, name: &SnapshotName) -> Result<SnapshotFile> {
        let name = name.clone();
        let opened = self.snapshots.work(move |directory| Ok(File::open(directory.whole(&name)?)?)).await?;
        let octets = opened.metadata()?.len();
        let chunks = stream::try_unfold(opened, |mut file| async {
            let read = tokio::task::spawn_blocking(move || {
                let mut chunk = vec![0; CHUNK_OCTETS];
                let count = file.read(&mut chunk)?;
                chunk.truncate(count);
                Ok::<_, StoreError>((count > 0).then(|| (chunk.into(), file)))
            });
            read.await.map_err(|panic| StoreError::Internal(panic.to_string()))?
        });
        Ok(SnapshotFile { octets, chunks: chunks.boxed() })
    }

    async fn remove_snapshot(&self, name: &SnapshotName) -> Result<()> {
        let name = name.clone();
        self.snapshots.work(move |directory| Ok(fs::remove_file(directory.whole(&name)?)?)).await
    }

    async fn restore_snapshot(&self, name: &SnapshotName, now: Option<Timestamp>) -> Result<StoreSnapshot> {
        let (name, leases) = (name.clone(), Arc::clone(&self.leases));
        let prepared = self.snapshots.work(move |directory| directory.prepare(&name)).await?;
        let snapshot = self.writer.write_held(move |tx| restore(tx, prepared, now, &leases)).await?;
        self.restores.send_replace(());
        Ok(snapshot)
    }

    fn restores(&self) -> Option<watch::Receiver<()>> {
        Some(self.restores.subscribe())
    }
}

impl SqliteStore {
    /// Makes the store what it was elsewhere: takes in the file of a snapshot under this name, and restores that.
    ///
    /// # Errors
    /// As [`Snapshots::restore_snapshot`].
    pub async fn take_in_snapshot(&self, name: &SnapshotName, file: PathBuf, now: Timestamp) -> Result<()> {
        let own = name.clone();
        self.snapshots.work(move |directory| directory.import(&own, &file)).await?;
        self.restore_snapshot(name, Some(now)).await.map(drop)
    }
}

impl SnapshotDirectory {
    /// The snapshots of the store in this directory. What a crash has left of one is removed.
    pub(super) fn open(store: &Path, stack: String, bodies: Arc<Bodies>) -> Self {
        let path = store.join("snapshots");
        for entry in fs::read_dir(&path).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().ends_with(PARTIAL) {
                // It is in nobody's way, and the next start tries again.
                let _ = fs::remove_file(entry.path());
            }
        }
        Self { path, database: store.join("store.db"), stack, bodies, busy: Arc::default() }
    }

    /// Does this where it may block, after what was begun before.
    async fn work<T, F>(self: &Arc<Self>, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Self) -> Result<T> + Send + 'static,
    {
        let (directory, alone) = (Arc::clone(self), Arc::clone(&self.busy).lock_owned().await);
        let working = tokio::task::spawn_blocking(move || {
            // Until it has ended, also when its caller has gone.
            let _alone = alone;
            work(&directory)
        });
        working.await.unwrap_or_else(|panic| Err(StoreError::Internal(format!("a snapshot panicked: {panic}"))))
    }

    fn file(&self, name: &SnapshotName) -> PathBuf {
        self.path.join(format!("{name}{SUFFIX}"))
    }

    /// The file of a snapshot that there is.
    fn whole(&self, name: &SnapshotName) -> Result<PathBuf> {
        let file = self.file(name);
        if file.exists() { Ok(file) } else { Err(StoreError::SnapshotUnknown) }
    }

    fn list(&self) -> Result<Vec<StoreSnapshot>> {
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

    fn take(&self, name: &SnapshotName, note: &str, taken_at: Timestamp) -> Result<StoreSnapshot> {
        let file = self.file(name);
        if file.exists() {
            return Err(StoreError::SnapshotExists);
        }
        open::create(&self.path).map_err(|error| unusable(&error))?;
        let partial = self.path.join(format!("{name}{SUFFIX}{PARTIAL}"));
        let taken = self.require_room().and_then(|()| self.fill(&partial, note, taken_at)).and_then(|()| {
            File::open(&partial)?.sync_all()?;
            fs::rename(&partial, &file)?;
            Ok(File::open(&self.path)?.sync_all()?)
        });
        if let Err(error) = taken {
            let _ = fs::remove_file(&partial);
            return Err(error);
        }
        Ok(self.read(name)?.0)
    }

    /// Fails when there are too many snapshots, or too large ones.
    fn require_room(&self) -> Result<()> {
        let kept: Vec<u64> = self.names().filter_map(|name| Some(fs::metadata(self.file(&name)).ok()?.len())).collect();
        let needed = fs::metadata(&self.database)?.len();
        if kept.len() < MOST && kept.iter().sum::<u64>().saturating_add(needed) <= MOST_OCTETS {
            return Ok(());
        }
        let most = format!("a store keeps {MOST} snapshots and {} GiB of them at most", MOST_OCTETS >> 30);
        Err(StoreError::SnapshotsFull(most))
    }

    /// Copies the database to a file of this name, and the large bodies into that.
    fn fill(&self, partial: &Path, note: &str, taken_at: Timestamp) -> Result<()> {
        // SQLite takes an empty file, and keeps its mode.
        File::options().create(true).write(true).truncate(true).mode(PRIVATE).open(partial)?;
        let path = partial.to_str().ok_or_else(|| StoreError::Unavailable("the path is no UTF-8".to_owned()))?;
        database::reader(&self.database)?.execute("VACUUM main INTO ?1", [path])?;
        let connection = Connection::open(partial)?;
        connection.pragma_update(None, "journal_mode", "OFF")?;
        connection.pragma_update(None, "synchronous", "OFF")?;
        connection.execute_batch("BEGIN")?;
        let property = "INSERT OR REPLACE INTO properties (name, value) VALUES (?1, ?2)";
        connection.execute(property, ["snapshot_taken_at", &taken_at.to_string()])?;
        connection.execute(property, ["snapshot_note", note])?;
        let mut select =
            connection.prepare("SELECT id, body_file, octets FROM messages WHERE body_file IS NOT NULL")?;
        let large = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        let large: Vec<(i64, String, i64)> = large.collect::<rusqlite::Result<_>>()?;
        for (message, name, octets) in large {
            self.take_in(&connection, message, &name, octets)?;
        }
        drop(select);
        database::mark_backup(&connection)?;
        Ok(connection.execute_batch("COMMIT")?)
    }

    /// Puts a body into the snapshot. One that is missing is missing there as well.
    fn take_in(&self, connection: &Connection, message: i64, name: &str, octets: i64) -> Result<()> {
        let file = match self.bodies.read(name) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let length = file.metadata()?.len().min(octets.unsigned_abs());
        let room = "UPDATE messages SET body_file = NULL, body = ?2 WHERE id = ?1";
        connection.execute(room, params![message, ZeroBlob(length)])?;
        let mut blob = connection.blob_open(MAIN_DB, "messages", "body", message, false)?;
        io::copy(&mut file.take(length), &mut blob)?;
        Ok(())
    }

    /// Does all that need not be done within the change.
    fn prepare(&self, name: &SnapshotName) -> Result<Prepared> {
        let file = self.whole(name)?;
        database::bring_up(&file).map_err(|error| unusable(&error))?;
        let (snapshot, connection) = self.read(name)?;
        database::require_stack(&connection, &file, &self.stack).map_err(|error| unusable(&error))?;
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

    /// Takes in the file of a snapshot that was taken elsewhere. Blocks.
    fn import(&self, name: &SnapshotName, from: &Path) -> Result<()> {
        open::create(&self.path).map_err(|error| unusable(&error))?;
        let mut file = File::options().create_new(true).write(true).mode(PRIVATE).open(self.file(name))?;
        io::copy(&mut File::open(from)?, &mut file)?;
        Ok(file.sync_all()?)
    }
}

/// Replaces all that the store has.
fn restore(
    tx: &mut WriteTransaction<'_>,
    prepared: Prepared,
    now: Option<Timestamp>,
    leases: &Leases,
) -> Result<StoreSnapshot> {
    let Prepared { snapshot, connection: source, files } = prepared;
    let store = tx.connection;
    let last_event = |connection: &Connection| {
        let select = "SELECT COALESCE(MAX(seq), 0) FROM events";
        connection.query_row(select, [], |row| row.get::<_, i64>(0))
    };
    let event = last_event(store)?.max(last_event(&source)?) + 1;
    let queued_before = queue::length(store)?;
    let mut select = store.prepare("SELECT body_file FROM messages WHERE body_file IS NOT NULL")?;
    let removed: Vec<String> = select.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    drop(select);
    for (table, instead) in TABLES {
        store.execute(&statement(&["DELETE", "FROM", table]), [])?;
        copy(&source, store, table, instead)?;
    }
    for (message, file) in &files {
        store.execute("UPDATE messages SET body_file = ?2 WHERE id = ?1", params![message, file.name])?;
    }
    let greatest = "SELECT COALESCE(MAX(message_id), 0) FROM submissions";
    let last_id = tx.reserve_ids(store.query_row(greatest, [], |row| row.get(0))?);
    let property = "INSERT OR REPLACE INTO properties (name, value) VALUES ('last_id', ?1)";
    store.execute(property, [last_id.to_string()])?;
    let at_ms = now.unwrap_or_else(|| tx.now()).as_millisecond();
    let told = "INSERT INTO events (seq, message_id, at_ms, detail) VALUES (?1, 0, ?2, ?3)";
    store.execute(told, params![event, at_ms, events::restored(&snapshot.name)?])?;
    leases.end_all();
    let effects = &mut tx.effects;
    effects.kept_files.extend(files.into_iter().map(|(_, file)| file));
    effects.removed_files.extend(removed);
    effects.queued += queue::length(store)? - queued_before;
    (effects.queue_changed, effects.deleted, effects.told, effects.accounts_changed) = (true, true, true, true);
    Ok(snapshot)
}

/// Copies the rows of a table. Texts that are no UTF-8 stay as they are.
fn copy(from: &Connection, to: &Connection, table: &str, instead: Option<(&str, &str)>) -> Result<()> {
    let mut select = from.prepare("SELECT name FROM pragma_table_info(?1)")?;
    let columns: Vec<String> = select.query_map([table], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    let values = columns.iter().map(|column| match instead {
        Some((other, value)) if other == column => value,
        _ => column.as_str(),
    });
    let values = values.collect::<Vec<_>>().join(", ");
    let mut select = from.prepare(&statement(&["SELECT", &values, "FROM", table]))?;
    let (places, columns_of_row) = (vec!["?"; columns.len()].join(", "), columns.join(", "));
    let insert = ["INSERT", "INTO", table, "(", &columns_of_row, ") VALUES (", &places, ")"];
    let mut insert = to.prepare(&statement(&insert))?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        for column in 0..columns.len() {
            let value: ValueRef<'_> = row.get_ref(column)?;
            insert.raw_bind_parameter(column + 1, ToSqlOutput::Borrowed(value))?;
        }
        insert.raw_execute()?;
    }
    Ok(())
}

/// A statement about what is known only now.
fn statement(parts: &[&str]) -> String {
    parts.join(" ")
}

fn unusable(error: &OpenError) -> StoreError {
    StoreError::Unavailable(error.to_string())
}

impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> Self {
        Self::Unavailable(error.to_string())
    }
}
