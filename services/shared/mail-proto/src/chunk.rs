//! A message in chunks of known length (RFC 3030 §2).

use bytes::{Buf, BytesMut};

/// Takes the chunks of one message. Their octets are the message's own: there are no dots to be removed.
///
/// As in [`DotDecoder`](crate::dot::DotDecoder), a CR or LF outside a CRLF is remembered, so that the server can refuse
/// the message after it has read all of it.
#[derive(Debug, Default)]
pub struct ChunkDecoder {
    /// How many octets of the chunk are still to come.
    left: u64,
    /// How many lines have ended with CRLF.
    lines: u64,
    after_cr: bool,
    bare_line_ending: Option<u64>,
}

impl ChunkDecoder {
    /// Begins the next chunk.
    pub fn begin(&mut self, octets: u64) {
        self.left = octets;
    }

    /// Moves octets from `input` to `output`; true once the chunk is whole. What follows it stays in `input`.
    pub fn decode(&mut self, input: &mut BytesMut, output: &mut Vec<u8>) -> bool {
        let octets = usize::try_from(self.left).unwrap_or(usize::MAX).min(input.len());
        let piece = &input[..octets];
        self.look_at(piece);
        output.extend_from_slice(piece);
        input.advance(octets);
        self.left -= octets as u64;
        self.left == 0
    }

    /// The number of the first line that holds a CR or a LF outside a CRLF; the first line of the message is 1. A CR at
    /// the end of the last chunk counts, so this is to be asked when the message is whole.
    pub fn bare_line_ending(&self) -> Option<u64> {
        self.bare_line_ending.or(self.after_cr.then_some(self.lines + 1))
    }

    fn look_at(&mut self, piece: &[u8]) {
        let mut from = 0;
        while from < piece.len() {
            let found = memchr::memchr2(b'\r', b'\n', &piece[from..]).map(|offset| from + offset);
            // What is between, or nothing, comes after a CR.
            if self.after_cr && (found != Some(from) || piece[from] == b'\r') {
                self.remember();
            }
            let Some(at) = found else {
                self.after_cr = false;
                return;
            };
            let follows_cr = self.after_cr && at == from;
            match piece[at] {
                b'\n' if follows_cr => self.lines += 1,
                b'\n' => self.remember(),
                _ => {}
            }
            self.after_cr = piece[at] == b'\r';
            from = at + 1;
        }
    }

    fn remember(&mut self) {
        self.bare_line_ending.get_or_insert(self.lines + 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(message: &[u8], chunk_octets: usize, piece_octets: usize) -> (Vec<u8>, Option<u64>) {
        let (mut decoder, mut output) = (ChunkDecoder::default(), Vec::new());
        for chunk in message.chunks(chunk_octets) {
            decoder.begin(chunk.len() as u64);
            let mut input = BytesMut::new();
            for piece in chunk.chunks(piece_octets) {
                assert!(!decoder.decode(&mut input, &mut output));
                input.extend_from_slice(piece);
            }
            input.extend_from_slice(b"NOOP\r\n");
            assert!(decoder.decode(&mut input, &mut output));
            assert_eq!(input, "NOOP\r\n", "what follows is left");
        }
        (output, decoder.bare_line_ending())
    }

    #[test]
    fn octets_are_kept_and_lone_line_endings_are_found_however_they_are_cut() {
        let table: &[(&[u8], Option<u64>)] = &[
            (b"", None),
            (b"a\r\n.\r\n..b\r\n", None),
            (b"no line ending", None),
            (b"a\r\nb\nc\r\n", Some(2)),
            (b"\na", Some(1)),
            (b"a\r\n\r\nb\rc", Some(3)),
            (b"a\r\r\n", Some(1)),
            (b"a\r\n\n", Some(2)),
            (b"a\r\nb\r", Some(2)),
            (b"\r\n.\n\r\n.\r", Some(2)),
        ];
        for (message, bare) in table {
            for chunk_octets in 1..=message.len().max(1) {
                for piece_octets in 1..=chunk_octets {
                    let decoded = decode(message, chunk_octets, piece_octets);
                    assert_eq!(decoded, (message.to_vec(), *bare), "{message:?} {chunk_octets} {piece_octets}");
                }
            }
        }
    }

    #[test]
    fn an_empty_chunk_is_whole_at_once() {
        let (mut input, mut output) = (BytesMut::from("QUIT\r\n"), Vec::new());
        assert!(ChunkDecoder::default().decode(&mut input, &mut output));
        assert_eq!((&input[..], output.len()), (&b"QUIT\r\n"[..], 0));
    }
}
