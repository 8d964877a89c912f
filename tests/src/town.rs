//! A town in the process of its test.

use crate::{Plan, Site, TOKEN};
use mail_net::Clock;
use mailtown::{InternalCalls, Options, Town};
use pseudo_dns::ZoneSource;
use service_kit::http::Token;
use std::{
    net::{IpAddr, Ipv4Addr},
    ops::Deref,
};
use town_config::{LiveConfig, Reload};

/// A town that runs in this process until it is dropped.
pub struct TestTown {
    site: Site,
    town: Town,
}

impl TestTown {
    /// Starts a town.
    ///
    /// # Panics
    /// When that fails.
    pub async fn start(plan: Plan) -> Self {
        let site = plan.write();
        let clock = Clock::system();
        let config = LiveConfig::open(site.config(), clock.io).unwrap();
        let token = Some(Token::from(TOKEN));
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let options = Options {
            config,
            zone: ZoneSource::File(site.zone().to_owned()),
            state: site.state(),
            bind: loopback,
            http_bind: loopback,
            trusted_networks: None,
            token,
            reload: Reload::never(),
            internal_calls: InternalCalls::default(),
            clock,
        };
        Self { town: Town::start(options).await.unwrap(), site }
    }

    /// Lets what is in flight finish, and stops.
    ///
    /// # Panics
    /// When a service has failed.
    pub async fn stop(self) {
        self.town.stop().await.unwrap();
    }
}

impl Deref for TestTown {
    type Target = Site;

    fn deref(&self) -> &Site {
        &self.site
    }
}
