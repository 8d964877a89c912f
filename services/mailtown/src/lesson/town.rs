//! The town of a lesson, in this process and on free ports.

use super::against::Servers;
use crate::{ConsoleOptions, InternalCalls, Options, Town};
use anyhow::Context;
use faults::Fault;
use lessons::Lesson;
use mail_net::Clock;
use pseudo_dns::ZoneSource;
use records::Records;
use serde_json::json;
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
    /// Starts it. `file` is what the lesson was read from.
    ///
    /// # Errors
    /// When configuration, zone or faults of the lesson are wrong, or the town cannot start.
    pub(super) async fn start(file: &str, lesson: &Lesson) -> anyhow::Result<Self> {
        let wanted = &lesson.town;
        let state = tempfile::Builder::new().prefix("mailtown-lesson-").tempdir()?;
        let profile = wanted.profile.as_deref().unwrap_or("tutorial");
        let text = format!(
            "profile = {profile:?}\n[server.{FIRST:?}]\n{PORTS}[server.\"gmail.com\"]\n{PORTS}{ACCOUNTS}{}",
            wanted.config
        );
        let config = Config::parse(&text, Path::new("the lesson's town.config"))?;
        let config = LiveConfig::from(config);
        check_faults(file, lesson, &config)?;
        let zone = Zone::parse(wanted.zone.as_deref().unwrap_or(ZONE), Path::new("the lesson's town.zone"))?;
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let options = Options {
            config,
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

/// Checks that this town can have each fault of the lesson. `file` is what the lesson was read from.
///
/// # Errors
/// One line that names the file, the key and what to change.
fn check_faults(file: &str, lesson: &Lesson, config: &LiveConfig) -> anyhow::Result<()> {
    let names: Vec<_> = config.stacks().map(|stack| stack.current().name.to_string()).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    for (name, fault) in &lesson.faults {
        let key = || format!("{file}: faults.{name}");
        let when = fault.when.clone().unwrap_or_else(|| json!({}));
        let written = json!({"where": fault.place, "what": fault.what, "when": when});
        let fault: Fault = serde_json::from_value(written).with_context(key)?;
        fault.check().and_then(|()| fault.check_stacks(&names)).with_context(key)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_fault_that_the_town_cannot_have_is_told_before_it_starts() {
        let started = async |fault: &str| {
            let text = format!("title = \"t\"\ntext = \"x\"\n[[checkpoints]]\ntitle = \"c\"\n[faults]\ng = {fault}\n");
            let lesson = Lesson::parse(&text, "mine.toml").unwrap();
            LessonTown::start("mine.toml", &lesson).await.err().map(|error| format!("{error:#}"))
        };
        for (fault, expected) in [
            (
                r#"{where = {stack = "yahoo.com", service = "smtp-gateway"}, what = "stall"}"#,
                "where.stack is \"yahoo.com\", which is no server of this town; give ",
            ),
            (r#"{where = {servce = "x"}, what = "stall"}"#, "unknown field `servce`"),
            (
                r#"{where = {service = "smtp-gateway"}, what = {slice = 0}}"#,
                "what.throttle and what.slice are 1 or more",
            ),
        ] {
            let error = started(fault).await.unwrap_or_default();
            assert!(error.starts_with(&format!("mine.toml: faults.g: {expected}")), "{error}");
        }
    }
}
