//! What is counted: queries, by how they came, what they asked and how they were answered.

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue},
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

/// How a query came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
#[expect(non_camel_case_types, reason = "label values are in lower case")]
pub(crate) enum Transport {
    http,
    udp,
    tcp,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    transport: Transport,
    record_type: &'static str,
    response: String,
}

/// The counters of one pseudo-dns.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    queries: Family<Labels, Counter>,
}

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let queries = Family::<Labels, Counter>::default();
        // So that they show before the first query.
        for transport in [Transport::http, Transport::udp, Transport::tcp] {
            drop(queries.get_or_create(&Labels { transport, record_type: "MX", response: "NOERROR".to_owned() }));
        }
        registry.register(
            "mailtown_dns_queries",
            "Queries answered, by transport, record type and response code",
            queries.clone(),
        );
        Self { queries }
    }

    /// Counts a query. `record_type` and `response` come from small closed sets, never from the client.
    pub(crate) fn count(&self, transport: Transport, record_type: &'static str, response: impl ToString) {
        let labels = Labels { transport, record_type, response: response.to_string() };
        self.queries.get_or_create(&labels).inc();
    }
}
