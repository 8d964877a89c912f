//! Bytes into CRLF-terminated lines of bounded length.

use crate::http;
use bytes::{Buf, Bytes, BytesMut};

/// What a server tells a client that ends lines with LF alone.
pub(crate) const CRLF_CURE: &str = "use nc -C, curl --crlf or Python's policy=SMTP";

/// Why a line is refused.
///
/// Each refused line is reported once, as soon as the reason is known. The next line begins after its LF, so the
/// dialogue stays in step and no line goes without a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// The line has more octets than the limit, its CRLF included (RFC 5321 §4.5.3.1.4, RFC 1939 §4).
    #[error("line too long")]
    TooLong,
    /// A LF without a CR before it, which is no line terminator (RFC 5321 §2.3.8).
    #[error("lines end with CRLF, not with LF alone")]
    BareLf,
    /// A line refused for one of the other reasons that begins like an HTTP request.
    #[error("an HTTP request")]
    HttpRequest,
    /// The beginning of a TLS connection (RFC 8446 §5.1), where nobody has asked for one. What follows is no line.
    #[error("TLS where nobody has asked for it")]
    Tls,
}

/// What TLS begins with: the type of a record with a handshake, and the first octet of every version.
const TLS_RECORD: &[u8] = &[22, 3];

/// Cuts a byte stream into lines.
///
/// The caller reads into a buffer and calls [`LineDecoder::decode`] until it returns `None`. At that
/// point less than the limit is left in the buffer, so memory stays bounded whatever the peer sends.
#[derive(Debug)]
pub struct LineDecoder {
    limit_octets: usize,
    /// Octets at the front of the buffer in which no LF was found yet.
    scanned: usize,
    skipping: bool,
    takes_bare_lf: bool,
}

impl LineDecoder {
    /// A decoder for lines of at most `limit_octets`, their CRLF included.
    pub fn new(limit_octets: usize) -> Self {
        Self { limit_octets, scanned: 0, skipping: false, takes_bare_lf: false }
    }

    /// From now on lines have at most this number of octets.
    pub fn set_limit(&mut self, limit_octets: usize) {
        self.limit_octets = limit_octets;
    }

    /// From now on a LF without a CR before it ends a line as well, or does not.
    pub fn take_bare_lf(&mut self, takes: bool) {
        self.takes_bare_lf = takes;
    }

    /// A decoder with the same tolerance that has seen nothing.
    #[must_use]
    pub fn anew(&self, limit_octets: usize) -> Self {
        Self { takes_bare_lf: self.takes_bare_lf, ..Self::new(limit_octets) }
    }

    /// Takes the next line off `input`, without its CRLF; `None` when more input is needed.
    ///
    /// # Errors
    /// [`LineError`], once for each line that cannot be taken.
    pub fn decode(&mut self, input: &mut BytesMut) -> Option<Result<Bytes, LineError>> {
        if self.skipping && !self.skip(input) {
            return None;
        }
        if input.starts_with(TLS_RECORD) {
            self.scanned = 0;
            self.skipping = true;
            input.clear();
            return Some(Err(LineError::Tls));
        }
        let Some(offset) = memchr::memchr(b'\n', &input[self.scanned..]) else {
            return self.incomplete(input);
        };
        let line_feed = self.scanned + offset;
        self.scanned = 0;
        if line_feed >= self.limit_octets {
            return Some(Err(refuse(LineError::TooLong, input, line_feed + 1)));
        }
        let has_cr = line_feed > 0 && input[line_feed - 1] == b'\r';
        if !has_cr && !self.takes_bare_lf {
            return Some(Err(refuse(LineError::BareLf, input, line_feed + 1)));
        }
        let mut line = input.split_to(line_feed + 1);
        line.truncate(line_feed - usize::from(has_cr));
        Some(Ok(line.freeze()))
    }

    fn incomplete(&mut self, input: &mut BytesMut) -> Option<Result<Bytes, LineError>> {
        self.scanned = input.len();
        // A line of exactly the limit still lacks its LF here.
        if input.len() < self.limit_octets {
            return None;
        }
        self.scanned = 0;
        self.skipping = true;
        Some(Err(refuse(LineError::TooLong, input, input.len())))
    }

    /// Drops input up to and including the next LF; false when it is not there yet.
    fn skip(&mut self, input: &mut BytesMut) -> bool {
        let line_feed = memchr::memchr(b'\n', input);
        input.advance(line_feed.map_or(input.len(), |at| at + 1));
        self.skipping = line_feed.is_none();
        !self.skipping
    }
}

/// Drops the first `octets` of `input`, a line or the beginning of one, for this reason.
fn refuse(reason: LineError, input: &mut BytesMut, octets: usize) -> LineError {
    let refused = input.split_to(octets);
    if http::is_request(&refused) { LineError::HttpRequest } else { reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines_may_end_with_lf_where_that_is_wanted() {
        let mut decoder = LineDecoder::new(16);
        let mut input = BytesMut::from("one\n\ntwo\r\nthree\n".as_bytes());
        decoder.take_bare_lf(true);
        for expected in ["one", "", "two"] {
            assert_eq!(decoder.decode(&mut input), Some(Ok(Bytes::from(expected))));
        }
        assert!(decoder.anew(8).takes_bare_lf);
        decoder.take_bare_lf(false);
        assert_eq!(decoder.decode(&mut input), Some(Err(LineError::BareLf)));
    }

    fn lines(limit: usize, input: &[u8], chunk: usize) -> Vec<Result<Vec<u8>, LineError>> {
        let mut decoder = LineDecoder::new(limit);
        let mut buffer = BytesMut::new();
        let mut lines = Vec::new();
        for piece in input.chunks(chunk) {
            buffer.extend_from_slice(piece);
            while let Some(line) = decoder.decode(&mut buffer) {
                lines.push(line.map(|line| line.to_vec()));
            }
            assert!(buffer.len() < limit, "the buffer stays bounded");
        }
        lines
    }

    #[test]
    fn lines_at_every_chunk_size() {
        type Expected = &'static [Result<&'static [u8], LineError>];
        let table: &[(&[u8], Expected)] = &[
            (b"NOOP\r\nQUIT\r\n", &[Ok(b"NOOP"), Ok(b"QUIT")]),
            (b"\r\n\r\n", &[Ok(b""), Ok(b"")]),
            (b"12345678\r\nok\r\n", &[Ok(b"12345678"), Ok(b"ok")]),
            (b"123456789\r\nok\r\n", &[Err(LineError::TooLong), Ok(b"ok")]),
            (b"12345678901234567890\r\nok\r\n", &[Err(LineError::TooLong), Ok(b"ok")]),
            (b"NOOP\nQUIT\r\nok\r\n", &[Err(LineError::BareLf), Ok(b"QUIT"), Ok(b"ok")]),
            (b"\n\nok\r\n", &[Err(LineError::BareLf), Err(LineError::BareLf), Ok(b"ok")]),
            (b"123456789\nok\r\n", &[Err(LineError::BareLf), Ok(b"ok")]),
            (b"12345678901\nok\r\n", &[Err(LineError::TooLong), Ok(b"ok")]),
            (b"POST /\nok\r\n", &[Err(LineError::HttpRequest), Ok(b"ok")]),
            (b"GET /12345678\r\nok\r\n", &[Err(LineError::HttpRequest), Ok(b"ok")]),
            (b"GET /\r\n", &[Ok(b"GET /")]),
            (b"NOOP\r\n\x16\x03\x01", &[Ok(b"NOOP"), Err(LineError::Tls)]),
            (b"\x16NOOP\r\n", &[Ok(b"\x16NOOP")]),
            (b"a\rb\r\n", &[Ok(b"a\rb")]),
            (b"a\r\r\n", &[Ok(b"a\r")]),
            (b"unfinished", &[Err(LineError::TooLong)]),
            (b"short", &[]),
        ];
        for (input, expected) in table {
            let expected: Vec<_> = expected.iter().map(|line| line.map(<[u8]>::to_vec)).collect();
            for chunk in 1..=input.len() {
                assert_eq!(lines(10, input, chunk), expected, "{input:?} in chunks of {chunk}");
            }
        }
    }

    #[test]
    fn a_limit_holds_for_the_lines_that_follow() {
        let mut decoder = LineDecoder::new(5);
        let mut buffer = BytesMut::from(&b"12345"[..]);
        decoder.set_limit(10);
        assert_eq!(decoder.decode(&mut buffer), None);
        buffer.extend_from_slice(b"678\r\n12345678\r\nok\r\n");
        assert_eq!(decoder.decode(&mut buffer), Some(Ok(Bytes::from_static(b"12345678"))));
        decoder.set_limit(5);
        assert_eq!(decoder.decode(&mut buffer), Some(Err(LineError::TooLong)));
        assert_eq!(decoder.decode(&mut buffer), Some(Ok(Bytes::from_static(b"ok"))));
    }

    proptest! {
        #[test]
        fn chunking_never_matters(input in prop::collection::vec(prop::sample::select(b"ab\r\n.".to_vec()), 1..60), chunk in 1usize..60) {
            prop_assert_eq!(lines(12, &input, chunk), lines(12, &input, 1));
        }
    }
}
