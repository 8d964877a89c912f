//! POP3 (RFC 1939): a command each, a listing with its status, a message after its status.

use super::{END, Held, Piece, SEGMENT_OCTETS, Segment, Side, first_line, line_end};
use memchr::memmem;
use std::collections::VecDeque;

/// How many commands may wait for their responses. What comes after them is taken for commands with one line each.
const WAITING: usize = 1024;

/// The dialogue of one connection.
#[derive(Debug)]
pub(crate) struct Pop3 {
    client: Held,
    server: Held,
    /// What the commands without a response have asked for.
    asked: VecDeque<Asked>,
    expected: Expected,
}

/// What the response to a command consists of when it is a good one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Status,
    Listing,
    Message,
}

/// What the server sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    Status,
    Listing,
    /// A message of so many octets, as its status said, of which so many are cut.
    Message {
        announced: usize,
        cut: usize,
    },
}

impl Default for Pop3 {
    fn default() -> Self {
        let (client, server) = (Held::new(Side::Client), Held::new(Side::Server));
        // The greeting comes unasked.
        Self { client, server, asked: VecDeque::from([Asked::Status]), expected: Expected::Status }
    }
}

impl Pop3 {
    /// After STLS there is no greeting.
    pub(super) fn after_greeting() -> Self {
        Self { asked: VecDeque::new(), ..Self::default() }
    }

    pub(super) fn push(&mut self, piece: Piece<'_>, out: &mut Vec<Segment>) {
        match piece.from {
            Side::Client => {
                self.client.push(piece.at, piece.octets);
                self.cut_commands(out);
            }
            Side::Server => {
                self.client.cut_all(out);
                for octets in piece.octets.chunks(SEGMENT_OCTETS) {
                    self.server.push(piece.at, octets);
                    self.cut_responses(out);
                }
            }
        }
    }

    pub(super) fn finish(&mut self, out: &mut Vec<Segment>) {
        self.client.cut_all(out);
        self.server.cut_all(out);
    }

    pub(super) fn last_octets(&self) -> [u8; 2] {
        self.server.last_octets()
    }

    fn cut_commands(&mut self, out: &mut Vec<Segment>) {
        while let Some(length) = first_line(&self.client.octets) {
            if self.asked.len() < WAITING {
                self.asked.push_back(asked(&self.client.octets[..length]));
            }
            self.client.cut_command(length, out);
        }
        while self.client.octets.len() > SEGMENT_OCTETS {
            self.client.cut(SEGMENT_OCTETS, out);
        }
    }

    fn cut_responses(&mut self, out: &mut Vec<Segment>) {
        loop {
            let goes_on = match self.expected {
                Expected::Status => self.cut_status(out),
                Expected::Listing => self.cut_multi_line(None, out),
                Expected::Message { announced, cut } => self.cut_multi_line(Some((announced, cut)), out),
            };
            if !goes_on {
                return;
            }
        }
    }

    /// Cuts the first line, unless a listing follows it. Says whether there was one.
    fn cut_status(&mut self, out: &mut Vec<Segment>) -> bool {
        let Some(length) = first_line(&self.server.octets) else { return false };
        let asked = self.asked.pop_front().unwrap_or(Asked::Status);
        let line = &self.server.octets[..length];
        match asked {
            Asked::Listing if line.starts_with(b"+OK") => self.expected = Expected::Listing,
            Asked::Message if line.starts_with(b"+OK") => {
                self.expected = Expected::Message { announced: announced(line), cut: 0 };
                self.server.cut(length, out);
            }
            _ => self.server.cut(length, out),
        }
        true
    }

    /// Cuts what is held up to the end of a multi-line response. Says whether that was there.
    fn cut_multi_line(&mut self, message: Option<(usize, usize)>, out: &mut Vec<Segment>) -> bool {
        let empty = self.server.octets.starts_with(&END[2..]) && self.server.before == *b"\r\n";
        let end = match empty {
            true => Some(END.len() - 2),
            false => memmem::find(&self.server.octets, END).map(|start| start + END.len()),
        };
        let mut left = end.unwrap_or(self.server.octets.len());
        let mut cut = message.map_or(0, |(_, cut)| cut);
        // Without an end, what may be its beginning stays.
        while left > SEGMENT_OCTETS + END.len() || (end.is_some() && left > SEGMENT_OCTETS) {
            // The dissector takes the message for whole as soon as it has as many octets as the status said, which are
            // less than those that travel: dots are doubled, and one ends it. All before the last segment is less.
            let limit = match message {
                Some((announced, _)) if announced > cut + 1 => SEGMENT_OCTETS.min(announced - 1 - cut),
                _ => SEGMENT_OCTETS,
            };
            let count = line_end(&self.server.octets[..left], limit);
            self.server.cut(count, out);
            (left, cut) = (left - count, cut + count);
        }
        if let Some((announced, _)) = message {
            self.expected = Expected::Message { announced, cut };
        }
        if end.is_some() {
            self.server.cut(left, out);
            self.expected = Expected::Status;
        }
        end.is_some()
    }
}

/// What a command asks for.
fn asked(command: &[u8]) -> Asked {
    let mut words = command.split(|octet| octet.is_ascii_whitespace()).filter(|word| !word.is_empty());
    let verb = words.next().unwrap_or_default().to_ascii_uppercase();
    match (verb.as_slice(), words.next()) {
        (b"RETR" | b"TOP", _) => Asked::Message,
        (b"CAPA", _) | (b"LIST" | b"UIDL" | b"AUTH", None) => Asked::Listing,
        _ => Asked::Status,
    }
}

/// How many octets a status announces; 0 where it does not.
fn announced(status: &[u8]) -> usize {
    let word = status.split(|octet| octet.is_ascii_whitespace()).nth(1);
    word.and_then(|word| str::from_utf8(word).ok()?.parse().ok()).unwrap_or(0)
}
