//! The addresses of a capture. They are made up, so that servers have the ports that Wireshark knows.

use crate::{KnownServer, Ports, packet::Path};
use internal_api::Protocol;
use std::{
    collections::{HashMap, HashSet},
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
};

/// The last stack that has a number for itself. All further ones share the next number.
const LAST_STACK: usize = 254;
/// The first port of a client whose port is not known.
const FIRST_UNKNOWN_PORT: u16 = 49_152;

/// What a server is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Smtp,
    Pop3,
    Dns,
}

impl Kind {
    pub(crate) fn of(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Smtp | Protocol::Submission | Protocol::Submissions => Self::Smtp,
            Protocol::Pop3 | Protocol::Pop3s => Self::Pop3,
            Protocol::DnsUdp | Protocol::DnsTcp => Self::Dns,
        }
    }

    fn host(self) -> u8 {
        match self {
            Self::Smtp => 25,
            Self::Pop3 => 110,
            Self::Dns => 53,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Smtp => "smtp",
            Self::Pop3 => "pop3",
            Self::Dns => "dns",
        }
    }
}

/// A server of the capture. It is an interface of the file, and has its number.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Server {
    pub(crate) name: String,
    pub(crate) address: Ipv4Addr,
    /// Where it really listens.
    pub(crate) real: Option<SocketAddr>,
    stack: String,
    kind: Kind,
}

/// The addresses that were given away.
#[derive(Debug)]
pub(crate) struct Addresses {
    ports: Ports,
    /// The names of the stacks; the first one has the number 1.
    stacks: Vec<String>,
    servers: Vec<Server>,
    by_real: HashMap<(SocketAddr, Kind), usize>,
    /// Where servers listen whose own sessions are recorded.
    recorded: HashSet<SocketAddr>,
    /// How many clients have called a server's port from a port of theirs.
    callers: HashMap<(u16, SocketAddrV4), u32>,
    unknown_ports: u16,
}

impl Addresses {
    pub(crate) fn new(ports: Ports, known: &[KnownServer]) -> Self {
        let mut addresses = Self {
            ports,
            stacks: Vec::new(),
            servers: Vec::new(),
            by_real: HashMap::new(),
            recorded: known.iter().filter_map(|server| server.address).collect(),
            callers: HashMap::new(),
            unknown_ports: 0,
        };
        for server in known {
            let number = addresses.server(server.stack.as_str(), Kind::of(server.protocol), server.address);
            if let Some(name) = &server.name {
                addresses.servers[number].name.clone_from(name);
            }
        }
        addresses
    }

    pub(crate) fn servers(&self) -> &[Server] {
        &self.servers
    }

    /// The number of a stack's server.
    pub(crate) fn server(&mut self, stack: &str, kind: Kind, real: Option<SocketAddr>) -> usize {
        let number = self.servers.iter().position(|server| server.kind == kind && server.stack == stack);
        let number = number.unwrap_or_else(|| self.add(stack, kind, real));
        if let Some(real) = real
            && self.by_real.len() <= LAST_STACK * 8
        {
            self.by_real.entry((real, kind)).or_insert(number);
        }
        number
    }

    /// The number of a server whose own session this is.
    pub(crate) fn recorded(&mut self, stack: &str, kind: Kind, real: Option<SocketAddr>) -> usize {
        if self.recorded.len() <= LAST_STACK * 8 {
            self.recorded.extend(real);
        }
        self.server(stack, kind, real)
    }

    /// Whether the sessions of the server that listens there are recorded by itself.
    pub(crate) fn is_recorded(&self, real: Option<SocketAddr>) -> bool {
        real.is_some_and(|real| self.recorded.contains(&real))
    }

    /// The number of the server that listens there. If none is known, it is a new one with this name, on a stack of its
    /// own.
    pub(crate) fn server_at(&mut self, real: SocketAddr, kind: Kind, name: &str) -> usize {
        if let Some(number) = self.by_real.get(&(real, kind)) {
            return *number;
        }
        let known = self.servers.len();
        let number = self.server(name, kind, Some(real));
        if number == known {
            name.clone_into(&mut self.servers[number].name);
        }
        number
    }

    /// A path that no other conversation of the file has.
    pub(crate) fn path(
        &mut self,
        server: usize,
        protocol: Protocol,
        (client_port, real_port): (Option<u16>, Option<u16>),
        is_second: bool,
    ) -> Path {
        let port = match (self.ports, real_port) {
            (Ports::Real, Some(real)) => real,
            _ => well_known(protocol, is_second),
        };
        let client_port = client_port.unwrap_or_else(|| {
            self.unknown_ports = (self.unknown_ports + 1) % (u16::MAX - FIRST_UNKNOWN_PORT);
            FIRST_UNKNOWN_PORT + self.unknown_ports - 1
        });
        let server = SocketAddrV4::new(self.servers[server].address, port);
        let callers = self.callers.entry((client_port, server)).or_default();
        // 10.0.0.1, and on to 10.0.255.255.
        *callers = *callers % 0xffff + 1;
        let client = Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 0, 0, 0)) + *callers);
        Path { client: SocketAddrV4::new(client, client_port), server }
    }

    fn add(&mut self, stack: &str, kind: Kind, real: Option<SocketAddr>) -> usize {
        let number = self.stacks.iter().position(|name| name == stack).unwrap_or_else(|| {
            if self.stacks.len() <= LAST_STACK {
                self.stacks.push(stack.to_owned());
            }
            self.stacks.len() - 1
        });
        let number_octet = u8::try_from(number + 1).unwrap_or(u8::MAX);
        let address = Ipv4Addr::new(10, number_octet, 0, kind.host());
        if let Some(shared) = self.servers.iter().position(|server| server.address == address) {
            return shared;
        }
        let name = format!("{}.{stack}", kind.name());
        self.servers.push(Server { name, address, real, stack: stack.to_owned(), kind });
        self.servers.len() - 1
    }
}

/// The port that Wireshark knows. What was encrypted is shown on a port whose dialogue is in clear.
fn well_known(protocol: Protocol, is_second: bool) -> u16 {
    match protocol {
        Protocol::Smtp if is_second => 587,
        Protocol::Smtp => 25,
        Protocol::Submission | Protocol::Submissions => 587,
        Protocol::Pop3 | Protocol::Pop3s => 110,
        Protocol::DnsUdp | Protocol::DnsTcp => 53,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(addresses: &mut Addresses, server: usize, protocol: Protocol, port: u16) -> String {
        let Path { client, server } = addresses.path(server, protocol, (Some(port), Some(1025)), false);
        format!("{client} {server}")
    }

    #[test]
    fn servers_are_numbered_as_they_appear() {
        let real = "127.0.0.1:1025".parse().unwrap();
        let mut addresses = Addresses::new(Ports::Synthetic, &[]);
        let (a, b) = (addresses.server("a.test", Kind::Smtp, Some(real)), addresses.server("b.test", Kind::Pop3, None));
        assert_eq!((a, b), (0, 1));
        assert_eq!(addresses.server("b.test", Kind::Smtp, None), 2);
        assert_eq!(addresses.server("a.test", Kind::Smtp, None), a);
        assert_eq!(addresses.server_at(real, Kind::Smtp, "other"), a);
        assert_eq!(addresses.server_at("127.0.0.1:2525".parse().unwrap(), Kind::Smtp, "mx.b.test"), 3);
        let shown: Vec<_> =
            addresses.servers().iter().map(|server| format!("{} {}", server.address, server.name)).collect();
        let expected =
            ["10.1.0.25 smtp.a.test", "10.2.0.110 pop3.b.test", "10.2.0.25 smtp.b.test", "10.3.0.25 mx.b.test"];
        assert_eq!(shown, expected);
    }

    #[test]
    fn a_port_that_comes_again_is_another_client() {
        let mut addresses = Addresses::new(Ports::Synthetic, &[]);
        let a = addresses.server("a.test", Kind::Smtp, None);
        let b = addresses.server("b.test", Kind::Smtp, None);
        assert_eq!(path(&mut addresses, a, Protocol::Smtp, 50_000), "10.0.0.1:50000 10.1.0.25:25");
        assert_eq!(path(&mut addresses, a, Protocol::Smtp, 50_000), "10.0.0.2:50000 10.1.0.25:25");
        assert_eq!(path(&mut addresses, a, Protocol::Submission, 50_000), "10.0.0.1:50000 10.1.0.25:587");
        assert_eq!(path(&mut addresses, b, Protocol::Smtp, 50_000), "10.0.0.1:50000 10.2.0.25:25");
        assert_eq!(path(&mut addresses, a, Protocol::Smtp, 50_001), "10.0.0.1:50001 10.1.0.25:25");
        for _ in 0..254 {
            path(&mut addresses, a, Protocol::Smtp, 50_000);
        }
        assert_eq!(path(&mut addresses, a, Protocol::Smtp, 50_000), "10.0.1.1:50000 10.1.0.25:25");
    }

    #[test]
    fn real_ports_stay() {
        let mut addresses = Addresses::new(Ports::Real, &[]);
        let a = addresses.server("a.test", Kind::Smtp, None);
        assert_eq!(path(&mut addresses, a, Protocol::Smtp, 50_000), "10.0.0.1:50000 10.1.0.25:1025");
    }

    #[test]
    fn stacks_without_number_share_one() {
        let mut addresses = Addresses::new(Ports::Synthetic, &[]);
        for number in 1..=300 {
            let server = addresses.server(&format!("s{number}.test"), Kind::Dns, None);
            assert_eq!(server, number.min(255) - 1);
        }
        assert_eq!(addresses.servers().len(), 255);
        assert_eq!(addresses.servers()[254].address, Ipv4Addr::new(10, 255, 0, 53));
    }
}
