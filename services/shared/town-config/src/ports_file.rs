//! The file that tells where a running town listens: JSON, `{server: {key: {"host": …, "port": …}}, "console": {"host": …, "port": …}}`.

use crate::{
    PortKey, small_file,
    toml_file::{FileError, utf8},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    path::Path,
};

/// Where each service of a town is reached from this machine.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Ports {
    /// By server name and port key. The key `console` has an address of its own; no server has such a name.
    #[serde(flatten)]
    servers: BTreeMap<String, BTreeMap<String, Place>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    console: Option<Place>,
}

/// An address and a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    host: IpAddr,
    port: u16,
}

impl Ports {
    /// Reads the file that a town has written.
    ///
    /// # Errors
    /// One line that names the file, and the line in it.
    pub fn read(path: &Path) -> Result<Self, FileError> {
        let unreadable = |reason| FileError::Read { path: path.to_owned(), option: "ports-file", reason };
        let octets = small_file::read(path).map_err(unreadable)?;
        serde_json::from_str(utf8(&octets, path)?).map_err(|error| FileError::Text {
            path: path.to_owned(),
            line: error.line(),
            message: format!("this is no ports file: {error}"),
        })
    }

    /// Adds where the service of a server listens.
    pub fn insert(&mut self, server: &str, key: PortKey, address: SocketAddr) {
        let place = Place { host: address.ip(), port: address.port() };
        self.servers.entry(server.to_owned()).or_default().insert(key.as_str().to_owned(), place);
    }

    /// Where the service of a server listens, if the file says so.
    pub fn address(&self, server: &str, key: PortKey) -> Option<SocketAddr> {
        let place = self.servers.get(server)?.get(key.as_str())?;
        Some(SocketAddr::new(place.host, place.port))
    }

    /// Sets where the console listens.
    pub fn set_console(&mut self, address: SocketAddr) {
        self.console = Some(Place { host: address.ip(), port: address.port() });
    }

    /// Where the console listens, if the file says so.
    pub fn console(&self) -> Option<SocketAddr> {
        self.console.map(|place| SocketAddr::new(place.host, place.port))
    }

    /// The servers, by name.
    pub fn servers(&self) -> impl Iterator<Item = &str> {
        self.servers.keys().map(String::as_str)
    }

    /// The text of the file.
    pub fn to_json(&self) -> String {
        // Maps with keys of text, numbers and text: nothing in here can fail.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut ports = Ports::default();
        let address = "127.0.0.1:50001".parse().unwrap();
        ports.insert("gmail.com", PortKey::DnsHttp, address);
        assert_eq!(
            ports.to_json(),
            "{\n  \"gmail.com\": {\n    \"dns_http\": {\n      \"host\": \"127.0.0.1\",\n      \"port\": 50001\n    }\n  }\n}\n"
        );
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ports.json");
        std::fs::write(&path, ports.to_json()).unwrap();
        let read = Ports::read(&path).unwrap();
        assert_eq!(read, ports);
        assert_eq!(read.address("gmail.com", PortKey::DnsHttp), Some(address));
        assert_eq!(read.address("gmail.com", PortKey::Smtp), None);
        assert_eq!(read.servers().collect::<Vec<_>>(), ["gmail.com"]);
        assert_eq!(read.console(), None);
        let console = "127.0.0.1:8025".parse().unwrap();
        ports.set_console(console);
        std::fs::write(&path, ports.to_json()).unwrap();
        let read = Ports::read(&path).unwrap();
        assert_eq!((read.console(), read.address("gmail.com", PortKey::DnsHttp)), (Some(console), Some(address)));
        assert_eq!(read.servers().count(), 1);
    }

    #[test]
    fn errors_name_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ports.json");
        let file = path.display();
        let missing = "No such file or directory (os error 2); check the path, or name another file with --ports-file";
        assert_eq!(Ports::read(&path).unwrap_err().to_string(), format!("{file}: {missing}"));
        std::fs::write(&path, "{\n\"gmail.com\": 1}").unwrap();
        let error = Ports::read(&path).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{file}:2: this is no ports file: ")), "{error}");
    }
}
