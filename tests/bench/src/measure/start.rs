//! `start`: how soon a town is ready, and what it costs at rest.

use super::{Bench, Pair};
use crate::{
    load::Client,
    process::Binaries,
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
pub(super) async fn measure(bench: &Bench<'_>) -> anyhow::Result<Pair<Start>> {
    let mut now = Starts::default();
    let mut before = bench.builds.before.as_ref().map(|binaries| (binaries, Starts::default()));
    for number in 1..=bench.scale.starts {
        bench.progress.begin(&format!("start {number} of {}", bench.scale.starts));
        now.measure(bench, &bench.builds.now, &format!("start-{number}")).await?;
        if let Some((binaries, starts)) = &mut before {
            starts.measure(bench, binaries, &format!("start-before-{number}")).await?;
        }
    }
    let start = Pair { now: now.summary()?, before: before.map(|(_, starts)| starts.summary()).transpose()? };
    let (ms, mib) = (start.now.first_ms.median, start.now.resident_mib.median);
    bench.progress.say(&format!("start: ready in {ms:.0} ms, {mib:.1} MiB"));
    Ok(start)
}

/// The starts of one build, one entry each.
#[derive(Default)]
struct Starts {
    first_ms: Vec<f64>,
    again_ms: Vec<f64>,
    resident_mib: Vec<f64>,
}

impl Starts {
    /// Starts a town twice in a new directory.
    async fn measure(&mut self, bench: &Bench<'_>, binaries: &Binaries, name: &str) -> anyhow::Result<()> {
        let plan = Plan::write(bench.state.join(name), &bench.ports, Shape::SHIPPED, binaries)?;
        let town = start(binaries, plan).await?;
        self.first_ms.push(town.started_in.as_secs_f64() * 1e3);
        town.rest().await?;
        self.resident_mib.push(town.resident_mib()?);
        let town = start(binaries, town.stop()).await?;
        self.again_ms.push(town.started_in.as_secs_f64() * 1e3);
        Ok(())
    }

    fn summary(self) -> anyhow::Result<Start> {
        let summary = |values| Summary::of(values).context("no start");
        Ok(Start {
            first_ms: summary(self.first_ms)?,
            again_ms: summary(self.again_ms)?,
            resident_mib: summary(self.resident_mib)?,
        })
    }
}

async fn start(binaries: &Binaries, plan: Plan) -> anyhow::Result<Town> {
    let town = Town::start(plan, binaries)?;
    // Ready means that it is.
    Client::open(town.plan().smtp(0), None).await?;
    Client::open(town.plan().smtp(1), None).await?;
    Ok(town)
}
