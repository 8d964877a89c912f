//! What the store counts.

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

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
}

/// How an attempt to log in ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Login {
    pub(crate) outcome: LoginOutcome,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum LoginOutcome {
    Accepted,
    Refused,
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
        };
        let registry = registry.sub_registry_with_prefix("mailtown_store");
        registry.register("messages_submitted", "Messages stored, repeats not counted", metrics.submitted.clone());
        registry.register("deliveries", "Messages put into maildrops", metrics.delivered.clone());
        registry.register("quarantined", "Undecodable records that were quarantined", metrics.quarantined.clone());
        registry.register("expired", "Maildrop entries deleted for their age", metrics.expired.clone());
        registry.register("swept", "Deleted maildrop entries removed after their session", metrics.swept.clone());
        registry.register("queue_entries", "Recipients waiting to be relayed", metrics.queue_entries.clone());
        registry.register("waiting_writes", "Changes waiting for the writer", metrics.waiting_writes.clone());
        registry.register("waiting_claims", "Relay workers waiting for mail", metrics.waiting_claims.clone());
        registry.register("group_changes", "Changes committed together", metrics.group_changes.clone());
        registry.register("logins", "Attempts to log in, by outcome", metrics.logins.clone());
        metrics
    }

    pub(crate) fn count_login(&self, accepted: bool) {
        let outcome = if accepted { LoginOutcome::Accepted } else { LoginOutcome::Refused };
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
