//! What a store answers about a maildrop that is open.

use super::{READ_TIMEOUT, broken, silent};
use crate::{
    ApiError, DeliveredHead, MAILDROP_MEDIA_TYPE, MaildropEntry, MaildropHead, MaildropSession, MessageId,
    frame::{split_line, split_whole},
    maildrops::listed,
};
use bytes::{Bytes, BytesMut};
use mail_net::IoClock;
use reqwest::{Response, header};

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
    Lines(BytesMut, Response, IoClock),
    /// An older store has sent all of it.
    Whole(Vec<MaildropEntry>),
}

impl OpenedMaildrop {
    pub(super) async fn read(mut response: Response, io: IoClock) -> Result<Self, ApiError> {
        let media_type = response.headers().get(header::CONTENT_TYPE);
        if media_type.is_none_or(|media_type| media_type != MAILDROP_MEDIA_TYPE) {
            let whole = io.timeout(READ_TIMEOUT, response.json()).await.map_err(|_| silent())?;
            let MaildropSession { session, messages } = whole?;
            return Ok(Self { session, listing: Listing::Whole(messages) });
        }
        let mut arrived = BytesMut::new();
        loop {
            let head = split_whole(&mut arrived).map_err(|error| broken(&error.to_string()))?;
            if let Some(MaildropHead { session }) = head {
                return Ok(Self { session, listing: Listing::Lines(arrived, response, io) });
            }
            match next(&mut response, io).await? {
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
        let (arrived, response, io) = match &mut self.listing {
            Listing::Lines(arrived, response, io) => (arrived, response, *io),
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
            match next(response, io).await? {
                Some(octets) => arrived.extend_from_slice(&octets),
                None if arrived.is_empty() => return Ok(entries),
                None => return Err(broken("ends within a line")),
            }
        }
    }
}

async fn next(response: &mut Response, io: IoClock) -> Result<Option<Bytes>, ApiError> {
    io.timeout(READ_TIMEOUT, response.chunk()).await.map_err(|_| silent())?.map_err(ApiError::from)
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
