//! The one door for messages.

use super::{Result, StoreError, passage::Passage};
use bytes::Bytes;
use futures_util::{
    Stream, StreamExt,
    stream::{self, BoxStream},
};
use mail_proto::{Mailbox, header::separator};
use std::fmt::Display;

/// How much of a refused message is still read, so that its sender gets to see the refusal.
const DRAINED_OCTETS: u64 = 64 * 1024 * 1024;
/// How many octets of a message tell whether it begins with a header field: a line has no more (RFC 5322 §2.1.1).
const LINE_OCTETS: usize = 1000;

/// A message on its way in, checked as it passes. It ends with an error at a CR or LF that is not part of a CRLF, at too
/// many octets, and at too many `Received:` fields.
///
/// A [`Store`](super::Store) takes nothing else, so whatever is stored, and hence whatever is relayed, cannot
/// smuggle a second message past a peer that takes a lone CR or LF for a line ending.
pub struct MessageStream {
    source: BoxStream<'static, Result<Bytes, String>>,
    limit_octets: u64,
    octets: u64,
    line_endings: LineEndings,
    passage: Passage,
    refusal: Option<StoreError>,
}

impl MessageStream {
    /// The message that `source` gives, of at most `limit_octets`.
    pub fn new<S, E>(source: S, limit_octets: u64) -> Self
    where
        S: Stream<Item = Result<Bytes, E>> + Send + 'static,
        E: Display,
    {
        let source = source.map(|chunk| chunk.map_err(|error| error.to_string())).fuse().boxed();
        let (line_endings, passage) = (LineEndings::default(), Passage::default());
        Self { source, limit_octets, octets: 0, line_endings, passage, refusal: None }
    }

    /// No octets.
    pub fn empty() -> Self {
        Self::new(futures_util::stream::empty::<Result<Bytes, String>>(), 0)
    }

    /// The same message, ready to have a header field put before it: with an empty line first, if it would otherwise
    /// continue or join that field. The line does not count against the limit.
    pub(super) async fn set_apart(mut self) -> Self {
        let (mut start, mut broken) = (Bytes::new(), None);
        while start.len() < LINE_OCTETS && memchr::memchr(b'\n', &start).is_none() {
            match self.source.next().await {
                Some(Ok(chunk)) if start.is_empty() => start = chunk,
                Some(Ok(chunk)) => start = [start, chunk].concat().into(),
                Some(Err(reason)) => {
                    broken = Some(Err(reason));
                    break;
                }
                None => break,
            }
        }
        let line = separator(&start);
        self.limit_octets = self.limit_octets.saturating_add(line.len() as u64);
        let start = [Ok(Bytes::from_static(line)), Ok(start)].into_iter().chain(broken);
        self.source = stream::iter(start).chain(self.source).boxed();
        self
    }

    /// The next octets; `None` at the end of a good message.
    ///
    /// # Errors
    /// [`StoreError::BareLineEnding`], [`StoreError::TooLarge`], [`StoreError::MailLoop`], or [`StoreError::Invalid`]
    /// when the source broke off.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            match self.source.next().await {
                Some(Ok(chunk)) => {
                    self.octets = self.octets.saturating_add(chunk.len() as u64);
                    if self.refusal.is_none() {
                        self.refusal = self.check(&chunk).err();
                    }
                    match &self.refusal {
                        None => return Ok(Some(chunk)),
                        Some(refusal) if self.octets > self.limit_octets.saturating_add(DRAINED_OCTETS) => {
                            return Err(refusal.clone());
                        }
                        Some(_) => {}
                    }
                }
                Some(Err(reason)) => return Err(StoreError::Invalid(format!("the message broke off: {reason}"))),
                None => {
                    let ended = if self.line_endings.after_cr { Err(StoreError::BareLineEnding) } else { Ok(None) };
                    return self.refusal.take().map_or(ended, Err);
                }
            }
        }
    }

    /// The aliases through which a message that has been read to its end came back: the addresses of its `Delivered-To:`
    /// fields.
    pub(super) fn delivered_to(&mut self) -> Vec<Mailbox> {
        self.passage.delivered_to()
    }

    /// Reads what is left of a message that cannot be kept, as of every refused one; returns why it is refused.
    pub async fn refuse(mut self, refusal: StoreError) -> StoreError {
        self.refusal = Some(refusal.clone());
        self.next().await.err().unwrap_or(refusal)
    }

    fn check(&mut self, chunk: &[u8]) -> Result<()> {
        if self.octets > self.limit_octets {
            return Err(StoreError::TooLarge { limit_octets: self.limit_octets });
        }
        if !self.line_endings.admit(chunk) {
            return Err(StoreError::BareLineEnding);
        }
        self.passage.see(chunk)
    }
}

/// Sees that CR and LF come only as CRLF, however the message is cut into chunks.
#[derive(Default)]
struct LineEndings {
    after_cr: bool,
}

impl LineEndings {
    fn admit(&mut self, chunk: &[u8]) -> bool {
        let Some(last) = chunk.last() else { return true };
        let mut line_feeds = 0;
        for at in memchr::memchr_iter(b'\n', chunk) {
            let after_cr = if at == 0 { self.after_cr } else { chunk[at - 1] == b'\r' };
            if !after_cr {
                return false;
            }
            line_feeds += 1;
        }
        // Every LF has a CR of its own by now, so a CR is bare exactly when there are more of them. Counting
        // is much faster than looking at each.
        let carriage_returns = memchr::memchr_iter(b'\r', chunk).count() + usize::from(self.after_cr);
        self.after_cr = *last == b'\r';
        carriage_returns == line_feeds + usize::from(self.after_cr)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arriving(message: &[u8], chunk_octets: usize, limit_octets: u64) -> MessageStream {
        let chunks: Vec<_> =
            message.chunks(chunk_octets).map(|chunk| Ok::<_, String>(Bytes::copy_from_slice(chunk))).collect();
        MessageStream::new(stream::iter(chunks), limit_octets)
    }

    async fn read(message: &[u8], chunk_octets: usize, limit_octets: u64) -> Result<Vec<u8>> {
        read_to_end(arriving(message, chunk_octets, limit_octets)).await
    }

    async fn read_to_end(mut message: MessageStream) -> Result<Vec<u8>> {
        let mut octets = Vec::new();
        while let Some(chunk) = message.next().await? {
            octets.extend_from_slice(&chunk);
        }
        Ok(octets)
    }

    #[tokio::test]
    async fn cr_and_lf_come_only_together() {
        let table: &[(&[u8], bool)] = &[
            (b"", true),
            (b"a", true),
            (b"\r\n", true),
            (b"a\r\n\r\nb\r\n", true),
            (b"a\r\nb", true),
            (b"\0\r\n", true),
            (b"\n", false),
            (b"\r", false),
            (b"a\r\nb\r", false),
            (b"a\nb\r\n", false),
            (b"a\rb\r\n", false),
            (b"\r\r\n", false),
            (b"\r\n\n", false),
            (b"\n\r", false),
            (b"a\n.\nb\r\n", false),
            (b"a\r.\rb\r\n", false),
        ];
        for (message, good) in table {
            let expected = if *good { Ok(message.to_vec()) } else { Err(StoreError::BareLineEnding) };
            for chunk_octets in 1..=4 {
                assert_eq!(read(message, chunk_octets, 100).await, expected, "{message:?} by {chunk_octets}");
            }
        }
    }

    #[tokio::test]
    async fn the_limit_is_what_still_fits() {
        assert_eq!(read(b"12345\r\n", 2, 7).await, Ok(b"12345\r\n".to_vec()));
        assert_eq!(read(b"12345\r\n", 2, 6).await, Err(StoreError::TooLarge { limit_octets: 6 }));
    }

    #[tokio::test]
    async fn a_field_can_be_put_before_any_message() {
        let long = format!("{}\r\n", "x".repeat(3000));
        let table: [(&str, &str); 6] = [
            ("Subject: x\r\n\r\nbody\r\n", ""),
            ("\r\nbody\r\n", ""),
            ("", ""),
            ("no field", "\r\n"),
            (" Subject: x\r\n", "\r\n"),
            (&long, "\r\n"),
        ];
        for (message, line) in table {
            for chunk_octets in [1, 2, 7, 5000] {
                let limit_octets = message.len() as u64;
                let apart = arriving(message.as_bytes(), chunk_octets, limit_octets).set_apart().await;
                assert_eq!(read_to_end(apart).await.unwrap(), [line, message].concat().as_bytes(), "{message:?}");
            }
        }
    }

    #[tokio::test]
    async fn set_apart_or_not_what_is_wrong_is_refused() {
        for message in ["no field\n", "no field\r", "Subject: x\r\n\n"] {
            let apart = arriving(message.as_bytes(), 3, 100).set_apart().await;
            assert_eq!(read_to_end(apart).await, Err(StoreError::BareLineEnding), "{message:?}");
        }
        let apart = arriving(b"no field\r\n", 3, 9).set_apart().await;
        assert!(matches!(read_to_end(apart).await, Err(StoreError::TooLarge { .. })));
        let broken = stream::iter([Ok("no fie".into()), Err("reset"), Ok("ld\r\n".into())]);
        let apart = MessageStream::new(broken, 100).set_apart().await;
        assert_eq!(read_to_end(apart).await, Err(StoreError::Invalid("the message broke off: reset".to_owned())));
    }

    #[tokio::test]
    async fn a_message_that_cannot_be_kept_is_read_to_its_end() {
        let (sender, receiver) = tokio::sync::mpsc::channel(1);
        let source = stream::unfold(receiver, |mut chunks| async { chunks.recv().await.map(|chunk| (chunk, chunks)) });
        let message = MessageStream::new(source, 100);
        let refusal = StoreError::Unavailable("the disk is full".to_owned());
        let refused = tokio::spawn({
            let refusal = refusal.clone();
            async move { message.refuse(refusal).await }
        });
        for _ in 0..10 {
            sender.send(Ok::<_, String>(Bytes::from_static(b"a line\r\n"))).await.unwrap();
        }
        drop(sender);
        assert_eq!(refused.await.unwrap(), refusal);
    }

    #[tokio::test]
    async fn a_message_that_has_arrived_whole_can_still_be_refused() {
        let source =
            stream::unfold(Some("text\r\n"), async |text| text.map(|text| (Ok::<_, String>(text.into()), None)));
        let mut message = MessageStream::new(source, 100);
        while message.next().await.unwrap().is_some() {}
        let refusal = StoreError::Unavailable("it cannot be synced".to_owned());
        assert_eq!(message.refuse(refusal.clone()).await, refusal);
    }

    #[tokio::test]
    async fn a_refused_message_is_read_to_its_end() {
        let mut rest = 3;
        let source = stream::poll_fn(move |_| {
            rest -= 1;
            std::task::Poll::Ready((rest >= 0).then(|| Ok::<_, String>(Bytes::from_static(b"\n"))))
        });
        let mut message = MessageStream::new(source, 100);
        assert_eq!(message.next().await, Err(StoreError::BareLineEnding));
        assert_eq!(message.octets, 3);
    }
}
