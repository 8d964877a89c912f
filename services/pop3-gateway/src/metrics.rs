//! What is counted.

use mail_proto::{pop3::OpenFailure, sasl::Failure};
use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};
use service_kit::metrics::register_latency;
use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
#[expect(non_camel_case_types, reason = "label values are in lower case")]
enum LoginOutcome {
    ok,
    wrong_password,
    malformed,
    cancelled,
    in_use,
    too_soon,
    unavailable,
}

impl LoginOutcome {
    const ALL: [Self; 7] = [
        Self::ok,
        Self::wrong_password,
        Self::malformed,
        Self::cancelled,
        Self::in_use,
        Self::too_soon,
        Self::unavailable,
    ];
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Login {
    outcome: LoginOutcome,
}

/// The counters of one gateway.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    connections: Gauge,
    sessions: Counter,
    connections_refused: Counter,
    logins: Family<Login, Counter>,
    /// From the password, or the proof of it, to the reply.
    login_seconds: Histogram,
    /// Calls of the store.
    pub(crate) store_call_seconds: Histogram,
    messages_retrieved: Counter,
    octets_sent: Counter,
    messages_deleted: Counter,
}

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            connections: Gauge::default(),
            sessions: Counter::default(),
            connections_refused: Counter::default(),
            logins: Family::default(),
            login_seconds: register_latency(
                registry,
                "mailtown_pop3_login",
                "From the password, or the proof of it, to the reply",
            ),
            store_call_seconds: register_latency(registry, "mailtown_pop3_store_call", "Calls of the store"),
            messages_retrieved: Counter::default(),
            octets_sent: Counter::default(),
            messages_deleted: Counter::default(),
        };
        // So that they show before the first login.
        for outcome in LoginOutcome::ALL {
            drop(metrics.logins.get_or_create(&Login { outcome }));
        }
        registry.register("mailtown_pop3_connections", "Connections that are open", metrics.connections.clone());
        registry.register("mailtown_pop3_sessions", "Connections served so far", metrics.sessions.clone());
        registry.register(
            "mailtown_pop3_connections_refused",
            "Connections refused, too many were open",
            metrics.connections_refused.clone(),
        );
        registry.register(
            "mailtown_pop3_logins",
            "Logins with USER and PASS, or with AUTH, by outcome",
            metrics.logins.clone(),
        );
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

    pub(crate) fn refused(&self) {
        self.connections_refused.inc();
    }

    pub(crate) fn login<T>(&self, outcome: &Result<T, OpenFailure>, took: Duration) {
        self.login_seconds.observe(took.as_secs_f64());
        let outcome = match outcome {
            Ok(_) => LoginOutcome::ok,
            Err(OpenFailure::Authentication) => LoginOutcome::wrong_password,
            Err(OpenFailure::InUse) => LoginOutcome::in_use,
            Err(OpenFailure::TooSoon) => LoginOutcome::too_soon,
            Err(OpenFailure::Unavailable) => LoginOutcome::unavailable,
        };
        self.count_login(outcome);
    }

    /// Counts a login that did not come to opening a maildrop.
    pub(crate) fn login_failed(&self, failure: Failure) {
        self.count_login(match failure {
            Failure::Cancelled => LoginOutcome::cancelled,
            Failure::Encoding | Failure::Malformed => LoginOutcome::malformed,
            Failure::Credentials | Failure::Binding | Failure::Downgrade => LoginOutcome::wrong_password,
        });
    }

    /// Counts a login that nobody could check.
    pub(crate) fn login_unchecked(&self) {
        self.count_login(LoginOutcome::unavailable);
    }

    fn count_login(&self, outcome: LoginOutcome) {
        self.logins.get_or_create(&Login { outcome }).inc();
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
