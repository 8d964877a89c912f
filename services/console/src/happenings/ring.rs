//! The newest happenings as the services have told them.

use internal_api::{Event, Seen, SessionId, TracedRecord};
use jiff::Timestamp;
use std::{
    collections::VecDeque,
    fmt,
    str::FromStr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::watch;

/// How many items are kept, and how many octets they may have in all.
const ITEMS: usize = 20_000;
const OCTETS: usize = 8 * 1024 * 1024;
/// What an item takes besides what was said.
const ITEM_OCTETS: usize = 256;

/// What a service has told.
#[derive(Debug, Clone)]
pub(crate) enum Item {
    /// One record of these.
    Record(Arc<[TracedRecord]>, usize),
    /// An event of a stack's store.
    Event(Arc<str>, Arc<Event>),
}

/// A place among all happenings that the console has learned of since it was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// Names the run of the console.
    birth: u64,
    /// The number of the last one before it; 0 stands before all.
    number: u64,
}

/// The text is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no cursor; give that of a happening, or a page's next")]
pub(crate) struct InvalidPlace;

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{:x}", self.birth, self.number)
    }
}

impl FromStr for Place {
    type Err = InvalidPlace;

    fn from_str(text: &str) -> Result<Self, InvalidPlace> {
        let (birth, number) = text.split_once('-').ok_or(InvalidPlace)?;
        let hexadecimal = |digits| u64::from_str_radix(digits, 16).map_err(|_| InvalidPlace);
        Ok(Self { birth: hexadecimal(birth)?, number: hexadecimal(number)? })
    }
}

/// Items after a place.
#[derive(Debug)]
pub(crate) struct Slice {
    /// With their numbers.
    pub(crate) items: Vec<(u64, Item)>,
    pub(crate) next: Place,
    /// How many there were between the place and the first item, which were dropped.
    pub(crate) missed: u64,
}

/// The newest happenings. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Happenings {
    ring: Arc<Mutex<Ring>>,
    changes: Arc<watch::Sender<u64>>,
    birth: u64,
}

#[derive(Debug, Default)]
struct Ring {
    items: VecDeque<Item>,
    /// How many items were dropped.
    dropped: u64,
    octets: usize,
}

impl Happenings {
    /// None yet, of this run of the console.
    pub(crate) fn new(birth: u64) -> Self {
        Self { ring: Arc::default(), changes: Arc::new(watch::Sender::new(0)), birth }
    }

    /// Wakes whenever something happens.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Adds what was seen of sessions.
    pub(crate) fn add_records(&self, records: &Arc<[TracedRecord]>) {
        self.add((0..records.len()).map(|place| Item::Record(Arc::clone(records), place)));
    }

    /// Adds what has happened to messages of a stack.
    pub(crate) fn add_events(&self, stack: &str, events: Vec<Event>) {
        let stack = Arc::<str>::from(stack);
        self.add(events.into_iter().map(|event| Item::Event(Arc::clone(&stack), Arc::new(event))));
    }

    /// Drops all.
    pub(crate) fn forget(&self) {
        self.lock().forget();
    }

    fn add(&self, items: impl Iterator<Item = Item>) {
        self.lock().add(items);
        self.changes.send_modify(|version| *version += 1);
    }

    /// The place behind the item with this number.
    pub(crate) fn place(&self, number: u64) -> Place {
        Place { birth: self.birth, number }
    }

    /// The place behind the last item.
    pub(crate) fn end(&self) -> Place {
        let ring = self.lock();
        self.place(ring.dropped + ring.items.len() as u64)
    }

    /// All items that are kept, with their numbers, and the place behind the last one.
    pub(crate) fn all(&self) -> (Vec<(u64, Item)>, Place) {
        let slice = self.after(self.place(0), usize::MAX);
        (slice.items, slice.next)
    }

    /// Up to `most` items after a place. A place of another run stands before all.
    pub(crate) fn after(&self, place: Place, most: usize) -> Slice {
        let ring = self.lock();
        let asked = if place.birth == self.birth { place.number } else { ring.dropped };
        let from = asked.max(ring.dropped);
        // Nobody has got a number that is not given yet.
        let skipped = usize::try_from(from - ring.dropped).unwrap_or(usize::MAX).min(ring.items.len());
        let first = ring.dropped + skipped as u64 + 1;
        let items: Vec<_> = (first..).zip(ring.items.iter().skip(skipped).take(most).cloned()).collect();
        let next = self.place(first - 1 + items.len() as u64);
        Slice { items, next, missed: from - asked }
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ring {
    fn forget(&mut self) {
        self.dropped += self.items.len() as u64;
        self.items.clear();
        self.octets = 0;
    }

    fn add(&mut self, items: impl Iterator<Item = Item>) {
        for item in items {
            self.octets += item.octets();
            self.items.push_back(item);
        }
        while self.items.len() > ITEMS || self.octets > OCTETS {
            let Some(oldest) = self.items.pop_front() else { break };
            self.octets -= oldest.octets();
            self.dropped += 1;
        }
    }
}

impl Item {
    /// When it happened.
    pub(crate) fn at(&self) -> Timestamp {
        match self {
            Self::Record(records, place) => records[*place].record.at,
            Self::Event(_, event) => event.at,
        }
    }

    /// The session that it is about.
    pub(crate) fn session(&self) -> Option<SessionId> {
        match self {
            Self::Record(records, place) => Some(records[*place].session),
            Self::Event(..) => None,
        }
    }

    /// Whether a session begins or ends.
    pub(crate) fn is_end_of_session(&self) -> bool {
        match self {
            Self::Record(records, place) => {
                matches!(records[*place].record.what, Seen::Opened { .. } | Seen::Closed { .. })
            }
            Self::Event(..) => false,
        }
    }

    /// Whether a session ends.
    pub(crate) fn ends_session(&self) -> bool {
        matches!(self, Self::Record(records, place) if matches!(records[*place].record.what, Seen::Closed { .. }))
    }

    fn octets(&self) -> usize {
        use internal_api::Octets;
        let said = match self {
            Self::Record(records, place) => match &records[*place].record.what {
                Seen::Octets(seen) => match &seen.octets {
                    Octets::Text(text) | Octets::Base64(text) => text.len(),
                },
                _ => 0,
            },
            Self::Event(..) => 0,
        };
        said + ITEM_OCTETS
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use internal_api::{EventKind, MessageId};

    fn event(number: u64) -> Event {
        let (message, at) = (MessageId::from_number(number), Timestamp::UNIX_EPOCH);
        Event { cursor: String::new(), at, message, kind: EventKind::Finished { recipients: Vec::new() } }
    }

    fn numbers(slice: &Slice) -> Vec<u64> {
        slice.items.iter().map(|(number, _)| *number).collect()
    }

    #[test]
    fn a_place_is_read_as_it_is_written() {
        let place = Place { birth: u64::MAX, number: 17 };
        assert_eq!(place.to_string().parse(), Ok(place));
        for text in ["", "1", "1-", "x-1", "1-1-1"] {
            assert_eq!(text.parse::<Place>(), Err(InvalidPlace), "{text:?}");
        }
    }

    #[test]
    fn reading_goes_on_after_a_place() {
        let happenings = Happenings::new(7);
        assert_eq!(happenings.end(), happenings.place(0));
        happenings.add_events("a", (1..=5).map(event).collect());
        let slice = happenings.after(happenings.place(1), 2);
        assert_eq!((numbers(&slice), slice.next, slice.missed), (vec![2, 3], happenings.place(3), 0));
        let slice = happenings.after(slice.next, 9);
        assert_eq!((numbers(&slice), slice.next), (vec![4, 5], happenings.end()));
        let of_another_run = happenings.after(Place { birth: 8, number: 4 }, 9);
        assert_eq!(numbers(&of_another_run), [1, 2, 3, 4, 5]);
        let not_given_yet = happenings.after(happenings.place(99), 9);
        assert_eq!((numbers(&not_given_yet), not_given_yet.next), (vec![], happenings.end()));
    }

    #[test]
    fn the_oldest_are_dropped_and_counted() {
        let happenings = Happenings::new(7);
        let all = ITEMS as u64 + 10;
        happenings.add_events("a", (1..=all).map(event).collect());
        let slice = happenings.after(happenings.place(4), 1);
        assert_eq!((numbers(&slice), slice.missed), (vec![11], 6));
        assert_eq!(happenings.all().0.len(), ITEMS);
        assert_eq!(happenings.end(), happenings.place(all));
        happenings.forget();
        assert_eq!((happenings.all().0.len(), happenings.end()), (0, happenings.place(all)));
    }
}
