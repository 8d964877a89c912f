//! Reading frames: a JSON head, then a message that may still be arriving.

use super::extract::invalid;
use crate::store::MessageStream;
use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt, stream};
use internal_api::{FrameHead, Problem, split_head};
use mail_net::IoClock;
use std::time::Duration;

/// How long a gateway may send nothing. It sends as fast as its client does, which may pause as long as the
/// protocol lets it; beyond that the gateway is gone.
const IDLE: Duration = Duration::from_secs(15 * 60);

/// The head of a frame, and the message of at most `limit_octets` that follows it.
pub(super) async fn read<H: FrameHead>(
    body: Body,
    limit_octets: u64,
    io: IoClock,
) -> Result<(H, MessageStream), Problem> {
    let mut chunks = Box::pin(chunks(body, io));
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

fn chunks(body: Body, io: IoClock) -> impl Stream<Item = Result<Bytes, String>> + Send {
    stream::unfold(body.into_data_stream(), move |mut chunks| async move {
        match io.timeout(IDLE, chunks.next()).await {
            Ok(chunk) => chunk.map(|chunk| (chunk.map_err(|error| error.to_string()), chunks)),
            Err(_) => Some((Err("nothing arrived for too long".to_owned()), chunks)),
        }
    })
}
