//! Snapshots of the whole town: what its stores, its queue, its clock, its faults, its accounts and its zone were at one moment,
//! and how it becomes that again.
//!
//! The stores keep them. What is not theirs is a note of theirs, so that the console holds nothing durable.

mod bundle;
mod hold;

pub(crate) use bundle::export;

use crate::{
    api::App,
    follow::{FollowedStore, StoreFailure},
};
use ::faults::{Counts, Settings};
use futures_util::future::join_all;
use hold::Hold;
use internal_api::{
    Problem, ProblemKind, RestoreRequest, SNAPSHOT_NAMES, SNAPSHOT_NOTE_OCTETS, StoreSnapshot, is_snapshot_name,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::sync::Mutex;
use town_config::Files;
use utoipa::ToSchema;

/// How long attempts to relay may take before a snapshot, and before a restore, which goes on without their end.
const SETTLED: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(2));

/// The format of what is kept with the snapshots of stores.
const FORMAT: u32 = 1;

/// Takes snapshots, one at a time.
#[derive(Debug)]
pub(crate) struct Snapshots {
    files: Option<Files>,
    busy: Mutex<()>,
}

/// What a snapshot has besides the stores.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Manifest {
    /// The format of this object.
    pub format: u32,
    /// Names the moment: what stores have of one snapshot has the same.
    #[serde(default)]
    pub id: String,
    /// The version of the program that has written it.
    pub version: String,
    /// The time of the town.
    #[schema(value_type = String, format = DateTime)]
    pub now: Timestamp,
    /// Whether that stood still until it was moved.
    #[serde(rename = "virtual")]
    pub is_virtual: bool,
    /// The seed of the test, as whoever took the snapshot has given it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<String>,
    /// What went wrong on purpose. The seeds of faults are in them.
    pub faults: Settings,
    /// What the services had counted of that, by their names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub counts: BTreeMap<String, Counts>,
    /// The zone file, as it was written; absent where the console cannot read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
}

/// A snapshot of the town.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TownSnapshot {
    /// Its name.
    #[schema(pattern = "^[a-z0-9][a-z0-9._-]{0,63}$")]
    pub name: String,
    /// How many messages all stores have in it, each counted in each store.
    pub messages: u64,
    /// For how many recipients messages are queued in it.
    pub queued: u64,
    /// How many octets it takes.
    pub octets: u64,
    /// The stacks whose stores have it, by their server names.
    pub stacks: Vec<String>,
    /// The stacks whose stores do not have it, or do not answer: it cannot be restored.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
    /// What it has besides the stores.
    #[serde(flatten)]
    pub manifest: Manifest,
}

/// A town that has become what it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TownRestored {
    /// The snapshot.
    pub snapshot: TownSnapshot,
    /// Attempts to relay to this number of recipients had not ended, so what they have sent may be in a maildrop and, as it was
    /// then, in the queue as well.
    pub unsettled: u64,
    /// The services that do not have the time or the faults of the snapshot, and get them when they can be reached.
    pub unreachable: Vec<String>,
    /// Whether the zone file is another one than then. It is the operator's, and is not written.
    pub zone_differs: bool,
}

impl Snapshots {
    pub(crate) fn new(files: Option<Files>) -> Self {
        Self { files, busy: Mutex::default() }
    }

    /// The zone as it is written now. The configuration is not read: passwords are in it.
    fn zone(&self) -> Option<String> {
        let read = self.files.as_ref()?.zone_text();
        read.inspect_err(|error| tracing::debug!(%error, "the zone file of the town cannot be read")).ok()
    }
}

/// Refuses what is no name of a snapshot.
fn check(name: &str) -> Result<(), Problem> {
    if is_snapshot_name(name) { Ok(()) } else { Err(Problem::new(ProblemKind::InvalidRequest, SNAPSHOT_NAMES)) }
}

impl App {
    /// Takes a snapshot of the town.
    pub(crate) async fn take_snapshot(&self, name: &str, seed: Option<String>) -> Result<TownSnapshot, Problem> {
        check(name)?;
        let _alone = self.snapshots.busy.lock().await;
        self.require_new(name).await?;
        // Nobody moves the clocks meanwhile.
        let still = self.town_clock.still().await;
        let mut hold = Hold::begin(self).await?;
        let held = async {
            hold.settle(self, SETTLED.0).await?.require()?;
            hold.keep_changes(self).await?;
            let note = note(&self.manifest(seed).await)?;
            let taking = self.town.stores().iter().map(async |store| {
                let taken = store.client.take_snapshot(name, note.clone()).await;
                (store, taken.map_err(|error| store.problem(error)))
            });
            Ok::<_, Problem>(hold.during(self, join_all(taking)).await)
        };
        let taken = held.await;
        let released = hold.release(self).await;
        drop(still);
        let taken = taken?;
        // An older snapshot of this name is kept.
        let ours = taken
            .iter()
            .filter(|(_, taken)| !matches!(taken, Err(problem) if problem.kind == ProblemKind::SnapshotExists));
        let ours: Vec<_> = ours.map(|(store, _)| *store).collect();
        let whole = taken.into_iter().map(|(store, taken)| Ok((store, taken?))).collect::<Result<Vec<_>, Problem>>();
        match whole.and_then(|whole| released.map(|()| whole)) {
            Ok(whole) => Ok(together(&whole, &[])?),
            Err(problem) => {
                join_all(ours.iter().map(|store| store.client.remove_snapshot(name))).await;
                Err(problem)
            }
        }
    }

    /// Refuses a name that a store has already, whole or not.
    async fn require_new(&self, name: &str) -> Result<(), Problem> {
        let asking = self.town.stores().iter().map(async |store| {
            let page = store.client.snapshots().await.map_err(|error| store.problem(error))?;
            match page.snapshots.iter().any(|snapshot| snapshot.name == name) {
                true => Err(Problem::new(ProblemKind::SnapshotExists, format!("{name}, at {}", store.stack))),
                false => Ok(()),
            }
        });
        join_all(asking).await.into_iter().collect()
    }

    /// All snapshots, by name.
    pub(crate) async fn snapshots(&self) -> Result<Vec<TownSnapshot>, Problem> {
        let stores = self.town.stores();
        let answers = join_all(stores.iter().map(async |store| (store, store.client.snapshots().await))).await;
        let mut silent = Vec::new();
        let mut known: BTreeMap<String, Vec<(&FollowedStore, StoreSnapshot)>> = BTreeMap::new();
        let mut failure = None;
        for (store, answer) in answers {
            match answer {
                Ok(page) => page.snapshots.into_iter().for_each(|snapshot| {
                    known.entry(snapshot.name.clone()).or_default().push((store, snapshot));
                }),
                Err(error) => {
                    silent.push(store.stack.clone());
                    failure = Some(store.problem(error));
                }
            }
        }
        if let (Some(failure), true) = (failure, silent.len() == stores.len()) {
            return Err(failure);
        }
        // One that a store has by itself is no snapshot of the town.
        let all = known.into_values().filter_map(|taken| {
            let has = |stack: &String| taken.iter().any(|(store, _)| store.stack == *stack);
            let missing: Vec<_> = stores.iter().map(|store| store.stack.clone()).filter(|stack| !has(stack)).collect();
            together(&taken, &missing).ok()
        });
        Ok(all.collect())
    }

    /// One snapshot.
    pub(crate) async fn snapshot(&self, name: &str) -> Result<TownSnapshot, Problem> {
        check(name)?;
        let found = self.snapshots().await?.into_iter().find(|snapshot| snapshot.name == name);
        found.ok_or_else(|| Problem::new(ProblemKind::SnapshotUnknown, format!("{name}; see /v1/snapshots")))
    }

    /// Removes a snapshot from all stores.
    pub(crate) async fn remove_snapshot(&self, name: &str) -> Result<(), Problem> {
        let _alone = self.snapshots.busy.lock().await;
        self.snapshot(name).await?;
        for store in self.town.stores() {
            match store.client.remove_snapshot(name).await {
                Err(error) if error.kind() != Some(ProblemKind::SnapshotUnknown) => return Err(store.problem(error)),
                _ => {}
            }
        }
        Ok(())
    }

    /// Makes the town what it was.
    pub(crate) async fn restore_snapshot(&self, name: &str) -> Result<TownRestored, Problem> {
        let _alone = self.snapshots.busy.lock().await;
        let snapshot = self.snapshot(name).await?;
        if !snapshot.missing.is_empty() {
            let missing = format!("{} is missing in the mailbox-store of {}", name, snapshot.missing.join(" and "));
            return Err(Problem::new(ProblemKind::SnapshotUnknown, missing));
        }
        let now = (snapshot.manifest.is_virtual && self.town_clock.is_virtual()).then_some(snapshot.manifest.now);
        let still = self.town_clock.still().await;
        let mut hold = Hold::begin(self).await?;
        let held = async {
            let unsettled = hold.settle(self, SETTLED.1).await?.claimed();
            hold.keep_changes(self).await?;
            hold.during(self, self.require_restorable(&snapshot)).await?;
            let restores = self.town.stores().iter().map(async |store| {
                let restored = store.client.restore_snapshot(name, RestoreRequest { now, check_only: false }).await;
                restored.map_err(|error| store.problem(error))
            });
            let outcomes = hold.during(self, join_all(restores)).await;
            // All have answered before anybody hears of a failure.
            outcomes.into_iter().collect::<Result<Vec<_>, _>>()?;
            let mut unreachable = match now {
                Some(now) => still.set_to(now).await?,
                None => Vec::new(),
            };
            let Manifest { faults, counts, .. } = &snapshot.manifest;
            let faults = self.faults.restore(faults.clone(), counts).await?;
            unreachable.extend(faults.untold.into_values());
            Ok::<_, Problem>((unsettled, unreachable))
        };
        let restored = held.await;
        let released = hold.release(self).await;
        drop(still);
        let (unsettled, unreachable) = restored?;
        // A store that went on before the others were restored may have sent or taken mail that is gone now.
        released?;
        self.caught_up().await;
        let zone = self.snapshots.zone();
        let zone_differs = zone.is_some() && snapshot.manifest.zone.is_some() && zone != snapshot.manifest.zone;
        Ok(TownRestored { snapshot, unsettled, unreachable, zone_differs })
    }

    /// Fails unless all stores can become what they were. None is restored when another one could not be.
    async fn require_restorable(&self, snapshot: &TownSnapshot) -> Result<(), Problem> {
        let checks = self.town.stores().iter().map(async |store| {
            let found = store.client.check_snapshot(&snapshot.name).await.map_err(|error| store.problem(error))?;
            match serde_json::from_str::<Manifest>(&found.note) {
                Ok(manifest) if manifest == snapshot.manifest => Ok(()),
                _ => {
                    let detail = format!("{}, at {}: it is of another moment", snapshot.name, store.stack);
                    Err(Problem::new(ProblemKind::SnapshotUnknown, detail))
                }
            }
        });
        join_all(checks).await.into_iter().collect()
    }

    /// Does this to its end, also when the caller goes away: no store is to be left held.
    pub(crate) async fn to_its_end<T, F>(self: &Arc<Self>, work: impl FnOnce(Arc<Self>) -> F) -> Result<T, Problem>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Problem>> + Send + 'static,
    {
        let working = service_kit::telemetry::spawn(work(Arc::clone(self)));
        working.await.unwrap_or_else(|panic| Err(bug(&panic)))
    }

    async fn manifest(&self, seed: Option<String>) -> Manifest {
        let (now, is_virtual) = (self.town_clock.now(), self.town_clock.is_virtual());
        let (faults, counts) = (self.faults.report().await.settings, self.faults.counts().await);
        let counts = counts.into_iter().filter(|(_, counts)| *counts != Counts::default()).collect();
        let (version, zone) = (env!("CARGO_PKG_VERSION").to_owned(), self.snapshots.zone());
        let id = uuid::Uuid::new_v4().to_string();
        Manifest { format: FORMAT, id, version, now, is_virtual, seed, faults, counts, zone }
    }
}

/// What a store keeps of the manifest.
fn note(manifest: &Manifest) -> Result<String, Problem> {
    let note = serde_json::to_string(manifest).map_err(|error| bug(&error))?;
    if note.len() <= SNAPSHOT_NOTE_OCTETS {
        return Ok(note);
    }
    let (octets, most) = (note.len(), SNAPSHOT_NOTE_OCTETS >> 20);
    let detail =
        format!("what faults have counted has {octets} octets, and {most} MiB are kept at most; remove faults");
    Err(Problem::new(ProblemKind::SnapshotsFull, detail))
}

/// The snapshot of the town that these of its stores make. One of another moment is missing.
fn together(taken: &[(&FollowedStore, StoreSnapshot)], missing: &[String]) -> Result<TownSnapshot, Problem> {
    let (_, first) = taken.first().ok_or_else(|| Problem::new(ProblemKind::NotFound, "the town has no stores"))?;
    let (taken, others): (Vec<_>, Vec<_>) = taken.iter().partition(|(_, snapshot)| snapshot.note == first.note);
    let others = others.iter().map(|(store, _)| &store.stack);
    let sum = |of: fn(&StoreSnapshot) -> u64| taken.iter().map(|(_, snapshot)| of(snapshot)).sum();
    Ok(TownSnapshot {
        name: first.name.clone(),
        messages: sum(|snapshot| snapshot.messages),
        queued: sum(|snapshot| snapshot.queued),
        octets: sum(|snapshot| snapshot.octets),
        stacks: taken.iter().map(|(store, _)| store.stack.clone()).collect(),
        missing: missing.iter().chain(others).cloned().collect(),
        manifest: serde_json::from_str(&first.note).map_err(|error| bug(&error))?,
    })
}

fn bug(error: &dyn std::error::Error) -> Problem {
    tracing::error!(%error, "a snapshot failed");
    Problem::new(ProblemKind::Internal, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::faults::Count;

    fn manifest(services: usize) -> Manifest {
        let recipient = |number: usize| (format!("{number:0>320}"), u32::MAX);
        let recipients: BTreeMap<String, u32> = (0..=10_000).map(recipient).collect();
        let fault = Count { matched: u64::MAX, fired: u64::MAX, recipients: recipients.clone(), ..Count::default() };
        let faults = BTreeMap::from([("f".repeat(64), fault)]);
        let counts = Counts { faults, deferred: recipients };
        Manifest {
            format: FORMAT,
            id: uuid::Uuid::nil().to_string(),
            version: "1.0.0".to_owned(),
            now: Timestamp::UNIX_EPOCH,
            is_virtual: true,
            seed: Some("s".repeat(200)),
            faults: Settings::default(),
            counts: (0..services).map(|service| (format!("smtp-gateway of {service}"), counts.clone())).collect(),
            zone: None,
        }
    }

    /// As many recipients as are told apart, all as long as an address can be, at both gateways of a town.
    #[test]
    fn all_that_two_gateways_count_fits_in_a_note_and_more_is_a_problem() {
        let whole = manifest(2);
        assert_eq!(serde_json::from_str::<Manifest>(&note(&whole).unwrap()).unwrap(), whole);
        let problem = note(&manifest(3)).unwrap_err();
        assert_eq!(problem.kind, ProblemKind::SnapshotsFull);
        assert!(problem.detail.contains("remove faults"), "{problem:?}");
    }
}
