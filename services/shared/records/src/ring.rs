//! The memory of a process: open sessions, and closed ones until there are too many.

use crate::recording::Log;
use internal_api::{ConnectionId, Dropped, SessionId};
use jiff::Timestamp;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering},
    },
};
use tokio::sync::Notify;

/// The part of the memory that one session may have: a client that talks for ever does not push out all others.
const SHARE: usize = 8;

/// Ids of sessions differ that were opened so far apart: they tell the 4096th part of a millisecond.
const ID_STEP_NS: i64 = 245;

/// What the services of a process have recorded. Clones are the same memory.
#[derive(Debug, Clone)]
pub struct Records(Arc<Ring>);

#[derive(Debug)]
struct Ring {
    /// Names the run of the process; not 0.
    run: u64,
    sessions: Mutex<Sessions>,
    /// The sequence of the last record.
    sequence: AtomicU64,
    /// The moment of the last session's id, in nanoseconds.
    last_id_ns: AtomicI64,
    /// What all sessions have in memory, in octets.
    octets: AtomicUsize,
    limit: AtomicUsize,
    dropped_sessions: AtomicU64,
    dropped_records: AtomicU64,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Sessions {
    /// All that are known.
    by_id: BTreeMap<SessionId, Arc<Log>>,
    /// The number of each open session's connection.
    open: BTreeMap<u64, SessionId>,
    /// The closed ones in the order in which they were closed, and the sequence of their last record.
    closed: VecDeque<(u64, SessionId)>,
}

impl Default for Records {
    fn default() -> Self {
        Self(Arc::new(Ring {
            run: ConnectionId::random().number() | 1,
            sessions: Mutex::default(),
            sequence: AtomicU64::new(0),
            last_id_ns: AtomicI64::new(0),
            octets: AtomicUsize::new(0),
            limit: AtomicUsize::new(0),
            dropped_sessions: AtomicU64::new(0),
            dropped_records: AtomicU64::new(0),
            changed: Notify::new(),
        }))
    }
}

impl Records {
    /// Names the run of the process. The sequences of another run mean nothing here.
    pub(crate) fn run(&self) -> u64 {
        self.0.run
    }

    /// The moment that the id of a new session tells: when it was opened or, where another session was opened at the same
    /// time, a little later. So ids grow while a clock stands still.
    pub(crate) fn id_moment(&self, opened_at: Timestamp) -> Timestamp {
        let opened_ns = i64::try_from(opened_at.as_nanosecond()).unwrap_or(i64::MAX);
        let later = |last: i64| opened_ns.max(last.saturating_add(ID_STEP_NS));
        let last = self.0.last_id_ns.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(later(last)));
        // It never fails.
        Timestamp::from_nanosecond(later(last.unwrap_or_default()).into()).unwrap_or(opened_at)
    }

    /// How many octets all sessions together may have in memory.
    pub(crate) fn set_limit(&self, octets: usize) {
        self.0.limit.store(octets, Ordering::Relaxed);
    }

    /// The sequence of the last record. Whoever has it before a look at the sessions sees all records up to it.
    pub(crate) fn last_sequence(&self) -> u64 {
        self.0.sequence.load(Ordering::SeqCst)
    }

    /// The sequence of a new record. Call it while the log of its session is locked: readers rely on it.
    pub(crate) fn next_sequence(&self) -> u64 {
        self.0.sequence.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// What all sessions have in memory.
    #[cfg(test)]
    pub(crate) fn octets(&self) -> usize {
        self.0.octets.load(Ordering::Relaxed)
    }

    pub(crate) fn dropped(&self) -> Dropped {
        Dropped {
            sessions: self.0.dropped_sessions.load(Ordering::Relaxed),
            records: self.0.dropped_records.load(Ordering::Relaxed),
        }
    }

    /// Is notified after each record.
    pub(crate) fn changed(&self) -> &Notify {
        &self.0.changed
    }

    pub(crate) fn add(&self, connection: u64, log: Arc<Log>) {
        let mut sessions = self.lock();
        sessions.open.insert(connection, log.id());
        sessions.by_id.insert(log.id(), log);
    }

    /// Closes a session: `end` records that, and returns the sequence of the record.
    pub(crate) fn close(&self, connection: u64, id: SessionId, end: impl FnOnce() -> u64) {
        let mut sessions = self.lock();
        if sessions.open.get(&connection) == Some(&id) {
            sessions.open.remove(&connection);
        }
        sessions.closed.push_back((end(), id));
    }

    /// The open session of a connection.
    pub(crate) fn of_connection(&self, connection: u64) -> Option<Arc<Log>> {
        let sessions = self.lock();
        sessions.open.get(&connection).and_then(|id| sessions.by_id.get(id)).cloned()
    }

    pub(crate) fn session(&self, id: SessionId) -> Option<Arc<Log>> {
        self.lock().by_id.get(&id).cloned()
    }

    /// The sessions before `before`, the newest first, in portions: a look at all of them holds nobody up.
    pub(crate) fn before(&self, before: Option<SessionId>, count: usize) -> Vec<Arc<Log>> {
        let sessions = self.lock();
        match before {
            Some(before) => sessions.by_id.range(..before).rev().take(count).map(|(_, log)| Arc::clone(log)).collect(),
            None => sessions.by_id.values().rev().take(count).cloned().collect(),
        }
    }

    /// The sessions that may have records after this one: those that are open, and those that were closed since.
    pub(crate) fn with_records_after(&self, after: u64) -> Vec<Arc<Log>> {
        let sessions = self.lock();
        let closed = sessions.closed.iter().rev().take_while(|(last, _)| *last > after).map(|(_, id)| id);
        let ids = sessions.open.values().chain(closed);
        ids.filter_map(|id| sessions.by_id.get(id)).cloned().collect()
    }

    /// Counts memory of a session that has grown or shrunk.
    pub(crate) fn account(&self, before: usize, now: usize) {
        if now >= before {
            self.0.octets.fetch_add(now - before, Ordering::Relaxed);
        } else {
            self.0.octets.fetch_sub(before - now, Ordering::Relaxed);
        }
    }

    /// Returns whether a session with this many octets may record more. Where the memory is full, the oldest closed
    /// sessions go. Call it while no log is locked.
    pub(crate) fn make_room(&self, octets: usize) -> bool {
        let limit = self.0.limit.load(Ordering::Relaxed);
        octets < limit / SHARE && (self.0.octets.load(Ordering::Relaxed) < limit || self.evict(limit))
    }

    /// Counts a record for which there was no room.
    pub(crate) fn missed(&self) {
        self.0.dropped_records.fetch_add(1, Ordering::Relaxed);
    }

    fn evict(&self, limit: usize) -> bool {
        let mut gone = Vec::new();
        let mut sessions = self.lock();
        while self.0.octets.load(Ordering::Relaxed) >= limit {
            let Some((_, id)) = sessions.closed.pop_front() else { return false };
            if let Some(log) = sessions.by_id.remove(&id) {
                self.account(log.octets(), 0);
                self.0.dropped_sessions.fetch_add(1, Ordering::Relaxed);
                gone.push(log);
            }
        }
        // Memory is freed while nobody waits.
        drop(sessions);
        true
    }

    fn lock(&self) -> MutexGuard<'_, Sessions> {
        self.0.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
