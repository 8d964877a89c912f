//! Metrics that every service has, and how all of them are named: `mailtown_<service>_<what>_<unit>`.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

/// The upper bounds of latencies, in seconds: from what memory gives to what a client waits for.
const LATENCY_SECONDS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 60.0];

/// Which program this is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Build {
    service: &'static str,
    version: &'static str,
}

/// The registry of a service. It says which program this is.
pub fn registry(service: &'static str) -> Registry {
    let mut registry = Registry::default();
    let build = Family::<Build, Gauge>::default();
    build.get_or_create(&Build { service, version: env!("CARGO_PKG_VERSION") }).set(1);
    registry.register("mailtown_build_info", "Which program this is", build);
    registry
}

/// A histogram of latencies.
pub fn latency() -> Histogram {
    Histogram::new(LATENCY_SECONDS)
}

/// Registers a histogram of latencies; its name gets the unit.
pub fn register_latency(registry: &mut Registry, name: &str, help: &str) -> Histogram {
    let histogram = latency();
    registry.register_with_unit(name, help, Unit::Seconds, histogram.clone());
    histogram
}
