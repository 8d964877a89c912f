//! The ports of a new stack.

use std::collections::BTreeSet;
use town_config::{Config, PortKey, zone::Zone};

/// A port for each key under `[server."NAME"]`, in the pattern of the shipped stacks: 3025, 3110, 3080, 3587…
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ports {
    pub(super) smtp: u16,
    pub(super) pop: u16,
    pub(super) store: u16,
    pub(super) dns: u16,
    pub(super) dns_http: u16,
    pub(super) smtp_http: u16,
    pub(super) pop_http: u16,
    pub(super) submission: u16,
    pub(super) submissions: u16,
    pub(super) pops: u16,
}

/// How far apart the sets are. No two offsets of a set differ by a multiple of it, so that two sets share no port.
const DISTANCE: u16 = 200;
/// The highest offset.
const HIGHEST: u16 = 995;

impl Ports {
    /// The lowest set of which no port is in use.
    pub(super) fn unused(config: &Config, zone: &Zone) -> Option<Self> {
        let configured = config.stacks().flat_map(|stack| PortKey::ALL.into_iter().filter_map(|key| stack.port(key)));
        let configured = configured.chain([config.console.port]);
        let used: BTreeSet<u16> = configured.chain(zone.all_ports().map(|(_, port)| port.number.get())).collect();
        // Whole thousands first, which are easy to remember.
        let thousands = (3..=65).map(|number| number * 1000);
        let between = (3..65).flat_map(|number| (1..5).map(move |part| number * 1000 + part * DISTANCE));
        thousands
            .chain(between)
            .filter_map(Self::from_base)
            .find(|ports| ports.all().iter().all(|port| !used.contains(port)))
    }

    fn from_base(base: u16) -> Option<Self> {
        base.checked_add(HIGHEST)?;
        Some(Self {
            smtp: base + 25,
            pop: base + 110,
            store: base + 80,
            dns: base + 53,
            dns_http: base + 54,
            smtp_http: base + 26,
            pop_http: base + 111,
            submission: base + 587,
            submissions: base + 465,
            pops: base + HIGHEST,
        })
    }

    fn all(&self) -> [u16; 10] {
        self.by_key().map(|(_, port)| port)
    }

    /// Key and port, in the order of the configuration.
    pub(super) fn by_key(&self) -> [(&'static str, u16); 10] {
        let Self { smtp, pop, store, dns, dns_http, smtp_http, pop_http, submission, submissions, pops } = *self;
        [
            ("smtp", smtp),
            ("pop", pop),
            ("store", store),
            ("dns", dns),
            ("dns_http", dns_http),
            ("smtp_http", smtp_http),
            ("pop_http", pop_http),
            ("submission", submission),
            ("submissions", submissions),
            ("pops", pops),
        ]
    }
}
