//! Whole blocks of a pcapng file: a capture that is stopped at any time can be read.

use std::io::{self, Write};

/// The type of the block that has a packet (pcapng §4.3).
const ENHANCED_PACKET: u32 = 6;
/// The type and the length of a block.
const HEAD_OCTETS: usize = 8;

/// Writes what comes in any pieces block by block.
pub(super) struct Blocks<W> {
    output: W,
    unfinished: Vec<u8>,
    packets: u64,
}

impl<W: Write> Blocks<W> {
    pub(super) fn new(output: W) -> Self {
        Self { output, unfinished: Vec::new(), packets: 0 }
    }

    /// How many packets were written.
    pub(super) fn packets(&self) -> u64 {
        self.packets
    }

    /// Takes the next piece, and writes the blocks that are whole. The console writes little-endian.
    ///
    /// # Errors
    /// When the output fails.
    pub(super) fn write(&mut self, piece: &[u8]) -> io::Result<()> {
        self.unfinished.extend_from_slice(piece);
        let mut whole = 0;
        while let Some((kind, octets)) = head(&self.unfinished[whole..])
            && self.unfinished.len() - whole >= octets
        {
            whole += octets;
            self.packets += u64::from(kind == ENHANCED_PACKET);
        }
        self.output.write_all(&self.unfinished[..whole])?;
        self.unfinished.drain(..whole);
        self.output.flush()
    }
}

/// The type of the block that begins here, and how many octets it has.
fn head(octets: &[u8]) -> Option<(u32, usize)> {
    let head = octets.get(..HEAD_OCTETS)?;
    let number = |octets: &[u8]| octets.iter().rev().fold(0, |number: u32, octet| number << 8 | u32::from(*octet));
    let length = usize::try_from(number(&head[4..])).ok()?;
    // A block of no length would never end.
    Some((number(&head[..4]), length.max(HEAD_OCTETS)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(kind: u32, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(12 + body.len()).unwrap().to_le_bytes();
        [&kind.to_le_bytes()[..], &length, body, &length].concat()
    }

    #[test]
    fn blocks_are_written_whole() {
        let (first, second) = (block(0x0a0d_0d0a, b"head"), block(ENHANCED_PACKET, b"a packet"));
        let all = [&first[..], &second].concat();
        for stop in 0..=all.len() {
            let mut output = Vec::new();
            let mut blocks = Blocks::new(&mut output);
            all[..stop].iter().for_each(|octet| blocks.write(&[*octet]).unwrap());
            let packets = blocks.packets();
            let expected = if stop == all.len() {
                all.len()
            } else if stop >= first.len() {
                first.len()
            } else {
                0
            };
            assert_eq!((output.len(), packets), (expected, u64::from(stop == all.len())), "{stop}");
        }
        let mut output = Vec::new();
        Blocks::new(&mut output).write(&all).unwrap();
        assert_eq!(output, all);
    }
}
