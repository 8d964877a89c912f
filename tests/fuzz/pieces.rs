//! What is cut out of a stream: it is the same whatever pieces the stream arrives in.

use crate::{cuts, fuzz};
use bytes::BytesMut;
use internal_api::{Submission, frame, split_head};
use mail_proto::{
    dot::{DotDecoder, DotEncoder},
    line::{LineDecoder, LineError},
};

/// The longest line in octets, its CRLF included.
const LINE_OCTETS: usize = 20;

/// The lines up to the beginning of a TLS connection, which ends the dialogue.
fn decode_lines(pieces: &[&[u8]]) -> Vec<Result<Vec<u8>, LineError>> {
    let mut decoder = LineDecoder::new(LINE_OCTETS);
    let mut input = BytesMut::new();
    let mut lines = Vec::new();
    for piece in pieces {
        input.extend_from_slice(piece);
        while let Some(line) = decoder.decode(&mut input) {
            lines.push(line.map(|line| line.to_vec()));
            if lines.last() == Some(&Err(LineError::Tls)) {
                return lines;
            }
        }
        assert!(input.len() < LINE_OCTETS, "the buffer stays bounded");
    }
    lines
}

#[test]
fn lines() {
    let vocabulary: &[&[u8]] = &[b"\r\n", b"\r", b"\n", b"0123456789", b"GET /", b"\xff", b"\x16\x03"];
    fuzz("lines", vocabulary, |input| {
        let input = [input, b"\r\n"].concat();
        let expected = decode_lines(&[&input]);
        // No line goes without a reply, and none gets two.
        let line_feeds = input.iter().filter(|octet| **octet == b'\n').count();
        let has_tls = expected.last() == Some(&Err(LineError::Tls));
        assert!(expected.len() == line_feeds || (has_tls && expected.len() <= line_feeds), "{line_feeds}");
        for line in expected.iter().flatten() {
            assert!(line.len() + 2 <= LINE_OCTETS && !line.contains(&b'\n'), "{line:?}");
        }
        for pieces in cuts(&input) {
            assert_eq!(decode_lines(&pieces), expected, "{pieces:?}");
        }
    });
}

const DOT_VOCABULARY: &[&[u8]] = &[b"\r\n", b"\r\n.", b"\r\n.\r\n", b".", b"\r", b"\n", b"text", b"\0", b"\xff"];

/// The message, what follows its end, and the first line with a CR or LF of its own; `None` before the end.
fn unstuff(pieces: &[&[u8]]) -> Option<(Vec<u8>, Vec<u8>, Option<u64>)> {
    let mut decoder = DotDecoder::default();
    let mut message = Vec::new();
    let mut rest = Vec::new();
    let mut ended = false;
    for piece in pieces {
        let mut input = BytesMut::from(*piece);
        ended = decoder.decode(&mut input, &mut message);
        assert!(ended || input.is_empty());
        rest.extend_from_slice(&input);
    }
    ended.then(|| (message, rest, decoder.bare_line_ending()))
}

/// The first line, counted from 1, that holds a CR or a LF outside a CRLF.
fn bare_line_ending(message: &[u8]) -> Option<u64> {
    let text = String::from_utf8_lossy(message).into_owned();
    let line = text.split("\r\n").position(|line| line.contains(['\r', '\n']))?;
    Some(line as u64 + 1)
}

#[test]
fn dots_encoded() {
    fuzz("dots_encoded", DOT_VOCABULARY, |message| {
        let mut sent = message.to_vec();
        if !message.is_empty() && !message.ends_with(b"\r\n") {
            sent.extend_from_slice(b"\r\n");
        }
        for pieces in cuts(message) {
            let mut encoder = DotEncoder::default();
            let mut wire = Vec::new();
            pieces.iter().for_each(|piece| encoder.encode(piece, &mut wire));
            encoder.finish(&mut wire);
            let end = wire.len();
            wire.extend_from_slice(b".\r\n");
            for pieces in cuts(&wire) {
                let expected = (sent.clone(), b".\r\n".to_vec(), bare_line_ending(&sent));
                assert_eq!(unstuff(&pieces), Some(expected), "{:?}", &wire[..end]);
            }
        }
    });
}

#[test]
fn dots_decoded() {
    fuzz("dots_decoded", DOT_VOCABULARY, |input| {
        let wire = [input, b"\r\n.\r\n"].concat();
        let (message, rest, bare) = unstuff(&[&wire]).unwrap();
        for pieces in cuts(&wire) {
            assert_eq!(unstuff(&pieces), Some((message.clone(), rest.clone(), bare)), "{pieces:?}");
        }
        // Sent on, the message ends where it ended before: nobody can be made to see two of them.
        let mut again = Vec::new();
        let mut encoder = DotEncoder::default();
        encoder.encode(&message, &mut again);
        encoder.finish(&mut again);
        assert_eq!(unstuff(&[&again]), Some((message.clone(), Vec::new(), bare)));
        assert_eq!(bare, bare_line_ending(&message));
    });
}

/// The head, and what follows it; `None` before the end of the head, or the error's text.
fn head(pieces: &[&[u8]]) -> Option<Result<(Submission, Vec<u8>), String>> {
    let mut received = BytesMut::new();
    let mut head = None;
    for piece in pieces {
        received.extend_from_slice(piece);
        if head.is_none() {
            head = split_head(&mut received).map_err(|error| error.to_string()).transpose();
        }
    }
    head.map(|head| head.map(|head| (head, received.to_vec())))
}

#[test]
fn frames() {
    let vocabulary: &[&[u8]] = &[
        b"{\"transaction\":\"t\",\"reverse_path\":\"<>\",\"recipients\":[\"a@b\"]}\n",
        b"{\"transaction\":\"",
        b"\",\"reverse_path\":\"<",
        b">\",\"recipients\":[\"",
        b"\",\"",
        b"\"]}\n",
        b"{",
        b"\\u0000",
        b"a@b",
        b"\n",
        b"\xff",
    ];
    fuzz("frames", vocabulary, |input| {
        let whole = head(&[input]);
        for pieces in cuts(input) {
            assert_eq!(head(&pieces), whole, "{pieces:?}");
        }
        if let Some(Ok((submission, message))) = whole {
            assert!(!submission.recipients.is_empty() && Submission::is_transaction(&submission.transaction));
            let again = [&frame(&submission)[..], &message].concat();
            assert_eq!(head(&[&again]), Some(Ok((submission, message))));
        }
    });
}
