//! The time of the town, where its clocks are virtual. The console moves all of them together.

use crate::follow::{
    Town,
    clocks::{ClockAnswer, ServiceClock, move_all, set_all, states},
};
use internal_api::{Problem, ProblemKind};
use jiff::Timestamp;
use mail_net::Clock;
use service_kit::{shutdown::CancellationToken, telemetry};
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex as SyncMutex, MutexGuard as SyncMutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::{Mutex, MutexGuard};

/// How often the clocks are compared, besides when a service answers that did not before.
const COMPARE: Duration = Duration::from_secs(5);

/// The clocks of the town. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct TownClock {
    town: Town,
    /// That of the console, which shows the town's time.
    clock: Clock,
    moving: Arc<Mutex<()>>,
    /// The services that were not set back with the others, such as `pop3-gateway of a.test`.
    ahead: Arc<SyncMutex<BTreeSet<String>>>,
}

/// The clocks, while nobody else moves them.
pub(crate) struct Moving<'c> {
    town_clock: &'c TownClock,
    pub(crate) clocks: Vec<ServiceClock>,
    /// The services that have not answered, such as `pop3-gateway of a.test`.
    pub(crate) unreachable: Vec<String>,
    _others_wait: MutexGuard<'c, ()>,
}

impl TownClock {
    pub(crate) fn new(town: Town, clock: Clock) -> Self {
        Self { town, clock, moving: Arc::default(), ahead: Arc::default() }
    }

    fn ahead(&self) -> SyncMutexGuard<'_, BTreeSet<String>> {
        self.ahead.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time of the town.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.wall.now()
    }

    /// Whether it stands still until it is moved.
    pub(crate) fn is_virtual(&self) -> bool {
        self.clock.wall.is_virtual()
    }

    /// Keeps virtual clocks together until `shutdown`: a service that starts anew is moved to the time of the town.
    pub(crate) fn keep_together(&self, shutdown: &CancellationToken) {
        if !self.is_virtual() {
            return;
        }
        let (keeping, until) = (self.clone().keep(), shutdown.clone());
        telemetry::spawn(async move { until.run_until_cancelled(keeping).await.unwrap_or_default() });
    }

    async fn keep(self) {
        loop {
            // A service with a real clock is told of when somebody moves the clocks.
            let _ = self.together().await;
            let _ = self.clock.io.timeout(COMPARE, self.town.service_came()).await;
        }
    }

    /// Keeps others from moving the clocks.
    pub(crate) async fn still(&self) -> Still<'_> {
        Still { town_clock: self, _others_wait: self.moving.lock().await }
    }

    /// Brings all clocks to the time of the latest, and keeps others from moving them.
    ///
    /// # Errors
    /// [`ProblemKind::ClockReal`] names the services whose clock is not virtual.
    pub(crate) async fn together(&self) -> Result<Moving<'_>, Problem> {
        if !self.is_virtual() {
            return Err(ProblemKind::ClockReal.into());
        }
        let others_wait = self.moving.lock().await;
        let clocks = self.town.clocks().await;
        let answers = states(&clocks).await;
        let known = || answers.iter().filter_map(|answer| Some((answer, answer.state.as_ref().ok()?)));
        let real: Vec<_> =
            known().filter(|(_, state)| !state.is_virtual).map(|(answer, _)| answer.service.to_string()).collect();
        if !real.is_empty() {
            return Err(Problem::new(ProblemKind::ClockReal, format!("that of {}", real.join(" and "))));
        }
        // What was not set back with the others does not take them forward again.
        let ahead = self.ahead().clone();
        let is_ahead = |answer: &ClockAnswer| ahead.contains(&name(answer));
        let in_time = known().filter(|(answer, _)| !is_ahead(answer)).map(|(_, state)| state.now);
        let latest = in_time.chain([self.now()]).max().unwrap_or_default();
        if !ahead.is_empty() {
            let to_set_back = clocks.iter().zip(&answers).filter(|(_, answer)| is_ahead(answer));
            let to_set_back: Vec<_> = to_set_back.map(|(clock, _)| clock.clone()).collect();
            *self.ahead() = unmoved(&set_all(&to_set_back, latest).await, latest).into_iter().collect();
        }
        let late = clocks.iter().zip(&answers);
        let late = late.filter(|(_, answer)| answer.state.as_ref().is_ok_and(|state| state.now < latest));
        let late: Vec<_> = late.map(|(clock, _)| clock.clone()).collect();
        let mut moving = Moving { town_clock: self, clocks, unreachable: silent(&answers), _others_wait: others_wait };
        moving.move_some(&late, latest).await;
        Ok(moving)
    }
}

/// The clocks, while nobody moves them forward.
pub(crate) struct Still<'c> {
    town_clock: &'c TownClock,
    _others_wait: MutexGuard<'c, ()>,
}

impl Still<'_> {
    /// Sets all virtual clocks to this moment, also back. Returns the services that have not followed.
    ///
    /// # Errors
    /// [`ProblemKind::InvalidRequest`] when the moment is out of range.
    pub(crate) async fn set_to(&self, now: Timestamp) -> Result<Vec<String>, Problem> {
        let TownClock { town, clock, .. } = self.town_clock;
        let answers = set_all(&town.clocks().await, now).await;
        clock.wall.set_to(now).map_err(|error| Problem::new(ProblemKind::InvalidRequest, error.to_string()))?;
        let unmoved = unmoved(&answers, now);
        *self.town_clock.ahead() = unmoved.iter().cloned().collect();
        Ok(unmoved)
    }
}

impl Moving<'_> {
    /// Moves all clocks forward to this moment.
    pub(crate) async fn move_to(&mut self, now: Timestamp) {
        let clocks = self.clocks.clone();
        self.move_some(&clocks, now).await;
    }

    async fn move_some(&mut self, clocks: &[ServiceClock], now: Timestamp) {
        // It is in the range: a service has it, or it was checked.
        let _ = self.town_clock.clock.wall.move_to(now);
        self.unreachable.extend(silent(&move_all(clocks, now).await));
        self.unreachable.sort();
        self.unreachable.dedup();
    }
}

/// The services that do not have this time: they are silent, or of an earlier version, which does not go back.
fn unmoved(answers: &[ClockAnswer], now: Timestamp) -> Vec<String> {
    let others = answers.iter().filter(|answer| answer.state.as_ref().is_ok_and(|state| state.now != now));
    silent(answers).into_iter().chain(others.map(name)).collect()
}

fn name(answer: &ClockAnswer) -> String {
    format!("{} of {}", answer.service.kind.name(), answer.service.stack)
}

/// The services that have not answered as they should.
fn silent(answers: &[ClockAnswer]) -> Vec<String> {
    answers.iter().filter(|answer| answer.state.is_err()).map(name).collect()
}
