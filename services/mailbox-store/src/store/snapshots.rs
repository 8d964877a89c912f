//! What a store was at some moment, kept beside it, and what it can become again.

use super::{Result, StoreError};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use internal_api::{HoldStage, SNAPSHOT_NAMES, StoreSnapshot, is_snapshot_name};
use jiff::Timestamp;
use std::{fmt, str::FromStr, time::Duration};
use tokio::sync::watch;

/// What a backend without snapshots says.
const UNSUPPORTED: &str = "snapshots are taken of stores that keep their mail in a directory; for this one, stop its gateways \
                           and use mailbox-store backup and mailbox-store restore";

/// The name of a snapshot, as [`SNAPSHOT_NAMES`] says.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SnapshotName(String);

impl SnapshotName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SnapshotName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for SnapshotName {
    type Err = StoreError;

    fn from_str(text: &str) -> Result<Self> {
        if is_snapshot_name(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err(StoreError::Invalid(SNAPSHOT_NAMES.to_owned()))
        }
    }
}

/// The file of a snapshot on its way out.
pub struct SnapshotFile {
    /// How many octets `chunks` will give.
    pub octets: u64,
    /// The octets, in pieces of bounded size.
    pub chunks: BoxStream<'static, Result<Bytes>>,
}

/// Snapshots, and the hold under which the stores of a town take them together. [`StoreError::SnapshotsUnsupported`] where
/// the backend has none.
#[async_trait]
pub trait Snapshots: Send + Sync {
    /// Keeps back claims, or every change, in this holder's name, for the time of the lease or until it is released. What was
    /// begun before has ended when this returns, except attempts of relay workers: returns for how many recipients such are
    /// under way. [`StoreError::Held`] while another holder has the store.
    async fn hold(&self, _holder: &str, _stage: HoldStage, _lease: Duration) -> Result<u64> {
        Err(StoreError::SnapshotsUnsupported(UNSUPPORTED))
    }

    /// Ends a hold; [`StoreError::LeaseLost`] when it has ended before.
    async fn release_hold(&self, _holder: &str) -> Result<()> {
        Err(StoreError::SnapshotsUnsupported(UNSUPPORTED))
    }

    /// From now on nothing waits for the end of a hold: changes that are kept back fail. The store stops.
    fn stop_waiting(&self) {}

    /// Keeps what the store is now, durably. Changes wait meanwhile. `note` is kept with it. It goes on to
    /// its end, also when the caller does not wait for that.
    async fn take_snapshot(&self, _name: &SnapshotName, _note: String) -> Result<StoreSnapshot> {
        Err(StoreError::SnapshotsUnsupported(UNSUPPORTED))
    }

    /// All snapshots, by name.
    async fn snapshots(&self) -> Result<Vec<StoreSnapshot>> {
        Err(StoreError::SnapshotsUnsupported(UNSUPPORTED))
    }

    /// A snapshot as a file, which is a backup, too; [`StoreError::SnapshotUnknown`].
    async fn snapshot_file(&self, _name: &SnapshotName) -> Result<SnapshotFile> {
        Err(StoreError::SnapshotsUnsupported(UNSUPPORTED))
    }

    /// Removes a snapshot; [`StoreError::SnapshotUnknown`].
    async fn remove_snapshot(&self, _name: &SnapshotName) -> Result<()> {
        Err(StoreError::SnapshotsUnsupported(UNSUPPORTED))
    }

    /// Fails as [`Snapshots::restore_snapshot`] would: the snapshot is missing, not whole or another stack's, or the disk has
    /// no room. Changes nothing.
    async fn check_snapshot(&self, _name: &SnapshotName) -> Result<StoreSnapshot> {
        Err(StoreError::SnapshotsUnsupported(UNSUPPORTED))
    }

    /// Makes the store what it was, as one change, also while it is held. Changes wait meanwhile. It goes on to its end, also
    /// when the caller does not wait for that. Claims and locks from before end. Ids and event
    /// positions go on from the greatest that were given, so none is given twice. The event that tells of it has the time
    /// `now`, or the present one.
    async fn restore_snapshot(&self, _name: &SnapshotName, _now: Option<Timestamp>) -> Result<StoreSnapshot> {
        Err(StoreError::SnapshotsUnsupported(UNSUPPORTED))
    }

    /// Changes when the store was restored. `None` where that does not happen.
    fn restores(&self) -> Option<watch::Receiver<()>> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_file_name_that_stays_in_its_directory() {
        for name in ["a", "0", "before-login", "a.b_c-1", &"x".repeat(64)] {
            assert_eq!(name.parse::<SnapshotName>().unwrap().as_str(), name);
        }
        for name in ["", ".", "..", "-a", "A", "a/b", "a b", "ä", "a\0", &"x".repeat(65)] {
            assert!(name.parse::<SnapshotName>().is_err(), "{name:?}");
        }
    }
}
