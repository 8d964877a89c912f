//! The town's zone file `fdns.toml`: who takes a domain's mail (MX), and where a name listens (P).
//!
//! Pure, except [`Zone::load`]. pseudo-dns serves a zone; the agent reads it where no pseudo-dns answers.

mod parse;
mod port;

pub use crate::toml_file::FileError as ZoneError;
pub use port::{Host, InvalidPort, Port};

use mail_proto::MailExchange;
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::Path,
};

/// The DNS type of a P record: the first for private use (RFC 6895 §3.1).
pub const P_RECORD_TYPE: u16 = 65280;

/// Where SRV records stand (RFC 2782): under both of these before every name with a P record.
pub const SERVICE_PREFIXES: [&str; 2] = ["_smtp._tcp.", "_pop3._tcp."];

/// What there is of one type under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup<T> {
    /// The name does not exist (NXDOMAIN): there is nothing of any type, neither here nor below.
    NameUnknown,
    /// The name exists, but has no record of this type.
    NoRecords,
    /// This.
    Found(T),
}

impl<T> Lookup<T> {
    /// What was found, if anything was.
    pub fn found(self) -> Option<T> {
        match self {
            Self::Found(records) => Some(records),
            Self::NameUnknown | Self::NoRecords => None,
        }
    }

    /// The same, with what was found turned into something else.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Lookup<U> {
        match self {
            Self::Found(records) => Lookup::Found(change(records)),
            Self::NoRecords => Lookup::NoRecords,
            Self::NameUnknown => Lookup::NameUnknown,
        }
    }
}

/// The records of the town. Names are looked up in any case, with or without their final dot.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Zone {
    mail_exchanges: BTreeMap<String, Vec<MailExchange>>,
    ports: BTreeMap<String, Port>,
    hosts: BTreeSet<String>,
    names: BTreeSet<String>,
}

impl Zone {
    /// Reads a zone file.
    ///
    /// # Errors
    /// [`ZoneError`], one line that names file, line, key and remedy.
    pub fn load(path: &Path) -> Result<Self, ZoneError> {
        let octets = crate::small_file::read(path).map_err(|reason| unreadable(path, reason))?;
        Self::from_octets(&octets, path)
    }

    /// Checks the text of the zone file at `path`.
    ///
    /// # Errors
    /// As [`Zone::load`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, ZoneError> {
        Self::check(text, path).map_err(|mut faults| faults.swap_remove(0))
    }

    /// Reads a zone file and looks for everything that is wrong with it.
    ///
    /// # Errors
    /// As [`Zone::check`].
    pub fn check_file(path: &Path) -> Result<Self, Vec<ZoneError>> {
        let octets = crate::small_file::read(path).map_err(|reason| vec![unreadable(path, reason)])?;
        Self::check(crate::toml_file::utf8(&octets, path).map_err(|error| vec![error])?, path)
    }

    /// Looks for everything that is wrong with the text of the zone file at `path`.
    ///
    /// # Errors
    /// At least one, in the order of the file, each as [`Zone::load`] has it.
    pub fn check(text: &str, path: &Path) -> Result<Self, Vec<ZoneError>> {
        let (mail_exchanges, ports) = parse::records(text, path)?;
        Ok(Self { names: existing_names(&mail_exchanges, &ports), mail_exchanges, ports, hosts: BTreeSet::new() })
    }

    /// Checks the octets of the zone file at `path`.
    ///
    /// # Errors
    /// As [`Zone::load`].
    pub fn from_octets(octets: &[u8], path: &Path) -> Result<Self, ZoneError> {
        Self::parse(crate::toml_file::utf8(octets, path)?, path)
    }

    /// The exchanges of a mail domain, the lowest preference first. A null MX (RFC 7505) is one exchange
    /// named `.`. An implicit MX (RFC 5321 §5.1) is for the asker to see: `NoRecords` here, and a P record.
    pub fn mail_exchanges(&self, name: &str) -> Lookup<Vec<MailExchange>> {
        self.look_up(&self.mail_exchanges, name)
    }

    /// Where a name listens.
    pub fn ports(&self, name: &str) -> Lookup<Port> {
        self.look_up(&self.ports, name)
    }

    /// The same zone with further hosts of this machine: names that have an address and no port of their own, such as the
    /// names by which servers introduce themselves (RFC 5321 §2.3.5).
    #[must_use]
    pub fn with_hosts<'a>(mut self, hosts: impl IntoIterator<Item = &'a str>) -> Self {
        for name in hosts.into_iter().map(absolute_name) {
            add_name(&mut self.names, &name);
            self.hosts.insert(name);
        }
        self
    }

    /// The same zone with these P records, each in place of the one that its name has, or in addition.
    #[must_use]
    pub fn with_ports(mut self, ports: impl IntoIterator<Item = (String, Port)>) -> Self {
        self.ports.extend(ports.into_iter().map(|(name, port)| (absolute_name(&name), port)));
        self.names.extend(existing_names(&self.mail_exchanges, &self.ports));
        self
    }

    /// Whether this is the name of a host of this machine: its port says so, or it has none and was added by
    /// [`Zone::with_hosts`].
    pub fn is_host(&self, name: &str) -> bool {
        let name = absolute_name(name);
        self.ports.get(&name).map_or_else(|| self.hosts.contains(&name), |port| port.host == Host::Local)
    }

    /// Whether a name exists: it has records or is an exchange, or there is such a name below it
    /// (RFC 8020). The names of SRV records count.
    pub fn contains(&self, name: &str) -> bool {
        self.names.contains(&absolute_name(name))
    }

    /// Every mail domain with its exchanges, by name.
    pub fn all_mail_exchanges(&self) -> impl Iterator<Item = (&str, &[MailExchange])> {
        self.mail_exchanges.iter().map(|(name, exchanges)| (name.as_str(), exchanges.as_slice()))
    }

    /// Every name with where it listens, by name.
    pub fn all_ports(&self) -> impl Iterator<Item = (&str, &Port)> {
        self.ports.iter().map(|(name, port)| (name.as_str(), port))
    }

    /// How many names have records.
    pub fn record_sets(&self) -> usize {
        self.mail_exchanges.len() + self.ports.len()
    }

    fn look_up<T: Clone>(&self, records: &BTreeMap<String, T>, name: &str) -> Lookup<T> {
        let name = absolute_name(name);
        match records.get(&name) {
            Some(found) => Lookup::Found(found.clone()),
            None if self.names.contains(&name) => Lookup::NoRecords,
            None => Lookup::NameUnknown,
        }
    }
}

/// A name as it is compared and answered: in lower case and with its final dot.
pub fn absolute_name(name: &str) -> String {
    let mut name = name.to_ascii_lowercase();
    if !name.ends_with('.') {
        name.push('.');
    }
    name
}

/// The zone file at `path` could not be read.
pub fn unreadable(path: &Path, reason: io::Error) -> ZoneError {
    ZoneError::Read { path: path.to_owned(), option: "zone", reason }
}

fn existing_names(
    mail_exchanges: &BTreeMap<String, Vec<MailExchange>>,
    ports: &BTreeMap<String, Port>,
) -> BTreeSet<String> {
    let exchanges = mail_exchanges.values().flatten().map(|exchange| exchange.exchange.clone());
    let services = ports.keys().flat_map(|name| SERVICE_PREFIXES.map(|prefix| format!("{prefix}{name}")));
    let mut names = BTreeSet::from([".".to_owned()]);
    for name in mail_exchanges.keys().chain(ports.keys()).cloned().chain(exchanges).chain(services) {
        add_name(&mut names, &name);
    }
    names
}

/// Adds a name and all that it is below of.
fn add_name(names: &mut BTreeSet<String>, name: &str) {
    let above = name.match_indices('.').map(|(at, _)| &name[at + 1..]).filter(|name| !name.is_empty());
    names.extend(above.map(str::to_owned));
    names.insert(name.to_owned());
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
        [MX]
        "Mail.SUSTech.edu.cn." = "mxbiz1.qq.com."
        "no.mail." = "."
        "big.org." = [
            { preference = 20, exchange = "mx2.big.org." },
            { preference = 5, exchange = "mx1.elsewhere.net." },
        ]
        [P]
        "mxbiz1.qq.com." = "1025"
        "mx2.big.org." = "192.168.1.5:25"
    "#;

    fn zone() -> Zone {
        Zone::parse(TEXT, Path::new("fdns.toml")).unwrap()
    }

    fn exchange(preference: u16, exchange: &str) -> MailExchange {
        MailExchange { preference, exchange: exchange.to_owned() }
    }

    #[test]
    fn mail_exchanges() {
        let table: &[(&str, Lookup<Vec<MailExchange>>)] = &[
            ("mail.sustech.edu.cn.", Lookup::Found(vec![exchange(10, "mxbiz1.qq.com.")])),
            ("MAIL.sustech.EDU.cn", Lookup::Found(vec![exchange(10, "mxbiz1.qq.com.")])),
            ("no.mail", Lookup::Found(vec![exchange(0, ".")])),
            ("big.org", Lookup::Found(vec![exchange(5, "mx1.elsewhere.net."), exchange(20, "mx2.big.org.")])),
            ("mxbiz1.qq.com.", Lookup::NoRecords),
            ("mx1.elsewhere.net.", Lookup::NoRecords),
            ("sustech.edu.cn", Lookup::NoRecords),
            ("elsewhere.net", Lookup::NoRecords),
            ("net", Lookup::NoRecords),
            (".", Lookup::NoRecords),
            ("ustech.edu.cn", Lookup::NameUnknown),
            ("x.big.org", Lookup::NameUnknown),
            ("[127.0.0.1]", Lookup::NameUnknown),
            ("a..b", Lookup::NameUnknown),
        ];
        for (name, expected) in table {
            assert_eq!(&zone().mail_exchanges(name), expected, "{name}");
        }
    }

    #[test]
    fn ports() {
        let table: &[(&str, Lookup<&str>)] = &[
            ("MXBIZ1.qq.com", Lookup::Found("1025")),
            ("mx2.big.org.", Lookup::Found("192.168.1.5:25")),
            ("mx1.elsewhere.net.", Lookup::NoRecords),
            ("big.org.", Lookup::NoRecords),
            ("_smtp._tcp.mxbiz1.qq.com.", Lookup::NoRecords),
            ("_tcp.mxbiz1.qq.com.", Lookup::NoRecords),
            ("_tcp.big.org.", Lookup::NameUnknown),
            ("nowhere.", Lookup::NameUnknown),
        ];
        for (name, expected) in table {
            let expected = match expected {
                Lookup::Found(text) => Lookup::Found(text.parse().unwrap()),
                Lookup::NoRecords => Lookup::NoRecords,
                Lookup::NameUnknown => Lookup::NameUnknown,
            };
            assert_eq!(zone().ports(name), expected, "{name}");
        }
    }

    #[test]
    fn further_ports_replace_or_add() {
        let port = |text: &str| text.parse::<Port>().unwrap();
        let changes = [("mxbiz1.qq.com.", "5"), ("MX1.Elsewhere.net", "6")];
        let zone = zone().with_ports(changes.map(|(name, text)| (name.to_owned(), port(text))));
        let table = [("mxbiz1.qq.com.", "5"), ("mx1.elsewhere.net.", "6"), ("mx2.big.org.", "192.168.1.5:25")];
        for (name, expected) in table {
            assert_eq!(zone.ports(name), Lookup::Found(port(expected)), "{name}");
        }
        assert!(zone.contains("_smtp._tcp.mx1.elsewhere.net."));
    }

    #[test]
    fn the_shipped_zone_is_valid() {
        let zone = Zone::load(Path::new("../../../data/fdns.toml")).unwrap();
        assert_eq!(zone.ports("smtp.exmail.qq.com"), Lookup::Found("1025".parse().unwrap()));
    }
}
