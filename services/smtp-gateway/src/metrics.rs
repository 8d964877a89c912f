//! What a gateway counts.

use prometheus_client::{metrics::counter::Counter, registry::Registry};

/// Counters since the start.
#[derive(Debug, Clone, Default)]
pub(crate) struct Metrics {
    /// Connections that were served.
    pub(crate) connections: Counter,
    /// Messages acknowledged with 250.
    pub(crate) messages_accepted: Counter,
    /// Messages refused after their final dot.
    pub(crate) messages_refused: Counter,
    /// Recipients whose server has taken the message.
    pub(crate) recipients_relayed: Counter,
    /// Attempts for a recipient that will be repeated.
    pub(crate) recipients_deferred: Counter,
    /// Recipients given up.
    pub(crate) recipients_failed: Counter,
    /// Failure messages sent.
    pub(crate) failure_messages: Counter,
}

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let counters = [
            ("smtp_connections", "Connections served", &metrics.connections),
            ("smtp_messages_accepted", "Messages acknowledged with 250", &metrics.messages_accepted),
            ("smtp_messages_refused", "Messages refused after their final dot", &metrics.messages_refused),
            ("relay_recipients_relayed", "Recipients whose server took the message", &metrics.recipients_relayed),
            ("relay_recipients_deferred", "Attempts that will be repeated", &metrics.recipients_deferred),
            ("relay_recipients_failed", "Recipients given up", &metrics.recipients_failed),
            ("relay_failure_messages", "Failure messages sent", &metrics.failure_messages),
        ];
        let registry = registry.sub_registry_with_prefix("mailtown");
        for (name, help, counter) in counters {
            registry.register(name, help, counter.clone());
        }
        metrics
    }
}
