//! What the store counts.

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};
use service_kit::metrics::latency;

/// The counters of one store.
#[derive(Debug, Clone)]
pub struct Metrics {
    pub(crate) submitted: Counter,
    pub(crate) delivered: Counter,
    pub(crate) quarantined: Counter,
    pub(crate) expired: Counter,
    pub(crate) swept: Counter,
    pub(crate) queue_entries: Gauge,
    pub(crate) waiting_writes: Gauge,
    pub(crate) waiting_claims: Gauge,
    pub(crate) group_changes: Histogram,
    pub(crate) logins: Family<Login, Counter>,
    pub(crate) login_seconds: Histogram,
    pub(crate) logins_delayed: Counter,
    pub(crate) logins_refused_unchecked: Counter,
    pub(crate) commit_seconds: Histogram,
    pub(crate) queue_oldest: Gauge,
    pub(crate) queue_held: Gauge,
}

/// How an attempt to log in ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Login {
    pub(crate) outcome: LoginOutcome,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
#[expect(non_camel_case_types, reason = "label values are in lower case")]
pub(crate) enum LoginOutcome {
    accepted,
    refused,
}

impl Metrics {
    /// Counters that show in `registry`.
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            submitted: Counter::default(),
            delivered: Counter::default(),
            quarantined: Counter::default(),
            expired: Counter::default(),
            swept: Counter::default(),
            queue_entries: Gauge::default(),
            waiting_writes: Gauge::default(),
            waiting_claims: Gauge::default(),
            group_changes: Histogram::new(exponential_buckets(1.0, 2.0, 10)),
            logins: Family::default(),
            login_seconds: latency(),
            logins_delayed: Counter::default(),
            logins_refused_unchecked: Counter::default(),
            commit_seconds: latency(),
            queue_oldest: Gauge::default(),
            queue_held: Gauge::default(),
        };
        metrics.register(registry.sub_registry_with_prefix("mailtown_store"));
        // So that they show before the first login.
        for outcome in [LoginOutcome::accepted, LoginOutcome::refused] {
            drop(metrics.logins.get_or_create(&Login { outcome }));
        }
        metrics
    }

    fn register(&self, registry: &mut Registry) {
        registry.register("messages_submitted", "Messages stored, repeats not counted", self.submitted.clone());
        registry.register("deliveries", "Messages put into maildrops", self.delivered.clone());
        registry.register("quarantined", "Undecodable records that were quarantined", self.quarantined.clone());
        registry.register("expired", "Maildrop entries deleted for their age", self.expired.clone());
        registry.register("swept", "Deleted maildrop entries removed after their session", self.swept.clone());
        registry.register("queue_entries", "Recipients waiting to be relayed", self.queue_entries.clone());
        registry.register("queue_held", "Recipients that wait on hold", self.queue_held.clone());
        registry.register("waiting_writes", "Changes waiting for the writer", self.waiting_writes.clone());
        registry.register("waiting_claims", "Relay workers waiting for mail", self.waiting_claims.clone());
        registry.register("group_changes", "Changes committed together", self.group_changes.clone());
        registry.register("logins", "Attempts to log in, by outcome", self.logins.clone());
        registry.register("logins_delayed", "Logins delayed after too many failures", self.logins_delayed.clone());
        registry.register(
            "logins_refused_unchecked",
            "Logins refused unchecked, too many of their address waited",
            self.logins_refused_unchecked.clone(),
        );
        registry.register_with_unit(
            "login",
            "How long checking a password took",
            Unit::Seconds,
            self.login_seconds.clone(),
        );
        registry.register_with_unit(
            "commit",
            "How long a change took from its start until it was durable",
            Unit::Seconds,
            self.commit_seconds.clone(),
        );
        registry.register_with_unit(
            "queue_oldest",
            "Age of the oldest message in the queue that is not on hold",
            Unit::Seconds,
            self.queue_oldest.clone(),
        );
    }

    pub(crate) fn count_login(&self, accepted: bool) {
        let outcome = if accepted { LoginOutcome::accepted } else { LoginOutcome::refused };
        self.logins.get_or_create(&Login { outcome }).inc();
    }
}

/// Counts into a gauge for as long as it lives.
pub(crate) struct Counted(Gauge);

impl Counted {
    pub(crate) fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}
