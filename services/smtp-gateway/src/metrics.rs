//! What a gateway counts.

use mail_proto::smtp::Reply;
use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue},
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::Registry,
};
use service_kit::metrics::register_latency;

/// The codes of refusals that a client can get. Others are counted as [`OTHER_CODE`].
const REJECTION_CODES: [u32; 19] =
    [421, 450, 451, 452, 454, 500, 501, 502, 503, 504, 521, 530, 535, 538, 550, 551, 552, 553, 554];
const OTHER_CODE: u32 = 0;

/// A reply code, as a label.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Code {
    code: u32,
}

/// How AUTH ended, as a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
#[expect(non_camel_case_types, reason = "label values are in lower case")]
pub(crate) enum LoginOutcome {
    ok,
    wrong_password,
    malformed,
    cancelled,
    unavailable,
}

impl LoginOutcome {
    const ALL: [Self; 5] = [Self::ok, Self::wrong_password, Self::malformed, Self::cancelled, Self::unavailable];
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Login {
    outcome: LoginOutcome,
}

/// What is counted since the start.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    /// Connections that were served.
    pub(crate) connections: Counter,
    /// Connections refused because too many were open.
    pub(crate) connections_refused: Counter,
    /// Messages acknowledged with 250.
    pub(crate) messages_accepted: Counter,
    /// Messages refused after their final dot.
    pub(crate) messages_refused: Counter,
    rejections: Family<Code, Counter>,
    logins: Family<Login, Counter>,
    /// From a message's final dot to its 250.
    pub(crate) accept_seconds: Histogram,
    /// Calls of the store, except those that wait for mail or for a client.
    pub(crate) store_call_seconds: Histogram,
    /// Recipients whose server has taken the message.
    pub(crate) recipients_relayed: Counter,
    /// Attempts for a recipient that will be repeated.
    pub(crate) recipients_deferred: Counter,
    /// Recipients given up.
    pub(crate) recipients_failed: Counter,
    /// Failure messages sent.
    pub(crate) failure_messages: Counter,
    /// One transaction with another server.
    pub(crate) attempt_seconds: Histogram,
}

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let rejections = Family::<Code, Counter>::default();
        // So that they show before the first refusal.
        for code in REJECTION_CODES.into_iter().chain([OTHER_CODE]) {
            drop(rejections.get_or_create(&Code { code }));
        }
        let logins = Family::<Login, Counter>::default();
        for outcome in LoginOutcome::ALL {
            drop(logins.get_or_create(&Login { outcome }));
        }
        let registry = registry.sub_registry_with_prefix("mailtown");
        registry.register("smtp_logins", "AUTH commands, by outcome", logins.clone());
        registry.register("smtp_rejections", "Refusals, by reply code (0: any other)", rejections.clone());
        let mut counter = |name: &str, help: &str| {
            let counter = Counter::default();
            registry.register(name, help, counter.clone());
            counter
        };
        Self {
            connections: counter("smtp_connections", "Connections served"),
            connections_refused: counter("smtp_connections_refused", "Connections refused, too many were open"),
            messages_accepted: counter("smtp_messages_accepted", "Messages acknowledged with 250"),
            messages_refused: counter("smtp_messages_refused", "Messages refused after their final dot"),
            recipients_relayed: counter("relay_recipients_relayed", "Recipients whose server took the message"),
            recipients_deferred: counter("relay_recipients_deferred", "Attempts that will be repeated"),
            recipients_failed: counter("relay_recipients_failed", "Recipients given up"),
            failure_messages: counter("relay_failure_messages", "Failure messages sent"),
            rejections,
            logins,
            accept_seconds: register_latency(registry, "smtp_accept", "From a message's final dot to its 250"),
            store_call_seconds: register_latency(
                registry,
                "smtp_store_call",
                "Calls of the store, except those that wait for mail or for a client",
            ),
            attempt_seconds: register_latency(registry, "relay_attempt", "One transaction with another server"),
        }
    }

    /// Counts the end of an AUTH command.
    pub(crate) fn login(&self, outcome: LoginOutcome) {
        self.logins.get_or_create(&Login { outcome }).inc();
    }

    /// Counts a reply, if it is a refusal.
    pub(crate) fn replied(&self, reply: &Reply) {
        if !is_refusal(reply) {
            return;
        }
        let code = u32::from(reply.code());
        let code = if REJECTION_CODES.contains(&code) { code } else { OTHER_CODE };
        self.rejections.get_or_create(&Code { code }).inc();
    }
}

/// Whether a reply refuses what was asked for, for now or for good (RFC 5321 §4.2.1).
pub(crate) fn is_refusal(reply: &Reply) -> bool {
    reply.code() >= 400
}
