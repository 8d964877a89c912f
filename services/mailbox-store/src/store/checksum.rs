//! Checksums: how damage to a stored body is noticed before somebody gets it for their mail.
//!
//! XXH3 with 128 bits. It is there against disks, file systems and bugs, not against people: who can change a
//! body can change its checksum beside it. So what counts is that it costs next to nothing, which on small
//! messages a cryptographic hash does not.

use super::{Result, StoreError};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use std::pin::pin;
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

/// The checksum of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Checksum(u128);

impl Checksum {
    /// The checksum of octets that are all there.
    pub(super) fn of(octets: &[u8]) -> Self {
        Self(xxh3_128(octets))
    }

    /// As it is stored.
    pub(super) fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// From how it is stored.
    pub(super) fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }
}

/// Computes a checksum of octets as they pass.
#[derive(Default)]
pub(super) struct Checksummer(Box<Xxh3>);

impl Checksummer {
    pub(super) fn update(&mut self, octets: &[u8]) {
        self.0.update(octets);
    }

    pub(super) fn checksum(&self) -> Checksum {
        Checksum(self.0.digest128())
    }
}

/// What a body should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Expected {
    pub(super) octets: u64,
    /// Absent on bodies from before there were checksums.
    pub(super) checksum: Option<Checksum>,
}

impl Expected {
    /// What is wrong with this body, if anything.
    pub(super) fn find_fault(&self, body: &[u8]) -> Option<&'static str> {
        if body.len() as u64 != self.octets {
            return Some(OTHER_LENGTH);
        }
        self.checksum.filter(|checksum| *checksum != Checksum::of(body)).map(|_| OTHER_CHECKSUM)
    }
}

/// What is found wrong with bodies.
pub(super) const OTHER_LENGTH: &str = "its body has another length";
pub(super) const OTHER_CHECKSUM: &str = "its body has another checksum";

/// Passes a body on while it is verified. The last octets follow only when all are what they should be, so who
/// gets as many as were announced has them right; else the stream ends with what `damaged` makes of it.
pub(super) fn verified<S, D, F>(body: S, expected: Expected, damaged: D) -> impl Stream<Item = Result<Bytes>> + Send
where
    S: Stream<Item = Result<Bytes>> + Send + Unpin,
    D: FnOnce(&'static str) -> F + Send,
    F: Future<Output = StoreError> + Send,
{
    let start = (body, Checksummer::default(), expected.octets, damaged);
    stream::unfold(Some(start), move |state| async move {
        let (mut body, mut checksummer, missing, damaged) = state?;
        let chunk = match pin!(&mut body).next().await {
            Some(Ok(chunk)) => chunk,
            Some(Err(error)) => return Some((Err(error), None)),
            None if missing == 0 => return None,
            None => return Some((Err(damaged(OTHER_LENGTH).await), None)),
        };
        let Some(missing) = missing.checked_sub(chunk.len() as u64) else {
            return Some((Err(damaged(OTHER_LENGTH).await), None));
        };
        if let Some(checksum) = expected.checksum {
            checksummer.update(&chunk);
            if missing == 0 && checksummer.checksum() != checksum {
                return Some((Err(damaged(OTHER_CHECKSUM).await), None));
            }
        }
        Some((Ok(chunk), Some((body, checksummer, missing, damaged))))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = b"0123456789";

    async fn read(body: &[u8], chunk_octets: usize, expected: Expected) -> (Vec<u8>, Option<StoreError>) {
        let chunks: Vec<_> = body.chunks(chunk_octets).map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect();
        let damaged = async |reason: &'static str| StoreError::Internal(reason.to_owned());
        let mut read = Vec::new();
        let mut verified = pin!(verified(stream::iter(chunks), expected, damaged));
        while let Some(chunk) = verified.next().await {
            match chunk {
                Ok(chunk) => read.extend_from_slice(&chunk),
                Err(error) => return (read, Some(error)),
            }
        }
        (read, None)
    }

    #[tokio::test]
    async fn a_good_body_passes_and_a_bad_one_never_whole() {
        let good = Expected { octets: 10, checksum: Some(Checksum::of(BODY)) };
        for chunk_octets in 1..=11 {
            assert_eq!(read(BODY, chunk_octets, good).await, (BODY.to_vec(), None));
            for bad in [&b"0123456780"[..], b"x123456789", b"012345678", b"", b"0123456789a"] {
                let (octets, error) = read(bad, chunk_octets, good).await;
                let reason = if bad.len() == 10 { OTHER_CHECKSUM } else { OTHER_LENGTH };
                assert_eq!(error, Some(StoreError::Internal(reason.to_owned())), "{bad:?} by {chunk_octets}");
                assert!(octets.len() < 10 || bad.len() > 10, "{bad:?} by {chunk_octets}");
                assert_eq!(good.find_fault(bad), Some(reason));
            }
        }
        assert_eq!(good.find_fault(BODY), None);
        // One from before there were checksums.
        let unverified = Expected { octets: 10, checksum: None };
        assert_eq!(read(b"0123456780", 3, unverified).await, (b"0123456780".to_vec(), None));
    }

    #[test]
    fn a_checksum_is_the_same_in_pieces_stored_and_in_every_version() {
        let mut checksummer = Checksummer::default();
        BODY.chunks(3).for_each(|chunk| checksummer.update(chunk));
        assert_eq!(checksummer.checksum(), Checksum::of(BODY));
        assert_eq!(Checksum::from_bytes(Checksum::of(BODY).to_bytes()), Checksum::of(BODY));
        // XXH128 of nothing, as the specification gives it.
        assert_eq!(Checksum::of(b"").0, 0x99aa_06d3_0147_98d8_6001_c324_468d_497f);
    }
}
