//! `start`: how soon a town is ready, and what it costs at rest.

use super::Bench;
use crate::{
    load::Client,
    statistics::Summary,
    town::{Plan, Shape, Town},
};
use anyhow::Context;
use serde::Serialize;

/// Start-up time and memory of a whole town.
#[derive(Debug, Serialize)]
pub(crate) struct Start {
    /// Milliseconds until all eight services are ready, where nothing was before.
    pub(crate) first_ms: Summary,
    /// The same where the accounts are known already.
    pub(crate) again_ms: Summary,
    /// The resident memory of a town that is ready, in MiB.
    pub(crate) resident_mib: Summary,
}

/// Starts towns.
///
/// # Errors
/// When one does not start.
pub(super) async fn measure(bench: &Bench<'_>) -> anyhow::Result<Start> {
    let (mut first_ms, mut again_ms, mut resident_mib) = (Vec::new(), Vec::new(), Vec::new());
    for number in 1..=bench.scale.starts {
        bench.progress.begin(&format!("start {number} of {}", bench.scale.starts));
        let directory = bench.state.join(format!("start-{number}"));
        let plan = Plan::write(directory, &bench.ports, Shape::SHIPPED)?;
        let town = start(bench, plan).await?;
        first_ms.push(town.started_in.as_secs_f64() * 1e3);
        resident_mib.push(town.resident_mib()?);
        let town = start(bench, town.stop()).await?;
        again_ms.push(town.started_in.as_secs_f64() * 1e3);
    }
    let summary = |values| Summary::of(values).context("no start");
    let start =
        Start { first_ms: summary(first_ms)?, again_ms: summary(again_ms)?, resident_mib: summary(resident_mib)? };
    let (ms, mib) = (start.first_ms.median, start.resident_mib.median);
    bench.progress.say(&format!("start: ready in {ms:.0} ms, {mib:.1} MiB"));
    Ok(start)
}

async fn start(bench: &Bench<'_>, plan: Plan) -> anyhow::Result<Town> {
    let town = Town::start(plan, &bench.binaries)?;
    // Ready means that it is.
    Client::open(town.plan().smtp(0), None).await?;
    Client::open(town.plan().smtp(1), None).await?;
    Ok(town)
}
