//! A store as a whole, from one place to another.

use super::{check, progress};
use crate::store::{
    copy::{Destination, copy},
    sqlite::{SqliteDestination, SqliteSnapshot},
};
use anyhow::ensure;
use std::path::Path;

/// Backs up the store, which may be running, to a new file.
pub(super) fn backup(directory: &Path, file: &Path) -> anyhow::Result<()> {
    let mut destination = Box::new(SqliteDestination::backup(file)?);
    let mut source = SqliteSnapshot::of_directory(directory)?;
    let damaged = copy(&mut source, &mut *destination, &progress("records"))?;
    destination.finish()?;
    println!("backed up {} to {}", directory.display(), file.display());
    report(&damaged)
}

/// Fills an empty directory from a backup, and checks what is there then.
pub(super) fn restore(directory: &Path, file: &Path) -> anyhow::Result<()> {
    let mut source = SqliteSnapshot::of_backup(file)?;
    let mut destination = Box::new(SqliteDestination::directory(directory)?);
    let damaged = copy(&mut source, &mut *destination, &progress("records"))?;
    destination.finish()?;
    println!("restored {} to {}", file.display(), directory.display());
    let reported = report(&damaged);
    check(directory).and(reported)
}

/// Prints which messages were found damaged and set aside in the copy.
fn report(damaged: &[String]) -> anyhow::Result<()> {
    for message in damaged {
        println!("set aside: {message}");
    }
    let messages = damaged.len();
    ensure!(messages == 0, "{messages} messages are damaged and were set aside in the copy; all others are well");
    Ok(())
}
