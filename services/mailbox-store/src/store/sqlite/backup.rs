//! Backups: one tar file with the database and the large bodies, all as of one moment.
//!
//! ```text
//! bodies/NAME    the large bodies
//! store.db       the database, without its log; last, so that a backup that was cut short has none
//! ```

use super::{
    check::{self, Report},
    open,
    snapshot::Snapshot,
};
use anyhow::{Context, bail, ensure};
use indicatif::ProgressBar;
use rusqlite::{Connection, params};
use std::{
    ffi::OsString,
    fs::{self, File},
    io,
    path::{Component, Path, PathBuf},
};

const DATABASE: &str = "store.db";

/// Backs up the store in `directory`, which may be running, to a new `file`.
///
/// # Errors
/// One line that names the file and what to do.
pub(crate) fn backup(directory: &Path, file: &Path, progress: &ProgressBar) -> anyhow::Result<()> {
    ensure!(!file.exists(), "{} exists; choose another name, or remove it", file.display());
    let (partial, copy) = (beside(file, ".partial"), beside(file, ".partial.db"));
    let _cleanup = [Temporary(&partial), Temporary(&copy)];
    let cannot_write = || format!("cannot write {}; choose another place", file.display());
    let database = copy_database(directory, &copy)?;
    let mut archive = tar::Builder::new(File::create(&partial).with_context(cannot_write)?);
    archive.mode(tar::HeaderMode::Deterministic);
    let gone = add_bodies(directory, &database, &mut archive, progress).with_context(cannot_write)?;
    forget(&database, &gone)?;
    drop(database);
    archive.append_path_with_name(&copy, DATABASE).with_context(cannot_write)?;
    archive.into_inner().and_then(|written| written.sync_all()).with_context(cannot_write)?;
    fs::rename(&partial, file).with_context(cannot_write)?;
    let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent).and_then(|parent| parent.sync_all()).with_context(cannot_write)
}

/// Copies the database as of now; a transaction that is open elsewhere does not show.
pub(super) fn copy_database(directory: &Path, copy: &Path) -> anyhow::Result<Connection> {
    let snapshot = Snapshot::open(directory)?;
    snapshot.connection.execute_batch("COMMIT")?;
    let _ = fs::remove_file(copy);
    let target = copy.to_str().with_context(|| format!("{} is not UTF-8; choose another name", copy.display()))?;
    let cannot_copy = || format!("cannot copy the database to {}; is there space?", copy.display());
    snapshot.connection.execute("VACUUM INTO ?1", [target]).with_context(cannot_copy)?;
    Connection::open(copy).with_context(cannot_copy)
}

/// Adds every large body; answers the messages whose body went away with them since the copy was made.
pub(super) fn add_bodies(
    directory: &Path,
    database: &Connection,
    archive: &mut tar::Builder<File>,
    progress: &ProgressBar,
) -> anyhow::Result<Vec<i64>> {
    let mut statement = database.prepare("SELECT id, body_file FROM messages WHERE body_file IS NOT NULL")?;
    let bodies: Vec<(i64, String)> =
        statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<rusqlite::Result<_>>()?;
    progress.set_length(bodies.len() as u64);
    let mut gone = Vec::new();
    for (message, name) in bodies {
        progress.inc(1);
        match File::open(directory.join("bodies").join(&name)) {
            Ok(mut body) => archive.append_file(format!("bodies/{name}"), &mut body)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if Snapshot::open(directory)?.is_still_there(message)? {
                    let id = super::values::id(message);
                    eprintln!("warning: {id}: its body bodies/{name} is missing; run mailbox-store check");
                } else {
                    gone.push(message);
                }
            }
            Err(error) => return Err(error).with_context(|| format!("cannot read bodies/{name}")),
        }
    }
    Ok(gone)
}

/// Deletes messages from the copy as the store has deleted them meanwhile.
pub(super) fn forget(database: &Connection, gone: &[i64]) -> rusqlite::Result<()> {
    for message in gone {
        database.execute(
            "UPDATE accounts SET messages = messages - 1,
                 octets = octets - (SELECT octets FROM deliveries
                                    WHERE deliveries.address = accounts.address AND message_id = ?1)
             WHERE address IN (SELECT address FROM deliveries WHERE message_id = ?1 AND quarantined_at_ms IS NULL)",
            [message],
        )?;
        for sql in [
            "DELETE FROM deliveries WHERE message_id = ?1",
            "DELETE FROM queue WHERE message_id = ?1",
            "DELETE FROM messages WHERE id = ?1",
        ] {
            database.execute(sql, params![message])?;
        }
    }
    // Nobody holds a maildrop of a store that is restored.
    database.execute("DELETE FROM maildrop_locks", [])?;
    Ok(())
}

/// Puts a backup into a directory that is empty or missing, and checks it.
///
/// # Errors
/// One line that names the file and what to do; the directory then has no store.
pub(crate) fn restore(directory: &Path, file: &Path, progress: &ProgressBar) -> anyhow::Result<Report> {
    let backup = File::open(file).with_context(|| format!("cannot read {}; check the path", file.display()))?;
    open::create(directory)?;
    let _lock = open::lock(directory)?;
    let bodies = directory.join("bodies");
    open::create(&bodies)?;
    let occupied = directory.join(DATABASE).exists() || fs::read_dir(&bodies)?.next().is_some();
    ensure!(!occupied, "{} has a store already; choose an empty directory with --data", directory.display());
    let restoring = directory.join("store.db.restoring");
    let _ = fs::remove_file(&restoring);
    match unpack(backup, directory, &restoring) {
        Ok(()) => {}
        Err(error) => {
            // So that it can be tried again.
            for entry in fs::read_dir(&bodies)? {
                fs::remove_file(entry?.path())?;
            }
            let _ = fs::remove_file(&restoring);
            return Err(error.context(format!("{} cannot be restored", file.display())));
        }
    }
    File::open(&bodies)?.sync_all()?;
    fs::rename(&restoring, directory.join(DATABASE))?;
    File::open(directory)?.sync_all()?;
    Ok(check::check(directory, progress)?)
}

fn unpack(backup: File, directory: &Path, restoring: &Path) -> anyhow::Result<()> {
    let mut archive = tar::Archive::new(io::BufReader::new(backup));
    for entry in archive.entries().context("it is no tar file")? {
        let mut entry = entry.context("it is no whole tar file")?;
        let path = entry.path()?.into_owned();
        let target = match Vec::from_iter(path.components())[..] {
            [Component::Normal(name)] if name == DATABASE => restoring.to_owned(),
            [Component::Normal(bodies), Component::Normal(name)] if bodies == "bodies" => {
                directory.join("bodies").join(name)
            }
            _ => bail!("it holds {}, which no backup of a store does", path.display()),
        };
        let mut written = File::create_new(&target).with_context(|| target.display().to_string())?;
        let copied = io::copy(&mut entry, &mut written).with_context(|| target.display().to_string())?;
        ensure!(copied == entry.size(), "it ends within {}; use another backup", path.display());
        written.sync_all().with_context(|| target.display().to_string())?;
    }
    ensure!(restoring.exists(), "it has no {DATABASE}: it was cut short; use another backup");
    Ok(())
}

fn beside(file: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(file);
    name.push(suffix);
    name.into()
}

/// Removed when all is done or lost.
struct Temporary<'a>(&'a Path);

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.0);
    }
}
