//! `[relay]`: how queued mail is sent on.

use crate::{
    RelayLookup, RelayTls,
    values::{Port, duration, duration_or_zero, durations, lease_seconds},
};
use mail_proto::Password;
use serde::{Deserialize, Deserializer, de::Error};
use std::{
    fmt, io,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

/// `[relay]`: how queued mail is sent on.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Relay {
    /// How exchanges are looked up.
    pub lookup: RelayLookup,
    /// Whether TLS is spoken with them; without it, as the profile says.
    pub tls: Option<RelayTls>,
    /// A file with the certificates of the authorities that are trusted, in PEM; without it, the town's and the system's.
    pub ca: Option<PathBuf>,
    /// How long after each failed attempt the next one starts; the last repeats.
    #[serde(deserialize_with = "durations")]
    pub retry: Vec<Duration>,
    /// How far these pauses are made longer or shorter, so that mail does not come in waves.
    pub jitter: Jitter,
    /// How long a message is tried before its sender is told that it failed (RFC 5321 §4.5.4.1).
    #[serde(deserialize_with = "duration")]
    pub expiry: Duration,
    /// How old a message is when its sender is told that it is not delivered yet (RFC 3461 §4.1). Zero: never.
    #[serde(deserialize_with = "duration_or_zero")]
    pub delay_notice: Duration,
    /// How long a claimed message stays claimed when its worker dies.
    #[serde(rename = "lease", deserialize_with = "lease_seconds")]
    pub lease_seconds: u32,
    /// The most connections to other servers that a gateway has at once.
    pub connections: usize,
    /// The most of them to one domain, so that one that hangs leaves some for the others.
    pub connections_per_domain: usize,
    /// How long connecting to an exchange may take.
    #[serde(deserialize_with = "duration")]
    pub connect_timeout: Duration,
    /// How long an exchange may take for each reply for which `timeouts` says nothing, except the one after the final dot.
    #[serde(deserialize_with = "some_duration")]
    pub reply_timeout: Option<Duration>,
    /// How long an exchange may take for each reply.
    pub timeouts: Timeouts,
    /// The server to which all mail goes.
    pub smarthost: Option<Smarthost>,
}

impl Default for Relay {
    fn default() -> Self {
        let [minute, hour] = [60, 60 * 60].map(Duration::from_secs);
        Self {
            lookup: RelayLookup::default(),
            tls: None,
            ca: None,
            retry: vec![Duration::from_secs(5), Duration::from_secs(15), minute, 5 * minute, 15 * minute, hour],
            jitter: Jitter { thousandths: 100 },
            expiry: 24 * hour,
            delay_notice: 4 * hour,
            lease_seconds: 60,
            connections: 64,
            connections_per_domain: 16,
            connect_timeout: Duration::from_secs(30),
            reply_timeout: None,
            timeouts: Timeouts::default(),
            smarthost: None,
        }
    }
}

/// `[relay.timeouts]` as they are written.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Timeouts {
    greeting: Timeout,
    mail: Timeout,
    rcpt: Timeout,
    data: Timeout,
    block: Timeout,
    final_dot: Timeout,
    quit: Timeout,
}

/// One of them.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Timeout {
    limit: Duration,
    /// Whether it stands in the file.
    is_given: bool,
}

/// How long an exchange may take (RFC 5321 §4.5.3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// For the greeting, and for each reply until it is ready for mail.
    pub greeting: Duration,
    /// For the reply to MAIL.
    pub mail: Duration,
    /// For the reply to RCPT.
    pub rcpt: Duration,
    /// For the reply to DATA.
    pub data: Duration,
    /// To receive a part of a message.
    pub block: Duration,
    /// For the reply to a message. If the limit is short, mail is sent twice.
    pub final_dot: Duration,
    /// For the reply to QUIT.
    pub quit: Duration,
}

impl Relay {
    /// How long an exchange may take.
    pub fn patience(&self) -> Patience {
        let Timeouts { greeting, mail, rcpt, data, block, final_dot, quit } = self.timeouts;
        let limit = |timeout: Timeout| self.reply_timeout.filter(|_| !timeout.is_given).unwrap_or(timeout.limit);
        Patience {
            greeting: limit(greeting),
            mail: limit(mail),
            rcpt: limit(rcpt),
            data: limit(data),
            block: limit(block),
            final_dot: final_dot.limit,
            quit: quit.limit,
        }
    }

    /// What is wrong with it as a whole.
    pub(crate) fn faults(&self, faults: &mut Vec<String>) {
        if self.retry.is_empty() {
            faults.push("relay.retry is empty; give at least one duration such as \"5s\"".to_owned());
        }
        let Some(Smarthost { host, port, user, password, password_file, .. }) = &self.smarthost else { return };
        if !is_host(host) {
            faults.push(format!(
                "relay.smarthost.host is {host:?}, which is neither a host name nor an IP address; give one such as \
                 \"smtp.example\" or \"192.0.2.1\""
            ));
        }
        if u16::from(*port) == 0 {
            faults.push("relay.smarthost.port is 0; give the port on which it listens, such as 587".to_owned());
        }
        match (user, password, password_file) {
            (None, None, None) | (Some(_), Some(_), None) | (Some(_), None, Some(_)) => {}
            (_, Some(_), Some(_)) => {
                faults.push("relay.smarthost has password and password_file; give one of them".to_owned());
            }
            (Some(_), None, None) => {
                faults.push("relay.smarthost.user has no password; add password or password_file".to_owned());
            }
            (None, ..) => faults.push("relay.smarthost has a password and no user; add user".to_owned()),
        }
    }
}

impl Patience {
    /// The longest of them.
    pub fn longest(&self) -> Duration {
        let Self { greeting, mail, rcpt, data, block, final_dot, quit } = *self;
        [mail, rcpt, data, block, final_dot, quit].into_iter().fold(greeting, Duration::max)
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        let seconds = |seconds| Timeout { limit: Duration::from_secs(seconds), is_given: false };
        Self {
            greeting: seconds(5 * 60),
            mail: seconds(5 * 60),
            rcpt: seconds(5 * 60),
            data: seconds(2 * 60),
            block: seconds(3 * 60),
            final_dot: seconds(10 * 60),
            quit: seconds(2),
        }
    }
}

impl<'de> Deserialize<'de> for Timeout {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self { limit: duration(deserializer)?, is_given: true })
    }
}

impl fmt::Debug for Timeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.limit.fmt(f)
    }
}

/// `relay.jitter`: a share from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Jitter {
    thousandths: u16,
}

impl Jitter {
    /// No jitter.
    pub const NONE: Self = Self { thousandths: 0 };

    /// Makes a pause longer or shorter: by nothing when `chance` is in the middle of 0 to 1, by most at both ends.
    pub(crate) fn apply(self, pause: Duration, chance: f64) -> Duration {
        let share = f64::from(self.thousandths) / 1000.0;
        pause.mul_f64(1.0 + share * (2.0 * chance.clamp(0.0, 1.0) - 1.0))
    }
}

impl<'de> Deserialize<'de> for Jitter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let share = f64::deserialize(deserializer)?;
        if (0.0..=1.0).contains(&share) {
            return Ok(Self { thousandths: (share * 1000.0).round() as u16 });
        }
        Err(D::Error::custom(format_args!("{share} is no share; give a number from 0 to 1")))
    }
}

/// How the way to a smarthost is kept secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SmarthostTls {
    /// By STARTTLS, with a certificate that is verified.
    #[default]
    Starttls,
    /// The connection begins with TLS, with a certificate that is verified (RFC 8314).
    Implicit,
    /// Not at all.
    Off,
}

/// `[relay.smarthost]`: the server to which all mail goes, which sends it on.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Smarthost {
    /// Its name or address.
    pub host: String,
    port: Port,
    /// How the way to it is kept secret.
    #[serde(default)]
    pub tls: SmarthostTls,
    /// Who logs in; nobody without it.
    pub user: Option<String>,
    password: Option<crate::Password>,
    password_file: Option<PathBuf>,
}

impl Smarthost {
    /// Where it listens, as `host:port`.
    pub fn address(&self) -> String {
        let Self { host, port, .. } = self;
        let port = u16::from(*port);
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }

    /// The password; what stands in a file is read again each time. A relative path begins at the directory of the
    /// configuration at `config`. Blocks.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn password(&self, config: &Path) -> io::Result<Password> {
        let Some(file) = &self.password_file else {
            return Ok(Password::from(self.password.as_ref().map(|it| it.expose().to_owned()).unwrap_or_default()));
        };
        let path = config.parent().unwrap_or(Path::new("")).join(file);
        let text = crate::small_file::read_to_string(&path);
        let text = text.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
        Ok(Password::from(text.trim_end_matches(['\r', '\n']).to_owned()))
    }
}

/// Whether this is an IP address, or a name that a resolver takes: also with underscores, as containers have them.
fn is_host(text: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len()) && label.bytes().all(|it| it.is_ascii_alphanumeric() || b"-_".contains(&it))
    };
    let name = text.strip_suffix('.').unwrap_or(text);
    // RFC 1123 §2.1: a name does not end with a number, as an address does.
    let ends_with_number = name.rsplit('.').next().is_some_and(|last| last.bytes().all(|it| it.is_ascii_digit()));
    text.parse::<IpAddr>().is_ok() || (name.len() <= 253 && name.split('.').all(is_label) && !ends_with_number)
}

fn some_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    duration(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relay(text: &str) -> Relay {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn one_key_sets_the_timeouts_that_are_not_given() {
        let seconds = Duration::from_secs;
        let standard = relay("").patience();
        assert_eq!((standard.data, standard.final_dot, standard.longest()), (seconds(120), seconds(600), seconds(600)));
        let patience = relay("reply_timeout = \"7s\"\ntimeouts = { data = \"2m\", rcpt = \"9s\" }").patience();
        let expected = Patience {
            greeting: seconds(7),
            mail: seconds(7),
            rcpt: seconds(9),
            data: seconds(120),
            block: seconds(7),
            final_dot: seconds(600),
            quit: seconds(2),
        };
        assert_eq!(patience, expected);
    }

    #[test]
    fn pauses_are_made_longer_and_shorter() {
        let pause = Duration::from_secs(100);
        let table =
            [("0", 0.0, 100), ("0", 1.0, 100), ("0.1", 0.0, 90), ("0.1", 0.5, 100), ("0.1", 1.0, 110), ("1", 0.0, 0)];
        for (jitter, chance, seconds) in table {
            let jitter = relay(&format!("jitter = {jitter}")).jitter;
            assert_eq!(jitter.apply(pause, chance), Duration::from_secs(seconds), "{jitter:?} {chance}");
        }
        for share in ["-0.1", "1.1", "nan", "\"a lot\""] {
            assert!(toml::from_str::<Relay>(&format!("jitter = {share}")).is_err(), "{share}");
        }
    }

    #[test]
    fn a_smarthost_has_a_user_and_one_password_or_neither() {
        let table = [
            ("", None),
            ("user = \"u\"\npassword = \"p\"", None),
            ("user = \"u\"\npassword_file = \"f\"", None),
            ("user = \"u\"", Some("add password or password_file")),
            ("password = \"p\"", Some("add user")),
            ("password_file = \"f\"", Some("add user")),
            ("user = \"u\"\npassword = \"p\"\npassword_file = \"f\"", Some("give one of them")),
        ];
        for (keys, expected) in table {
            let relay = relay(&format!("[smarthost]\nhost = \"::1\"\nport = 25\n{keys}"));
            let mut faults = Vec::new();
            relay.faults(&mut faults);
            let found = faults.first().map(String::as_str).unwrap_or_default();
            assert!(expected.map_or(faults.is_empty(), |expected| found.ends_with(expected)), "{keys}: {faults:?}");
            assert!(!format!("{relay:?}").contains("\"p\""), "{relay:?}");
        }
    }

    #[test]
    fn a_smarthost_has_a_host_and_a_port() {
        let fault = |host: &str, port: u16| {
            let relay = relay(&format!("[smarthost]\nhost = \"{host}\"\nport = {port}\n"));
            let mut faults = Vec::new();
            relay.faults(&mut faults);
            faults.join("\n")
        };
        for host in
            ["smtp.example", "smtp.example.", "relay_host", "localhost", "192.0.2.1", "2001:db8::1", "1.example"]
        {
            assert_eq!(fault(host, 587), "", "{host}");
        }
        for host in ["", ".", "a b", "smtp..example", "smtp.example:587", "https://smtp.example", "[::1]", "256.0.0.1"]
        {
            let found = fault(host, 587);
            assert!(
                found.starts_with("relay.smarthost.host is ") && found.contains("; give one such as"),
                "{host}: {found}"
            );
        }
        let expected = "relay.smarthost.port is 0; give the port on which it listens, such as 587";
        assert_eq!(fault("smtp.example", 0), expected);
    }

    #[test]
    fn a_password_may_be_in_a_file() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("secret"), "two words\n").unwrap();
        let smarthost = relay("[smarthost]\nhost = \"::1\"\nport = 25\nuser = \"u\"\npassword_file = \"secret\"")
            .smarthost
            .unwrap();
        assert_eq!(smarthost.address(), "[::1]:25");
        let read = |config: &Path| smarthost.password(config).map(|password| password.expose().to_owned());
        assert_eq!(read(&directory.path().join("config.toml")).unwrap(), "two words");
        assert!(read(Path::new("/nowhere/config.toml")).unwrap_err().to_string().starts_with("/nowhere/secret: "));
    }
}
