//! A town in the process of its test.

use crate::{ConsoleClient, Plan, Site, TOKEN};
use mail_net::{Clock, ManualClock};
use mailtown::{ConsoleOptions, InternalCalls, Options, Town};
use pseudo_dns::ZoneSource;
use records::Records;
use service_kit::http::Token;
use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    ops::Deref,
};
use town_config::{LiveConfig, Reload};

/// A town that runs in this process until it is dropped.
///
/// Its wall time stands still until the test moves `time`: nothing is tried again, no lease ends and nothing expires
/// by itself.
pub struct TestTown {
    /// The wall time of all its services. It starts at the present time.
    pub time: ManualClock,
    site: Site,
    town: Town,
}

impl TestTown {
    /// Starts a town.
    ///
    /// # Panics
    /// When that fails.
    pub async fn start(plan: Plan) -> Self {
        Self::start_edited(plan, str::to_owned).await
    }

    /// As [`TestTown::start`], with a configuration that is changed before.
    ///
    /// # Panics
    /// As [`TestTown::start`].
    pub async fn start_edited(plan: Plan, edit: impl FnOnce(&str) -> String) -> Self {
        Self::start_as(plan, edit, None).await
    }

    /// Starts a town with a console that lets everybody in.
    ///
    /// # Panics
    /// As [`TestTown::start`].
    pub async fn start_with_console(plan: Plan) -> Self {
        Self::start_edited_with_console(plan, str::to_owned).await
    }

    /// As [`TestTown::start_with_console`], with a configuration that is changed before.
    ///
    /// # Panics
    /// As [`TestTown::start`].
    pub async fn start_edited_with_console(plan: Plan, edit: impl FnOnce(&str) -> String) -> Self {
        let console = ConsoleOptions::new(IpAddr::V4(Ipv4Addr::LOCALHOST), None, None).unwrap();
        Self::start_as(plan, edit, Some(console)).await
    }

    /// A client of its console.
    pub fn console_client(&self) -> ConsoleClient {
        ConsoleClient::new(self.console())
    }

    async fn start_as(plan: Plan, edit: impl FnOnce(&str) -> String, console: Option<ConsoleOptions>) -> Self {
        let site = plan.write();
        fs::write(site.config(), edit(&fs::read_to_string(site.config()).unwrap())).unwrap();
        let time = ManualClock::starting_at(Clock::system().wall.now());
        let clock = time.clock();
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
            records: Records::default(),
            console,
            clock,
        };
        Self { town: Town::start(options).await.unwrap(), site, time }
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
