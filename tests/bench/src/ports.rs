//! Ports for everything that is started.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};

/// Below the range from which the system takes ports for outgoing connections, of which there will be thousands.
const PORTS: std::ops::Range<u16> = 21_000..32_000;

/// Hands out loopback ports, each once.
#[derive(Debug)]
pub(crate) struct Ports {
    next: std::cell::Cell<u16>,
}

impl Default for Ports {
    fn default() -> Self {
        Self { next: PORTS.start.into() }
    }
}

impl Ports {
    /// A port on which nobody listens.
    ///
    /// # Errors
    /// When all are in use.
    pub(crate) fn take(&self) -> anyhow::Result<u16> {
        loop {
            let port = self.next.get();
            anyhow::ensure!(PORTS.contains(&port), "no free port from {} to {}", PORTS.start, PORTS.end - 1);
            self.next.set(port + 1);
            let address = loopback(port);
            if TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok() {
                return Ok(port);
            }
        }
    }
}

/// The port on this machine.
pub(crate) fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}
