//! The faults of one service.

use crate::{
    Counts, Cut, Fault, InvalidFault, Outcome, Place, Shape, Way, What, armed::Armed, check_name, glob, magic::Magic,
};
use mail_net::{Hop, WallClock};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fmt,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
};
use utoipa::ToSchema;

/// How many faults there can be at once.
const FAULTS: usize = 1_000;
/// Where a connection begins.
const CONNECT: &str = "CONNECT";

/// All faults of a town, by their names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Settings {
    /// The faults.
    pub faults: BTreeMap<String, Fault>,
    /// Whether recipients such as `bounce+550-5.1.1@domain` make faults.
    pub magic_recipients: bool,
}

impl Settings {
    /// Checks all of it.
    ///
    /// # Errors
    /// [`InvalidFault`], which names the fault.
    pub fn check(&self) -> Result<(), InvalidFault> {
        for (name, fault) in &self.faults {
            check_name(name)?;
            fault.check().map_err(|error| error.of(name))?;
        }
        if self.faults.len() > FAULTS { Err(InvalidFault::too_many(FAULTS)) } else { Ok(()) }
    }
}

/// How often a fault has happened at a service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FaultState {
    /// How often it has happened since it was set.
    pub fired: u64,
    /// The last sessions in which it has, the oldest first. At most 20.
    pub sessions: Vec<String>,
}

/// Where something can go wrong.
#[derive(Debug, Clone, Copy)]
pub struct Point<'a> {
    /// The edge of the town.
    pub hop: Hop,
    /// What is asked for: a command by each of its names, `CONNECT`, `.`, a record type or a method.
    pub verbs: &'a [&'a str],
    /// The client.
    pub client: Option<IpAddr>,
    /// The other server, by each of its names.
    pub peers: &'a [&'a str],
    /// The stack of the other server, if it is one of the town.
    pub peer_stack: Option<&'a str>,
    /// The reverse-path of the transaction.
    pub mail_from: Option<&'a str>,
    /// The recipient of the command, or those of the message.
    pub recipients: &'a [String],
    /// The name in a query, or the path of a request.
    pub name: Option<&'a str>,
    /// Whether a fault can change how the connection carries octets: it was opened while there were faults.
    pub is_shapable: bool,
}

impl<'a> Point<'a> {
    /// A command, query or request.
    pub fn of(hop: Hop, verbs: &'a [&'a str]) -> Self {
        Self {
            hop,
            verbs,
            client: None,
            peers: &[],
            peer_stack: None,
            mail_from: None,
            recipients: &[],
            name: None,
            is_shapable: true,
        }
    }

    /// The beginning of a connection.
    pub fn connect(hop: Hop) -> Self {
        Self::of(hop, &[CONNECT])
    }

    fn is_connect(&self) -> bool {
        self.verbs == [CONNECT]
    }
}

/// The faults of one service. Clones share them.
#[derive(Clone, Default)]
pub struct Faults(Option<Arc<Shared>>);

struct Shared {
    stack: String,
    service: &'static str,
    /// The edges at which there is any fault for this service: a bit for each.
    edges: AtomicU8,
    clock: WallClock,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What was set, for all services.
    settings: Settings,
    /// Those for this service.
    armed: BTreeMap<String, Armed>,
    magic: Option<Magic>,
}

impl Faults {
    /// A service that has no faults, whatever happens.
    pub fn none() -> Self {
        Self(None)
    }

    /// The faults of this service of a stack: none yet.
    pub fn new(stack: impl Into<String>, service: &'static str, clock: WallClock) -> Self {
        let (edges, state) = (AtomicU8::new(0), Mutex::default());
        Self(Some(Arc::new(Shared { stack: stack.into(), service, edges, clock, state })))
    }

    /// Whether there is any fault for this service.
    pub fn is_on(&self) -> bool {
        self.0.as_ref().is_some_and(|shared| shared.edges.load(Ordering::Relaxed) != 0)
    }

    /// Whether there is any fault at this edge.
    pub fn is_on_at(&self, hop: Hop) -> bool {
        self.0.as_ref().is_some_and(|shared| shared.edges.load(Ordering::Relaxed) & bit(hop) != 0)
    }

    /// Sets the faults of the town. One that stays as it was keeps its counts.
    ///
    /// # Errors
    /// [`InvalidFault`]; nothing has changed then.
    pub fn set(&self, settings: Settings) -> Result<(), InvalidFault> {
        settings.check()?;
        let Some(shared) = &self.0 else { return Ok(()) };
        let mut state = shared.lock();
        let mut before = std::mem::take(&mut state.armed);
        for (name, fault) in settings.faults.iter().filter(|(_, fault)| fault.concerns(&shared.stack, shared.service)) {
            let armed = before.remove(name).filter(|armed| armed.fault == *fault);
            state.armed.insert(name.clone(), armed.unwrap_or_else(|| Armed::new(fault.clone())));
        }
        state.magic = settings.magic_recipients.then(|| state.magic.take().unwrap_or_default());
        state.settings = settings;
        let has_magic = state.magic.is_some() && shared.service == "smtp-gateway";
        let of_faults = state.armed.values().filter_map(|armed| armed.fault.hop().ok()).map(bit);
        let edges = of_faults.chain(has_magic.then(|| bit(Hop::AgentToSmtp))).fold(0, |edges, edge| edges | edge);
        shared.edges.store(edges, Ordering::Relaxed);
        Ok(())
    }

    /// What was set, and how often each fault for this service has happened.
    pub fn report(&self) -> (Settings, BTreeMap<String, FaultState>) {
        let Some(shared) = &self.0 else { return Default::default() };
        let state = shared.lock();
        let states = state.armed.iter().map(|(name, armed)| {
            let sessions = armed.sessions.iter().cloned().collect();
            (name.clone(), FaultState { fired: armed.fired, sessions })
        });
        (state.settings.clone(), states.collect())
    }

    /// What was counted here.
    pub fn counts(&self) -> Counts {
        let Some(shared) = &self.0 else { return Counts::default() };
        let state = shared.lock();
        let faults = state.armed.iter().map(|(name, armed)| (name.clone(), armed.count())).collect();
        Counts { faults, deferred: state.magic.as_ref().map(Magic::counts).unwrap_or_default() }
    }

    /// Counts on from what was counted before. What was not counted then begins anew.
    pub fn go_on_from(&self, counts: Counts) {
        let Some(shared) = &self.0 else { return };
        let Counts { mut faults, deferred } = counts;
        let mut state = shared.lock();
        for (name, armed) in &mut state.armed {
            armed.go_on_from(faults.remove(name).unwrap_or_default());
        }
        if let Some(magic) = &mut state.magic {
            *magic = Magic::of(deferred);
        }
    }

    /// What goes wrong here. `None` for nothing.
    pub fn at(&self, point: &Point<'_>) -> Option<Box<Outcome>> {
        let shared = self.0.as_ref().filter(|_| self.is_on_at(point.hop))?;
        let (now, mut outcome) = (shared.clock.now(), Outcome::default());
        let mut state = shared.lock();
        for (name, armed) in &mut state.armed {
            if !is_at(&armed.fault, point, &shared.stack) || !(point.is_shapable || shape(&armed.fault).is_none()) {
                continue;
            }
            let recipient = point.recipients.first().map(String::as_str);
            if armed.happens(recipient, now) && !outcome.add(name, &armed.fault.what, shape(&armed.fault)) {
                break;
            }
        }
        (!outcome.fired.is_empty()).then(|| Box::new(outcome))
    }

    /// What a recipient of a local domain asks for by its name, while that is on.
    pub fn of_recipient(&self, address: &str) -> Option<Box<Outcome>> {
        let shared = self.0.as_ref().filter(|_| self.is_on_at(Hop::AgentToSmtp))?;
        let (what, wish) = shared.lock().magic.as_mut()?.wish(address)?;
        let mut outcome = Outcome::default();
        outcome.add(&wish, &what, Shape::default());
        Some(Box::new(outcome))
    }

    /// Tells in which session the faults of an outcome have happened.
    pub fn happened_in(&self, outcome: &Outcome, session: &str) {
        let Some(shared) = &self.0 else { return };
        let mut state = shared.lock();
        for (name, _) in &outcome.fired {
            if let Some(armed) = state.armed.get_mut(name) {
                armed.happened_in(session.to_owned());
            }
        }
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faults").field("is_on", &self.is_on()).finish_non_exhaustive()
    }
}

impl Fault {
    /// Whether it can happen at this service of this stack.
    pub fn concerns(&self, stack: &str, service: &str) -> bool {
        let is_of_stack = |pattern: &str| glob::matches(pattern, stack);
        let is_here = match (&self.what, self.place.stack.as_deref()) {
            (What::Partition(other), Some(stack)) => is_of_stack(stack) || is_of_stack(other),
            (_, stack) => stack.is_none_or(is_of_stack),
        };
        is_here && self.service() == Ok(service)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The bit of an edge.
fn bit(hop: Hop) -> u8 {
    match hop {
        Hop::AgentToSmtp => 1,
        Hop::SmtpToPeer => 2,
        Hop::GatewayToStore => 4,
        Hop::GatewayToDns => 8,
        Hop::ClientToPop3 => 16,
    }
}

/// How a fault shapes the connection.
fn shape(fault: &Fault) -> Shape {
    Shape::of(&fault.what, fault.place.direction)
}

/// Whether this is where the fault happens. `stack` is our own.
fn is_at(fault: &Fault, point: &Point<'_>, stack: &str) -> bool {
    let Place { peer, verb, mail_from, rcpt_to, name, client, .. } = &fault.place;
    if fault.hop() != Ok(point.hop) || !is_time(&fault.what, verb.as_deref(), point) {
        return false;
    }
    let is_there = match &fault.what {
        What::Partition(other) => point.peer_stack.is_some_and(|peer| {
            let near = fault.place.stack.as_deref().unwrap_or_default();
            let far = if near.eq_ignore_ascii_case(stack) { other } else { near };
            far.eq_ignore_ascii_case(peer)
        }),
        _ => true,
    };
    is_there
        && any(peer.as_deref(), point.peers.iter().copied())
        && any(mail_from.as_deref(), point.mail_from)
        && any(rcpt_to.as_deref(), point.recipients.iter().map(String::as_str))
        && any(name.as_deref(), point.name)
        && client.is_none_or(|network| point.client.is_some_and(|client| network.contains(&client.to_canonical())))
}

/// Whether one of the texts is as the pattern says, if there is a pattern.
fn any<'t>(pattern: Option<&str>, texts: impl IntoIterator<Item = &'t str>) -> bool {
    pattern.is_none_or(|pattern| texts.into_iter().any(|text| glob::matches(pattern, text)))
}

/// Whether this is the command for it. Without a verb, what shapes a connection happens at its beginning, and all else at
/// each command.
fn is_time(what: &What, verb: Option<&str>, point: &Point<'_>) -> bool {
    match (verb, what) {
        (_, What::Cut(Cut::AfterDot)) => point.verbs.contains(&"."),
        (Some(verb), _) => point.verbs.iter().any(|name| name.eq_ignore_ascii_case(verb)),
        // A connection that was there before the partition breaks too.
        (None, What::Partition(_)) => true,
        (None, What::Throttle(_) | What::Slice(_) | What::Refuse | What::Cut(Cut::AfterOctets(_))) => {
            point.is_connect()
        }
        (None, _) => !point.is_connect(),
    }
}

/// Which way a shape is for.
impl Way {
    pub(crate) fn is_received(way: Option<Self>) -> bool {
        way != Some(Self::Sent)
    }

    pub(crate) fn is_sent(way: Option<Self>) -> bool {
        way != Some(Self::Received)
    }
}

#[cfg(test)]
mod tests;
