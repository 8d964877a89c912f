//! One system after the other, again and again: what disturbs the machine disturbs them alike.

use super::Bench;
use crate::{
    load::{self, Load},
    target::Target,
};
use anyhow::Context;
use serde::Serialize;
use std::time::{Duration, Instant};

/// How long after the last acknowledgement the last message may take to its maildrop.
const DRAIN: Duration = Duration::from_secs(90);
/// How often it is looked for meanwhile.
const POLL: Duration = Duration::from_millis(2);

/// What one system did in one round.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Rate {
    /// How many messages it was sent.
    pub(crate) messages: u64,
    /// How many it acknowledged in a second.
    pub(crate) accepted: f64,
    /// How many reached their maildrops in a second; absent where there are none.
    pub(crate) delivered: Option<f64>,
    /// Half of the messages were acknowledged within this many milliseconds.
    pub(crate) median_ms: f64,
    /// 99 of 100 were.
    pub(crate) p99_ms: f64,
}

/// Sends the target its load, and waits until all of it is delivered.
///
/// # Errors
/// When a message is refused, or does not arrive.
pub(super) async fn rate(bench: &Bench<'_>, name: &str, target: &Target, connections: usize) -> anyhow::Result<Rate> {
    bench.progress.begin(&format!("{name}, {connections} connections"));
    let scale = &bench.scale;
    let load = Load { connections, duration: scale.duration(), message_octets: scale.message_octets };
    measure(target, load).await.with_context(|| format!("{name} failed with {connections} connections"))
}

async fn measure(target: &Target, load: Load) -> anyhow::Result<Rate> {
    let before = target.maildrops.count().await?;
    let sent = load::send(target, load).await?;
    let delivered = match before {
        None => None,
        Some(before) => {
            await_delivery(target, before + sent.messages).await?;
            Some(sent.messages as f64 / sent.started.elapsed().as_secs_f64())
        }
    };
    Ok(Rate {
        messages: sent.messages,
        accepted: sent.messages as f64 / sent.elapsed.as_secs_f64(),
        delivered,
        median_ms: sent.median_ms,
        p99_ms: sent.p99_ms,
    })
}

async fn await_delivery(target: &Target, expected: u64) -> anyhow::Result<()> {
    let deadline = Instant::now() + DRAIN;
    loop {
        let found = target.maildrops.count().await?.unwrap_or_default();
        if found == expected {
            return Ok(());
        }
        anyhow::ensure!(found < expected, "{found} messages are in the maildrops, of {expected}");
        anyhow::ensure!(Instant::now() < deadline, "only {found} of {expected} messages arrived within {DRAIN:?}");
        tokio::time::sleep(POLL).await;
    }
}

/// A short load that is not measured: processes are forked, caches filled, connections made.
///
/// # Errors
/// As [`rate`].
pub(super) async fn warm_up(bench: &Bench<'_>, target: &Target) -> anyhow::Result<()> {
    bench.progress.begin("warming up");
    let load =
        Load { connections: 10, duration: Duration::from_millis(300), message_octets: bench.scale.message_octets };
    measure(target, load).await.map(drop).context("warming up failed")
}
