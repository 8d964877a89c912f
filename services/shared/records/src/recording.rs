//! What is seen of one session.

use crate::{
    ring::Records,
    secrets::{is_auth, is_command, is_secret, mask},
};
use faults::{Faults, Outcome};
use internal_api::{Flow, Form, Mark, Octets, Record, RecordedSession, Role, Seen, SeenOctets, SessionId};
use jiff::Timestamp;
use mail_net::{Direction, Kind, Tap, Taps, WallClock};
use std::{
    fmt, mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

/// How many messages of a session, and recipients of a mark, are listed at most.
pub const LISTED: usize = 100;
/// How much of a refusal is kept for the list of sessions.
const REFUSAL_OCTETS: usize = 200;
/// How many entries and octets there is room for at first: a short session needs no more.
const ENTRIES: usize = 24;
const OCTETS: usize = 512;
/// What a mark may have in memory beyond its own size.
const MARK_OCTETS: usize = 128;

/// A session that is being recorded. It ends with this value at the latest. While recording is off, it does nothing.
#[derive(Debug, Default)]
pub struct Recording(Option<Arc<Log>>);

impl Recording {
    /// A session that is not recorded.
    pub fn off() -> Self {
        Self(None)
    }

    pub(crate) fn of(log: Arc<Log>) -> Self {
        Self(Some(log))
    }

    /// The taps of its stream.
    pub fn taps(&self) -> Taps {
        match &self.0 {
            Some(log) => Taps::new(vec![Arc::clone(log) as Arc<dyn Tap>], is_secret, log.clock.clone()),
            None => Taps::none(),
        }
    }

    /// Whether the session is recorded.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Records what was understood or decided. The mark is not made while recording is off.
    pub fn mark(&self, mark: impl FnOnce() -> Mark) {
        if let Some(log) = &self.0 {
            log.mark(mark());
        }
    }

    /// Records that faults happen in this session, and tells them so.
    pub fn fault(&self, faults: &Faults, outcome: &Outcome) {
        let Some(log) = &self.0 else { return };
        log.lock().has_fault = true;
        for (name, what) in &outcome.fired {
            log.mark(Mark::Fault { name: name.clone(), what: what.clone() });
        }
        faults.happened_in(outcome, &log.id.to_string());
    }

    /// Records octets that no stream has seen: a datagram, say.
    pub fn octets(&self, direction: Direction, kind: Kind, octets: &[u8]) {
        if let Some(log) = &self.0 {
            log.saw(log.clock.now(), direction, kind, octets);
        }
    }

    /// Tells why the session is about to end as it should, in a few words. Only the first reason counts.
    pub fn ends(&self, reason: impl fmt::Display) {
        if let Some(log) = &self.0 {
            log.lock().session.ended.get_or_insert_with(|| reason.to_string());
        }
    }

    /// Tells why the session breaks off, in a few words. Only the first such reason counts, and it replaces that of an end which
    /// did not come.
    pub fn breaks(&self, reason: impl fmt::Display) {
        if let Some(log) = &self.0 {
            log.lock().session.break_off(reason.to_string());
        }
    }

    /// As [`Recording::breaks`] where the connection is lost. A client that leaves before it has said anything breaks nothing,
    /// unless a fault has driven it away: it has looked whether somebody listens.
    pub fn is_lost(&self, reason: impl fmt::Display) {
        if let Some(log) = &self.0 {
            let mut state = log.lock();
            if state.session.octets_received > 0 || state.has_fault {
                state.session.break_off(reason.to_string());
            } else {
                state.session.ended.get_or_insert_with(|| reason.to_string());
            }
        }
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        if let Some(log) = &self.0 {
            log.end();
        }
    }
}

/// The memory of one session.
#[derive(Debug)]
pub(crate) struct Log {
    id: SessionId,
    /// The number of its connection.
    connection: u64,
    records: Records,
    limits: Limits,
    clock: WallClock,
    /// What it has in memory, in octets.
    octets: AtomicUsize,
    state: Mutex<State>,
}

/// What is kept of a session.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// How many octets of each body.
    pub(crate) body_octets: usize,
    /// Whether passwords are kept.
    pub(crate) shows_secrets: bool,
}

#[derive(Debug)]
struct State {
    session: RecordedSession,
    entries: Vec<Entry>,
    /// The octets of all entries, one after the other.
    data: Vec<u8>,
    marks: usize,
    /// Where the body goes that is under way, and how many of its octets were kept and were not.
    body: Option<Body>,
    /// AUTH was said last: what follows may be a password, also where AUTH was refused.
    is_after_auth: bool,
    /// Something has gone wrong in it on purpose.
    has_fault: bool,
}

#[derive(Debug, Clone, Copy)]
struct Body {
    flow: Flow,
    kept: usize,
    cut: u64,
}

#[derive(Debug)]
struct Entry {
    sequence: u64,
    at: Timestamp,
    what: What,
}

#[derive(Debug)]
enum What {
    Opened,
    /// The octets of `data` from where those of the last entry ended.
    Octets {
        flow: Flow,
        form: Form,
        start: usize,
        end: usize,
    },
    /// So many octets of a body were not kept.
    Cut {
        flow: Flow,
        octets: u64,
    },
    Mark(Box<Mark>),
    Closed,
}

impl Log {
    pub(crate) fn new(
        session: RecordedSession,
        connection: u64,
        records: Records,
        limits: Limits,
        clock: WallClock,
    ) -> Self {
        let id = session.id;
        let (entries, data) = (Vec::with_capacity(ENTRIES), Vec::with_capacity(OCTETS));
        let state = State { session, entries, data, marks: 0, body: None, is_after_auth: false, has_fault: false };
        Self { id, connection, records, limits, clock, octets: AtomicUsize::new(0), state: Mutex::new(state) }
    }

    pub(crate) fn id(&self) -> SessionId {
        self.id
    }

    /// What it has in memory.
    pub(crate) fn octets(&self) -> usize {
        self.octets.load(Ordering::Relaxed)
    }

    /// The session as it is now.
    pub(crate) fn session(&self) -> RecordedSession {
        self.lock().session.clone()
    }

    /// Whether it is the session of this service, and `is_wanted` says yes of it.
    pub(crate) fn session_if(&self, is_wanted: impl FnOnce(&RecordedSession) -> bool) -> Option<RecordedSession> {
        let state = self.lock();
        is_wanted(&state.session).then(|| state.session.clone())
    }

    /// What was seen of the dialogue, from the beginning.
    pub(crate) fn dialogue(&self) -> (RecordedSession, Vec<Record>) {
        let state = self.lock();
        let seen = state.entries.iter().filter(|entry| !matches!(entry.what, What::Opened | What::Closed));
        (state.session.clone(), seen.map(|entry| state.record(entry)).collect())
    }

    /// The sequences of its records after `after` and up to `last`.
    pub(crate) fn sequences(&self, after: u64, last: u64) -> Vec<u64> {
        let state = self.lock();
        let first = state.entries.partition_point(|entry| entry.sequence <= after);
        state.entries[first..].iter().map(|entry| entry.sequence).take_while(|&sequence| sequence <= last).collect()
    }

    /// The record with this sequence.
    pub(crate) fn record(&self, sequence: u64) -> Option<Record> {
        let state = self.lock();
        let index = state.entries.binary_search_by_key(&sequence, |entry| entry.sequence).ok()?;
        Some(state.record(&state.entries[index]))
    }

    pub(crate) fn opened(&self, at: Timestamp) {
        self.push(&mut self.lock(), at, What::Opened);
        self.records.changed().notify_waiters();
    }

    pub(crate) fn mark(&self, mark: Mark) {
        let at = self.clock.now();
        let has_room = self.records.make_room(self.octets());
        let mut state = self.lock();
        // A lock is renewed while a message is read.
        if !matches!(mark, Mark::Called { .. }) {
            self.finish_body(&mut state, at, has_room);
        }
        learn(&mut state.session, &mark);
        if has_room {
            state.marks += 1;
            self.push(&mut state, at, What::Mark(Box::new(mark)));
        } else {
            self.missed(&mut state);
        }
        drop(state);
        self.records.changed().notify_waiters();
    }

    fn end(&self) {
        let at = self.clock.now();
        self.records.close(self.connection, self.id, || {
            let mut state = self.lock();
            self.finish_body(&mut state, at, true);
            state.session.closed_at = Some(at);
            if state.session.ended.is_none() {
                state.session.break_off("cut off".to_owned());
            }
            if state.data.capacity() > 2 * state.data.len() + OCTETS {
                state.data.shrink_to_fit();
            }
            self.push(&mut state, at, What::Closed)
        });
        self.records.changed().notify_waiters();
    }

    /// Counts a record for which there is no room.
    fn missed(&self, state: &mut State) {
        state.session.missing_records += 1;
        self.records.missed();
    }

    /// Adds an entry, and returns its sequence.
    fn push(&self, state: &mut State, at: Timestamp, what: What) -> u64 {
        let sequence = self.records.next_sequence();
        state.entries.push(Entry { sequence, at, what });
        let octets = mem::size_of::<Self>()
            + state.data.capacity()
            + state.entries.capacity() * mem::size_of::<Entry>()
            + state.marks * (mem::size_of::<Mark>() + MARK_OCTETS);
        let before = self.octets();
        if octets != before {
            self.octets.store(octets, Ordering::Relaxed);
            self.records.account(before, octets);
        }
        sequence
    }

    /// Records how much of a body was not kept, once it is over.
    fn finish_body(&self, state: &mut State, at: Timestamp, has_room: bool) {
        match state.body.take() {
            Some(Body { flow, cut: octets @ 1.., .. }) if has_room => {
                self.push(state, at, What::Cut { flow, octets });
            }
            Some(Body { cut: 1.., .. }) => self.missed(state),
            _ => {}
        }
    }

    /// Adds as much of these octets as is kept.
    fn append(&self, state: &mut State, at: Timestamp, (flow, form): (Flow, Form), octets: &[u8], has_room: bool) {
        let mut body = state.body.unwrap_or(Body { flow, kept: 0, cut: 0 });
        let kept = match form {
            Form::Body if !has_room => 0,
            Form::Body => octets.len().min(self.limits.body_octets.saturating_sub(body.kept)),
            Form::Line | Form::Secret => octets.len(),
        };
        if !has_room && form != Form::Body {
            self.missed(state);
        } else if kept > 0 {
            let start = state.data.len();
            state.data.extend_from_slice(&octets[..kept]);
            if form == Form::Secret && !self.limits.shows_secrets {
                mask(&mut state.data[start..]);
            }
            let end = state.data.len();
            self.push(state, at, What::Octets { flow, form, start, end });
        }
        if form == Form::Body {
            body.kept += kept;
            body.cut += (octets.len() - kept) as u64;
            state.body = Some(body);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tap for Log {
    fn saw(&self, at: Timestamp, direction: Direction, kind: Kind, octets: &[u8]) {
        let (flow, mut form) = (flow(direction), form(kind));
        let has_room = self.records.make_room(self.octets());
        let mut state = self.lock();
        match flow {
            Flow::Received => state.session.octets_received += octets.len() as u64,
            Flow::Sent => state.session.octets_sent += octets.len() as u64,
        }
        if form == Form::Line && flow == replies(state.session.role) && is_refusal(octets) {
            state.session.refusals += 1;
            let line = octets.trim_ascii_end();
            let line = &line[..line.len().min(REFUSAL_OCTETS)];
            state.session.last_refusal = Some(String::from_utf8_lossy(line).into_owned());
        }
        if form != Form::Body && flow != replies(state.session.role) {
            if form == Form::Line && state.is_after_auth && !is_command(octets) {
                form = Form::Secret;
            }
            // PASS is over with its line; an exchange of AUTH goes on.
            state.is_after_auth = is_auth(octets) || (state.is_after_auth && form == Form::Secret);
        }
        // A body that goes on in the other direction is another one.
        if form != Form::Body || state.body.is_some_and(|body| body.flow != flow) {
            self.finish_body(&mut state, at, has_room);
        }
        self.append(&mut state, at, (flow, form), octets, has_room);
        drop(state);
        self.records.changed().notify_waiters();
    }
}

impl State {
    fn record(&self, entry: &Entry) -> Record {
        let what = match &entry.what {
            What::Opened => Seen::Opened { state: Box::new(self.session.clone()) },
            What::Closed => Seen::Closed { state: Box::new(self.session.clone()) },
            What::Mark(mark) => Seen::Mark(Mark::clone(mark)),
            What::Octets { flow, form, start, end } => Seen::Octets(SeenOctets {
                direction: *flow,
                form: *form,
                missing: 0,
                octets: Octets::of(&self.data[*start..*end]),
            }),
            What::Cut { flow, octets } => Seen::Octets(SeenOctets {
                direction: *flow,
                form: Form::Body,
                missing: *octets,
                octets: Octets::Text(String::new()),
            }),
        };
        Record { sequence: entry.sequence, at: entry.at, what }
    }
}

/// Takes over what a mark tells of the whole session.
fn learn(session: &mut RecordedSession, mark: &Mark) {
    match mark {
        Mark::Connected { local, remote } => {
            (session.local, session.remote) = (Some(*local), Some(*remote));
        }
        Mark::Encrypted { tls } => session.tls = Some(tls.clone()),
        Mark::LoggedIn { user } => session.user = Some(user.clone()),
        Mark::Message { message, .. } if session.messages.len() < LISTED && !session.messages.contains(message) => {
            session.messages.push(*message);
        }
        _ => {}
    }
}

/// Where replies go, for a service of this role.
fn replies(role: Role) -> Flow {
    match role {
        Role::Server => Flow::Sent,
        Role::Client => Flow::Received,
    }
}

/// Whether a line is the last one of a reply that refuses something: 4xx and 5xx of SMTP, `-ERR` of POP3.
fn is_refusal(line: &[u8]) -> bool {
    match line {
        [b'4' | b'5', b'0'..=b'9', b'0'..=b'9', rest @ ..] => rest.first() != Some(&b'-'),
        _ => line.starts_with(b"-ERR"),
    }
}

fn flow(direction: Direction) -> Flow {
    match direction {
        Direction::Received => Flow::Received,
        Direction::Sent => Flow::Sent,
    }
}

fn form(kind: Kind) -> Form {
    match kind {
        Kind::Line => Form::Line,
        Kind::Body => Form::Body,
        Kind::Secret => Form::Secret,
    }
}
