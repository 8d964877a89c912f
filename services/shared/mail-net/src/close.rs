//! The one way to close a connection.

use crate::IoClock;
use bytes::BytesMut;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// How long a peer may take to close its side after we have closed ours.
const LINGER: Duration = Duration::from_secs(1);
/// How many octets of it are dropped meanwhile.
const LINGER_OCTETS: usize = 1024 * 1024;
const READ_OCTETS: usize = 4 * 1024;

/// Closes a connection so that the peer gets the last reply.
///
/// To close a socket with unread input is to reset the connection, and a reset destroys replies on their way. So this
/// reads and drops what the peer still sends until it closes its side, for a bounded time and a bounded number of octets.
pub async fn close(mut stream: impl AsyncRead + AsyncWrite + Unpin, clock: IoClock) {
    let closing = async {
        if stream.shutdown().await.is_err() {
            return;
        }
        let (mut input, mut octets) = (BytesMut::with_capacity(READ_OCTETS), 0);
        while let Ok(read @ 1..) = stream.read_buf(&mut input).await {
            input.clear();
            octets += read;
            if octets > LINGER_OCTETS {
                break;
            }
        }
    };
    let _ = clock.timeout(LINGER, closing).await;
}
