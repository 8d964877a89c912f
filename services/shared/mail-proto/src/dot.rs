//! Dot-stuffing and unstuffing (RFC 5321 §4.5.2, RFC 1939 §3), for SMTP and POP3, in both directions.

use bytes::{Buf, BytesMut};

/// Where a decoder stands in the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Position {
    /// At the very beginning or after a CRLF: the only place where a dot means something.
    LineStart,
    /// After a dot at the start of a line.
    Dot,
    /// After a dot and a CR at the start of a line.
    DotCr,
    /// After a CR that has been passed on.
    Cr,
    Text,
    /// The final dot has been read.
    End,
}

/// Turns what follows `354` (or a multi-line `+OK`) into the message's octets.
///
/// Only `CRLF . CRLF` ends a message. A lone CR or LF never ends a line. The decoder remembers the first one, so that
/// the server can refuse the message after it has read the real end.
#[derive(Debug)]
pub struct DotDecoder {
    position: Position,
    /// How many lines have ended with CRLF.
    lines: u64,
    bare_line_ending: Option<u64>,
    completes_lf: bool,
}

impl Default for DotDecoder {
    fn default() -> Self {
        Self { position: Position::LineStart, lines: 0, bare_line_ending: None, completes_lf: false }
    }
}

impl DotDecoder {
    /// A decoder that turns LF alone into CRLF. A dot after it means nothing.
    pub fn completing_lf() -> Self {
        Self { completes_lf: true, ..Self::default() }
    }

    /// Moves octets from `input` to `output`; true once the final dot was read. What follows it stays in
    /// `input`.
    pub fn decode(&mut self, input: &mut BytesMut, output: &mut Vec<u8>) -> bool {
        let mut at = 0;
        while at < input.len() && self.position != Position::End {
            at += self.step(&input[at..], output);
        }
        input.advance(at);
        self.position == Position::End
    }

    /// The number of the first line that holds a CR or a LF outside a CRLF; the first line of the message is 1.
    pub fn bare_line_ending(&self) -> Option<u64> {
        self.bare_line_ending
    }

    fn remember_bare_line_ending(&mut self) {
        self.bare_line_ending.get_or_insert(self.lines + 1);
    }

    /// Handles at least one octet of `rest`; returns how many.
    fn step(&mut self, rest: &[u8], output: &mut Vec<u8>) -> usize {
        match (self.position, rest[0]) {
            (Position::LineStart, b'.') => self.position = Position::Dot,
            (Position::Dot, b'\r') => self.position = Position::DotCr,
            (Position::DotCr, b'\n') => self.position = Position::End,
            (Position::DotCr, _) => {
                // ".<CR>x": the dot was stuffing and the CR belongs to the text.
                output.push(b'\r');
                self.position = Position::Cr;
                return 0;
            }
            (Position::Cr, b'\n') => {
                output.push(b'\n');
                self.lines += 1;
                self.position = Position::LineStart;
            }
            (Position::Cr, _) => {
                self.remember_bare_line_ending();
                self.position = Position::Text;
                return 0;
            }
            (_, b'\r') => {
                output.push(b'\r');
                self.position = Position::Cr;
            }
            (_, b'\n') if self.completes_lf => {
                output.extend_from_slice(b"\r\n");
                self.lines += 1;
                self.position = Position::Text;
            }
            (_, b'\n') => {
                output.push(b'\n');
                self.remember_bare_line_ending();
                self.position = Position::Text;
            }
            _ => {
                let run = memchr::memchr2(b'\r', b'\n', rest).unwrap_or(rest.len());
                output.extend_from_slice(&rest[..run]);
                self.position = Position::Text;
                return run;
            }
        }
        1
    }
}

/// Turns a message's octets into what is sent after `354` or a multi-line `+OK`.
#[derive(Debug)]
pub struct DotEncoder {
    at_line_start: bool,
    after_cr: bool,
}

impl Default for DotEncoder {
    fn default() -> Self {
        Self { at_line_start: true, after_cr: false }
    }
}

impl DotEncoder {
    /// Appends `octets` to `output`, doubling every dot at the start of a line.
    pub fn encode(&mut self, octets: &[u8], output: &mut Vec<u8>) {
        output.reserve(octets.len());
        let mut rest = octets;
        while let Some(&first) = rest.first() {
            if self.at_line_start && first == b'.' {
                output.push(b'.');
            }
            let Some(line_feed) = memchr::memchr(b'\n', rest) else {
                output.extend_from_slice(rest);
                self.at_line_start = false;
                self.after_cr = rest.ends_with(b"\r");
                return;
            };
            self.at_line_start = if line_feed == 0 { self.after_cr } else { rest[line_feed - 1] == b'\r' };
            self.after_cr = false;
            output.extend_from_slice(&rest[..=line_feed]);
            rest = &rest[line_feed + 1..];
        }
    }

    /// Appends the end: the final dot, after a CRLF of its own where the message lacks one.
    pub fn finish(self, output: &mut Vec<u8>) {
        if !self.at_line_start {
            output.extend_from_slice(b"\r\n");
        }
        output.extend_from_slice(b".\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The decoded octets, what was left over, whether the end came, and the first line with a bare CR or LF.
    fn decode(input: &[u8], chunk: usize) -> (Vec<u8>, Vec<u8>, bool, Option<u64>) {
        let mut decoder = DotDecoder::default();
        let mut output = Vec::new();
        let mut pieces = input.chunks(chunk);
        let mut ended = false;
        let mut rest = Vec::new();
        for piece in pieces.by_ref() {
            let mut buffer = BytesMut::from(piece);
            ended = decoder.decode(&mut buffer, &mut output);
            if ended {
                rest.extend_from_slice(&buffer);
                break;
            }
            assert!(buffer.is_empty());
        }
        pieces.for_each(|piece| rest.extend_from_slice(piece));
        (output, rest, ended, decoder.bare_line_ending())
    }

    #[test]
    fn the_end_is_crlf_dot_crlf_and_nothing_else() {
        // Wire, content if it ended, rest, the first line with a bare CR or LF.
        type Row = (&'static [u8], Option<&'static [u8]>, &'static [u8], Option<u64>);
        let table: &[Row] = &[
            (b".\r\n", Some(b""), b"", None),
            (b".\r\nQUIT\r\n", Some(b""), b"QUIT\r\n", None),
            (b"..\r\n.\r\n", Some(b".\r\n"), b"", None),
            (b".x\r\n.\r\n", Some(b"x\r\n"), b"", None),
            (b"a\r\n.\r\n", Some(b"a\r\n"), b"", None),
            (b"a\r\n..b\r\n...\r\n.\r\n", Some(b"a\r\n.b\r\n..\r\n"), b"", None),
            (b"a\n.\n\r\n.\r\n", Some(b"a\n.\n\r\n"), b"", Some(1)),
            (b"a\n.\r\nb\r\n.\r\n", Some(b"a\n.\r\nb\r\n"), b"", Some(1)),
            (b"a\r.\rb\r\n.\r\n", Some(b"a\r.\rb\r\n"), b"", Some(1)),
            (b"a\r\n.\nb\r\n.\r\n", Some(b"a\r\n\nb\r\n"), b"", Some(2)),
            (b"a\r\n.\rb\r\n.\r\n", Some(b"a\r\n\rb\r\n"), b"", Some(2)),
            (b"a\r\n.\r\r\n.\r\n", Some(b"a\r\n\r\r\n"), b"", Some(2)),
            (b"a\r\n.\0\r\n.\r\n", Some(b"a\r\n\0\r\n"), b"", None),
            (b"a\r\n\0.\r\n.\r\n", Some(b"a\r\n\0.\r\n"), b"", None),
            (b"a\r\r\n.\r\n", Some(b"a\r\r\n"), b"", Some(1)),
            (b"a\r\n.", None, b"", None),
            (b"a.\r\n", None, b"", None),
        ];
        for (wire, content, rest, bare) in table {
            for chunk in 1..=wire.len() {
                let (output, left, ended, saw_bare) = decode(wire, chunk);
                assert_eq!(ended, content.is_some(), "{wire:?} in chunks of {chunk}");
                if let Some(content) = content {
                    assert_eq!((&output[..], &left[..]), (*content, *rest), "{wire:?} in chunks of {chunk}");
                }
                assert_eq!(saw_bare, *bare, "{wire:?} in chunks of {chunk}");
            }
        }
    }

    #[test]
    fn lf_alone_becomes_crlf_where_it_is_wanted_and_never_ends_the_message() {
        let table: [(&[u8], &[u8], Option<u64>); 8] = [
            (b"a\nb\n\r\n.\r\n", b"a\r\nb\r\n\r\n", None),
            (b"\n.\r\n.\r\n", b"\r\n.\r\n", None),
            (b"a\n.\nb\r\n.\r\n", b"a\r\n.\r\nb\r\n", None),
            (b"a\n..b\r\n..c\r\n.\r\n", b"a\r\n..b\r\n.c\r\n", None),
            (b"a\r\n.\nb\r\n.\r\n", b"a\r\n\r\nb\r\n", None),
            (b"a\nb\rc\r\n.\r\n", b"a\r\nb\rc\r\n", Some(2)),
            (b"a\r\r\n.\r\n", b"a\r\r\n", Some(1)),
            (b"a\r\n.\r\n", b"a\r\n", None),
        ];
        for (wire, expected, bare) in table {
            for chunk in 1..=wire.len() {
                let (mut decoder, mut output) = (DotDecoder::completing_lf(), Vec::new());
                let ended: Vec<bool> =
                    wire.chunks(chunk).map(|piece| decoder.decode(&mut BytesMut::from(piece), &mut output)).collect();
                assert_eq!(
                    ended.iter().position(|ended| *ended),
                    Some(ended.len() - 1),
                    "{wire:?} in chunks of {chunk}"
                );
                assert_eq!(
                    (&output[..], decoder.bare_line_ending()),
                    (expected, bare),
                    "{wire:?} in chunks of {chunk}"
                );
            }
        }
    }

    const ALPHABET: [u8; 5] = *b"\r\n\0.a";

    /// All texts of up to this many octets of [`ALPHABET`].
    fn all_texts(octets: usize) -> Vec<Vec<u8>> {
        let mut texts = vec![Vec::new()];
        let mut longest = 0..1;
        for _ in 0..octets {
            let longer: Vec<_> = texts[longest.clone()]
                .iter()
                .flat_map(|text| ALPHABET.map(|octet| [text.as_slice(), &[octet]].concat()))
                .collect();
            longest = texts.len()..texts.len() + longer.len();
            texts.extend(longer);
        }
        texts
    }

    /// Where the message ends, by the words of RFC 5321 §4.1.1.4: after the first CRLF . CRLF. The CRLF of DATA counts.
    fn end_of(wire: &[u8]) -> Option<usize> {
        let sent = [b"\r\n", wire].concat();
        sent.windows(5).position(|window| window == b"\r\n.\r\n").map(|at| at + 3)
    }

    #[test]
    fn every_mixture_of_cr_lf_nul_and_dot_ends_where_the_rfc_says() {
        for wire in all_texts(6) {
            let end = end_of(&wire);
            for completes_lf in [false, true] {
                for boundary in 0..=wire.len() {
                    let mut decoder = DotDecoder { completes_lf, ..DotDecoder::default() };
                    let (mut input, mut output) = (BytesMut::from(&wire[..boundary]), Vec::new());
                    let early = decoder.decode(&mut input, &mut output);
                    input.extend_from_slice(&wire[boundary..]);
                    let ended = early || decoder.decode(&mut input, &mut output);
                    let found = ended.then(|| wire.len() - input.len());
                    assert_eq!(found, end, "{:?} at {boundary}, {completes_lf}", wire.escape_ascii().to_string());
                }
            }
        }
    }

    #[test]
    fn what_is_sent_ends_once_and_comes_back_whatever_the_message_holds() {
        for message in all_texts(6) {
            for boundary in 0..=message.len() {
                let (mut encoder, mut wire) = (DotEncoder::default(), Vec::new());
                encoder.encode(&message[..boundary], &mut wire);
                encoder.encode(&message[boundary..], &mut wire);
                encoder.finish(&mut wire);
                assert_eq!(end_of(&wire), Some(wire.len()), "{:?} at {boundary}", message.escape_ascii().to_string());
                let mut expected = message.clone();
                if !message.is_empty() && !message.ends_with(b"\r\n") {
                    expected.extend_from_slice(b"\r\n");
                }
                assert_eq!(decode(&wire, wire.len()).0, expected, "{:?}", message.escape_ascii().to_string());
            }
        }
    }

    #[test]
    fn a_message_without_final_crlf_gets_one_on_the_wire() {
        let mut wire = Vec::new();
        let mut encoder = DotEncoder::default();
        encoder.encode(b".a", &mut wire);
        encoder.finish(&mut wire);
        assert_eq!(wire, b"..a\r\n.\r\n");
    }

    proptest! {
        #[test]
        fn stuffing_is_undone_at_every_chunk_size(
            lines in prop::collection::vec("[.a\u{0}]{0,4}", 0..12),
            encode_chunk in 1usize..20,
            decode_chunk in 1usize..20,
        ) {
            let message: Vec<u8> = lines.iter().flat_map(|line| [line.as_bytes(), b"\r\n"].concat()).collect();
            let mut wire = Vec::new();
            let mut encoder = DotEncoder::default();
            message.chunks(encode_chunk).for_each(|piece| encoder.encode(piece, &mut wire));
            encoder.finish(&mut wire);
            wire.extend_from_slice(b"NOOP\r\n");
            let (output, rest, ended, bare) = decode(&wire, decode_chunk);
            prop_assert_eq!((output, &rest[..], ended, bare), (message, &b"NOOP\r\n"[..], true, None));
        }
    }
}
