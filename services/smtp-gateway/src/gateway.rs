//! What all connections of a gateway share.

use crate::{metrics::Metrics, policy::Policy, submitter::Submitter};
use internal_api::StoreClient;
use mail_net::Clock;
use town_config::LiveStack;

/// What all connections of a gateway share.
pub(crate) struct Gateway {
    pub(crate) stack: LiveStack,
    pub(crate) store: StoreClient,
    pub(crate) submitter: Submitter,
    pub(crate) policy: Policy,
    pub(crate) metrics: Metrics,
    pub(crate) clock: Clock,
}
