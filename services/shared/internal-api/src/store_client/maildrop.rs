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
/// The longest head before one of several messages.
const DELIVERED_HEAD_OCTETS: usize = 256;

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

/// Reads an answer of several messages, which begins with the first that are listed here. Of an answer that is longer than
/// what is listed, the rest is not read.
pub(super) async fn delivered(
    mut response: Response,
    listed: &[MaildropEntry],
) -> Result<Vec<(MessageId, Bytes)>, ApiError> {
    let octets = |entry: &MaildropEntry| usize::try_from(entry.octets).unwrap_or(usize::MAX);
    let limit = listed.iter().map(|entry| octets(entry).saturating_add(DELIVERED_HEAD_OCTETS));
    let limit = limit.fold(0, usize::saturating_add);
    let mut answer = BytesMut::new();
    while answer.len() <= limit
        && let Some(chunk) = response.chunk().await?
    {
        answer.extend_from_slice(&chunk[..chunk.len().min(limit + 1 - answer.len())]);
    }
    let is_cut = answer.len() > limit;
    let mut messages = Vec::new();
    for entry in listed {
        if answer.is_empty() {
            return Ok(messages);
        }
        let head: Option<DeliveredHead> = split_whole(&mut answer).map_err(|error| broken(&error.to_string()))?;
        match head {
            Some(head) if head.id != entry.id => return Err(broken("has a message that was not asked for")),
            // Whatever is wrong there must not keep the others from their reader.
            Some(head) if head.octets != entry.octets => return Ok(messages),
            Some(_) if octets(entry) <= answer.len() => {
                messages.push((entry.id, answer.split_to(octets(entry)).freeze()));
            }
            _ if is_cut => return Ok(messages),
            Some(_) => return Err(broken("ends within a message")),
            None => return Err(broken("ends within a head")),
        }
    }
    if answer.is_empty() { Ok(messages) } else { Err(broken("has more messages than were asked for")) }
}

#[cfg(test)]
mod tests;
