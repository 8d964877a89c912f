//! The text of a message as it travels, line by line.

use super::{
    Breach, Log,
    octets::{Ending, ends},
};
use crate::Side;

/// The longest line, its CRLF included (RFC 5321 §4.5.3.1.6). A dot that was put before it does not count.
const LINE_OCTETS: usize = 1000;

/// Judges a message that a client sends; each breach is remarked once.
#[derive(Debug, Default)]
pub(super) struct Text {
    before: Ending,
    /// Remarked already.
    found: Vec<Breach>,
    /// Whether octets over 127 are allowed.
    eight_bit: bool,
    /// Whether nothing is judged: the octets are no lines (RFC 3030 §3).
    binary: bool,
    /// Whether a line looked like the end to a server that is not strict.
    pub(super) seemed_to_end: bool,
    /// The beginning of a line whose rest is in the next chunk.
    partial: Vec<u8>,
}

impl Text {
    /// The text of a message that may have octets over 127, or that is not judged.
    pub(super) fn new(eight_bit: bool, binary: bool) -> Self {
        Self { eight_bit, binary, ..Self::default() }
    }

    /// Takes a line of a message that ends with a dot; returns whether this is the end.
    pub(super) fn line(&mut self, line: &[u8], at: usize, log: &mut Log) -> bool {
        let (content, _, _) = ends(line, self.before);
        let is_dot = content == b".";
        if is_dot && self.before == Ending::CrLf && line.ends_with(b"\r\n") {
            return true;
        }
        let starts_with_dot = self.before == Ending::CrLf && content.first() == Some(&b'.');
        if starts_with_dot && content.get(1).is_some_and(|second| !matches!(second, b'.' | b'\r')) {
            self.remark(Breach::DotNotStuffed, at, log);
        }
        let cr_dot = content.windows(2).position(|pair| pair == b"\r.");
        if is_dot || cr_dot.is_some_and(|cr| matches!(content.get(cr + 2), None | Some(b'\r'))) || content == b".\r" {
            self.seemed_to_end = true;
            self.remark(Breach::SmugglingShape, at, log);
        }
        self.judge(line, usize::from(starts_with_dot), at, log);
        false
    }

    /// Takes octets of a chunk.
    pub(super) fn chunk(&mut self, octets: &[u8], at: usize, log: &mut Log) {
        self.partial.extend_from_slice(octets);
        while let Some(end) = memchr::memchr(b'\n', &self.partial) {
            let line: Vec<u8> = self.partial.drain(..=end).collect();
            self.judge(&line, 0, at, log);
        }
    }

    /// The last chunk has ended.
    pub(super) fn end_of_chunks(&mut self, at: usize, log: &mut Log) {
        if self.partial.contains(&b'\r') {
            self.remark(Breach::BareCr, at, log);
        }
    }

    fn judge(&mut self, line: &[u8], stuffing: usize, at: usize, log: &mut Log) {
        let (content, ending, breach) = ends(line, self.before);
        self.before = ending;
        let rest = [
            (content.contains(&0), Breach::NulInMessage),
            (!self.eight_bit && !content.is_ascii(), Breach::EightBitMessage),
            (line.len() - stuffing > LINE_OCTETS, Breach::TextLineTooLong),
        ];
        let rest = rest.into_iter().filter(|(is_so, _)| *is_so).map(|(_, breach)| breach);
        for breach in breach.into_iter().chain(rest) {
            self.remark(breach, at, log);
        }
    }

    fn remark(&mut self, breach: Breach, at: usize, log: &mut Log) {
        if !self.binary && !self.found.contains(&breach) {
            self.found.push(breach);
            log.add(breach, Side::Client, at);
        }
    }
}
