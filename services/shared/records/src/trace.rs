//! The records of all sessions in one order.

use crate::{Recorder, recording::Log};
use internal_api::{TracePage, TracedRecord};
use mail_net::IoClock;
use std::{cmp::Reverse, collections::BinaryHeap, fmt, str::FromStr, sync::Arc, time::Duration};

/// How long records are gathered after the first one: a busy service is not searched for each octet.
const GATHERED_FOR: Duration = Duration::from_millis(25);

/// Where a reader of the trace is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Position {
    /// The run of the process. The numbers of another run mean nothing in this one.
    pub(crate) run: u64,
    /// The sequence of the last record that was read.
    pub(crate) sequence: u64,
}

/// The text is no cursor.
#[derive(Debug)]
pub(crate) struct InvalidPosition;

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{:x}", self.run, self.sequence)
    }
}

impl FromStr for Position {
    type Err = InvalidPosition;

    fn from_str(text: &str) -> Result<Self, InvalidPosition> {
        let (run, sequence) = text.split_once('-').ok_or(InvalidPosition)?;
        let number = |digits| u64::from_str_radix(digits, 16).map_err(|_| InvalidPosition);
        let position = Self { run: number(run)?, sequence: number(sequence)? };
        // Each position has one spelling, which the description of the API can state.
        if position.to_string() == text { Ok(position) } else { Err(InvalidPosition) }
    }
}

impl Recorder {
    /// Where the trace ends now.
    pub(crate) fn end_of_trace(&self) -> Position {
        Position { run: self.records().run(), sequence: self.records().last_sequence() }
    }

    /// Up to `limit` records after `after`, in order. A position of another run of the process is the beginning.
    pub(crate) fn trace(&self, after: Position, limit: usize) -> TracePage {
        let run = self.records().run();
        let after = if after.run == run { after.sequence } else { 0 };
        // First of all: what is recorded from now on belongs to the next page.
        let last = self.records().last_sequence();
        let logs = self.records().with_records_after(after);
        let mut next: BinaryHeap<_> = logs
            .into_iter()
            .filter(|log| log.session_if(|session| self.has_seen(session)).is_some())
            .filter_map(|log| Source::new(log, after, last))
            .collect();
        let mut records = Vec::new();
        let mut reached = last;
        while let Some(mut source) = next.pop() {
            if records.len() == limit {
                reached = records.last().map_or(after, |record: &TracedRecord| record.record.sequence);
                break;
            }
            records.extend(source.take());
            if source.has_more() {
                next.push(source);
            }
        }
        let next_after = Position { run, sequence: reached }.to_string();
        TracePage { records, next_after, dropped: self.records().dropped(), recording: self.is_on() }
    }

    /// As [`Recorder::trace`]; waits until there is a record.
    pub(crate) async fn next_trace(&self, mut after: Position, limit: usize, io: IoClock) -> TracePage {
        loop {
            // Before the look, so that no record falls between looking and waiting.
            let mut changed = std::pin::pin!(self.records().changed().notified());
            changed.as_mut().enable();
            let page = self.trace(after, limit);
            if !page.records.is_empty() {
                return page;
            }
            // Those of other services are not looked at again.
            after = page.next_after.parse().unwrap_or(after);
            changed.await;
            io.sleep(GATHERED_FOR).await;
        }
    }
}

/// The records of a session that a page may have.
struct Source {
    log: Arc<Log>,
    /// The sequences of its records, the next one last.
    sequences: Vec<u64>,
}

impl Source {
    fn new(log: Arc<Log>, after: u64, last: u64) -> Option<Self> {
        let mut sequences = log.sequences(after, last);
        sequences.reverse();
        (!sequences.is_empty()).then_some(Self { log, sequences })
    }

    fn has_more(&self) -> bool {
        !self.sequences.is_empty()
    }

    fn take(&mut self) -> Option<TracedRecord> {
        let record = self.log.record(self.sequences.pop()?)?;
        Some(TracedRecord { session: self.log.id(), record })
    }

    fn next(&self) -> Reverse<Option<u64>> {
        Reverse(self.sequences.last().copied())
    }
}

impl PartialEq for Source {
    fn eq(&self, other: &Self) -> bool {
        self.next() == other.next()
    }
}

impl Eq for Source {}

impl PartialOrd for Source {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Source {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.next().cmp(&other.next())
    }
}
