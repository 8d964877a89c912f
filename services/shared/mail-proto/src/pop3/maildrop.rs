//! A maildrop as one session sees it (RFC 1939 §4).

use super::{Listing, UniqueId};

/// How the size of a message is told in STAT, LIST and RETR.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SizeStyle {
    /// The message's own octets (RFC 1939 §11).
    Message,
    /// Three more, for the final dot and its CRLF, as the tutorial's hand-out counts.
    WithFinalDot,
}

impl SizeStyle {
    fn size(self, octets: u64) -> u64 {
        match self {
            Self::Message => octets,
            Self::WithFinalDot => octets.saturating_add(3),
        }
    }
}

/// Why a number names no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoSuchMessage {
    /// Zero, or greater than the last.
    #[error("no such message")]
    Unknown,
    /// Marked in this session.
    #[error("message already deleted")]
    Deleted,
}

/// The messages as they stood at login. Numbers begin with 1 and never shift; mail that arrives
/// meanwhile appears in the next session.
#[derive(Debug, Clone)]
pub struct Maildrop<U> {
    listing: Listing<U>,
    size_style: SizeStyle,
    /// What is not marked as deleted.
    count: u64,
    size: u64,
    marks: Marks,
}

/// A message of the maildrop that is not marked as deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listed<U> {
    /// Its number in this session.
    pub number: u64,
    /// Its unique id.
    pub uid: U,
    /// Its size as it is told.
    pub size: u64,
    /// Its octets without dot-stuffing or final dot.
    pub octets: u64,
}

impl<U: UniqueId> Maildrop<U> {
    /// A maildrop of these messages.
    pub fn new(listing: Listing<U>, size_style: SizeStyle) -> Self {
        let mut maildrop = Self { listing, size_style, count: 0, size: 0, marks: Marks::default() };
        maildrop.reset();
        maildrop
    }

    /// The messages not marked as deleted whose number is `first` or greater.
    pub fn listed_from(&self, first: u64) -> impl Iterator<Item = Listed<U>> {
        let index = index(first.max(1)).unwrap_or(usize::MAX);
        let messages = (index..).zip(self.listing.iter_from(index));
        let size_style = self.size_style;
        messages.filter(|(index, _)| !self.marks.contains(*index)).map(move |(index, (uid, octets))| Listed {
            number: index as u64 + 1,
            uid,
            size: size_style.size(octets),
            octets,
        })
    }

    /// How many messages are not marked as deleted.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Their sizes, added up.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The message of this number.
    ///
    /// # Errors
    /// [`NoSuchMessage`].
    pub fn message(&self, number: u64) -> Result<Listed<U>, NoSuchMessage> {
        let index = index(number).ok_or(NoSuchMessage::Unknown)?;
        let (uid, octets) = self.listing.get(index).ok_or(NoSuchMessage::Unknown)?;
        if self.marks.contains(index) {
            return Err(NoSuchMessage::Deleted);
        }
        Ok(Listed { number, uid, size: self.size_style.size(octets), octets })
    }

    /// Marks the message of this number as deleted.
    ///
    /// # Errors
    /// [`NoSuchMessage`].
    pub fn mark(&mut self, number: u64) -> Result<(), NoSuchMessage> {
        let message = self.message(number)?;
        if let Some(index) = index(number) {
            self.marks.insert(index);
            self.count -= 1;
            self.size = self.size.saturating_sub(message.size);
        }
        Ok(())
    }

    /// Removes all marks.
    pub fn reset(&mut self) {
        let style = self.size_style;
        self.marks = Marks::default();
        self.count = self.listing.len() as u64;
        self.size = self.listing.iter_from(0).fold(0, |total, (_, octets)| total.saturating_add(style.size(octets)));
    }

    /// The unique ids of the messages marked as deleted.
    pub fn into_marked(self) -> Vec<U> {
        let all = self.listing.iter_from(0).enumerate();
        all.filter(|(index, _)| self.marks.contains(*index)).map(|(_, (uid, _))| uid).collect()
    }
}

/// Which messages are marked as deleted, a bit for each up to the last of them.
#[derive(Debug, Clone, Default)]
struct Marks(Vec<u64>);

impl Marks {
    fn insert(&mut self, index: usize) {
        let (word, bit) = (index / 64, index % 64);
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << bit;
    }

    fn contains(&self, index: usize) -> bool {
        self.0.get(index / 64).is_some_and(|word| word >> (index % 64) & 1 == 1)
    }
}

fn index(number: u64) -> Option<usize> {
    usize::try_from(number.checked_sub(1)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn maildrop(size_style: SizeStyle) -> Maildrop<u64> {
        Maildrop::new([(7, 120), (8, 200), (9, 0)].into_iter().collect(), size_style)
    }

    fn numbers(maildrop: &Maildrop<u64>) -> Vec<(u64, u64)> {
        maildrop.listed_from(1).map(|message| (message.number, message.size)).collect()
    }

    #[test]
    fn marks_are_seen_at_once_and_numbers_never_shift() {
        let mut maildrop = maildrop(SizeStyle::Message);
        assert_eq!((maildrop.count(), maildrop.size()), (3, 320));
        assert_eq!(maildrop.mark(1), Ok(()));
        assert_eq!((maildrop.count(), maildrop.size()), (2, 200));
        assert_eq!(numbers(&maildrop), [(2, 200), (3, 0)]);
        assert_eq!(maildrop.message(1), Err(NoSuchMessage::Deleted));
        assert_eq!(maildrop.mark(1), Err(NoSuchMessage::Deleted));
        assert_eq!(maildrop.message(2), Ok(Listed { number: 2, uid: 8, size: 200, octets: 200 }));
        maildrop.reset();
        assert_eq!((maildrop.count(), maildrop.size()), (3, 320));
        assert_eq!(numbers(&maildrop), [(1, 120), (2, 200), (3, 0)]);
        assert_eq!(maildrop.mark(3), Ok(()));
        assert_eq!(maildrop.into_marked(), [9]);
    }

    #[test]
    fn numbers_that_name_no_message() {
        let mut maildrop = maildrop(SizeStyle::Message);
        for number in [0, 4, u64::MAX] {
            assert_eq!(maildrop.message(number), Err(NoSuchMessage::Unknown));
            assert_eq!(maildrop.mark(number), Err(NoSuchMessage::Unknown));
        }
    }

    #[test]
    fn a_list_goes_on_from_any_number() {
        let mut maildrop = Maildrop::<u64>::new((0..1000).map(|n| (n, n)).collect(), SizeStyle::Message);
        for number in (3..1000).step_by(3) {
            maildrop.mark(number).unwrap();
        }
        assert_eq!(maildrop.count(), 667);
        let all: Vec<_> = maildrop.listed_from(1).collect();
        assert_eq!((all.len(), all.iter().map(|message| message.size).sum()), (667, maildrop.size()));
        for first in [0, 1, 2, 3, 4, 64, 65, 999, 1000, 1001, u64::MAX] {
            let rest: Vec<_> = all.iter().filter(|message| message.number >= first).copied().collect();
            assert_eq!(maildrop.listed_from(first).collect::<Vec<_>>(), rest, "{first}");
        }
        assert!(maildrop.into_marked().into_iter().eq((2..999).step_by(3)));
    }

    #[test]
    fn the_tutorial_counts_the_final_dot_of_each_message() {
        let mut maildrop = maildrop(SizeStyle::WithFinalDot);
        assert_eq!(numbers(&maildrop), [(1, 123), (2, 203), (3, 3)]);
        assert_eq!(maildrop.size(), 329);
        assert_eq!(maildrop.message(1).map(|message| message.octets), Ok(120));
        maildrop.mark(2).unwrap();
        assert_eq!(maildrop.size(), 126);
        let empty = Maildrop::<u64>::new(Listing::default(), SizeStyle::WithFinalDot);
        assert_eq!((empty.count(), empty.size()), (0, 0));
    }
}
