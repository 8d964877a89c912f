//! SMTP (RFC 5321): a command each, a whole reply each, the final dot of a message alone.

use super::{END, Held, Piece, SEGMENT_OCTETS, Segment, Side, first_line, line_end};
use internal_api::Form;

/// The dialogue of one connection.
#[derive(Debug)]
pub(crate) struct Smtp {
    client: Held,
    server: Held,
    body: Body,
    /// Whether what is held of the client is a part of a body.
    in_body: bool,
}

/// How a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Body {
    /// With a dot (RFC 5321 §4.5.2).
    Dots,
    /// After so many octets (RFC 3030 §2).
    Chunk { left: u64 },
}

impl Default for Smtp {
    fn default() -> Self {
        let (client, server) = (Held::new(Side::Client), Held::new(Side::Server));
        Self { client, server, body: Body::Dots, in_body: false }
    }
}

impl Smtp {
    pub(super) fn push(&mut self, piece: Piece<'_>, out: &mut Vec<Segment>) {
        match (piece.from, piece.form) {
            (Side::Server, _) => {
                self.client.cut_all(out);
                self.server.push(piece.at, piece.octets);
                self.cut_replies(out);
            }
            (Side::Client, Form::Body) => {
                if !self.in_body {
                    self.client.cut_all(out);
                }
                self.in_body = true;
                for octets in piece.octets.chunks(SEGMENT_OCTETS) {
                    self.client.push(piece.at, octets);
                    self.cut_body(octets.len(), out);
                }
            }
            (Side::Client, Form::Line | Form::Secret) => {
                if self.in_body {
                    self.client.cut_all(out);
                }
                self.in_body = false;
                self.client.push(piece.at, piece.octets);
                self.cut_commands(out);
            }
        }
    }

    pub(super) fn finish(&mut self, out: &mut Vec<Segment>) {
        self.client.cut_all(out);
        self.server.cut_all(out);
    }

    pub(super) fn last_octets(&self) -> [u8; 2] {
        self.client.last_octets()
    }

    pub(super) fn ends_with_dot(&self) -> bool {
        self.body == Body::Dots
    }

    fn cut_commands(&mut self, out: &mut Vec<Segment>) {
        while let Some(length) = first_line(&self.client.octets) {
            self.body = body_after(&self.client.octets[..length]);
            self.client.cut_command(length, out);
        }
        while self.client.octets.len() > SEGMENT_OCTETS {
            self.client.cut(SEGMENT_OCTETS, out);
        }
    }

    /// Cuts what is surely not at the end, or all with the end.
    fn cut_body(&mut self, added: usize, out: &mut Vec<Segment>) {
        let (is_over, dot) = match &mut self.body {
            Body::Dots => (self.client.is_at_end(), END.len() - 2),
            Body::Chunk { left } => {
                *left = left.saturating_sub(added as u64);
                (*left == 0, 0)
            }
        };
        while self.client.octets.len() > SEGMENT_OCTETS + END.len() {
            let held = &self.client.octets;
            let count = match line_end(&held[..before_last_line(held)], SEGMENT_OCTETS) {
                0 => SEGMENT_OCTETS,
                count => count,
            };
            self.client.cut(count, out);
        }
        if is_over {
            while self.client.octets.len() > dot {
                let text = self.client.octets.len() - dot;
                self.client.cut(line_end(&self.client.octets[..text], SEGMENT_OCTETS), out);
            }
            self.client.cut(dot, out);
        }
    }

    fn cut_replies(&mut self, out: &mut Vec<Segment>) {
        let mut start = 0;
        while let Some(length) = first_line(&self.server.octets[start..]) {
            let is_last = self.server.octets.get(start + 3) != Some(&b'-');
            start += length;
            if is_last {
                self.server.cut(start, out);
                start = 0;
            }
        }
        while self.server.octets.len() > SEGMENT_OCTETS {
            self.server.cut(line_end(&self.server.octets, SEGMENT_OCTETS), out);
        }
    }
}

/// How the body ends that may follow this command.
fn body_after(command: &[u8]) -> Body {
    let mut words = command.split(|octet| octet.is_ascii_whitespace()).filter(|word| !word.is_empty());
    let is_chunk = words.next().is_some_and(|verb| verb.eq_ignore_ascii_case(b"BDAT"));
    let octets = words.next().and_then(|word| str::from_utf8(word).ok()?.parse().ok());
    match octets {
        Some(left) if is_chunk => Body::Chunk { left },
        _ => Body::Dots,
    }
}

/// How many octets come before the last whole line. The dissector waits for more after a segment without any end of a
/// line, which is what the last segment of a chunk must not be.
fn before_last_line(octets: &[u8]) -> usize {
    memchr::memrchr_iter(b'\n', octets).nth(1).map_or(0, |end| end + 1)
}
