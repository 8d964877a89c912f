//! A store that is being filled with a copy of another: one in a directory, or a backup.
//!
//! ```text
//! DIR/store.db.incoming    becomes store.db when all is there; no store opens while it is here
//! FILE.partial             becomes a backup, which is a database with all bodies in it
//! ```

use super::{
    bodies::IN_DATABASE_OCTETS,
    database,
    open::{self, OpenError, PRIVATE, accessible},
};
use crate::store::{
    copy::Destination,
    records::column,
    snapshot::{
        AccountRecord, AliasRecord, DeliveryRecord, MessageRecord, ParameterRecord, QueueRecord, Result,
        SubmissionRecord, VerifiedBody,
    },
};
use rusqlite::{Connection, MAIN_DB, ToSql, blob::ZeroBlob, params};
use std::{
    ffi::OsString,
    fs::{self, File},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// What becomes a store, or a backup, when it is finished. What is not finished is removed.
pub(crate) struct SqliteDestination {
    connection: Connection,
    /// The database while it is filled.
    partial: PathBuf,
    /// Its name afterwards.
    database: PathBuf,
    /// A backup has all bodies in its database.
    bodies: Option<PathBuf>,
    finished: bool,
    /// Held as long as this is at work.
    _lock: File,
}

impl SqliteDestination {
    /// A store in a directory that is empty or missing, or that an interrupted copy has left.
    ///
    /// # Errors
    /// [`OpenError`], also when there is a store.
    pub(crate) fn directory(directory: &Path) -> Result<Self, OpenError> {
        open::create(directory)?;
        let lock = open::lock(directory)?;
        let (database, partial) = (directory.join("store.db"), directory.join(open::INCOMPLETE));
        let bodies = directory.join("bodies");
        open::create(&bodies)?;
        let is_ours = partial.exists();
        let has_bodies = fs::read_dir(&bodies).is_ok_and(|mut entries| entries.next().is_some());
        // The log of a store whose database is gone would be taken for this one's.
        let is_occupied = ["store.db", "store.db-wal", "store.db-shm"].iter().any(|name| directory.join(name).exists());
        if is_occupied || (has_bodies && !is_ours) {
            return Err(OpenError::Occupied { path: directory.to_owned() });
        }
        accessible(&bodies, remove_files(&bodies))?;
        let connection = create(&partial)?;
        // Found after a loss of power as long as anything else of the copy is.
        accessible(directory, sync(directory))?;
        Ok(Self { connection, partial, database, bodies: Some(bodies), finished: false, _lock: lock })
    }

    /// A backup.
    ///
    /// # Errors
    /// [`OpenError`], also when the file exists.
    pub(crate) fn backup(file: &Path) -> Result<Self, OpenError> {
        if file.exists() {
            return Err(OpenError::Exists { path: file.to_owned() });
        }
        let mut partial = OsString::from(file);
        partial.push(".partial");
        let partial = PathBuf::from(partial);
        let lock = open::lock_file(&partial, file)?;
        let connection = create(&partial)?;
        database::mark_backup(&connection).map_err(|error| OpenError::database(&partial, error))?;
        let database = file.to_owned();
        Ok(Self { connection, partial, database, bodies: None, finished: false, _lock: lock })
    }

    /// Writes down whose mail it holds.
    ///
    /// # Errors
    /// [`OpenError`].
    pub(crate) fn of_stack(self, stack: &str) -> Result<Self, OpenError> {
        database::set_stack(&self.connection, stack).map_err(|error| self.failed(error))?;
        Ok(self)
    }

    fn execute(&self, sql: &str, parameters: &[&dyn ToSql]) -> Result<(), OpenError> {
        let executed = self.connection.prepare_cached(sql).and_then(|mut statement| statement.execute(parameters));
        executed.map(drop).map_err(|error| self.failed(error))
    }

    /// Writes the parameters of a message's envelope, if there are any.
    fn parameters(&self, message: i64, parameters: &ParameterRecord) -> Result<(), OpenError> {
        if *parameters == ParameterRecord::default() {
            return Ok(());
        }
        let ParameterRecord { identity, body_type, smtputf8, ret, envid, requiretls, submitter } = parameters;
        let update = "UPDATE messages SET identity = ?2, body_type = ?3, smtputf8 = ?4, ret = ?5, envid = ?6,
                 requiretls = ?7, submitter = ?8
             WHERE id = ?1";
        self.execute(update, params![message, identity, body_type, smtputf8, ret, envid, requiretls, submitter])
    }

    /// Writes a large body to a file of its own; returns its name.
    fn write_file(bodies: &Path, body: &mut VerifiedBody<'_>) -> Result<String, OpenError> {
        let name = uuid::Uuid::new_v4().simple().to_string();
        let path = bodies.join(&name);
        let written = File::create_new(&path).and_then(|mut file| {
            io::copy(body, &mut file)?;
            file.sync_all()
        });
        accessible(&path, written)?;
        Ok(name)
    }

    /// Writes a body to the place that was kept free for it.
    fn write_blob(&self, message: i64, body: &mut VerifiedBody<'_>) -> Result<(), OpenError> {
        let opened = self.connection.blob_open(MAIN_DB, "messages", "body", message, false);
        let mut blob = opened.map_err(|error| self.failed(error))?;
        accessible(&self.partial, io::copy(body, &mut blob))?;
        drop(blob);
        if body.octets() < body.announced_octets() {
            // Its disk failed: what follows is nobody's.
            let cut = "UPDATE messages SET body = substr(body, 1, ?2) WHERE id = ?1";
            self.execute(cut, params![message, column(body.octets())])?;
        }
        Ok(())
    }

    fn failed(&self, error: rusqlite::Error) -> OpenError {
        OpenError::database(&self.partial, error)
    }
}

impl Destination for SqliteDestination {
    fn message(&mut self, message: &MessageRecord, body: &mut VerifiedBody<'_>) -> Result<()> {
        let in_file = self.bodies.as_ref().filter(|_| body.announced_octets() > IN_DATABASE_OCTETS as u64);
        let file = in_file.map(|bodies| Self::write_file(bodies, body)).transpose()?;
        let free = file.is_none().then(|| ZeroBlob(body.announced_octets()));
        let MessageRecord { key, reverse_path, octets, received_at_ms, adds_return_path, checksum, .. } = message;
        let insert = "INSERT INTO messages
                 (id, reverse_path, octets, received_at_ms, adds_return_path, body_file, body, checksum)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
        let row = params![key, reverse_path, octets, received_at_ms, adds_return_path, file, free, checksum];
        self.execute(insert, row)?;
        self.parameters(*key, &message.parameters)?;
        if file.is_none() {
            self.write_blob(*key, body)?;
        }
        Ok(())
    }

    fn submissions(&mut self, submissions: &[SubmissionRecord]) -> Result<()> {
        let insert = "INSERT INTO submissions (message_id, transaction_id) VALUES (?1, ?2)";
        for SubmissionRecord { transaction, message } in submissions {
            self.execute(insert, params![message, transaction])?;
        }
        Ok(())
    }

    fn deliveries(&mut self, deliveries: &[DeliveryRecord]) -> Result<()> {
        let insert = "INSERT INTO deliveries (address, message_id, octets, quarantined_at_ms) VALUES (?1, ?2, ?3, ?4)";
        for DeliveryRecord { address, message, octets, quarantined_at_ms } in deliveries {
            self.execute(insert, params![address, message, octets, quarantined_at_ms])?;
        }
        Ok(())
    }

    fn queue(&mut self, entries: &[QueueRecord]) -> Result<()> {
        let insert =
            "INSERT INTO queue (message_id, recipient, domain, attempts, next_attempt_at_ms, lease, last_reply,
                 quarantined_at_ms, original_recipient, notify, via, delay_told, held_at_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)";
        for entry in entries {
            let QueueRecord { message, recipient, domain, attempts, .. } = entry;
            let QueueRecord { next_attempt_at_ms: due, lease, last_reply, quarantined_at_ms, .. } = entry;
            let QueueRecord { original_recipient: original, notify, via, delay_told, held_at_ms, .. } = entry;
            self.execute(
                insert,
                params![
                    message,
                    recipient,
                    domain,
                    attempts,
                    due,
                    lease,
                    last_reply,
                    quarantined_at_ms,
                    original,
                    notify,
                    via,
                    delay_told,
                    held_at_ms
                ],
            )?;
        }
        Ok(())
    }

    fn accounts(&mut self, accounts: &[AccountRecord]) -> Result<()> {
        let insert =
            "INSERT INTO accounts (address, password_hash, messages, octets, quota_messages, quota_octets, source,
                 scram_verifier)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
        for account in accounts {
            let AccountRecord { address, password_hash: hash, messages, octets, .. } = account;
            let AccountRecord { quota_messages, quota_octets, source, scram_verifier, .. } = account;
            let row = params![address, hash, messages, octets, quota_messages, quota_octets, source, scram_verifier];
            self.execute(insert, row)?;
        }
        Ok(())
    }

    fn aliases(&mut self, aliases: &[AliasRecord]) -> Result<()> {
        let insert = "INSERT INTO aliases (address, targets, source) VALUES (?1, ?2, ?3)";
        for AliasRecord { address, targets, source } in aliases {
            self.execute(insert, params![address, targets, source])?;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        let committed = self.connection.execute_batch("COMMIT");
        committed.map_err(|error| self.failed(error))?;
        accessible(&self.partial, File::open(&self.partial).and_then(|file| file.sync_all()))?;
        if let Some(bodies) = &self.bodies {
            accessible(bodies, sync(bodies))?;
        }
        accessible(&self.database, fs::rename(&self.partial, &self.database))?;
        self.finished = true;
        let parent = self.database.parent().filter(|parent| !parent.as_os_str().is_empty());
        accessible(&self.database, sync(parent.unwrap_or(Path::new("."))))?;
        Ok(())
    }
}

impl Drop for SqliteDestination {
    fn drop(&mut self) {
        if !self.finished {
            let bodies = self.bodies.as_ref().map_or(Ok(()), |bodies| remove_files(bodies));
            // As long as it stands, what is left of the bodies is known for what it is.
            if bodies.is_ok() {
                let _ = fs::remove_file(&self.partial);
            }
        }
    }
}

/// A new database with a transaction open. It is of no use unless it gets finished, so it needs no journal.
fn create(path: &Path) -> Result<Connection, OpenError> {
    accessible(path, File::options().create(true).write(true).truncate(true).mode(PRIVATE).open(path))?;
    database::create(path)
}

fn remove_files(directory: &Path) -> io::Result<()> {
    fs::read_dir(directory)?.try_for_each(|entry| fs::remove_file(entry?.path()))
}

fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}
