//! A maildrop as a session sees it: all at once, or in lines that are sent while the store is read.

use crate::store::{Listing, Maildrops, Result};
use axum::{
    body::Body,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use internal_api::{MAILDROP_MEDIA_TYPE, MaildropEntry, MaildropHead, MaildropSession, frame, listing_lines};
use mail_proto::Mailbox;
use std::sync::Arc;

/// How many messages are read from the store at once.
pub(super) const PAGE: u32 = 1000;

/// A maildrop that was locked, and its first messages.
pub(super) struct Opened {
    pub(super) store: Arc<dyn Maildrops>,
    pub(super) address: Mailbox,
    pub(super) session: String,
    pub(super) listing: Listing,
}

impl Opened {
    /// The answer that the caller asks for with `Accept`.
    pub(super) async fn answer(self, headers: &HeaderMap) -> Result<Response> {
        let accepts = headers.get(header::ACCEPT).is_some_and(|accepted| accepted == MAILDROP_MEDIA_TYPE);
        if accepts {
            return Ok(self.lines());
        }
        let session = self.session.clone();
        let messages = self.whole().await?;
        Ok((StatusCode::CREATED, axum::Json(MaildropSession { session, messages })).into_response())
    }

    /// All messages. When they cannot be listed, the maildrop is unlocked again.
    async fn whole(self) -> Result<Vec<MaildropEntry>> {
        let Self { store, address, session, listing } = self;
        let Listing { mut entries, mut next_after } = listing;
        while let Some(after) = next_after {
            match store.listing(&address, after, PAGE).await {
                Ok(page) => {
                    entries.extend(page.entries);
                    next_after = page.next_after;
                }
                Err(error) => {
                    // Else the lock ends with its lease.
                    let _ = store.close_maildrop(&address, &session).await;
                    return Err(error);
                }
            }
        }
        Ok(entries)
    }

    /// One page is in memory at a time. When a page cannot be read, the answer breaks off.
    fn lines(self) -> Response {
        let Self { store, address, session, listing } = self;
        let headers = [(header::CONTENT_TYPE, MAILDROP_MEDIA_TYPE)];
        let first = [&frame(&MaildropHead { session })[..], listing_lines(&listing.entries).as_bytes()].concat();
        if listing.next_after.is_none() {
            return (StatusCode::CREATED, headers, first).into_response();
        }
        let pages = stream::try_unfold((store, address, listing.next_after), async |(store, address, after)| {
            let Some(after) = after else { return Ok(None) };
            let Listing { entries, next_after } = store.listing(&address, after, PAGE).await?;
            Ok::<_, crate::store::StoreError>(Some((
                Bytes::from(listing_lines(&entries)),
                (store, address, next_after),
            )))
        });
        let body = stream::once(async { Ok(Bytes::from(first)) }).chain(pages);
        (StatusCode::CREATED, headers, Body::from_stream(body)).into_response()
    }
}
