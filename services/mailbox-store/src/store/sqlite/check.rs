//! The full check: every page, every reference both ways, every sum, every body.

use super::{
    messages::{Content, Location},
    open::OpenError,
    snapshot::{Snapshot, find_fault_of_file},
    values::{Undecodable, id},
};
use crate::store::records::return_path;
use indicatif::ProgressBar;
use mail_proto::{Mailbox, ReversePath};
use rusqlite::Row;
use std::{
    collections::BTreeSet,
    fs::{self, File},
    io,
    path::Path,
    time::{Duration, SystemTime},
};

/// A file that nothing refers to and that nobody has written to for so long is not on its way in.
const UPLOAD: Duration = Duration::from_secs(60 * 60);

/// What a check has found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    /// How many there are of what.
    pub(crate) counts: Vec<(&'static str, u64)>,
    /// What is wrong.
    pub(crate) findings: Vec<String>,
    /// What is worth knowing but not wrong.
    pub(crate) notes: Vec<String>,
}

/// Checks the store in this directory, whether it is running or not. Changes nothing.
///
/// # Errors
/// When it cannot be opened, or not be read to the end.
pub(crate) fn check(directory: &Path, progress: &ProgressBar) -> Result<Report, OpenError> {
    // Before the snapshot: a file that comes later may be referred to by what the snapshot does not show.
    let files = body_files(&directory.join("bodies"));
    let snapshot = Snapshot::open(directory)?;
    let mut check = Check { snapshot: &snapshot, report: Report::default() };
    let failed = |error| OpenError::database(&snapshot.database, error);
    check.pages().map_err(failed)?;
    check.references().map_err(failed)?;
    check.sums().map_err(failed)?;
    check.envelopes().map_err(failed)?;
    check.bodies(progress)?;
    check.orphans(files).map_err(failed)?;
    Ok(check.report)
}

struct Check<'a> {
    snapshot: &'a Snapshot,
    report: Report,
}

impl Check<'_> {
    fn pages(&mut self) -> rusqlite::Result<()> {
        self.find("PRAGMA integrity_check", |row| {
            let text: String = row.get(0)?;
            Ok((text != "ok").then(|| format!("store.db: {text}")))
        })
    }

    fn references(&mut self) -> rusqlite::Result<()> {
        self.find(
            "SELECT message_id, address FROM deliveries WHERE message_id NOT IN (SELECT id FROM messages)",
            |row| Ok(Some(format!("{}: in the maildrop of {}, but not among the messages", name(row)?, text(row, 1)?))),
        )?;
        self.find(
            "SELECT message_id, recipient FROM queue WHERE message_id NOT IN (SELECT id FROM messages)",
            |row| Ok(Some(format!("{}: queued for {}, but not among the messages", name(row)?, text(row, 1)?))),
        )?;
        self.find(
            "SELECT id FROM messages WHERE id NOT IN (SELECT message_id FROM deliveries)
             AND id NOT IN (SELECT message_id FROM queue)",
            |row| Ok(Some(format!("{}: neither in a maildrop nor queued", name(row)?))),
        )?;
        for (what, sql) in [
            ("maildrop entries", "SELECT COUNT(*) FROM deliveries WHERE quarantined_at_ms IS NOT NULL"),
            ("queue entries", "SELECT COUNT(*) FROM queue WHERE quarantined_at_ms IS NOT NULL"),
        ] {
            let records: u64 = self.count(sql)?;
            if records > 0 {
                self.report.notes.push(format!("{records} {what} were set aside because they could not be read"));
            }
        }
        Ok(())
    }

    fn sums(&mut self) -> rusqlite::Result<()> {
        for (what, table) in [
            ("accounts", "SELECT COUNT(*) FROM accounts"),
            ("messages", "SELECT COUNT(*) FROM messages"),
            ("maildrop entries", "SELECT COUNT(*) FROM deliveries"),
            ("queue entries", "SELECT COUNT(*) FROM queue"),
        ] {
            let count = self.count(table)?;
            self.report.counts.push((what, count));
        }
        self.find(
            "SELECT accounts.address, messages, accounts.octets, COUNT(message_id), TOTAL(deliveries.octets)
             FROM accounts LEFT JOIN deliveries
                 ON deliveries.address = accounts.address AND quarantined_at_ms IS NULL
             GROUP BY accounts.address",
            |row| {
                let (messages, octets): (i64, i64) = (row.get(1)?, row.get(2)?);
                let (counted, added): (i64, f64) = (row.get(3)?, row.get(4)?);
                let address = text(row, 0)?;
                Ok((messages != counted || octets as f64 != added).then(|| {
                    format!("{address}: counts {messages} messages of {octets} octets, has {counted} of {added}")
                }))
            },
        )
    }

    fn envelopes(&mut self) -> rusqlite::Result<()> {
        self.find(
            "SELECT message_id, address, deliveries.octets, messages.octets, adds_return_path, reverse_path
             FROM deliveries JOIN messages ON id = message_id WHERE quarantined_at_ms IS NULL",
            |row| {
                let (address, reverse_path) = (text(row, 1)?, text(row, 5)?);
                let Ok(reverse_path) = reverse_path.parse::<ReversePath>() else {
                    return Ok(Some(format!("{}: {reverse_path:?} is no reverse-path", name(row)?)));
                };
                let prefix = if row.get(4)? { return_path(&reverse_path).len() as i64 } else { 0 };
                let (listed, octets): (i64, i64) = (row.get(2)?, row.get(3)?);
                if address.parse::<Mailbox>().is_err() {
                    return Ok(Some(format!("{}: {address:?} is no address", name(row)?)));
                }
                Ok((listed != octets + prefix)
                    .then(|| format!("{}: listed with {listed} octets in the maildrop of {address}", id_text(row))))
            },
        )?;
        self.find("SELECT message_id, recipient, domain FROM queue WHERE quarantined_at_ms IS NULL", |row| {
            let (recipient, domain) = (text(row, 1)?, text(row, 2)?);
            let fits = recipient.parse::<Mailbox>().is_ok_and(|mailbox| mailbox.domain().as_str() == domain);
            Ok((!fits).then(|| format!("{}: queued for {recipient:?} in {domain:?}", id_text(row))))
        })
    }

    fn bodies(&mut self, progress: &ProgressBar) -> Result<(), OpenError> {
        let snapshot = self.snapshot;
        let failed = |error| OpenError::database(&snapshot.database, error);
        progress.set_length(self.count("SELECT COUNT(*) FROM messages").map_err(failed)?);
        let (mut right, mut unverified) = (0, 0);
        let mut statement = snapshot.connection.prepare("SELECT id FROM messages ORDER BY id").map_err(failed)?;
        let mut rows = statement.query([]).map_err(failed)?;
        while let Some(row) = rows.next().map_err(failed)? {
            let message = row.get(0).map_err(failed)?;
            progress.inc(1);
            let location = match super::messages::location(&snapshot.connection, id(message))? {
                Ok(location) => location,
                Err(Undecodable { reason, .. }) => {
                    self.report.findings.push(format!("{}: {reason}", id(message)));
                    continue;
                }
            };
            let has_checksum = location.expected.checksum.is_some();
            match find_fault(snapshot, location)? {
                Some(fault) => self.report.findings.push(format!("{}: {fault}", id(message))),
                None if has_checksum => right += 1,
                None => unverified += 1,
            }
        }
        self.report.counts.push(("checksums right", right));
        self.report.counts.push(("without checksum", unverified));
        Ok(())
    }

    fn orphans(&mut self, files: BTreeSet<String>) -> rusqlite::Result<()> {
        let mut statement =
            self.snapshot.connection.prepare("SELECT EXISTS (SELECT 1 FROM messages WHERE body_file = ?1)")?;
        let mut orphans = 0;
        for name in &files {
            if !statement.query_row([name], |row| row.get::<_, bool>(0))? && !self.is_in_transit(name) {
                orphans += 1;
                let when = if self.snapshot.is_running {
                    "will be removed when the store starts"
                } else {
                    "left by a crash; the store removes it when it starts"
                };
                self.report.notes.push(format!("bodies/{name}: nothing refers to it; {when}"));
            }
        }
        self.report.counts.push(("body files", files.len() as u64));
        self.report.counts.push(("orphan files", orphans));
        Ok(())
    }

    /// Whether a file without a message may just be arriving, or has just been removed.
    fn is_in_transit(&self, name: &str) -> bool {
        let Ok(metadata) = fs::metadata(self.snapshot.bodies.join(name)) else { return true };
        let age = metadata.modified().ok().and_then(|modified| SystemTime::now().duration_since(modified).ok());
        self.snapshot.is_running && age.is_none_or(|age| age < UPLOAD)
    }

    fn count(&self, sql: &str) -> rusqlite::Result<u64> {
        self.snapshot.connection.query_row(sql, [], |row| row.get::<_, i64>(0)).map(i64::unsigned_abs)
    }

    /// Adds what `judge` finds wrong with the rows of a query.
    fn find(
        &mut self,
        sql: &str,
        judge: impl Fn(&Row<'_>) -> rusqlite::Result<Option<String>>,
    ) -> rusqlite::Result<()> {
        let mut statement = self.snapshot.connection.prepare(sql)?;
        for finding in statement.query_map([], judge)? {
            self.report.findings.extend(finding?);
        }
        Ok(())
    }
}

/// What is wrong with a body, if anything. A file that went with its message since the snapshot is not.
fn find_fault(snapshot: &Snapshot, location: Location) -> Result<Option<String>, OpenError> {
    let Content::File(file) = &location.content else {
        return Ok(snapshot.read(location).err().map(|undecodable| undecodable.reason));
    };
    let path = snapshot.bodies.join(file);
    match File::open(&path).and_then(|opened| find_fault_of_file(opened, location.expected)) {
        Ok(fault) => Ok(fault.map(|fault| format!("{fault} (bodies/{file})"))),
        Err(error) if error.kind() == io::ErrorKind::NotFound && !snapshot.is_still_there(location.message)? => {
            Ok(None)
        }
        Err(error) => Ok(Some(format!("its body bodies/{file} cannot be read: {error}"))),
    }
}

fn body_files(directory: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// The message of a row that begins with its key.
fn name(row: &Row<'_>) -> rusqlite::Result<String> {
    Ok(id(row.get(0)?).to_string())
}

fn id_text(row: &Row<'_>) -> String {
    name(row).unwrap_or_else(|error| error.to_string())
}

/// Whatever stands in this column, as text.
fn text(row: &Row<'_>, column: usize) -> rusqlite::Result<String> {
    let value = row.get_ref(column)?;
    Ok(value.as_str().map_or_else(|_| format!("{value:?}"), str::to_owned))
}
