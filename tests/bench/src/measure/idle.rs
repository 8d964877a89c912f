//! `idle`: what an SMTP connection costs that says nothing.

use super::{Bench, Pair};
use crate::{
    load::Client,
    process::{Binaries, Process},
    town::{DOMAINS, Plan, Shape},
};
use futures_util::{StreamExt, TryStreamExt, stream};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::Serialize;
use std::{net::Ipv4Addr, time::Duration};

/// How many connections are being made at once: fewer than a listener lets wait.
const CONNECTING: usize = 100;
/// How many connections come from one address: each address has only so many ports.
const PER_ADDRESS: usize = 1000;
/// File descriptors that a process needs besides its connections.
const OTHER_FILES: u64 = 200;
/// How long the gateway may take to come to rest.
const REST: Duration = Duration::from_secs(2);

/// What idle connections cost.
#[derive(Debug, Serialize)]
pub(crate) struct Idle {
    /// How many there were.
    pub(crate) connections: usize,
    /// The gateway's resident memory before, in KiB.
    pub(crate) before_kib: u64,
    /// And with them.
    pub(crate) with_kib: u64,
}

impl Idle {
    /// The memory for each connection, in KiB.
    pub(crate) fn kib_each(&self) -> f64 {
        self.with_kib.saturating_sub(self.before_kib) as f64 / self.connections as f64
    }
}

/// Opens connections to an SMTP gateway in a process of its own, says EHLO on each, and leaves them.
///
/// # Errors
/// When a connection is refused.
pub(super) async fn measure(bench: &Bench<'_>) -> anyhow::Result<Pair<Idle>> {
    let before = match &bench.builds.before {
        Some(binaries) => Some(measure_build(bench, binaries, "idle-before").await?),
        None => None,
    };
    Ok(Pair { now: measure_build(bench, &bench.builds.now, "idle").await?, before })
}

async fn measure_build(bench: &Bench<'_>, binaries: &Binaries, name: &str) -> anyhow::Result<Idle> {
    let connections = allowed(bench);
    let directory = bench.state.join(name);
    let shape = Shape { mailboxes: 1, connections: 2 * connections, ..Shape::LOADED };
    let plan = Plan::write(directory, &bench.ports, shape, binaries)?;
    let mut store = service(binaries, &plan, "mailbox-store")?;
    store.await_listening(plan.store(0))?;
    let mut gateway = service(binaries, &plan, "smtp-gateway")?;
    gateway.await_listening(plan.smtp(0))?;
    // One that comes and goes has its code and its caches paid before.
    drop(Client::open(plan.smtp(0), None).await?);

    let before_kib = gateway.resident_kib()?;
    bench.progress.begin(&format!("opening {connections} connections"));
    let smtp = plan.smtp(0);
    let opening = stream::iter(0..connections).map(|number| Client::open(smtp, Some(source(number))));
    let clients: Vec<_> = opening.buffer_unordered(CONNECTING).try_collect().await?;
    tokio::time::sleep(REST).await;
    let idle = Idle { connections: clients.len(), before_kib, with_kib: gateway.resident_kib()? };
    bench.progress.say(&format!("{name}: {:.1} KiB for each of {connections} connections", idle.kib_each()));
    Ok(idle)
}

fn service(binaries: &Binaries, plan: &Plan, name: &str) -> anyhow::Result<Process> {
    let mut command = binaries.command(name);
    command.args(["--name", DOMAINS[0]]).arg("--config").arg(plan.config_path());
    command.env("MAILTOWN_DATA", plan.directory().join("data"));
    Process::start(name, &mut command, plan.directory().join(name).with_extension("log"))
}

/// 127.0.0.2, 127.0.0.3…
fn source(connection: usize) -> Ipv4Addr {
    let [low, high, ..] = (connection / PER_ADDRESS + 2).to_le_bytes();
    Ipv4Addr::new(127, 0, high, low)
}

/// As many connections as there may be files, of those that are wanted.
fn allowed(bench: &Bench<'_>) -> usize {
    let wanted = bench.scale.idle_connections;
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(u64::MAX);
    // What we may, the processes that we start may too.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    let files = usize::try_from(most.saturating_sub(OTHER_FILES)).unwrap_or(usize::MAX);
    if files < wanted {
        bench.progress.say(&format!("only {files} of {wanted} idle connections: raise `ulimit -Hn`"));
    }
    wanted.min(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_on_loopback() {
        assert_eq!(source(0), Ipv4Addr::new(127, 0, 0, 2));
        assert_eq!(source(9_999), Ipv4Addr::new(127, 0, 0, 11));
        assert_eq!(source(300_000), Ipv4Addr::new(127, 0, 1, 46));
    }
}
