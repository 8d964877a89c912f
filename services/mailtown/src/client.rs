//! The stores of the running town, as the commands for operators call them, and what to do when one does not serve.

use internal_api::{ApiError, Endpoint, ProblemKind, StoreClient};
use mail_net::IoClock;
use service_kit::cli::Silence;
use std::{
    fmt,
    io::{self, Write},
    net::{IpAddr, SocketAddr},
    path::Path,
};
use town_config::{LiveConfig, PortKey, Stack};

/// Where the installations that come with mailtown have the token.
const TOKEN_PLACES: &str = "the units of systemd have it in /etc/mailtown/environment, compose in docker-compose.yml";

/// How the stores of the running town are called.
pub(crate) struct Stores<'a> {
    pub(crate) config: LiveConfig,
    /// Whether the command line names the stacks.
    pub(crate) are_named: bool,
    pub(crate) http_bind: IpAddr,
    pub(crate) ports_file: Option<&'a Path>,
    pub(crate) token: Option<&'a str>,
    pub(crate) io: IoClock,
}

/// The store of a stack.
pub(crate) struct NamedStore {
    pub(crate) server: String,
    pub(crate) client: StoreClient,
    address: SocketAddr,
    has_token: bool,
}

impl Stores<'_> {
    /// Those of all stacks.
    ///
    /// # Errors
    /// Says of which it is not known where it is.
    pub(crate) fn all(&self) -> anyhow::Result<Vec<NamedStore>> {
        self.config.stacks().map(|stack| self.of(&stack.current())).collect()
    }

    /// The store of a stack.
    ///
    /// # Errors
    /// When it is not known where it is.
    pub(crate) fn of(&self, stack: &Stack) -> anyhow::Result<NamedStore> {
        let address = crate::health::address(stack, PortKey::Store, self.http_bind, self.ports_file)?;
        let address = SocketAddr::new(crate::reachable(address.ip()), address.port());
        let endpoint = Endpoint::new(&format!("http://{address}"), self.token)?;
        Ok(NamedStore {
            server: stack.name.to_string(),
            client: StoreClient::new(endpoint, self.io),
            address,
            has_token: self.token.is_some(),
        })
    }
}

impl NamedStore {
    /// What a call has failed with, and what to do.
    pub(crate) fn failed(&self, error: ApiError) -> anyhow::Error {
        let reason = match error {
            ApiError::Unavailable(error) if error.is_connect() || error.is_timeout() => {
                Reason::Silent(Silence::new(self.address, error))
            }
            ApiError::Unavailable(error) => Reason::Strange(anyhow::Error::new(error).root_cause().to_string()),
            ApiError::Problem(problem) if problem.kind == ProblemKind::Unauthorized => {
                if self.has_token {
                    Reason::WrongToken
                } else {
                    Reason::NoToken
                }
            }
            ApiError::Problem(problem)
                if [ProblemKind::NotFound, ProblemKind::MethodNotAllowed].contains(&problem.kind) =>
            {
                Reason::Older
            }
            other => return other.into(),
        };
        Unusable { urls: vec![format!("http://{}", self.address)], reason }.into()
    }
}

/// Why stores cannot be used at all, whatever they are asked.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Unusable {
    urls: Vec<String>,
    reason: Reason,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Reason {
    Silent(Silence),
    NoToken,
    WrongToken,
    /// It has no such route.
    Older,
    /// It gives an answer that is none of a store.
    Strange(String),
}

impl std::error::Error for Unusable {}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (urls, is_one) = (self.urls.join(" and "), self.urls.len() == 1);
        let verb = |one, many| if is_one { one } else { many };
        match &self.reason {
            Reason::Silent(silence) => write!(f, "{urls} {} silent: {silence}", verb("is", "are")),
            Reason::NoToken => write!(
                f,
                "{urls} {} the town's token; set MAILTOWN_TOKEN, or give --token TOKEN ({TOKEN_PLACES})",
                verb("wants", "want")
            ),
            Reason::WrongToken => write!(
                f,
                "{urls} {} this token; set MAILTOWN_TOKEN, or give --token TOKEN, to that of the town ({TOKEN_PLACES})",
                verb("refuses", "refuse")
            ),
            Reason::Older => write!(
                f,
                "{urls} {} no such call: the store is older than this command; upgrade it, or use the mailtown of its \
                 version",
                verb("has", "have")
            ),
            Reason::Strange(cause) => write!(
                f,
                "{urls} {} no answer of a store ({cause}); give --config or --ports-file as the town has it",
                verb("gives", "give")
            ),
        }
    }
}

/// Prints all failures but the last one, which is returned. Where all stores fail for one reason, that is one failure.
pub(crate) fn told(mut failures: Vec<anyhow::Error>) -> anyhow::Result<()> {
    if let Some(all) = in_common(&failures) {
        return Err(all.into());
    }
    let Some(last) = failures.pop() else { return Ok(()) };
    for failure in failures {
        // Nobody reads what cannot be written there.
        let _ = writeln!(io::stderr(), "error: {failure:#}");
    }
    Err(last)
}

/// The one reason of several failures, with all URLs.
fn in_common(failures: &[anyhow::Error]) -> Option<Unusable> {
    let (first, others) = failures.split_first().filter(|(_, others)| !others.is_empty())?;
    let mut all = first.downcast_ref::<Unusable>()?.clone();
    for other in others {
        let other = other.downcast_ref::<Unusable>().filter(|other| other.reason == all.reason)?;
        let new = other.urls.iter().filter(|url| !all.urls.contains(url)).cloned().collect::<Vec<_>>();
        all.urls.extend(new);
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;
    use internal_api::Problem;
    use mail_net::Clock;

    fn store(address: &str, token: Option<&str>) -> NamedStore {
        let endpoint = Endpoint::new(&format!("http://{address}"), token).unwrap();
        NamedStore {
            server: "a.test".to_owned(),
            client: StoreClient::new(endpoint, Clock::system().io),
            address: address.parse().unwrap(),
            has_token: token.is_some(),
        }
    }

    fn problem(kind: ProblemKind) -> ApiError {
        ApiError::Problem(Problem::from(kind))
    }

    #[test]
    fn a_store_that_does_not_serve_is_named_with_a_cure() {
        let places = "(the units of systemd have it in /etc/mailtown/environment, compose in docker-compose.yml)";
        for (token, kind, expected) in [
            (
                None,
                ProblemKind::Unauthorized,
                format!("wants the town's token; set MAILTOWN_TOKEN, or give --token TOKEN {places}"),
            ),
            (
                Some("x"),
                ProblemKind::Unauthorized,
                format!("refuses this token; set MAILTOWN_TOKEN, or give --token TOKEN, to that of the town {places}"),
            ),
            (
                None,
                ProblemKind::NotFound,
                "has no such call: the store is older than this command; upgrade it, or use the mailtown of its version"
                    .to_owned(),
            ),
        ] {
            let failed = store("127.0.0.1:1080", token).failed(problem(kind));
            assert_eq!(format!("{failed:#}"), format!("http://127.0.0.1:1080 {expected}"));
        }
        let other = store("127.0.0.1:1080", None).failed(problem(ProblemKind::MessageHeld));
        assert_eq!(format!("{other:#}"), "The message is on hold; release it first");
    }

    #[tokio::test]
    async fn silent_stores_are_one_failure() {
        let silent = async |listener: std::net::TcpListener| {
            let store = store(&listener.local_addr().unwrap().to_string(), None);
            drop(listener);
            let failed = store.failed(store.client.accounts("").await.unwrap_err());
            (store.address, Err::<(), _>(failed).context("a context").unwrap_err())
        };
        let listeners = [(); 2].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
        let [one, other] = listeners;
        let ((a, one), (b, other)) = (silent(one).await, silent(other).await);
        let cause = "Connection refused (os error 111); is the town running?";
        assert_eq!(format!("{one:#}"), format!("a context: http://{a} is silent: {cause}"));
        let all = told(vec![one, other]).unwrap_err();
        assert_eq!(format!("{all:#}"), format!("http://{a} and http://{b} are silent: {cause}"));
    }
}
