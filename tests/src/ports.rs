//! Free ports with numbers known beforehand, for configuration files name them.

use std::{
    hash::{BuildHasher, RandomState},
    net::{Ipv4Addr, TcpListener, UdpSocket},
};
use tokio::net::TcpSocket;

/// Below the range that the kernel takes its ephemeral ports from, so that no outgoing connection is in the way.
const FIRST: u16 = 20_000;
const LAST: u16 = 31_999;
/// A guard, those of two stacks, and spare ones on which nobody listens.
const BLOCK: u16 = 24;

/// A block of ports that no other test uses at the same time, in whatever process.
#[derive(Debug)]
pub struct PortBlock {
    /// Listens on the block's first port for as long as the block is ours.
    guard: TcpListener,
}

impl PortBlock {
    /// How many ports a block has.
    pub const PORTS: u16 = BLOCK - 1;

    /// Finds a block whose ports are all free.
    ///
    /// # Panics
    /// When there is none.
    pub fn find() -> Self {
        let blocks = u64::from((LAST - FIRST) / BLOCK);
        let start = RandomState::new().hash_one(std::process::id());
        (0..blocks)
            .map(|step| FIRST + ((start.wrapping_add(step) % blocks) as u16) * BLOCK)
            .find_map(Self::take)
            .expect("no block of ports is free")
    }

    fn take(first: u16) -> Option<Self> {
        let guard = TcpListener::bind((Ipv4Addr::LOCALHOST, first)).ok()?;
        (first + 1..first + BLOCK).all(is_free).then_some(Self { guard })
    }

    /// The block's port of this index.
    ///
    /// # Panics
    /// When the block has none.
    pub fn port(&self, index: u16) -> u16 {
        assert!(index < Self::PORTS);
        self.guard.local_addr().unwrap().port() + 1 + index
    }
}

/// Whether nobody listens on a port. It is not listened on meanwhile: a process that is being started has what we have
/// open for a moment, and would keep the port from us.
fn is_free(port: u16) -> bool {
    let address = (Ipv4Addr::LOCALHOST, port);
    let bind = || {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind(address.into())
    };
    bind().is_ok() && UdpSocket::bind(address).is_ok()
}
