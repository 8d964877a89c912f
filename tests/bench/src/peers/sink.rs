//! smtp-sink: Postfix's test server, which takes mail and throws it away. Nothing that stores can be faster.

use super::{program as find, recipients};
use crate::{
    ports::{Ports, loopback},
    process::Process,
    target::{Maildrops, Target},
};
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

/// How many connections it serves at once, and how many may wait.
const CONNECTIONS: &str = "1000";

/// A running smtp-sink.
pub(super) struct Sink {
    address: SocketAddr,
    _process: Process,
}

/// The program, where it is installed.
pub(super) fn program() -> Option<PathBuf> {
    find("smtp-sink")
}

impl Sink {
    pub(super) fn start(program: &Path, directory: &Path, ports: &Ports) -> anyhow::Result<Self> {
        let address = loopback(ports.take()?);
        let mut command = Command::new(program);
        command.args(["-4", "-h", "sink.bench", "-m", CONNECTIONS]);
        if rustix::process::geteuid().is_root() {
            // It insists.
            command.args(["-u", "nobody"]);
        }
        command.args([&format!("inet:{address}"), CONNECTIONS]).current_dir(directory);
        let mut process = Process::start("smtp-sink", &mut command, directory.join("smtp-sink.log"))?;
        process.await_listening(address)?;
        Ok(Self { address, _process: process })
    }

    pub(super) fn target(&self) -> Target {
        Target {
            smtp: self.address,
            tls: false,
            sender: "s@load.bench".to_owned(),
            recipients: recipients(),
            maildrops: Maildrops::Nowhere,
        }
    }
}
