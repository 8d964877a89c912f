//! What is counted.

use mail_proto::pop3::OpenFailure;
use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
#[expect(non_camel_case_types, reason = "label values are in lower case")]
enum LoginResult {
    ok,
    wrong_password,
    in_use,
    unavailable,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Login {
    result: LoginResult,
}

/// The counters of one gateway.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    connections: Gauge,
    sessions: Counter,
    logins: Family<Login, Counter>,
    messages_retrieved: Counter,
    octets_sent: Counter,
    messages_deleted: Counter,
}

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register("mailtown_pop3_connections", "Connections that are open", metrics.connections.clone());
        registry.register("mailtown_pop3_sessions", "Connections served so far", metrics.sessions.clone());
        registry.register("mailtown_pop3_logins", "PASS commands by their result", metrics.logins.clone());
        registry.register(
            "mailtown_pop3_messages_retrieved",
            "Messages sent whole, by RETR",
            metrics.messages_retrieved.clone(),
        );
        registry.register_with_unit(
            "mailtown_pop3_messages_sent",
            "What was sent for RETR and TOP, dot-stuffing included",
            Unit::Bytes,
            metrics.octets_sent.clone(),
        );
        registry.register(
            "mailtown_pop3_messages_deleted",
            "Messages deleted in the UPDATE state",
            metrics.messages_deleted.clone(),
        );
        metrics
    }

    /// Counts a connection, as open until the answer is dropped.
    pub(crate) fn connected(&self) -> OpenConnection {
        self.sessions.inc();
        self.connections.inc();
        OpenConnection(self.connections.clone())
    }

    pub(crate) fn login<T>(&self, outcome: &Result<T, OpenFailure>) {
        let result = match outcome {
            Ok(_) => LoginResult::ok,
            Err(OpenFailure::Authentication) => LoginResult::wrong_password,
            Err(OpenFailure::InUse) => LoginResult::in_use,
            Err(OpenFailure::Unavailable) => LoginResult::unavailable,
        };
        self.logins.get_or_create(&Login { result }).inc();
    }

    pub(crate) fn retrieved(&self) {
        self.messages_retrieved.inc();
    }

    pub(crate) fn sent(&self, octets: usize) {
        self.octets_sent.inc_by(octets as u64);
    }

    pub(crate) fn deleted(&self, messages: usize) {
        self.messages_deleted.inc_by(messages as u64);
    }
}

/// A connection that counts as open.
#[derive(Debug)]
pub(crate) struct OpenConnection(Gauge);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}
