//! What one side has sent and nobody has read yet.

use super::Form;
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;

/// Octets in their order, and where each was seen.
#[derive(Debug, Default)]
pub(super) struct Wire {
    octets: BytesMut,
    /// Octets at the front in which no LF is.
    scanned: usize,
    /// How many octets were taken, since the beginning.
    taken: usize,
    /// From which octet on, counted since the beginning, which event and form it is.
    events: VecDeque<(usize, usize, Form)>,
}

/// Octets that were taken, and what the first of them is.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) at: usize,
    pub(super) form: Form,
    pub(super) octets: Bytes,
}

impl Wire {
    pub(super) fn push(&mut self, at: usize, form: Form, octets: &[u8]) {
        if !octets.is_empty() {
            self.events.push_back((self.taken + self.octets.len(), at, form));
            self.octets.extend_from_slice(octets);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.octets.is_empty()
    }

    pub(super) fn starts_with(&self, octets: &[u8]) -> bool {
        self.octets.starts_with(octets)
    }

    /// The event of the first octet.
    pub(super) fn at(&self) -> Option<usize> {
        self.events.front().filter(|_| !self.is_empty()).map(|(_, at, _)| *at)
    }

    /// Takes a line with its LF.
    pub(super) fn line(&mut self) -> Option<Piece> {
        match memchr::memchr(b'\n', &self.octets[self.scanned..]) {
            Some(offset) => self.take(self.scanned + offset + 1),
            None => {
                self.scanned = self.octets.len();
                None
            }
        }
    }

    /// Takes this number of octets, or as many as there are; `None` where there are none.
    pub(super) fn take(&mut self, most: usize) -> Option<Piece> {
        let (_, at, form) = *self.events.front()?;
        let octets = self.octets.split_to(most.min(self.octets.len())).freeze();
        self.taken += octets.len();
        self.scanned = 0;
        // The event of the next octet stays, or none.
        while self.events.get(1).is_some_and(|(from, ..)| *from <= self.taken) {
            self.events.pop_front();
        }
        if self.is_empty() {
            self.events.clear();
        }
        Some(Piece { at, form, octets }).filter(|piece| !piece.octets.is_empty())
    }

    pub(super) fn clear(&mut self) {
        self.take(usize::MAX);
    }
}
