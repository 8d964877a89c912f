//! The calls of an operator who looks after the queue.

use super::{COMMIT_TIMEOUT, StoreClient};
use crate::{ApiError, Flushed, MessageId, ProblemKind, QueuePage, QueuedMessage};
use reqwest::Method;

impl StoreClient {
    /// A page of the queue, by message and recipient, after `after`.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn queue(&self, after: Option<&str>) -> Result<QueuePage, ApiError> {
        let after: Vec<_> = after.map(|after| ("after", after)).into_iter().collect();
        let request = self.endpoint.request(Method::GET, &["v1", "queue"]).query(&after);
        Ok(self.send(request).await?.json().await?)
    }

    /// A message that waits; `None` when it waits for nobody here.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn queued(&self, id: MessageId) -> Result<Option<QueuedMessage>, ApiError> {
        match self.send(self.endpoint.request(Method::GET, &["v1", "queue", &id.to_string()])).await {
            Ok(response) => Ok(Some(response.json().await?)),
            Err(error) if error.kind() == Some(ProblemKind::NotQueued) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes a message due for all its recipients that nobody is trying.
    ///
    /// # Errors
    /// [`ApiError`] with [`ProblemKind::NotQueued`] or [`ProblemKind::MessageHeld`] among others.
    pub async fn retry_queued(&self, id: MessageId) -> Result<Flushed, ApiError> {
        let request = self.endpoint.request(Method::POST, &["v1", "queue", &id.to_string(), "retry"]);
        Ok(self.send(request).await?.json().await?)
    }

    /// Makes everything due that is neither on hold nor being tried.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn flush_queue(&self) -> Result<Flushed, ApiError> {
        let request = self.endpoint.request(Method::POST, &["v1", "queue", "flush"]).timeout(COMMIT_TIMEOUT);
        Ok(self.send(request).await?.json().await?)
    }

    /// Puts a message on hold.
    ///
    /// # Errors
    /// [`ApiError`] with [`ProblemKind::NotQueued`] among others.
    pub async fn hold_queued(&self, id: MessageId) -> Result<(), ApiError> {
        self.send(self.endpoint.request(Method::POST, &["v1", "queue", &id.to_string(), "hold"])).await.map(drop)
    }

    /// Releases a message that is on hold. One that is not stays as it is.
    ///
    /// # Errors
    /// [`ApiError`] with [`ProblemKind::NotQueued`] among others.
    pub async fn release_queued(&self, id: MessageId) -> Result<(), ApiError> {
        self.send(self.endpoint.request(Method::POST, &["v1", "queue", &id.to_string(), "release"])).await.map(drop)
    }

    /// Gives a message up for all its recipients. Its sender gets a failure message.
    ///
    /// # Errors
    /// [`ApiError`] with [`ProblemKind::NotQueued`] or [`ProblemKind::MessageClaimed`] among others.
    pub async fn give_up_queued(&self, id: MessageId) -> Result<(), ApiError> {
        self.send(self.endpoint.request(Method::POST, &["v1", "queue", &id.to_string(), "give-up"])).await.map(drop)
    }

    /// Removes a message from the queue. Its sender is not told.
    ///
    /// # Errors
    /// [`ApiError`] with [`ProblemKind::NotQueued`] or [`ProblemKind::MessageClaimed`] among others.
    pub async fn remove_queued(&self, id: MessageId) -> Result<(), ApiError> {
        self.send(self.endpoint.request(Method::DELETE, &["v1", "queue", &id.to_string()])).await.map(drop)
    }
}
