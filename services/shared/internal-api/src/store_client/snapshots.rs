//! The calls of a console that takes snapshots of a town, and restores them.

use super::{COMMIT_TIMEOUT, StoreClient};
use crate::{ApiError, Held, HoldRequest, RestoreRequest, SnapshotRequest, StoreSnapshot, StoreSnapshots};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use reqwest::Method;

impl StoreClient {
    /// Holds the store under this name, or goes on with that.
    ///
    /// # Errors
    /// [`ApiError`] with [`ProblemKind::StoreHeld`](crate::ProblemKind::StoreHeld) among others.
    pub async fn hold(&self, holder: &str, hold: HoldRequest) -> Result<Held, ApiError> {
        let request = self.endpoint.request(Method::PUT, &["v1", "holds", holder]).json(&hold);
        Ok(self.send(request).await?.json().await?)
    }

    /// Ends a hold.
    ///
    /// # Errors
    /// [`ApiError`] with [`ProblemKind::LeaseLost`](crate::ProblemKind::LeaseLost), when the hold has ended before, among
    /// others.
    pub async fn release_hold(&self, holder: &str) -> Result<(), ApiError> {
        self.send(self.endpoint.request(Method::DELETE, &["v1", "holds", holder])).await.map(drop)
    }

    /// All snapshots of the store.
    ///
    /// # Errors
    /// [`ApiError`] with [`ProblemKind::SnapshotsUnsupported`](crate::ProblemKind::SnapshotsUnsupported) among others.
    pub async fn snapshots(&self) -> Result<StoreSnapshots, ApiError> {
        Ok(self.send(self.endpoint.request(Method::GET, &["v1", "snapshots"])).await?.json().await?)
    }

    /// Takes a snapshot, with a text that is kept with it.
    ///
    /// # Errors
    /// [`ApiError`] with [`ProblemKind::SnapshotExists`](crate::ProblemKind::SnapshotExists) among others.
    pub async fn take_snapshot(&self, name: &str, note: String) -> Result<StoreSnapshot, ApiError> {
        let request = self.endpoint.request(Method::POST, &["v1", "snapshots", name]).timeout(COMMIT_TIMEOUT);
        Ok(self.send(request.json(&SnapshotRequest { note })).await?.json().await?)
    }

    /// Whether the store could become what it was: fails as [`StoreClient::restore_snapshot`] would, and changes nothing.
    ///
    /// # Errors
    /// [`ApiError`] with [`ProblemKind::SnapshotUnknown`](crate::ProblemKind::SnapshotUnknown) among others.
    pub async fn check_snapshot(&self, name: &str) -> Result<StoreSnapshot, ApiError> {
        self.restore_snapshot(name, RestoreRequest { check_only: true, now: None }).await
    }

    /// Makes the store what it was.
    ///
    /// # Errors
    /// [`ApiError`] with [`ProblemKind::SnapshotUnknown`](crate::ProblemKind::SnapshotUnknown) among others.
    pub async fn restore_snapshot(&self, name: &str, restore: RestoreRequest) -> Result<StoreSnapshot, ApiError> {
        let path = ["v1", "snapshots", name, "restore"];
        let request = self.endpoint.request(Method::POST, &path).timeout(COMMIT_TIMEOUT);
        Ok(self.send(request.json(&restore)).await?.json().await?)
    }

    /// Removes a snapshot.
    ///
    /// # Errors
    /// [`ApiError`] with [`ProblemKind::SnapshotUnknown`](crate::ProblemKind::SnapshotUnknown) among others.
    pub async fn remove_snapshot(&self, name: &str) -> Result<(), ApiError> {
        self.send(self.endpoint.request(Method::DELETE, &["v1", "snapshots", name])).await.map(drop)
    }

    /// The file of a snapshot: its length, and its octets.
    ///
    /// # Errors
    /// [`ApiError`] with [`ProblemKind::SnapshotUnknown`](crate::ProblemKind::SnapshotUnknown) among others.
    pub async fn snapshot_file(
        &self,
        name: &str,
    ) -> Result<(u64, impl Stream<Item = Result<Bytes, ApiError>> + use<>), ApiError> {
        let response = self.send(self.endpoint.streaming(Method::GET, &["v1", "snapshots", name])).await?;
        let octets = response.content_length().unwrap_or_default();
        Ok((octets, response.bytes_stream().map(|chunk| Ok(chunk?))))
    }
}
