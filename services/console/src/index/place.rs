//! Where something stands in the index: cursors.

use super::{Index, IndexError, Tables};
use jiff::Timestamp;
use rusqlite::types::Value;
use std::{fmt, str::FromStr};

/// A place among all messages in the order in which the console has come to know them. It stays good when the console is
/// started anew: then it means the time at which it was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cursor {
    birth: u64,
    seq: i64,
    /// In microseconds.
    at: i64,
}

/// The text is no cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no cursor; give that of a checkpoint or of a message")]
pub(crate) struct InvalidCursor;

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{:x}-{:x}", self.birth, self.seq, self.at)
    }
}

impl FromStr for Cursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        let mut parts = text.splitn(3, '-');
        let mut part = || parts.next().ok_or(InvalidCursor);
        let birth = u64::from_str_radix(part()?, 16).map_err(|_| InvalidCursor)?;
        let seq = i64::from_str_radix(part()?, 16).map_err(|_| InvalidCursor)?;
        let at = i64::from_str_radix(part()?, 16).map_err(|_| InvalidCursor)?;
        Ok(Self { birth, seq, at })
    }
}

impl Cursor {
    /// That of the message with this number.
    pub(super) fn new(birth: u64, seq: i64, at: i64) -> Self {
        Self { birth, seq, at }
    }

    /// When it was given, by the console's clock; of a message, when that was accepted.
    pub(crate) fn at(&self) -> Timestamp {
        Timestamp::from_microsecond(self.at).unwrap_or(Timestamp::MIN)
    }

    /// The same place, and what comes after both: `self` tells the time, `last` how far a reader has come.
    pub(crate) fn reached(self, last: Self) -> Self {
        Self { at: self.at, ..last }
    }

    /// The condition that messages after it meet, with its parameters. What a store had before the console had read all of it
    /// is put in as late as it is read: its time decides.
    pub(super) fn later(&self, tables: &Tables) -> (&'static str, Vec<Value>) {
        if self.birth == tables.birth {
            ("seq > ? AND (is_earlier = 0 OR accepted_at >= ?)", vec![self.seq.into(), self.at.into()])
        } else {
            ("accepted_at >= ?", vec![self.at.into()])
        }
    }
}

impl Index {
    /// The place behind all messages that the console knows.
    ///
    /// # Errors
    /// [`IndexError`].
    pub(crate) async fn checkpoint(&self) -> Result<Cursor, IndexError> {
        let (birth, now): (u64, Timestamp) = (self.birth, self.wall.now());
        self.call(move |tables| {
            let last = "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'mail'), 0)";
            let seq = tables.db.prepare_cached(last)?.query_row((), |row| row.get(0))?;
            Ok(Cursor::new(birth, seq, now.as_microsecond()))
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_is_written() {
        for cursor in [Cursor::new(0, 0, 0), Cursor::new(u64::MAX, i64::MAX, 1_700_000_000_000_000)] {
            assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }
        for text in ["", "1", "1-2", "x-1-1", "1-1-1-1", "latest"] {
            assert_eq!(text.parse::<Cursor>(), Err(InvalidCursor), "{text:?}");
        }
    }
}
