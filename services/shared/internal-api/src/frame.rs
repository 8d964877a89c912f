//! A JSON head and a message's octets in one request body.
//!
//! The head is one line of JSON, ended by LF; everything after it is the message, octet for octet. One
//! request carries envelope and message together, and the message still streams.

use bytes::{Bytes, BytesMut};
use serde::{Serialize, de::DeserializeOwned};

/// The media type of such a body.
pub const FRAME_MEDIA_TYPE: &str = "application/vnd.mailtown.frame";
/// The media type of several frames one after the other, each head telling how long its message is.
pub const BATCH_MEDIA_TYPE: &str = "application/vnd.mailtown.batch";

/// The longest head: 2,000 recipients of the longest address, with what an exchange has said about each.
const HEAD_OCTETS: usize = 4 * 1024 * 1024;

/// A type that may stand at the head of a frame.
pub trait FrameHead: Serialize + DeserializeOwned {}

impl FrameHead for crate::Submission {}
impl FrameHead for crate::Settlement {}
impl FrameHead for crate::BatchItem {}
impl FrameHead for crate::Claim {}
impl FrameHead for crate::MaildropHead {}
impl FrameHead for crate::DeliveredHead {}

/// Why a frame cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The line of JSON is longer than 4 MiB.
    #[error("the head of the frame is longer than {HEAD_OCTETS} octets")]
    TooLong,
    /// The line of JSON does not have the documented form.
    #[error("the head of the frame: {0}")]
    Json(#[from] serde_json::Error),
}

/// The head as it travels, its LF included.
pub fn frame<H: FrameHead>(head: &H) -> Bytes {
    // A derived Serialize into memory fails only on maps with keys that are no text, of which we have none.
    #[expect(clippy::expect_used, reason = "see above")]
    let mut octets = serde_json::to_vec(head).expect("heads are plain data");
    octets.push(b'\n');
    Bytes::from(octets)
}

/// Takes the head off the front of `received`; `None` when it has not all arrived yet. What follows it
/// stays in `received`.
///
/// # Errors
/// [`FrameError`] when the head is too long or not what `H` expects.
pub fn split_head<H: FrameHead>(received: &mut BytesMut) -> Result<Option<H>, FrameError> {
    split_within(received, HEAD_OCTETS)
}

/// As [`split_head`], for a frame that has arrived from our own store to its end: its head may be of any length.
pub(crate) fn split_whole<H: FrameHead>(frame: &mut BytesMut) -> Result<Option<H>, FrameError> {
    split_within(frame, usize::MAX)
}

fn split_within<H: FrameHead>(received: &mut BytesMut, limit_octets: usize) -> Result<Option<H>, FrameError> {
    match split_line_within(received, limit_octets)? {
        Some(line) => Ok(Some(serde_json::from_slice(&line)?)),
        None => Ok(None),
    }
}

/// As [`split_head`], for a head that is not decoded yet.
///
/// # Errors
/// [`FrameError::TooLong`].
pub fn split_line(received: &mut BytesMut) -> Result<Option<BytesMut>, FrameError> {
    split_line_within(received, HEAD_OCTETS)
}

fn split_line_within(received: &mut BytesMut, limit_octets: usize) -> Result<Option<BytesMut>, FrameError> {
    let window = &received[..received.len().min(limit_octets)];
    match memchr::memchr(b'\n', window) {
        Some(end) => Ok(Some(received.split_to(end + 1))),
        None if received.len() >= limit_octets => Err(FrameError::TooLong),
        None => Ok(None),
    }
}
