//! A maildrop as one session sees it (RFC 1939 §4).

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
    entries: Vec<Entry<U>>,
    size_style: SizeStyle,
}

#[derive(Debug, Clone)]
struct Entry<U> {
    uid: U,
    octets: u64,
    deleted: bool,
}

/// A message of the maildrop that is not marked as deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listed<'a, U> {
    /// Its number in this session.
    pub number: u64,
    /// Its unique id.
    pub uid: &'a U,
    /// Its size as it is told.
    pub size: u64,
    /// Its octets without dot-stuffing or final dot.
    pub octets: u64,
}

impl<U> Maildrop<U> {
    /// The messages' unique ids and octets, in order.
    pub fn new(messages: impl IntoIterator<Item = (U, u64)>, size_style: SizeStyle) -> Self {
        let entries = messages.into_iter().map(|(uid, octets)| Entry { uid, octets, deleted: false }).collect();
        Self { entries, size_style }
    }

    /// The messages not marked as deleted.
    pub fn listed(&self) -> impl Iterator<Item = Listed<'_, U>> {
        let entries = (1..).zip(&self.entries).filter(|(_, entry)| !entry.deleted);
        entries.map(|(number, entry)| self.listing(number, entry))
    }

    /// How many messages are not marked as deleted.
    pub fn count(&self) -> usize {
        self.listed().count()
    }

    /// Their sizes, added up.
    pub fn size(&self) -> u64 {
        self.listed().fold(0, |total, message| total.saturating_add(message.size))
    }

    /// The message of this number.
    ///
    /// # Errors
    /// [`NoSuchMessage`].
    pub fn message(&self, number: u64) -> Result<Listed<'_, U>, NoSuchMessage> {
        let index = index(number).ok_or(NoSuchMessage::Unknown)?;
        match self.entries.get(index) {
            None => Err(NoSuchMessage::Unknown),
            Some(entry) if entry.deleted => Err(NoSuchMessage::Deleted),
            Some(entry) => Ok(self.listing(number, entry)),
        }
    }

    /// Marks the message of this number as deleted.
    ///
    /// # Errors
    /// [`NoSuchMessage`].
    pub fn mark(&mut self, number: u64) -> Result<(), NoSuchMessage> {
        self.message(number)?;
        if let Some(entry) = index(number).and_then(|index| self.entries.get_mut(index)) {
            entry.deleted = true;
        }
        Ok(())
    }

    /// Removes all marks.
    pub fn reset(&mut self) {
        self.entries.iter_mut().for_each(|entry| entry.deleted = false);
    }

    /// The unique ids of the messages marked as deleted.
    pub fn into_marked(self) -> Vec<U> {
        self.entries.into_iter().filter(|entry| entry.deleted).map(|entry| entry.uid).collect()
    }

    fn listing<'a>(&self, number: u64, entry: &'a Entry<U>) -> Listed<'a, U> {
        Listed { number, uid: &entry.uid, size: self.size_style.size(entry.octets), octets: entry.octets }
    }
}

fn index(number: u64) -> Option<usize> {
    usize::try_from(number.checked_sub(1)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn maildrop(size_style: SizeStyle) -> Maildrop<&'static str> {
        Maildrop::new([("a", 120), ("b", 200), ("c", 0)], size_style)
    }

    fn numbers(maildrop: &Maildrop<&str>) -> Vec<(u64, u64)> {
        maildrop.listed().map(|message| (message.number, message.size)).collect()
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
        assert_eq!(maildrop.message(2), Ok(Listed { number: 2, uid: &"b", size: 200, octets: 200 }));
        maildrop.reset();
        assert_eq!(numbers(&maildrop), [(1, 120), (2, 200), (3, 0)]);
        assert_eq!(maildrop.mark(3), Ok(()));
        assert_eq!(maildrop.into_marked(), ["c"]);
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
    fn the_tutorial_counts_the_final_dot_of_each_message() {
        let maildrop = maildrop(SizeStyle::WithFinalDot);
        assert_eq!(numbers(&maildrop), [(1, 123), (2, 203), (3, 3)]);
        assert_eq!(maildrop.size(), 329);
        assert_eq!(maildrop.message(1).map(|message| message.octets), Ok(120));
        let empty = Maildrop::<&str>::new([], SizeStyle::WithFinalDot);
        assert_eq!((empty.count(), empty.size()), (0, 0));
    }
}
