//! axum's extractors, with problem details for what they refuse.

use super::{Api, within};
use axum::{
    body::{Body, Bytes},
    extract::{FromRequest, Request},
    http::header,
};
use internal_api::{BATCH_MEDIA_TYPE, FRAME_MEDIA_TYPE, MessageId, Patience, Problem, ProblemKind};
use mail_proto::Mailbox;
use serde::{Deserialize, de::DeserializeOwned};
use service_kit::http::extract::refused;
use std::{str::FromStr, sync::Arc, time::Duration};

pub(super) use service_kit::http::extract::{Json, Path, Query, invalid};

/// How many records a page has, unless asked otherwise, and at most.
const PAGE: u32 = 1000;

/// A JSON body that is a list.
pub(super) struct JsonList<T>(pub(super) Vec<T>);

impl<T: DeserializeOwned> FromRequest<Arc<Api>> for JsonList<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &Arc<Api>) -> Result<Self, Problem> {
        match axum::Json::from_request(request, api).await {
            Ok(axum::Json(values)) => Ok(Self(values)),
            Err(rejection) => Err(refused(rejection.status(), rejection.body_text())),
        }
    }
}

/// How much longer a frame may stand still than the client of the gateway that sends it: time for the gateway to give up
/// first.
const GATEWAY_MARGIN: Duration = Duration::from_secs(60);

/// The octets of a frame, still arriving, as fast as the gateway's client sends them.
pub(super) struct Frame(pub(super) Body);

impl FromRequest<Arc<Api>> for Frame {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &Arc<Api>) -> Result<Self, Problem> {
        expect_media_type(&request, FRAME_MEDIA_TYPE)?;
        if let Some(patience) = request.extensions().get::<Patience>() {
            patience.allow(api.stack.current().limits.smtp_idle + GATEWAY_MARGIN);
        }
        Ok(Self(request.into_body()))
    }
}

/// The octets of a batch.
pub(super) struct Batch(pub(super) Bytes);

impl FromRequest<Arc<Api>> for Batch {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &Arc<Api>) -> Result<Self, Problem> {
        expect_media_type(&request, BATCH_MEDIA_TYPE)?;
        match Bytes::from_request(request, api).await {
            Ok(octets) => Ok(Self(octets)),
            Err(rejection) => Err(refused(rejection.status(), rejection.body_text())),
        }
    }
}

fn expect_media_type(request: &Request, expected: &str) -> Result<(), Problem> {
    let media_type = request.headers().get(header::CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    if media_type.eq_ignore_ascii_case(expected.as_bytes()) {
        return Ok(());
    }
    Err(Problem::new(ProblemKind::UnsupportedMediaType, format!("send {expected}")))
}

/// Which page of a listing.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PageQuery {
    after: Option<String>,
    limit: Option<u32>,
}

impl PageQuery {
    pub(super) fn limit(&self) -> Result<u32, Problem> {
        within("limit", self.limit.unwrap_or(PAGE), 1..=PAGE)
    }

    /// Where the page begins, as text.
    pub(super) fn after(&self) -> Option<&str> {
        self.after.as_deref()
    }

    /// The message after which the page begins.
    pub(super) fn after_message(&self) -> Result<MessageId, Problem> {
        match self.after().map(MessageId::from_str) {
            None => Ok(MessageId::from_number(0)),
            Some(Ok(id)) => Ok(id),
            Some(Err(error)) => Err(invalid(format!("after: {error}"))),
        }
    }
}

/// The address of a path. What is no address is nobody's.
pub(super) fn address(address: &str) -> Result<Mailbox, Problem> {
    address.parse().map_err(|error| Problem::new(ProblemKind::MailboxUnknown, format!("{error}")))
}

/// The message of a path. What is no id is no message's.
pub(super) fn message(id: &str) -> Result<MessageId, Problem> {
    id.parse().map_err(|error| Problem::new(ProblemKind::MessageUnknown, format!("{error}")))
}
