//! Where the database is.

use std::{fmt, str::FromStr, sync::Arc, time::Duration};
use tokio_postgres::{Config, config::Host};

/// How long to wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// After this time without a response from its machine a database counts as gone.
const SILENCE: Duration = Duration::from_secs(10);

/// Names a PostgreSQL database: `postgres://user:password@host:port/database`. Shown without the password.
#[derive(Clone)]
pub struct DatabaseUrl(Arc<Config>);

/// The text names no database. It is not repeated, because there may be a password in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no database: {reason}; write postgres://user:password@host:port/database")]
pub struct InvalidDatabaseUrl {
    reason: String,
}

impl DatabaseUrl {
    pub(super) fn config(&self) -> &Config {
        &self.0
    }
}

impl FromStr for DatabaseUrl {
    type Err = InvalidDatabaseUrl;

    fn from_str(text: &str) -> Result<Self, InvalidDatabaseUrl> {
        let invalid = |reason: &str| InvalidDatabaseUrl { reason: reason.to_owned() };
        if !["postgres://", "postgresql://"].iter().any(|scheme| text.starts_with(scheme)) {
            return Err(invalid("it is no postgres:// URL"));
        }
        let mut config: Config = text.parse().map_err(|error: tokio_postgres::Error| {
            let reason = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
            invalid(&reason)
        })?;
        if config.get_hosts().is_empty() {
            return Err(invalid("it names no host"));
        }
        if config.get_dbname().is_none() {
            return Err(invalid("it names no database on its host"));
        }
        config
            .application_name("mailbox-store")
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_user_timeout(SILENCE)
            .keepalives_idle(SILENCE)
            .keepalives_interval(SILENCE / 3)
            .keepalives_retries(3);
        Ok(Self(Arc::new(config)))
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "postgres://")?;
        if let Some(user) = self.0.get_user() {
            write!(f, "{user}@")?;
        }
        let ports = self.0.get_ports();
        for (n, host) in self.0.get_hosts().iter().enumerate() {
            let comma = if n > 0 { "," } else { "" };
            match host {
                Host::Tcp(name) => write!(f, "{comma}{name}")?,
                Host::Unix(path) => write!(f, "{comma}{}", path.display())?,
            }
            if let Some(port) = ports.get(n).or(ports.first()) {
                write!(f, ":{port}")?;
            }
        }
        write!(f, "/{}", self.0.get_dbname().unwrap_or_default())
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_shown_without_their_password() {
        for (url, shown) in [
            ("postgres://mail:s3cret@db.test:5433/gmail", "postgres://mail@db.test:5433/gmail"),
            ("postgresql://mail:s3cret@db.test/gmail?sslmode=disable", "postgres://mail@db.test:5432/gmail"),
            ("postgres://mail:s3cret@one:1,two:2/gmail", "postgres://mail@one:1,two:2/gmail"),
            ("postgres://mail:s3cret@%2Frun%2Fpostgresql/gmail", "postgres://mail@/run/postgresql:5432/gmail"),
        ] {
            let parsed: DatabaseUrl = url.parse().unwrap();
            assert_eq!((parsed.to_string(), format!("{parsed:?}")), (shown.to_owned(), shown.to_owned()));
        }
    }

    #[test]
    fn other_texts_are_refused_without_telling_them() {
        for text in
            ["", "s3cret", "mysql://u:s3cret@h/d", "postgres://", "postgres://u:s3cret@h", "postgres://u:s3cret@h:x/d"]
        {
            let error = text.parse::<DatabaseUrl>().unwrap_err().to_string();
            assert!(error.starts_with("no database: ") && !error.contains("s3cret"), "{text}: {error}");
        }
    }
}
