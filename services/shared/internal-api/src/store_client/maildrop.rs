//! What a store answers about a maildrop that is open.

use super::{READ_TIMEOUT, broken, silent};
use crate::{
    ApiError, DeliveredHead, MAILDROP_MEDIA_TYPE, MaildropEntry, MaildropHead, MaildropSession, MessageId, Problem,
    ProblemKind,
    frame::{split_line, split_whole},
    maildrops::listed,
};
use bytes::{Bytes, BytesMut};
use mail_net::IoClock;
use reqwest::{Response, header};
use std::time::Duration;
use tokio::time::Instant;

/// How long opening and listing a maildrop may take: a client waits for it.
pub(super) const LISTING_TIMEOUT: Duration = Duration::from_secs(60);

/// A maildrop that is locked and being listed.
#[derive(Debug)]
pub struct OpenedMaildrop {
    /// Names the lock.
    pub session: String,
    listing: Listing,
}

#[derive(Debug)]
enum Listing {
    /// What has arrived of it, and the rest.
    Lines(BytesMut, Lines),
    /// An older store has sent all of it.
    Whole(Vec<MaildropEntry>),
}

/// A listing that is arriving.
#[derive(Debug)]
struct Lines {
    response: Response,
    io: IoClock,
    /// When all of it must be here.
    deadline: Instant,
}

impl OpenedMaildrop {
    pub(super) async fn read(response: Response, io: IoClock, deadline: Instant) -> Result<Self, ApiError> {
        let media_type = response.headers().get(header::CONTENT_TYPE);
        if media_type.is_none_or(|media_type| media_type != MAILDROP_MEDIA_TYPE) {
            let whole = io.timeout(READ_TIMEOUT, response.json()).await.map_err(|_| silent())?;
            let MaildropSession { session, messages } = whole?;
            return Ok(Self { session, listing: Listing::Whole(messages) });
        }
        let (mut arrived, mut lines) = (BytesMut::new(), Lines { response, io, deadline });
        loop {
            let head = split_whole(&mut arrived).map_err(|error| broken(&error.to_string()))?;
            if let Some(MaildropHead { session }) = head {
                return Ok(Self { session, listing: Listing::Lines(arrived, lines) });
            }
            match lines.next().await? {
                Some(octets) => arrived.extend_from_slice(&octets),
                None => return Err(broken("ends within its head")),
            }
        }
    }

    /// The next messages, in order of arrival; none at the end.
    ///
    /// # Errors
    /// [`ApiError`] when the rest cannot be had.
    pub async fn page(&mut self) -> Result<Vec<MaildropEntry>, ApiError> {
        let (arrived, lines) = match &mut self.listing {
            Listing::Lines(arrived, lines) => (arrived, lines),
            Listing::Whole(entries) => return Ok(std::mem::take(entries)),
        };
        let mut entries = Vec::new();
        loop {
            while let Some(line) = split_line(arrived).map_err(|error| broken(&error.to_string()))? {
                entries.push(listed(line.trim_ascii_end()).ok_or_else(|| broken("has a line that lists no message"))?);
            }
            if !entries.is_empty() {
                return Ok(entries);
            }
            match lines.next().await? {
                Some(octets) => arrived.extend_from_slice(&octets),
                None if arrived.is_empty() => return Ok(entries),
                None => return Err(broken("ends within a line")),
            }
        }
    }
}

impl Lines {
    async fn next(&mut self) -> Result<Option<Bytes>, ApiError> {
        let chunk = self.io.timeout(READ_TIMEOUT, self.response.chunk());
        let chunk = self.io.timeout_at(self.deadline, chunk).await.map_err(|_| slow())?;
        chunk.map_err(|_| silent())?.map_err(ApiError::from)
    }
}

fn slow() -> ApiError {
    let reason = format!("the store has not listed the maildrop within {} s", LISTING_TIMEOUT.as_secs());
    Problem::new(ProblemKind::Overloaded, reason).into()
}

/// Takes an answer of several messages apart.
pub(super) fn delivered(answer: Bytes) -> Result<Vec<(MessageId, Bytes)>, ApiError> {
    let mut rest = BytesMut::from(answer);
    let mut messages = Vec::new();
    while !rest.is_empty() {
        let head = split_whole(&mut rest).map_err(|error| broken(&error.to_string()))?;
        let Some(DeliveredHead { id, octets }) = head else { return Err(broken("ends within a head")) };
        let octets = usize::try_from(octets).ok().filter(|&octets| octets <= rest.len());
        let octets = octets.ok_or_else(|| broken("ends within a message"))?;
        messages.push((id, rest.split_to(octets).freeze()));
    }
    Ok(messages)
}

#[cfg(test)]
mod tests;
