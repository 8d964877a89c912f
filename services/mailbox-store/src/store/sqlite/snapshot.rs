//! A store in a directory, or a backup, as it stands at one moment: beside a running store, or without one.

use super::{database, open::OpenError, values::RawText};
use crate::store::snapshot::{
    AccountRecord, AliasRecord, Body, Counts, DeliveryRecord, Inspection, MESSAGES, MessageRecord, ParameterRecord,
    QueueRecord, RECORDS, Result, Snapshot, SubmissionRecord,
};
use jiff::Timestamp;
use rusqlite::{Connection, Params, Row, params, types::ValueRef};
use std::{
    cell::RefCell,
    collections::{BTreeSet, HashMap},
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

/// A file that nothing refers to and that nobody has written to for so long is not on its way in.
const UPLOAD: Duration = Duration::from_secs(60 * 60);

/// A read-only view. What happens to the store afterwards does not show in it, but large bodies that the store lets go
/// of are gone.
pub(crate) struct SqliteSnapshot {
    connection: Connection,
    database: PathBuf,
    /// A backup has all bodies in its database.
    bodies: Option<Bodies>,
    /// Texts that are no UTF-8, by what is told of them: the records behind one are found by what is stored.
    garbled: RefCell<HashMap<String, RawText>>,
}

struct Bodies {
    directory: PathBuf,
    /// The files that were there before the moment: one that came later may be referred to by what does not show.
    files: BTreeSet<String>,
    /// Whether a store is at work here.
    is_running: bool,
}

impl SqliteSnapshot {
    /// Opens the store in this directory.
    ///
    /// # Errors
    /// [`OpenError`], also when the database has not the schema that this program writes.
    pub(crate) fn of_directory(directory: &Path) -> Result<Self, OpenError> {
        super::open::refuse_incomplete(directory)?;
        let database = directory.join("store.db");
        let missing = |error| OpenError::Missing { path: database.clone(), error };
        fs::metadata(&database).map_err(missing)?;
        let is_running = is_running(directory);
        let directory = directory.join("bodies");
        let bodies = Bodies { files: file_names(&directory), directory, is_running };
        Ok(Self { connection: connect(&database)?, database, bodies: Some(bodies), garbled: RefCell::default() })
    }

    /// Opens a backup.
    ///
    /// # Errors
    /// [`OpenError`], also when the file is none.
    pub(crate) fn of_backup(file: &Path) -> Result<Self, OpenError> {
        let unreadable = |error| OpenError::Unreadable { path: file.to_owned(), error };
        File::open(file).map_err(unreadable)?;
        // Whatever cannot say so is none.
        if !database::reader(file).and_then(|opened| database::is_backup(&opened)).unwrap_or(false) {
            return Err(OpenError::NoBackup { path: file.to_owned() });
        }
        Ok(Self { connection: connect(file)?, database: file.to_owned(), bodies: None, garbled: RefCell::default() })
    }

    /// Refuses the store or backup of another stack. What an earlier version wrote does not say whose it is.
    ///
    /// # Errors
    /// [`OpenError::Foreign`].
    pub(crate) fn of_stack(self, stack: &str) -> Result<Self, OpenError> {
        database::require_stack(&self.connection, &self.database, stack)?;
        Ok(self)
    }

    fn query<T>(
        &self,
        sql: &str,
        parameters: impl Params,
        record: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, OpenError> {
        let rows =
            || self.connection.prepare_cached(sql)?.query_map(parameters, record)?.collect::<rusqlite::Result<_>>();
        rows().map_err(|error| self.failed(error))
    }

    fn count(&self, select: &str) -> Result<u64, OpenError> {
        let count = self.connection.query_row(select, [], |row| row.get::<_, i64>(0));
        count.map(i64::unsigned_abs).map_err(|error| self.failed(error))
    }

    /// Whether the store has this message now, and not only at the moment of this snapshot.
    fn is_still_there(&self, message: i64) -> Result<bool, OpenError> {
        let sql = "SELECT EXISTS (SELECT 1 FROM messages WHERE id = ?1)";
        let exists = connect(&self.database)?.query_row(sql, [message], |row| row.get(0));
        exists.map_err(|error| self.failed(error))
    }

    fn body_in_file(&self, message: i64, name: &str) -> Result<Body<'static>, OpenError> {
        let directory = self.bodies.as_ref().map(|bodies| bodies.directory.join(name));
        let opened = match directory {
            Some(path) => File::open(path).and_then(|file| Ok((file.metadata()?.len(), file))),
            None => Err(io::ErrorKind::NotFound.into()),
        };
        match opened {
            Ok((octets, file)) => {
                let content = Box::new(file);
                Ok(Body::Found { content, octets, file: Some(format!("bodies/{name}")) })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound && !self.is_still_there(message)? => Ok(Body::Gone),
            Err(error) => Ok(Body::Missing(format!("its body bodies/{name} cannot be read: {error}"))),
        }
    }

    fn body_in_database(&self, message: i64) -> Result<Body<'_>, OpenError> {
        let opened = self.connection.blob_open("main", "messages", "body", message, true);
        let blob = opened.map_err(|error| self.failed(error))?;
        Ok(Body::Found { octets: blob.len() as u64, content: Box::new(blob), file: None })
    }

    fn inspect_files(&self, bodies: &Bodies, now: Timestamp, inspection: &mut Inspection) -> Result<(), OpenError> {
        let mut orphans = 0;
        for name in &bodies.files {
            let sql = "SELECT 1 FROM messages WHERE body_file = ?1";
            if self.query(sql, [name], |_| Ok(()))?.is_empty() && !bodies.is_in_transit(name, now) {
                orphans += 1;
                let when = match bodies.is_running {
                    true => "will be removed when the store starts",
                    false => "left by a crash; the store removes it when it starts",
                };
                inspection.notes.push(format!("bodies/{name}: nothing refers to it; {when}"));
            }
        }
        inspection.counts.push(("body files", bodies.files.len() as u64));
        inspection.counts.push(("orphan files", orphans));
        Ok(())
    }

    /// A column's text, also where it is none.
    fn text(&self, row: &Row<'_>, column: usize) -> rusqlite::Result<String> {
        let stored: RawText = row.get(column)?;
        let text = stored.to_string();
        if stored != RawText::from(text.as_str()) {
            self.garbled.borrow_mut().insert(text.clone(), stored);
        }
        Ok(text)
    }

    fn optional_text(&self, row: &Row<'_>, column: usize) -> rusqlite::Result<Option<String>> {
        match row.get_ref(column)? {
            ValueRef::Null => Ok(None),
            _ => self.text(row, column).map(Some),
        }
    }

    /// What is stored where [`text`](Self::text) has told this.
    fn stored(&self, text: &str) -> RawText {
        self.garbled.borrow().get(text).cloned().unwrap_or_else(|| text.into())
    }

    fn failed(&self, error: rusqlite::Error) -> OpenError {
        OpenError::database(&self.database, error)
    }
}

impl Snapshot for SqliteSnapshot {
    fn counts(&mut self) -> Result<Counts> {
        Ok(Counts {
            accounts: self.count("SELECT COUNT(*) FROM accounts")?,
            messages: self.count("SELECT COUNT(*) FROM held_messages")?,
            submissions: self.count("SELECT COUNT(*) FROM submissions")?,
            deliveries: self.count("SELECT COUNT(*) FROM maildrops")?,
            queue: self.count("SELECT COUNT(*) FROM queue")?,
            aliases: self.count("SELECT COUNT(*) FROM aliases")?,
        })
    }

    fn accounts(&mut self, after: Option<&AccountRecord>) -> Result<Vec<AccountRecord>> {
        let sql = "SELECT address, password_hash, messages, octets, quota_messages, quota_octets, source,
                 scram_verifier FROM accounts
             WHERE address > ?1 ORDER BY address LIMIT ?2";
        let after = self.stored(after.map_or("", |account| &account.address));
        Ok(self.query(sql, params![after, RECORDS], |row| {
            Ok(AccountRecord {
                address: self.text(row, 0)?,
                password_hash: self.optional_text(row, 1)?,
                messages: row.get(2)?,
                octets: row.get(3)?,
                quota_messages: row.get(4)?,
                quota_octets: row.get(5)?,
                source: self.optional_text(row, 6)?,
                scram_verifier: self.optional_text(row, 7)?,
            })
        })?)
    }

    fn aliases(&mut self, after: Option<&AliasRecord>) -> Result<Vec<AliasRecord>> {
        let sql = "SELECT address, targets, source FROM aliases WHERE address > ?1 ORDER BY address LIMIT ?2";
        let after = self.stored(after.map_or("", |alias| &alias.address));
        Ok(self.query(sql, params![after, RECORDS], |row| {
            let (address, targets, source) = (self.text(row, 0)?, self.text(row, 1)?, self.optional_text(row, 2)?);
            Ok(AliasRecord { address, targets, source })
        })?)
    }

    fn message_keys(&mut self, after: Option<&i64>) -> Result<Vec<i64>> {
        let sql = "SELECT id FROM held_messages WHERE id > ?1 ORDER BY id LIMIT ?2";
        Ok(self.query(sql, params![after.unwrap_or(&i64::MIN), MESSAGES], |row| row.get(0))?)
    }

    fn messages(&mut self, keys: &[i64]) -> Result<Vec<MessageRecord>> {
        let sql = "SELECT id, reverse_path, octets, received_at_ms, adds_return_path, checksum,
                 (SELECT COUNT(*) FROM maildrops WHERE message_id = id)
                 + (SELECT COUNT(*) FROM queue WHERE message_id = id),
                 identity, body_type, smtputf8, ret, envid, requiretls, submitter
             FROM messages WHERE id = ?1";
        let mut messages = Vec::with_capacity(keys.len());
        for key in keys {
            messages.extend(self.query(sql, [key], |row| {
                Ok(MessageRecord {
                    key: row.get(0)?,
                    reverse_path: self.text(row, 1)?,
                    octets: row.get(2)?,
                    received_at_ms: row.get(3)?,
                    adds_return_path: row.get(4)?,
                    checksum: row.get(5)?,
                    holders: row.get(6)?,
                    parameters: ParameterRecord {
                        identity: self.optional_text(row, 7)?,
                        body_type: self.optional_text(row, 8)?,
                        smtputf8: row.get(9)?,
                        ret: self.optional_text(row, 10)?,
                        envid: self.optional_text(row, 11)?,
                        requiretls: row.get(12)?,
                        submitter: self.optional_text(row, 13)?,
                    },
                })
            })?);
        }
        Ok(messages)
    }

    fn body(&mut self, message: i64) -> Result<Body<'_>> {
        let sql = "SELECT body_file, body IS NOT NULL FROM messages WHERE id = ?1";
        let place = self.query(sql, [message], |row| Ok((self.optional_text(row, 0)?, row.get(1)?)))?;
        Ok(match place.into_iter().next() {
            Some((Some(name), _)) => self.body_in_file(message, &name)?,
            Some((None, true)) => self.body_in_database(message)?,
            _ => Body::Missing("it has no body".to_owned()),
        })
    }

    fn submissions(&mut self, after: Option<&SubmissionRecord>) -> Result<Vec<SubmissionRecord>> {
        let sql = "SELECT transaction_id, message_id FROM submissions
             WHERE transaction_id > ?1 ORDER BY transaction_id LIMIT ?2";
        let after = self.stored(after.map_or("", |submission| &submission.transaction));
        Ok(self.query(sql, params![after, RECORDS], |row| {
            Ok(SubmissionRecord { transaction: self.text(row, 0)?, message: row.get(1)? })
        })?)
    }

    fn deliveries(&mut self, after: Option<&DeliveryRecord>) -> Result<Vec<DeliveryRecord>> {
        let sql = "SELECT address, message_id, octets, quarantined_at_ms FROM maildrops
             WHERE (address, message_id) > (?1, ?2) ORDER BY address, message_id LIMIT ?3";
        let (address, message) = after.map_or(("", i64::MIN), |delivery| (&delivery.address, delivery.message));
        Ok(self.query(sql, params![self.stored(address), message, RECORDS], |row| {
            Ok(DeliveryRecord {
                address: self.text(row, 0)?,
                message: row.get(1)?,
                octets: row.get(2)?,
                quarantined_at_ms: row.get(3)?,
            })
        })?)
    }

    fn queue(&mut self, after: Option<&QueueRecord>) -> Result<Vec<QueueRecord>> {
        let sql = "SELECT message_id, recipient, domain, attempts, next_attempt_at_ms, lease, last_reply,
                 quarantined_at_ms, original_recipient, notify, via, delay_told, held_at_ms
             FROM queue WHERE (message_id, recipient) > (?1, ?2) ORDER BY message_id, recipient LIMIT ?3";
        let (message, recipient) = after.map_or((i64::MIN, ""), |entry| (entry.message, &entry.recipient));
        Ok(self.query(sql, params![message, self.stored(recipient), RECORDS], |row| {
            Ok(QueueRecord {
                message: row.get(0)?,
                recipient: self.text(row, 1)?,
                domain: self.text(row, 2)?,
                attempts: row.get(3)?,
                next_attempt_at_ms: row.get(4)?,
                lease: self.optional_text(row, 5)?,
                last_reply: self.text(row, 6)?,
                quarantined_at_ms: row.get(7)?,
                original_recipient: self.optional_text(row, 8)?,
                notify: self.optional_text(row, 9)?,
                via: self.optional_text(row, 10)?,
                delay_told: row.get(11)?,
                held_at_ms: row.get(12)?,
            })
        })?)
    }

    fn inspect(&mut self, now: Timestamp) -> Result<Inspection> {
        let mut inspection = Inspection::default();
        let pages = self.query("PRAGMA integrity_check", [], |row| self.text(row, 0))?;
        let faults = pages.iter().filter(|page| *page != "ok");
        inspection.findings.extend(faults.map(|fault| format!("store.db: {fault}")));
        if let Some(bodies) = &self.bodies {
            self.inspect_files(bodies, now, &mut inspection)?;
        }
        Ok(inspection)
    }
}

impl Bodies {
    /// Whether a file without a message may just be arriving, or has just been removed.
    fn is_in_transit(&self, name: &str, now: Timestamp) -> bool {
        let Ok(metadata) = fs::metadata(self.directory.join(name)) else { return true };
        let modified = metadata.modified().ok().and_then(|modified| Timestamp::try_from(modified).ok());
        self.is_running && modified.is_none_or(|modified| now < modified + UPLOAD)
    }
}

fn connect(database: &Path) -> Result<Connection, OpenError> {
    let failed = |error| OpenError::database(database, error);
    let connection = database::reader(database).map_err(failed)?;
    database::require_readable(&connection, database)?;
    // From the first look on, everything is seen as of one moment.
    connection.execute_batch("BEGIN; SELECT COUNT(*) FROM probe").map_err(failed)?;
    Ok(connection)
}

fn is_running(directory: &Path) -> bool {
    let locked = File::open(directory.join("lock")).map(|file| file.try_lock_shared());
    matches!(locked, Ok(Err(TryLockError::WouldBlock)))
}

fn file_names(directory: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}
