//! What the system tests are made of: whole towns, in this process ([`TestTown`]) or as processes that can be
//! killed ([`ProcessTown`]), and clients that talk to them. Peers and disks misbehave as they are told ([`FakePeer`],
//! [`ForgetfulDisk`]).
#![allow(clippy::disallowed_methods, reason = "a test waits for processes, sockets and files in real time")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

pub mod binaries;
mod console;
mod disk;
pub mod mailtown;
mod peer;
mod plan;
mod pop3;
mod ports;
mod processes;
mod random;
mod site;
mod smtp;
mod town;

pub use console::ConsoleClient;
pub use disk::{ForgetfulDisk, Operation};
pub use mailtown::Mailtown;
pub use peer::{Answer, FakePeer, Line, polite};
pub use plan::Plan;
pub use pop3::Pop3Client;
pub use ports::PortBlock;
pub use processes::{ProcessTown, Service, memory_kib};
pub use random::Random;
pub use rustix::io::Errno;
pub use site::{Site, TOKEN};
pub use smtp::SmtpClient;
pub use town::TestTown;

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

/// How long anything may take that should be there soon.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// An hour: a retry that no test waits for in real time.
pub const HOUR: Duration = Duration::from_secs(60 * 60);
/// How often a condition outside our reach is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// The server of `mail.sustech.edu.cn`.
pub const EXMAIL: &str = "exmail.qq.com";
/// The server of `gmail.com`.
pub const GMAIL: &str = "gmail.com";
/// A user of [`EXMAIL`].
pub const USR1: &str = "usr1@mail.sustech.edu.cn";
/// Another user of [`EXMAIL`].
pub const USR2: &str = "usr2@mail.sustech.edu.cn";
/// The user of [`GMAIL`].
pub const USR: &str = "usr@gmail.com";

/// What a proxy says first of a client of this address (PROXY protocol, version 1).
fn proxy_header(client: Ipv4Addr) -> String {
    format!("PROXY TCP4 {client} 127.0.0.1 4660 25\r\n")
}

/// The first value that `look` finds.
///
/// # Panics
/// When there is none within `limit`; says `what` was awaited.
pub async fn eventually<T>(what: &str, limit: Duration, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(started.elapsed() < limit, "not within {limit:?}: {what}");
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}
