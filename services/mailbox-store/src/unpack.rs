//! A store of a snapshot that was taken on another machine.

use crate::{
    ServiceError,
    metrics::Metrics,
    store::{
        Lifecycle, SnapshotName,
        sqlite::{Options, SqliteStore},
    },
};
use jiff::Timestamp;
use mail_net::Clock;
use prometheus_client::registry::Registry;
use service_kit::telemetry;
use std::path::PathBuf;

/// A snapshot, and the store that is to be made of it.
#[derive(Debug, Clone)]
pub struct Unpacked {
    /// The directory, in which no store is.
    pub directory: PathBuf,
    /// The stack whose mail it holds.
    pub stack: String,
    /// The name of the snapshot, which the store keeps.
    pub name: String,
    /// Its file.
    pub file: PathBuf,
    /// The time of the town then.
    pub now: Timestamp,
}

/// Makes a store of a snapshot.
///
/// # Errors
/// [`ServiceError`], one line that names what to change. What was made of the store stays.
pub async fn unpack(Unpacked { directory, stack, name, file, now }: Unpacked) -> Result<(), ServiceError> {
    let name: SnapshotName = name.parse()?;
    let (clock, metrics) = (Clock::system(), Metrics::new(&mut Registry::default()));
    let options = Options { directory, adds_return_path: false, stack, clock, metrics };
    let store = telemetry::spawn_blocking(|| SqliteStore::open(options)).await??;
    let taken = store.take_in_snapshot(&name, file, now).await;
    store.close().await;
    Ok(taken?)
}
