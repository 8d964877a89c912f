//! The town of a lesson, in this process and on free ports.

use super::against::Servers;
use crate::{ConsoleOptions, InternalCalls, Options, Town};
use mail_net::Clock;
use pseudo_dns::ZoneSource;
use records::Records;
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
};
use tempfile::TempDir;
use town_config::{Config, LiveConfig, Reload, zone::Zone};

const FIRST: &str = "exmail.qq.com";

const PORTS: &str = "smtp = 0\npop = 0\nstore = 0\ndns = 0\ndns_http = 0\nsmtp_http = 0\npop_http = 0\n";

/// The accounts of the default town.
const ACCOUNTS: &str = r#"
[accounts."exmail.qq.com"]
"usr1@mail.sustech.edu.cn" = "pass1"
"usr2@mail.sustech.edu.cn" = "pass2"
[accounts."gmail.com"]
"usr@gmail.com" = "pass"
[agent."mail.sustech.edu.cn"]
smtp = "smtp.exmail.qq.com"
pop = "pop.exmail.qq.com"
[agent."gmail.com"]
smtp = "smtp.gmail.com"
pop = "pop.gmail.com"
[console]
port = 0
"#;

const ZONE: &str = r#"
[MX]
"mail.sustech.edu.cn." = "mxbiz1.qq.com."
"gmail.com." = "gmail-smtp-in.l.google.com."
[P]
"#;

/// A running town, and the directory of its mail, which is removed at the end.
pub(super) struct LessonTown {
    town: Town,
    _state: TempDir,
}

impl LessonTown {
    /// Starts it.
    ///
    /// # Errors
    /// When configuration or zone of the lesson are wrong, or the town cannot start.
    pub(super) async fn start(wanted: &lessons::Town) -> anyhow::Result<Self> {
        let state = tempfile::Builder::new().prefix("mailtown-lesson-").tempdir()?;
        let profile = wanted.profile.as_deref().unwrap_or("tutorial");
        let text = format!(
            "profile = {profile:?}\n[server.{FIRST:?}]\n{PORTS}[server.\"gmail.com\"]\n{PORTS}{ACCOUNTS}{}",
            wanted.config
        );
        let config = Config::parse(&text, Path::new("the lesson's town.config"))?;
        let zone = Zone::parse(wanted.zone.as_deref().unwrap_or(ZONE), Path::new("the lesson's town.zone"))?;
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let options = Options {
            config: LiveConfig::from(config),
            zone: ZoneSource::Fixed(zone),
            state: state.path().to_owned(),
            bind: loopback,
            http_bind: loopback,
            trusted_networks: None,
            internal_calls: InternalCalls::default(),
            records: Records::default(),
            token: None,
            reload: Reload::never(),
            console: Some(ConsoleOptions::new(loopback, None, None)?),
            clock: Clock::system(),
        };
        Ok(Self { town: Town::start(options).await?, _state: state })
    }

    /// Where its servers are.
    pub(super) fn servers(&self) -> Servers {
        Servers::of_town(FIRST, self.town.stacks(), self.console())
    }

    /// Where its console is.
    pub(super) fn console(&self) -> Option<SocketAddr> {
        self.town.console()
    }

    /// Ends it.
    ///
    /// # Errors
    /// What a service could not finish.
    pub(super) async fn stop(self) -> anyhow::Result<()> {
        self.town.stop().await
    }
}
