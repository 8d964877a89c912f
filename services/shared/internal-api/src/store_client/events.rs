//! The calls of those who follow what happens to messages.

use super::StoreClient;
use crate::{ApiError, EventPage, EventPosition, Message, MessageId, MessagePage};
use reqwest::Method;
use std::time::Duration;

/// How much longer than it was asked to wait the store may take.
const MARGIN: Duration = Duration::from_secs(15);

impl StoreClient {
    /// The events after this position, `limit` at most. Without any, the store waits for one, at most `wait`, 60 s or less.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn events(&self, after: EventPosition, limit: u32, wait: Duration) -> Result<EventPage, ApiError> {
        let after = after.to_string();
        let request = self.endpoint.streaming(Method::GET, &["v1", "events"]).timeout(wait + MARGIN);
        let request = request.query(&[("after", after.as_str())]);
        let request = request.query(&[("limit", u64::from(limit)), ("wait", wait.as_secs())]);
        Ok(self.endpoint.call(request, self.io).await?.json().await?)
    }

    /// The position of the newest event: what comes after it happens later.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn last_event(&self) -> Result<EventPosition, ApiError> {
        let request = self.endpoint.request(Method::GET, &["v1", "events"]);
        let request = request.query(&[("after", "latest"), ("limit", "1")]);
        let page: EventPage = self.send(request).await?.json().await?;
        Ok(page.next_after.parse().unwrap_or_default())
    }

    /// A message's envelope, and where it is.
    ///
    /// # Errors
    /// [`ApiError`] with [`ProblemKind::MessageUnknown`](crate::ProblemKind::MessageUnknown) when it is nowhere any more,
    /// among others.
    pub async fn stored_message(&self, id: MessageId) -> Result<Message, ApiError> {
        Ok(self.send(self.endpoint.request(Method::GET, &["v1", "messages", &id.to_string()])).await?.json().await?)
    }

    /// A page of all messages that are somewhere, in order of arrival, after `after`.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn stored_messages(&self, after: Option<MessageId>) -> Result<MessagePage, ApiError> {
        let after: Vec<_> = after.map(|after| ("after", after.to_string())).into_iter().collect();
        Ok(self.send(self.endpoint.request(Method::GET, &["v1", "messages"]).query(&after)).await?.json().await?)
    }
}
