//! Which services the town has, and where.

use internal_api::{ApiError, Endpoint};
use service_kit::http::Token;
use std::fmt;
use town_config::{PortKey, Stack};

/// What a service is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ServiceKind {
    /// `mailbox-store`.
    Store,
    /// `smtp-gateway`.
    Smtp,
    /// `pop3-gateway`.
    Pop3,
    /// `pseudo-dns`.
    Dns,
}

impl ServiceKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Store, Self::Smtp, Self::Pop3, Self::Dns];

    /// The key of its HTTP port.
    pub fn port_key(self) -> PortKey {
        match self {
            Self::Store => PortKey::Store,
            Self::Smtp => PortKey::SmtpHttp,
            Self::Pop3 => PortKey::PopHttp,
            Self::Dns => PortKey::DnsHttp,
        }
    }

    /// Its program's name.
    pub fn name(self) -> &'static str {
        self.port_key().service()
    }
}

/// The HTTP side of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// The server name of its stack.
    pub stack: String,
    /// What it is.
    pub kind: ServiceKind,
    /// Its base URL, such as `http://127.0.0.1:1080`. Several processes may stand behind a name.
    pub url: String,
}

/// Of a service's URL it is not known what it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{url}\" has no port of a service in {config}; give its base URL with the port that [server] has there")]
pub struct UnknownService {
    url: String,
    config: String,
}

/// The service at this URL, called by the console: faults of the store do not concern it.
pub(crate) fn endpoint(url: &str, token: Option<&Token>) -> Result<Endpoint, ApiError> {
    Ok(service_kit::cli::endpoint(url, token)?.called_by("console"))
}

/// The services of these stacks on this machine: those of which the configuration tells the port.
pub fn on_this_machine<'s>(stacks: impl IntoIterator<Item = &'s Stack>) -> Vec<Service> {
    let each = stacks.into_iter().flat_map(|stack| ServiceKind::ALL.map(|kind| (stack, kind)));
    let known = each.filter_map(|(stack, kind)| {
        let port = stack.port(kind.port_key()).filter(|port| *port != 0)?;
        Some(Service { stack: stack.name.to_string(), kind, url: format!("http://127.0.0.1:{port}") })
    });
    known.collect()
}

/// The services at these URLs. Their ports tell what they are.
///
/// # Errors
/// [`UnknownService`].
pub fn at_urls(urls: &[String], stacks: &[&Stack]) -> Result<Vec<Service>, UnknownService> {
    let of_port = |wanted: u16| {
        let each = stacks.iter().flat_map(|stack| ServiceKind::ALL.map(|kind| (*stack, kind)));
        each.into_iter().find(|(stack, kind)| stack.port(kind.port_key()) == Some(wanted))
    };
    let config = || stacks.first().map_or_else(String::new, |stack| stack.config_path().display().to_string());
    let known = urls.iter().map(|url| {
        let port = reqwest::Url::parse(url).ok().and_then(|url| url.port_or_known_default());
        let (stack, kind) =
            port.and_then(of_port).ok_or_else(|| UnknownService { url: url.clone(), config: config() })?;
        Ok(Service { stack: stack.name.to_string(), kind, url: url.trim_end_matches('/').to_owned() })
    });
    known.collect()
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the {} of {}", self.kind.name(), self.stack)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;
    use town_config::Config;

    #[test]
    fn ports_tell_what_a_service_is() {
        let text = "[server.a]\nsmtp = 1\npop = 2\nstore = 80\nsmtp_http = 81\ndns_http = 0\n";
        let config = Config::parse(text, Path::new("c.toml")).unwrap();
        let stacks: Vec<_> = config.stacks().collect();
        let here = on_this_machine(stacks.iter().copied());
        let written: Vec<_> = here.iter().map(|service| format!("{service} {}", service.url)).collect();
        assert_eq!(
            written,
            ["the mailbox-store of a http://127.0.0.1:80", "the smtp-gateway of a http://127.0.0.1:81"]
        );
        let urls = ["http://a-store/".to_owned(), "http://a-smtp:81".to_owned()];
        let there = at_urls(&urls, &stacks).unwrap();
        assert_eq!(
            there[0],
            Service { stack: "a".to_owned(), kind: ServiceKind::Store, url: "http://a-store".to_owned() }
        );
        assert_eq!(there[1].kind, ServiceKind::Smtp);
        for url in ["http://x:99", "x"] {
            let error = at_urls(&[url.to_owned()], &stacks).unwrap_err();
            assert!(error.to_string().contains("has no port of a service in c.toml"), "{error}");
        }
    }
}
