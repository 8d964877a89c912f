//! The counters of `/metrics`.

use crate::follow::{FollowState, Town};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::gauge::ConstGauge,
    registry::Registry,
};

/// Registers the counters of a console.
pub(crate) fn register(registry: &mut Registry, town: &Town) {
    registry.register_collector(Box::new(Followed(town.clone())));
}

/// How many services are followed now.
#[derive(Debug)]
struct Followed(Town);

impl Collector for Followed {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let services = self.0.services();
        let following = services.iter().filter(|service| service.state == FollowState::Following).count();
        let dropped = services.iter().map(|service| service.dropped).sum::<u64>();
        for (name, help, value) in [
            ("services_followed", "Services that tell what happens", following as i64),
            ("services_known", "Services that the console asks", services.len() as i64),
            ("records_dropped", "Records and sessions that services had no memory for", dropped as i64),
        ] {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        Ok(())
    }
}
