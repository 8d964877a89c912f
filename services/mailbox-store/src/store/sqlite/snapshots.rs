//! Snapshots of a running store in files beside it.
//!
//! A snapshot is a copy of the database with all bodies in it, so it is a backup, too. To restore one, all rows are replaced
//! in one transaction. A crash leaves the store as it was or as it is to be. Changes wait meanwhile.

mod directory;
mod restore;

#[cfg(test)]
pub(super) use restore::restore;

pub(super) use directory::SnapshotDirectory;

use super::{
    SqliteStore, queue,
    writer::{WriteTransaction, Writer},
};
use crate::store::{Result, SnapshotFile, SnapshotName, Snapshots, StoreError};
use async_trait::async_trait;
use directory::Label;
use futures_util::{StreamExt, stream};
use internal_api::{HoldStage, StoreSnapshot};
use jiff::Timestamp;
use service_kit::telemetry;
use std::{
    fs::{self, File},
    io::{self, Read},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};
use tokio::sync::watch;

/// How much of a file is read at once.
const CHUNK_OCTETS: usize = 64 * 1024;

#[async_trait]
impl Snapshots for SqliteStore {
    async fn hold(&self, holder: &str, stage: HoldStage, lease: Duration) -> Result<u64> {
        self.writer.hold(holder, stage, lease)?;
        // It comes to this one after all that was sent before.
        let attempts = Arc::clone(&self.attempts);
        let count = move |tx: &mut WriteTransaction<'_>| {
            queue::claimed(tx.connection, tx.now(), |lease| attempts.is_under_way(lease))
        };
        let claimed = self.writer.write_held(count).await;
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

    fn stop_waiting(&self) {
        self.writer.gate().stop();
    }

    async fn take_snapshot(&self, name: &SnapshotName, note: String) -> Result<StoreSnapshot> {
        let (name, wall) = (name.clone(), self.clock.wall.clone());
        let taking = async move |writer: Arc<Writer>, directory: Arc<SnapshotDirectory>| {
            let last_id = writer.write_held(|tx| Ok(tx.last_id())).await?;
            let label = Label { note, taken_at: wall.now(), last_id };
            blocking(move || directory.take(&name, &label)).await
        };
        self.held(taking).await
    }

    async fn snapshots(&self) -> Result<Vec<StoreSnapshot>> {
        self.alone(|directory| directory.list()).await
    }

    async fn snapshot_file(&self, name: &SnapshotName) -> Result<SnapshotFile> {
        let name = name.clone();
        let opened = self.alone(move |directory| Ok(File::open(directory.whole(&name)?)?)).await?;
        let octets = opened.metadata()?.len();
        let chunks = stream::try_unfold(opened, |mut file| {
            blocking(move || {
                let mut chunk = vec![0; CHUNK_OCTETS];
                let count = file.read(&mut chunk)?;
                chunk.truncate(count);
                Ok((count > 0).then(|| (chunk.into(), file)))
            })
        });
        Ok(SnapshotFile { octets, chunks: chunks.boxed() })
    }

    async fn remove_snapshot(&self, name: &SnapshotName) -> Result<()> {
        let name = name.clone();
        self.alone(move |directory| Ok(fs::remove_file(directory.whole(&name)?)?)).await
    }

    async fn check_snapshot(&self, name: &SnapshotName) -> Result<StoreSnapshot> {
        let name = name.clone();
        self.alone(move |directory| Ok(directory.check(&name)?.0)).await
    }

    async fn restore_snapshot(&self, name: &SnapshotName, now: Option<Timestamp>) -> Result<StoreSnapshot> {
        let name = name.clone();
        let restoring = async move |writer: Arc<Writer>, directory: Arc<SnapshotDirectory>| {
            let prepared = blocking(move || directory.prepare(&name)).await?;
            writer.write_held(move |tx| restore::restore(tx, prepared, now)).await
        };
        self.held(restoring).await
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
        self.alone(move |directory| directory.import(&own, &file)).await?;
        self.restore_snapshot(name, Some(now)).await.map(drop)
    }

    /// Does this where it may block, after what was begun before, and to its end, also when the caller goes away.
    async fn alone<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&SnapshotDirectory) -> Result<T> + Send + 'static,
    {
        let directory = Arc::clone(&self.snapshots);
        let alone = directory.alone().await;
        blocking(move || {
            let _alone = alone;
            work(&directory)
        })
        .await
    }

    /// Does this after what was begun before, while no change is under way or begins, and to its end, also when the caller
    /// goes away.
    async fn held<T, F>(&self, work: impl FnOnce(Arc<Writer>, Arc<SnapshotDirectory>) -> F) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let (writer, directory) = (Arc::clone(&self.writer), Arc::clone(&self.snapshots));
        let work = work(Arc::clone(&writer), Arc::clone(&directory));
        let working = telemetry::spawn(async move {
            let _alone = directory.alone().await;
            let _hold = writer.hold_itself();
            // It comes to this one after all that was sent before.
            writer.write_held(|_| Ok(())).await?;
            work.await
        });
        working.await.unwrap_or_else(|panic| Err(StoreError::Internal(format!("a snapshot panicked: {panic}"))))
    }
}

/// Does this where it may block.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let working = tokio::task::spawn_blocking(work);
    working.await.unwrap_or_else(|panic| Err(StoreError::Internal(format!("a snapshot panicked: {panic}"))))
}

impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> Self {
        Self::Unavailable(error.to_string())
    }
}
