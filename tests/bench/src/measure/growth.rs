//! `growth`: whether a store that is full of mail is slower than an empty one beside it.

use super::{
    Bench,
    filling::{Mail, fill},
    rounds::{rate, warm_up},
};
use crate::{
    pop3::User,
    statistics::Summary,
    target::Target,
    town::{DOMAINS, PASSWORD, Town},
};
use anyhow::Context;
use internal_api::StoreClient;
use serde::Serialize;
use std::time::{Duration, Instant};

/// How many clients send, when rates are compared.
const CONNECTIONS: usize = 10;
/// How many messages are stored between looks at the clock.
const BATCH: u64 = 2_000;
/// How often a login is repeated.
const LOGINS: usize = 5;
/// The octets of the messages that fill the store.
const FILLING_OCTETS: usize = 1024;

/// What became of rate and login time as the store grew.
#[derive(Debug, Serialize)]
pub(crate) struct Growth {
    /// In order of size.
    pub(crate) steps: Vec<GrowthStep>,
    /// Whether time ran out before the last step.
    pub(crate) cut_short: bool,
}

/// What was measured with this many messages stored.
#[derive(Debug, Serialize)]
pub(crate) struct GrowthStep {
    /// How many messages were stored at least.
    pub(crate) stored: u64,
    /// Messages a second, one entry for each round.
    pub(crate) rates: Vec<f64>,
    /// Messages a second of an empty store in the same rounds.
    pub(crate) empty_rates: Vec<f64>,
    /// Milliseconds to log in to a maildrop that holds none of these messages.
    pub(crate) login_ms: Summary,
    /// Milliseconds to log in to a maildrop that holds `full_maildrop` of them.
    pub(crate) full_login_ms: Summary,
    /// How many messages the full maildrop held.
    pub(crate) full_maildrop: u64,
}

impl GrowthStep {
    /// Which part of the empty store's rate was reached.
    pub(crate) fn of_empty(&self) -> Option<Summary> {
        Summary::of_ratios(self.rates.iter().zip(&self.empty_rates).map(|(full, empty)| (*full, Some(*empty))))
    }
}

/// Compares a growing store with an empty one.
///
/// # Errors
/// When a system fails.
pub(super) async fn measure(bench: &Bench<'_>) -> anyhow::Result<Growth> {
    let deadline = Instant::now() + Duration::from_secs(bench.scale.growth_seconds);
    let now = &bench.builds.now;
    let [empty, full] = [bench.town("empty", now)?, bench.town("full", now)?];
    let mut filling = Filling::new(full.store()?);
    let mut growth = Growth { steps: Vec::new(), cut_short: false };
    warm_up(bench, &addressed(&empty)?).await?;
    warm_up(bench, &addressed(&full)?).await?;
    for &stored in &bench.scale.stored {
        filling.fill(bench, stored, deadline).await?;
        growth.cut_short = filling.stored < stored;
        growth.steps.push(step(bench, &full, &empty, filling.stored).await?);
        if growth.cut_short {
            bench.progress.say("growth was cut short: the time it may take is over");
            break;
        }
    }
    Ok(growth)
}

/// The load goes to one mailbox, the store is filled with mail to the others.
fn addressed(town: &Town) -> anyhow::Result<Target> {
    let mut target = town.accepting()?;
    target.recipients.truncate(1);
    Ok(target)
}

async fn step(bench: &Bench<'_>, full: &Town, empty: &Town, stored: u64) -> anyhow::Result<GrowthStep> {
    let (mut rates, mut empty_rates) = (Vec::new(), Vec::new());
    for round in 1..=bench.scale.rounds {
        let label = |state: &str| format!("growth round {round}: {stored} stored, {state}");
        let rates_of = [(empty, "beside it", &mut empty_rates), (full, "itself", &mut rates)];
        for (town, state, rates) in rates_of {
            let rate = rate(bench, &label(state), &addressed(town)?, CONNECTIONS).await?;
            rates.push(rate.delivered.unwrap_or(rate.accepted));
        }
    }
    // u0 has the load's mail, u1 to u6 have what the store was filled with, and u7 has none.
    let (login_ms, _) = logins(full, "u7").await?;
    let (full_login_ms, full_maildrop) = logins(full, "u1").await?;
    let step = GrowthStep { stored, rates, empty_rates, login_ms, full_login_ms, full_maildrop };
    let of_empty = step.of_empty().map_or(0.0, |part| part.median);
    bench.progress.say(&format!("growth, {stored} stored: {of_empty:.2} of an empty store's rate"));
    Ok(step)
}

async fn logins(town: &Town, user: &str) -> anyhow::Result<(Summary, u64)> {
    let mut user = User::new(town.plan().pop(1), 0, &format!("{user}@{}", DOMAINS[1]), PASSWORD);
    // The first one hashes the password.
    let first = user.log_in().await?;
    let messages = first.messages;
    first.quit().await?;
    let mut milliseconds = Vec::new();
    for _ in 0..LOGINS {
        let started = Instant::now();
        let session = user.log_in().await?;
        milliseconds.push(started.elapsed().as_secs_f64() * 1e3);
        session.quit().await?;
    }
    Ok((Summary::of(milliseconds).context("no login")?, messages))
}

/// Fills a store in steps.
struct Filling {
    store: StoreClient,
    stored: u64,
}

impl Filling {
    fn new(store: StoreClient) -> Self {
        Self { store, stored: 0 }
    }

    async fn fill(&mut self, bench: &Bench<'_>, stored: u64, deadline: Instant) -> anyhow::Result<()> {
        while self.stored < stored && Instant::now() < deadline {
            bench.progress.begin(&format!("filling the store: {} of {stored}", self.stored));
            let batch = self.stored..stored.min(self.stored + BATCH);
            let mail = batch.clone().map(|number| Mail {
                number,
                recipient: format!("u{}@{}", 1 + number % 6, DOMAINS[1]),
                octets: FILLING_OCTETS,
            });
            fill(&self.store, mail).await?;
            self.stored = batch.end;
        }
        Ok(())
    }
}
