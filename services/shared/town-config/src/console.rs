//! `[console]`: the service that shows the whole town.

use super::values::Port;
use serde::Deserialize;

/// `[console]` as it is written.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ConsoleKeys {
    pub(super) enabled: bool,
    pub(super) port: Port,
    services: Vec<String>,
    webhook: Option<String>,
    messages: usize,
    message_octets: usize,
    sessions: usize,
    session_octets: usize,
}

/// `[console]`: where the console listens, whom it asks, and how much it keeps in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Console {
    /// Whether `mailtown` starts it.
    pub enabled: bool,
    /// Its port as the configuration has it; 0 when the system is to choose.
    pub port: u16,
    /// The base URLs of services that are not where the configuration says; without any, those of the configuration.
    pub services: Vec<String>,
    /// Where new mail is announced with POST.
    pub webhook: Option<String>,
    /// What it keeps at most.
    pub bounds: ConsoleBounds,
}

/// What the console keeps in memory at most. The oldest is dropped first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConsoleBounds {
    /// Messages.
    pub messages: usize,
    /// Octets of the messages' text, headers and HTML, added up.
    pub message_octets: usize,
    /// Sessions.
    pub sessions: usize,
    /// Octets of the records of sessions, added up.
    pub session_octets: usize,
}

impl Default for ConsoleBounds {
    fn default() -> Self {
        Self {
            messages: 100_000,
            message_octets: 256 * 1024 * 1024,
            sessions: 10_000,
            session_octets: 64 * 1024 * 1024,
        }
    }
}

impl Default for ConsoleKeys {
    fn default() -> Self {
        let ConsoleBounds { messages, message_octets, sessions, session_octets } = ConsoleBounds::default();
        Self {
            enabled: true,
            port: Port::from(8025),
            services: Vec::new(),
            webhook: None,
            messages,
            message_octets,
            sessions,
            session_octets,
        }
    }
}

impl Default for Console {
    fn default() -> Self {
        Self::from(&ConsoleKeys::default())
    }
}

impl From<&ConsoleKeys> for Console {
    fn from(keys: &ConsoleKeys) -> Self {
        let ConsoleKeys { messages, message_octets, sessions, session_octets, .. } = *keys;
        Self {
            enabled: keys.enabled,
            port: keys.port.into(),
            services: keys.services.clone(),
            webhook: keys.webhook.clone(),
            bounds: ConsoleBounds { messages, message_octets, sessions, session_octets },
        }
    }
}

impl ConsoleKeys {
    /// What cannot be meant.
    pub(super) fn faults(&self, faults: &mut Vec<String>) {
        let is_url = |url: &str| url.starts_with("http://") && url.len() > "http://".len();
        for url in self.services.iter().filter(|url| !is_url(url)) {
            faults.push(format!(
                "console.services has \"{url}\"; give the base URL of a service, such as http://other:1080"
            ));
        }
        if let Some(url) = self.webhook.iter().find(|url| !is_url(url)) {
            faults.push(format!("console.webhook is \"{url}\"; give a URL that begins with http://"));
        }
        let least = [
            ("messages", self.messages, 100),
            ("message_octets", self.message_octets, 1024 * 1024),
            ("sessions", self.sessions, 100),
            ("session_octets", self.session_octets, 1024 * 1024),
        ];
        let too_little = least.into_iter().filter(|(_, value, least)| value < least);
        faults.extend(too_little.map(|(key, value, least)| format!("console.{key} is {value}; give at least {least}")));
    }
}

#[cfg(test)]
mod tests {
    use crate::{Config, Console};
    use std::path::Path;

    const SERVER: &str = "[server.a]\nsmtp = 1\npop = 2\n";

    fn parse(console: &str) -> Result<Console, String> {
        let text = format!("{SERVER}[console]\n{console}");
        Config::parse(&text, Path::new("c.toml")).map(|config| config.console).map_err(|error| error.to_string())
    }

    #[test]
    fn without_the_table_it_is_on_8025() {
        let console = Config::parse(SERVER, Path::new("c.toml")).unwrap().console;
        assert_eq!(console, Console::default());
        assert_eq!((console.port, console.enabled), (8025, true));
    }

    #[test]
    fn the_default_port_is_in_nobodys_way() {
        for (ports, expected) in [((8025, 2), 0), ((0, 0), 0), ((1, 0), 8025)] {
            let text = format!("[server.a]\nsmtp = {}\npop = {}\n", ports.0, ports.1);
            let console = Config::parse(&text, Path::new("c.toml")).unwrap().console;
            assert_eq!(console.port, expected, "{ports:?}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (line, expected) in [
            ("port = 2", "c.toml:5: console.port and server.\"a\".pop are both 2; give each its own port"),
            ("webhook = \"x\"", "c.toml:5: console.webhook is \"x\"; give a URL that begins with http://"),
            ("messages = 1", "c.toml:5: console.messages is 1; give at least 100"),
        ] {
            assert_eq!(parse(line).unwrap_err(), expected);
        }
        assert!(parse("services = [\"ftp://x\"]").unwrap_err().contains("give the base URL"));
        assert!(parse("enabled = false\nport = 2").is_ok());
        assert_eq!(parse("services = [\"http://x:1\"]").unwrap().services, ["http://x:1"]);
    }
}
