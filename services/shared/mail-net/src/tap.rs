//! Taps: who sees what a dialogue consists of.

use crate::WallClock;
use jiff::Timestamp;
use std::{collections::VecDeque, fmt, ops::Range, sync::Arc};

/// How much memory for received octets a connection keeps while it is idle.
const KEPT_OCTETS: usize = 512;

/// Sees all octets of a dialogue, in both directions and in their order.
///
/// A tap runs in the midst of the dialogue: it must not block.
pub trait Tap: Send + Sync {
    /// Octets were received or sent, all of one kind. A line that is sent comes whole; a body, or a line that is too long to
    /// be taken, may come in several calls.
    fn saw(&self, at: Timestamp, direction: Direction, kind: Kind, octets: &[u8]);
}

/// Where octets go, seen from this end of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the peer.
    Received,
    /// To the peer.
    Sent,
}

/// What octets are a part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A command or a reply, with its CRLF.
    Line,
    /// A message or a listing, as it travels.
    Body,
    /// A line with a password. A tap must not show it, unless it was asked to.
    Secret,
}

/// The taps of one connection. Without any, each use costs one branch.
#[derive(Default)]
pub struct Taps(Option<Box<Active>>);

struct Active {
    taps: Vec<Arc<dyn Tap>>,
    /// Whether a received line holds a password.
    is_secret: fn(&[u8]) -> bool,
    clock: WallClock,
    /// Received and not yet understood, after the first `understood` octets; and when the last of it came.
    heard: Vec<u8>,
    understood: usize,
    heard_at: Timestamp,
    /// What the next line is: known of the rest of a long line, and of a password.
    expected: Option<Kind>,
    /// What waits to be sent, and how many octets before that are shown.
    queued: VecDeque<(Kind, usize)>,
    shown: usize,
}

impl Taps {
    /// No taps.
    pub fn none() -> Self {
        Self(None)
    }

    /// These taps. A received line is shown as [`Kind::Secret`] when `is_secret` says so of its octets, CRLF included;
    /// it is asked about refused lines too.
    pub fn new(taps: Vec<Arc<dyn Tap>>, is_secret: fn(&[u8]) -> bool, clock: WallClock) -> Self {
        if taps.is_empty() {
            return Self::none();
        }
        Self(Some(Box::new(Active {
            taps,
            is_secret,
            heard_at: clock.now(),
            clock,
            heard: Vec::new(),
            understood: 0,
            expected: None,
            queued: VecDeque::new(),
            shown: 0,
        })))
    }

    /// The next line holds a password.
    pub(crate) fn expect_secret(&mut self) {
        if let Some(active) = &mut self.0 {
            active.expected = Some(Kind::Secret);
        }
    }

    /// Octets came that are not understood yet.
    pub(crate) fn heard(&mut self, octets: &[u8]) {
        if let Some(active) = &mut self.0 {
            active.heard_at = active.clock.now();
            active.heard.extend_from_slice(octets);
        }
    }

    /// The first `octets` of what was heard are lines. Of the last one it may be only a part.
    pub(crate) fn took_lines(&mut self, octets: usize) {
        let Some(active) = &mut self.0 else { return };
        let lines = active.next(octets);
        let mut expected = active.expected.take();
        for line in active.heard[lines.clone()].split_inclusive(|&octet| octet == b'\n') {
            let kind = expected.take().unwrap_or_else(|| active.kind_of(line));
            expected = (!line.ends_with(b"\n")).then_some(kind);
            active.show(active.heard_at, Direction::Received, kind, line);
        }
        active.expected = expected;
        active.understand(lines);
    }

    /// The first `octets` of what was heard are a part of a body.
    pub(crate) fn took_body(&mut self, octets: usize) {
        if let Some(active) = &mut self.0 {
            let body = active.next(octets);
            if !body.is_empty() {
                active.show(active.heard_at, Direction::Received, Kind::Body, &active.heard[body.clone()]);
            }
            active.understand(body);
        }
    }

    /// Nobody is going to understand the rest of what was heard.
    pub(crate) fn took_rest(&mut self) {
        if let Some(active) = &self.0 {
            let rest = active.heard.len() - active.understood;
            self.took_lines(rest);
        }
    }

    /// Octets of this kind are appended to what waits to be sent.
    pub(crate) fn queued(&mut self, kind: Kind, octets: usize) {
        if let Some(active) = &mut self.0
            && octets > 0
        {
            match active.queued.back_mut() {
                Some((last, queued)) if *last == Kind::Body && kind == Kind::Body => *queued += octets,
                _ => active.queued.push_back((kind, octets)),
            }
        }
    }

    /// The first `sent` octets of what waits are sent. A line is shown when all of it is.
    pub(crate) fn sent(&mut self, octets: &[u8], sent: usize) {
        let Some(active) = &mut self.0 else { return };
        let at = active.clock.now();
        while let Some((kind, queued)) = active.queued.front().copied() {
            let newly = (sent - active.shown).min(queued);
            if newly == 0 || (newly < queued && kind != Kind::Body) {
                return;
            }
            active.show(at, Direction::Sent, kind, &octets[active.shown..active.shown + newly]);
            active.shown += newly;
            match queued - newly {
                0 => drop(active.queued.pop_front()),
                left => active.queued[0].1 = left,
            }
        }
    }

    /// All that waited is sent, and dropped.
    pub(crate) fn all_sent(&mut self) {
        if let Some(active) = &mut self.0 {
            active.shown = 0;
        }
    }
}

impl Active {
    fn kind_of(&self, line: &[u8]) -> Kind {
        if (self.is_secret)(line) { Kind::Secret } else { Kind::Line }
    }

    /// Where the next octets are that were heard, as many as there are of these.
    fn next(&self, octets: usize) -> Range<usize> {
        self.understood..(self.understood + octets).min(self.heard.len())
    }

    /// Forgets octets that were shown.
    fn understand(&mut self, shown: Range<usize>) {
        self.understood = shown.end;
        if self.understood == self.heard.len() {
            self.understood = 0;
            self.heard.clear();
            // An idle connection keeps next to nothing.
            self.heard.shrink_to(KEPT_OCTETS);
        }
    }

    fn show(&self, at: Timestamp, direction: Direction, kind: Kind, octets: &[u8]) {
        self.taps.iter().for_each(|tap| tap.saw(at, direction, kind, octets));
    }
}

impl fmt::Debug for Taps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Taps").field(&self.0.as_ref().map_or(0, |active| active.taps.len())).finish()
    }
}
