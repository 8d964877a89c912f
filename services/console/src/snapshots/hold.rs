//! The hold of all stores of a town.

use crate::{api::App, follow::StoreFailure};
use futures_util::future::join_all;
use internal_api::{Held, HoldRequest, HoldStage, Problem, ProblemKind};
use mail_net::IoClock;
use std::{pin::pin, time::Duration};

/// How long a store is held without being told again.
const LEASE_SECONDS: u32 = 30;
/// How often it is asked whether attempts have ended.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// How often stores are told again while something is done that takes long.
const RENEW: Duration = Duration::from_secs(10);

/// All stores, held under one name. They let go by themselves if the console dies.
pub(super) struct Hold {
    holder: String,
}

/// What has become of the attempts to relay: by stack, for how many recipients they are under way.
pub(super) struct Settled(Vec<(String, u64)>);

impl Settled {
    /// For how many recipients attempts are under way.
    pub(super) fn claimed(&self) -> u64 {
        self.0.iter().map(|(_, claimed)| claimed).sum()
    }

    /// Refuses to go on while there are any.
    pub(super) fn require(self) -> Result<(), Problem> {
        let busy: Vec<_> = self.0.iter().filter(|(_, claimed)| *claimed > 0).collect();
        if busy.is_empty() {
            return Ok(());
        }
        let busy: Vec<_> = busy.iter().map(|(stack, claimed)| format!("{stack} to {claimed} recipients")).collect();
        let detail = format!(
            "{}; a server may hang or a fault may stall it: wait until /v1/idle says idle, or hold that mail in the queue",
            busy.join(", ")
        );
        Err(Problem::new(ProblemKind::StillRelaying, detail))
    }
}

impl Hold {
    /// Keeps back new claims in all stores. When this fails, none is held.
    pub(super) async fn begin(app: &App) -> Result<Self, Problem> {
        let hold = Self { holder: uuid::Uuid::new_v4().to_string() };
        match hold.all(app, HoldStage::Claims).await {
            Ok(_) => Ok(hold),
            Err(problem) => {
                let _ = hold.release(app).await;
                Err(problem)
            }
        }
    }

    /// Waits until the attempts that are under way have ended, for at most `limit`.
    pub(super) async fn settle(&mut self, app: &App, limit: Duration) -> Result<Settled, Problem> {
        let deadline = app.clock.io.instant() + limit;
        loop {
            let settled = Settled(self.all(app, HoldStage::Claims).await?);
            if settled.claimed() == 0 || app.clock.io.instant() >= deadline || app.shutdown.is_cancelled() {
                return Ok(settled);
            }
            app.clock.io.sleep(LOOK_AGAIN).await;
        }
    }

    /// Keeps back all changes in all stores.
    pub(super) async fn keep_changes(&mut self, app: &App) -> Result<(), Problem> {
        self.all(app, HoldStage::Commits).await.map(drop)
    }

    /// Does this, and keeps changes back until it has ended.
    pub(super) async fn during<T>(&self, app: &App, work: impl Future<Output = T>) -> T {
        // A store that has gone on is noticed at the end.
        let renew = || async move { drop(self.all(app, HoldStage::Commits).await) };
        renewing(app.clock.io, work, renew).await
    }

    /// Lets all stores go on; fails when one has gone on before.
    pub(super) async fn release(&self, app: &App) -> Result<(), Problem> {
        let releases = app.town.stores().iter().map(async |store| {
            let released = store.client.release_hold(&self.holder).await;
            released.map_err(|error| store.problem(error))
        });
        join_all(releases).await.into_iter().collect()
    }

    async fn all(&self, app: &App, stage: HoldStage) -> Result<Vec<(String, u64)>, Problem> {
        let hold = HoldRequest { stage, lease_seconds: LEASE_SECONDS };
        let holds = app.town.stores().iter().map(async |store| {
            let held = store.client.hold(&self.holder, hold).await;
            held.map(|Held { claimed }| (store.stack.clone(), claimed)).map_err(|error| store.problem(error))
        });
        join_all(holds).await.into_iter().collect()
    }
}

/// Does this, and renews often enough meanwhile.
async fn renewing<T, F: Future<Output = ()>>(
    io: IoClock,
    work: impl Future<Output = T>,
    mut renew: impl FnMut() -> F,
) -> T {
    let mut work = pin!(work);
    loop {
        match io.timeout(RENEW, &mut work).await {
            Ok(done) => return done,
            Err(_) => renew().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mail_net::Clock;
    use std::cell::Cell;

    #[tokio::test(start_paused = true)]
    async fn what_takes_longer_than_a_lease_is_held_to_its_end() {
        let (io, lease) = (Clock::system().io, Duration::from_secs(LEASE_SECONDS.into()));
        let held_until = &Cell::new(io.instant() + lease);
        let renew = || async move {
            assert!(io.instant() < held_until.get(), "it has run out");
            held_until.set(io.instant() + lease);
        };
        renewing(io, io.sleep(10 * lease), renew).await;
        assert!(io.instant() < held_until.get());
    }
}
