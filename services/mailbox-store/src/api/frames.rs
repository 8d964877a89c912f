//! Reading frames: a JSON head, then a message that may still be arriving.

use super::extract::invalid;
use crate::store::MessageStream;
use axum::body::Body;
use bytes::BytesMut;
use futures_util::{StreamExt, stream};
use internal_api::{FrameHead, Problem, split_head};

/// The head of a frame, and the message of at most `limit_octets` that follows it.
pub(super) async fn read<H: FrameHead>(body: Body, limit_octets: u64) -> Result<(H, MessageStream), Problem> {
    let mut chunks = body.into_data_stream().map(|chunk| chunk.map_err(|error| error.to_string()));
    let mut received = BytesMut::new();
    let head = loop {
        match split_head(&mut received) {
            Ok(Some(head)) => break head,
            Ok(None) => {}
            Err(error) => return Err(invalid(error.to_string())),
        }
        match chunks.next().await {
            Some(Ok(chunk)) => received.extend_from_slice(&chunk),
            Some(Err(error)) => return Err(invalid(error)),
            None => return Err(invalid("the frame ends before its head does, which a LF ends")),
        }
    };
    let rest = stream::once(async { Ok(received.freeze()) }).chain(chunks);
    Ok((head, MessageStream::new(rest, limit_octets)))
}
