//! Where mail of the town is sent to and read from.

use crate::services::{Service, ServiceKind};
use mail_net::Address;
use town_config::{PortKey, Profile, Stack};

/// Where a stack takes and gives mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailServer {
    /// The server name of the stack.
    pub stack: String,
    /// Its mail domains.
    pub domains: Vec<String>,
    /// How its agents speak.
    pub profile: Profile,
    /// Where the console reaches its SMTP gateway.
    pub smtp: Option<Address>,
    /// Its ports of SMTP and POP3 for agents.
    pub ports: Vec<(PortKey, u16)>,
}

impl MailServer {
    /// That of a stack. `services` tell its host, `port` its ports.
    pub fn of(stack: &Stack, services: &[Service], port: impl Fn(PortKey) -> Option<u16>) -> Self {
        let gateway = services
            .iter()
            .find(|service| service.kind == ServiceKind::Smtp && service.stack == stack.name.as_str())
            .and_then(|service| reqwest::Url::parse(&service.url).ok());
        let host = gateway.and_then(|url| url.host_str().map(|host| host.trim_matches(['[', ']']).to_owned()));
        let port = |key| port(key).filter(|port| *port != 0);
        let smtp = host.zip(port(PortKey::Smtp)).map(|(host, port)| Address { host, port });
        let shown = [PortKey::Smtp, PortKey::Submission, PortKey::Pop];
        Self {
            stack: stack.name.to_string(),
            domains: stack.domains.iter().map(ToString::to_string).collect(),
            profile: stack.profile,
            smtp,
            ports: shown.into_iter().filter_map(|key| Some((key, port(key)?))).collect(),
        }
    }

    /// The port of this key, if it has one.
    pub(crate) fn port(&self, wanted: PortKey) -> Option<u16> {
        self.ports.iter().find(|(key, _)| *key == wanted).map(|(_, port)| *port)
    }
}
