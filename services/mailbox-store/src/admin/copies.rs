//! A store as a whole, from one place to another.

use super::{Subject, check, progress};
use crate::store::{
    copy::{Destination, copy, fingerprint},
    sqlite::{SqliteDestination, SqliteSnapshot},
    store_location::StoreLocation,
};
use anyhow::ensure;
use std::path::Path;

/// Backs up the store, which may be running, to a new file.
pub(super) fn backup(subject: &Subject, file: &Path) -> anyhow::Result<()> {
    let mut destination = Box::new(SqliteDestination::backup(file)?.of_stack(subject.name())?);
    let mut source = subject.place.snapshot(subject.name(), subject.clock.io)?;
    let damaged = copy(&mut *source, &mut *destination, &progress("records"), subject.clock.wall.now())?;
    destination.finish()?;
    say!("backed up {} to {}", subject.place, file.display());
    report(&damaged)
}

/// Fills an empty place from a backup, and checks what is there then.
pub(super) fn restore(subject: &Subject, file: &Path) -> anyhow::Result<()> {
    let mut source = SqliteSnapshot::of_backup(file)?.of_stack(subject.name())?;
    let mut destination = subject.place.destination(subject.name(), subject.clock.io)?;
    let damaged = copy(&mut source, &mut *destination, &progress("records"), subject.clock.wall.now())?;
    destination.finish()?;
    say!("restored {} to {}", file.display(), subject.place);
    let reported = report(&damaged);
    check(subject, &subject.place).and(reported)
}

/// Fills an empty place from a store that nobody uses meanwhile, and checks what is there then.
pub(super) fn move_backend(subject: &Subject, to: &StoreLocation) -> anyhow::Result<()> {
    let Subject { place, clock, .. } = subject;
    let (mut source, lock) = place.unused_snapshot(subject.name(), clock.io)?;
    let mut destination = to.destination(subject.name(), clock.io)?;
    let damaged = copy(&mut *source, &mut *destination, &progress("records"), subject.clock.wall.now())?;
    if lock.is_none() {
        // Whoever came unseen since the snapshot has mail that the copy lacks.
        let now = fingerprint(&mut *place.snapshot(subject.name(), clock.io)?)?;
        let is_unchanged = now == fingerprint(&mut *source)?;
        ensure!(is_unchanged, "{place} has changed meanwhile; stop all of its stores, and repeat this");
    }
    destination.finish()?;
    say!("moved {place} to {to}; start the stores on that, then remove {place}");
    let reported = report(&damaged);
    check(subject, to).and(reported)
}

/// Prints which messages were found damaged and quarantined in the copy.
fn report(damaged: &[String]) -> anyhow::Result<()> {
    for message in damaged {
        say!("quarantined: {message}");
    }
    let messages = damaged.len();
    ensure!(messages == 0, "{messages} messages are damaged and were quarantined in the copy; all others are well");
    Ok(())
}
