//! The messages of a maildrop in little memory.

use std::{fmt::Display, marker::PhantomData};

/// How many messages one looks through to find one.
const BLOCK: usize = 64;

/// What names a message for ever: a number behind the text that UIDL tells (RFC 1939 §7).
pub trait UniqueId: Copy + From<u64> + Into<u64> + Display {}

impl<U: Copy + From<u64> + Into<u64> + Display> UniqueId for U {}

/// The unique ids and octets of messages in order: about 7 octets each, so a maildrop of a million takes 7 MB.
///
/// Ids grow along a maildrop, and messages are short. So what is kept of a message is by how much its id is greater than
/// the one before, and its octets, each in as few octets as they need.
#[derive(Debug, Clone)]
pub struct Listing<U> {
    packed: Vec<u8>,
    blocks: Vec<Block>,
    count: usize,
    last_uid: u64,
    uids: PhantomData<U>,
}

/// Where each 64th message is.
#[derive(Debug, Clone, Copy)]
struct Block {
    start: usize,
    /// The id of the message before it.
    uid_before: u64,
}

impl<U> Default for Listing<U> {
    fn default() -> Self {
        Self { packed: Vec::new(), blocks: Vec::new(), count: 0, last_uid: 0, uids: PhantomData }
    }
}

impl<U: UniqueId> Listing<U> {
    /// Adds a message after those before. Ids may have any order; they need less room when they grow.
    pub fn push(&mut self, uid: U, octets: u64) {
        if self.count.is_multiple_of(BLOCK) {
            self.blocks.push(Block { start: self.packed.len(), uid_before: self.last_uid });
        }
        let uid = uid.into();
        pack(&mut self.packed, uid.wrapping_sub(self.last_uid));
        pack(&mut self.packed, octets);
        (self.last_uid, self.count) = (uid, self.count + 1);
    }

    /// How many messages there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The unique id and the octets of the message at `index`, the first of which is 0.
    pub fn get(&self, index: usize) -> Option<(U, u64)> {
        self.iter_from(index).next()
    }

    /// The unique ids and octets of the messages from `index` on.
    pub fn iter_from(&self, index: usize) -> impl Iterator<Item = (U, u64)> + '_ {
        let block = self.blocks.get(index / BLOCK).copied();
        let Block { start, uid_before } = block.unwrap_or(Block { start: self.packed.len(), uid_before: 0 });
        let (mut rest, mut uid) = (&self.packed[start..], uid_before);
        let messages = std::iter::from_fn(move || {
            let (difference, octets) = (unpack(&mut rest)?, unpack(&mut rest)?);
            uid = uid.wrapping_add(difference);
            Some((U::from(uid), octets))
        });
        messages.skip(index % BLOCK)
    }
}

impl<U: UniqueId> Extend<(U, u64)> for Listing<U> {
    fn extend<I: IntoIterator<Item = (U, u64)>>(&mut self, messages: I) {
        messages.into_iter().for_each(|(uid, octets)| self.push(uid, octets));
    }
}

impl<U: UniqueId> FromIterator<(U, u64)> for Listing<U> {
    fn from_iter<I: IntoIterator<Item = (U, u64)>>(messages: I) -> Self {
        let mut listing = Self::default();
        listing.extend(messages);
        listing
    }
}

/// Appends a number, 7 bits in each octet, the lowest first. The highest bit says that more follow.
fn pack(packed: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        packed.push(number as u8 | 0x80);
        number >>= 7;
    }
    packed.push(number as u8);
}

/// Takes a number off the front.
fn unpack(packed: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let (&octet, rest) = packed.split_first()?;
        *packed = rest;
        number |= u64::from(octet & 0x7f) << shift;
        if octet & 0x80 == 0 {
            break;
        }
    }
    Some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_added_is_found() {
        let messages: Vec<(u64, u64)> = [(0, 0), (u64::MAX, u64::MAX), (5, 127), (6, 128)]
            .into_iter()
            .chain((10..1000).map(|n| (n * n, n)))
            .collect();
        let listing: Listing<u64> = messages.iter().copied().collect();
        assert_eq!((listing.len(), listing.is_empty()), (messages.len(), false));
        for index in 0..messages.len() + 100 {
            assert_eq!(listing.get(index), messages.get(index).copied(), "{index}");
            assert!(listing.iter_from(index).eq(messages.iter().copied().skip(index)), "{index}");
        }
        let empty = Listing::<u64>::default();
        assert_eq!((empty.get(0), empty.is_empty()), (None, true));
    }

    #[test]
    fn a_message_needs_few_octets() {
        // Ids as the store gives them to 1,000 messages a second: milliseconds above 22 random bits.
        let listing: Listing<u64> =
            (0..10_000_u64).map(|n| ((n << 22) | (n * 2_654_435_761 % (1 << 22)), 4096)).collect();
        let octets = listing.packed.len() + listing.blocks.len() * size_of::<Block>();
        assert!(octets < 7 * 10_000, "{octets}");
    }
}
