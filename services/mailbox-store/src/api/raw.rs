//! Messages as they are.

use crate::store::StoredMessage;
use axum::{
    body::Body,
    http::header,
    response::{IntoResponse, Response},
};

/// The media type of a message (RFC 5322).
const MESSAGE_MEDIA_TYPE: &str = "message/rfc822";

impl IntoResponse for StoredMessage {
    fn into_response(self) -> Response {
        let headers =
            [(header::CONTENT_TYPE, MESSAGE_MEDIA_TYPE.to_owned()), (header::CONTENT_LENGTH, self.octets.to_string())];
        (headers, Body::from_stream(self.chunks)).into_response()
    }
}
