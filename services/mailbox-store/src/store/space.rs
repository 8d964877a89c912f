//! Whether a disk has room.

use super::{Result, StoreError};
use rustix::{fs::statvfs, process::geteuid};
use std::path::{Path, PathBuf};

/// With less room than this a store is not ready: the next messages would be refused.
const NEEDED_OCTETS: u64 = 1024 * 1024;

/// Fails when the disk of this directory is full. A database may still take a small change then, in pages that it has
/// already, so a write does not tell.
pub(super) async fn require_room(directory: PathBuf) -> Result<()> {
    let looked = tokio::task::spawn_blocking(move || look(&directory)).await;
    looked.unwrap_or_else(|panic| Err(StoreError::Internal(panic.to_string())))
}

fn look(directory: &Path) -> Result<()> {
    let Free { octets, has_files } = free(directory)?;
    if octets >= NEEDED_OCTETS && has_files {
        return Ok(());
    }
    let free = if has_files { format!("{octets} octets are free") } else { "no further file can be made".to_owned() };
    Err(full(directory, &free))
}

/// Fails when the disk of this directory has no room for this number of octets and what a store needs besides. Blocks.
pub(super) fn require_octets(directory: &Path, needed: u64) -> Result<()> {
    look(directory)?;
    let (Free { octets, .. }, needed) = (free(directory)?, needed.saturating_add(NEEDED_OCTETS));
    if octets >= needed {
        return Ok(());
    }
    Err(full(directory, &format!("{octets} octets are free, {needed} are needed")))
}

/// What a disk has left.
struct Free {
    octets: u64,
    has_files: bool,
}

fn free(directory: &Path) -> Result<Free> {
    let failed = |error| StoreError::Unavailable(format!("{}: {error}", directory.display()));
    let disk = statvfs(directory).map_err(failed)?;
    // The superuser may use what is kept back for it.
    let blocks = if geteuid().is_root() { disk.f_bfree } else { disk.f_bavail };
    // Some file systems have no fixed number of files, and say that they have none.
    Ok(Free { octets: blocks.saturating_mul(disk.f_frsize), has_files: disk.f_files == 0 || disk.f_ffree > 0 })
}

fn full(directory: &Path, free: &str) -> StoreError {
    StoreError::Unavailable(format!("the disk of {} is full ({free}); make room there", directory.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_disk_with_room_has_room_and_a_missing_one_is_named() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(require_room(directory.path().to_owned()).await, Ok(()));
        assert_eq!(require_octets(directory.path(), 1), Ok(()));
        let said = require_octets(directory.path(), 1 << 60).unwrap_err().to_string();
        assert!(said.contains("is full (") && said.contains(" octets are free, "), "{said}");
        let missing = directory.path().join("missing");
        let said = require_room(missing.clone()).await.unwrap_err().to_string();
        assert!(said.contains(&missing.display().to_string()), "{said}");
    }
}
