//! What records the sessions of one service.

use crate::{
    Records,
    recording::{Limits, Log, Recording},
};
use internal_api::{Call, ConnectionId, Mark, Protocol, RecordedSession, Role, SessionId};
use mail_net::{Direction, Kind, WallClock};
use mail_proto::Domain;
use std::{fmt, net::SocketAddr, sync::Arc};
use town_config::{LiveStack, Secrets, Trace};

/// Records the sessions of one service. Clones record into the same memory.
#[derive(Clone)]
pub struct Recorder {
    records: Records,
    /// The server name of the stack.
    stack: Domain,
    service: &'static str,
    /// What is recorded; asked for each session.
    settings: Arc<dyn Fn() -> Trace + Send + Sync>,
    clock: WallClock,
}

/// How a session begins.
#[derive(Debug, Clone, Copy)]
pub struct Opening {
    /// Which end the service is.
    pub role: Role,
    /// What is to be spoken.
    pub protocol: Protocol,
    /// The service's own address, where it is known.
    pub local: Option<SocketAddr>,
    /// The address of the other end, where it is known.
    pub remote: Option<SocketAddr>,
}

impl Recorder {
    /// What records the sessions of this service of a stack. `settings` is asked for each session.
    pub fn new(
        records: Records,
        (stack, service): (Domain, &'static str),
        settings: impl Fn() -> Trace + Send + Sync + 'static,
        clock: WallClock,
    ) -> Self {
        Self { records, stack, service, settings: Arc::new(settings), clock }
    }

    /// What records the sessions of this service of a stack, as its configuration says.
    pub fn of_stack(stack: LiveStack, service: &'static str, records: Records, clock: WallClock) -> Self {
        let name = stack.current().name.clone();
        Self::new(records, (name, service), move || stack.current().trace, clock)
    }

    /// Begins to record a session, unless recording is off. It is that of the connection for which the running task
    /// works, or of one that has no other name.
    pub fn open(&self, opening: Opening) -> Recording {
        let Trace { enabled, octets, body_octets, secrets } = (self.settings)();
        if !enabled {
            return Recording::off();
        }
        self.records.set_limit(octets);
        let Opening { role, protocol, local, remote } = opening;
        let connection = match role {
            Role::Server => ConnectionId::current().unwrap_or_else(ConnectionId::random),
            Role::Client => ConnectionId::random(),
        };
        let opened_at = self.clock.now();
        let session = RecordedSession {
            local,
            remote,
            connection: connection.to_string(),
            ..RecordedSession::opened(
                (SessionId::new(self.records.id_moment(opened_at), &connection), opened_at),
                (self.stack.clone(), self.service.into()),
                (role, protocol),
            )
        };
        let limits = Limits { body_octets, shows_secrets: secrets == Secrets::Show };
        let number = connection.number();
        let log = Arc::new(Log::new(session, number, self.records.clone(), limits, self.clock.clone()));
        self.records.add(number, Arc::clone(&log));
        log.opened(opened_at);
        Recording::of(log)
    }

    /// Records a connection that was refused, with what it was told.
    pub fn refused(&self, opening: Opening, refusal: &[u8]) {
        let recording = self.open(opening);
        recording.octets(Direction::Sent, Kind::Line, refusal);
        recording.breaks("too many connections");
    }

    /// Records that this neighbour was called for the connection for which the running task works, if that is recorded.
    pub fn called(&self, service: &str, call: &Call<'_>) {
        if !self.is_on() {
            return;
        }
        let log = ConnectionId::current().and_then(|id| self.records.of_connection(id.number()));
        if let Some(log) = log {
            log.mark(Mark::Called {
                service: service.to_owned(),
                request: format!("{} {}", call.method, call.path),
                status: call.status,
                microseconds: u64::try_from(call.took.as_micros()).unwrap_or(u64::MAX),
            });
        }
    }

    /// Whether new sessions are recorded.
    pub(crate) fn is_on(&self) -> bool {
        (self.settings)().enabled
    }

    pub(crate) fn records(&self) -> &Records {
        &self.records
    }

    /// Whether a session is one of this service.
    pub(crate) fn has_seen(&self, session: &RecordedSession) -> bool {
        session.stack == self.stack && session.service == self.service
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").field("stack", &self.stack).field("service", &self.service).finish_non_exhaustive()
    }
}
