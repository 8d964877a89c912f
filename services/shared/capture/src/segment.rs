//! Cuts a dialogue into segments as the dissectors of Wireshark want them.
//!
//! They look at the first octets of a segment, and at its last ones. So a command is a segment, a whole reply is one, and
//! a message ends where a segment ends.

mod pop3;
mod smtp;

use internal_api::{Form, Protocol};
use jiff::Timestamp;
use pop3::Pop3;
use smtp::Smtp;

/// The longest segment, in octets: as much as 44 usual ones, and below what an IPv4 packet holds.
pub(crate) const SEGMENT_OCTETS: usize = 64_240;
/// What stands in place of octets that are missing, again and again. 80 octets, so that it is easy to count.
const FILLER: &[u8; 80] = b"[mailtown has not kept these octets: this line holds the place of as many, 80]\r\n";
/// How many octets of filler are made at a time: whole lines, and less than a segment.
const FILLER_OCTETS: usize = 62_400;
/// The end of a message in SMTP and POP3, with the end of the line before (RFC 5321 §4.1.1.4, RFC 1939 §3).
const END: &[u8; 5] = b"\r\n.\r\n";

/// An end of a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Client,
    Server,
}

impl Side {
    pub(crate) fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

/// Octets that travel together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) from: Side,
    /// When the last of them was seen.
    pub(crate) at: Timestamp,
    /// Whether it is a command, and no part of a body.
    pub(crate) is_command: bool,
    pub(crate) octets: Vec<u8>,
}

/// Octets of one side that were seen together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Piece<'a> {
    pub(crate) from: Side,
    pub(crate) at: Timestamp,
    pub(crate) form: Form,
    pub(crate) octets: &'a [u8],
}

/// Cuts the dialogue of one connection into segments. It holds at most two segments of each side back.
#[derive(Debug)]
pub(crate) enum Cutter {
    Smtp(Smtp),
    Pop3(Pop3),
    /// Each piece is a message of DNS.
    Dns,
}

/// Octets at the end of a body that were not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hole {
    pub(crate) from: Side,
    pub(crate) at: Timestamp,
    /// How many are left to fill.
    pub(crate) octets: u64,
    pub(crate) begun: bool,
}

impl Cutter {
    pub(crate) fn new(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Smtp | Protocol::Submission | Protocol::Submissions => Self::Smtp(Smtp::default()),
            Protocol::Pop3 | Protocol::Pop3s => Self::Pop3(Pop3::default()),
            Protocol::DnsUdp | Protocol::DnsTcp => Self::Dns,
        }
    }

    /// That of a connection whose greeting was on another one, before TLS began.
    pub(crate) fn after_greeting(protocol: Protocol) -> Self {
        match Self::new(protocol) {
            Self::Pop3(_) => Self::Pop3(Pop3::after_greeting()),
            other => other,
        }
    }

    /// Adds octets. Segments that are complete go to `out`.
    pub(crate) fn push(&mut self, piece: Piece<'_>, out: &mut Vec<Segment>) {
        match self {
            Self::Smtp(smtp) => smtp.push(piece, out),
            Self::Pop3(pop3) => pop3.push(piece, out),
            // A datagram has room in a packet; over TCP, a message may be longer than a segment.
            Self::Dns => out.extend(piece.octets.chunks(SEGMENT_OCTETS).map(|octets| Segment {
                from: piece.from,
                at: piece.at,
                is_command: false,
                octets: octets.to_vec(),
            })),
        }
    }

    /// What was held back goes to `out`: nothing more comes.
    pub(crate) fn finish(&mut self, out: &mut Vec<Segment>) {
        match self {
            Self::Smtp(smtp) => smtp.finish(out),
            Self::Pop3(pop3) => pop3.finish(out),
            Self::Dns => {}
        }
    }

    /// Whether lines can stand in place of missing octets.
    pub(crate) fn has_lines(&self) -> bool {
        !matches!(self, Self::Dns)
    }

    /// Adds a part of what stands in place of missing octets: as many, in lines that say so. The dissectors count the
    /// octets of a message, so less would bring them out of step. Where the body `is_whole`, its end is known: it is
    /// restored.
    pub(crate) fn fill(&mut self, hole: &mut Hole, is_whole: bool, out: &mut Vec<Segment>) {
        let (last, ends_with_dot) = match self {
            Self::Smtp(smtp) => (smtp.last_octets(), smtp.ends_with_dot()),
            Self::Pop3(pop3) => (pop3.last_octets(), true),
            Self::Dns => return,
        };
        let left = usize::try_from(hole.octets).unwrap_or(usize::MAX);
        let end = match is_whole && ends_with_dot {
            true => &END[END.len() - left.min(END.len())..],
            false => &[],
        };
        let mut octets = Vec::with_capacity(FILLER_OCTETS + END.len());
        if !hole.begun && last != *b"\r\n" && left - end.len() >= 2 {
            octets.extend_from_slice(b"\r\n");
        }
        hole.begun = true;
        let lines = (left - end.len() - octets.len()).min(FILLER_OCTETS);
        octets.extend(filler().take(lines));
        if octets.len() + end.len() == left {
            octets.extend_from_slice(end);
        }
        hole.octets -= octets.len() as u64;
        self.push(Piece { from: hole.from, at: hole.at, form: Form::Body, octets: &octets }, out);
    }
}

/// Lines without end, each of 80 octets.
fn filler() -> impl Iterator<Item = u8> {
    FILLER.iter().copied().cycle()
}

/// Octets of one side that are held back.
#[derive(Debug)]
struct Held {
    from: Side,
    octets: Vec<u8>,
    /// When the last of them was seen.
    at: Timestamp,
    /// The two octets before them.
    before: [u8; 2],
}

impl Held {
    fn new(from: Side) -> Self {
        Self { from, octets: Vec::new(), at: Timestamp::UNIX_EPOCH, before: *b"\r\n" }
    }

    fn push(&mut self, at: Timestamp, octets: &[u8]) {
        self.at = at;
        self.octets.extend_from_slice(octets);
    }

    /// The first `count` octets, at most all, become a segment. None becomes none.
    fn cut(&mut self, count: usize, out: &mut Vec<Segment>) {
        if count == 0 {
            return;
        }
        let rest = self.octets.split_off(count.min(self.octets.len()));
        let octets = std::mem::replace(&mut self.octets, rest);
        self.before = last_two(self.before, &octets);
        out.push(Segment { from: self.from, at: self.at, is_command: false, octets });
    }

    /// The first `count` octets are a command, and become a segment.
    fn cut_command(&mut self, count: usize, out: &mut Vec<Segment>) {
        self.cut(count, out);
        if let Some(segment) = out.last_mut() {
            segment.is_command = true;
        }
    }

    /// Cuts all of it, at ends of lines where that is possible.
    fn cut_all(&mut self, out: &mut Vec<Segment>) {
        while !self.octets.is_empty() {
            self.cut(line_end(&self.octets, SEGMENT_OCTETS), out);
        }
    }

    fn last_octets(&self) -> [u8; 2] {
        last_two(self.before, &self.octets)
    }

    /// Whether the end of a message is the last that is held.
    fn is_at_end(&self) -> bool {
        self.octets.ends_with(END) || (self.octets == END[2..] && self.before == *b"\r\n")
    }
}

fn last_two(before: [u8; 2], octets: &[u8]) -> [u8; 2] {
    match octets {
        [.., first, second] => [*first, *second],
        [only] => [before[1], *only],
        [] => before,
    }
}

/// How many octets to cut off: all, or up to the last end of a line within `limit`, or `limit` where there is none. What
/// is left does not begin like a status of POP3, which would be taken for one (RFC 1939 §3).
fn line_end(octets: &[u8], limit: usize) -> usize {
    if octets.len() <= limit {
        return octets.len();
    }
    let mut ends = memchr::memrchr_iter(b'\n', &octets[..limit]).map(|end| end + 1);
    ends.find(|&end| !octets[end..].starts_with(b"+OK") && !octets[end..].starts_with(b"-ERR")).unwrap_or(limit)
}

/// The length of the first line, its LF included.
fn first_line(octets: &[u8]) -> Option<usize> {
    memchr::memchr(b'\n', octets).map(|end| end + 1)
}
