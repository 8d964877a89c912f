//! The power is cut under load: what was acknowledged was synced before, and is there.
//!
//! Each store is on a disk that forgets what was not synced. `MAILTOWN_CUTS` is how often the power of one of them is
//! cut (6 times unless told), `MAILTOWN_SEED` what decides which, when, and what a disk wrote that it was not told to.

use crate::campaign::{Kill, Ledger, Verdict, plan, seed, setting, sound, survive};
use std::{
    ops::RangeInclusive,
    time::{Duration, SystemTime},
};
use tokio::time::sleep;
use town_tests::{EXMAIL, ForgetfulDisk, GMAIL, ProcessTown, Random, Service};

/// How often the power is cut unless `MAILTOWN_CUTS` says otherwise.
const CUTS: u64 = 6;
/// How long the power may be there between two cuts, in milliseconds: at times too short for a store to be ready.
const PAUSE_MS: RangeInclusive<u64> = 20..=1000;
/// How many first starts are cut short, and after how many milliseconds.
const FIRST_STARTS: usize = 8;
const FIRST_START_MS: RangeInclusive<u64> = 1..=60;
/// After how many cuts a store that does not sync must have been found out.
const CUTS_WITHOUT_SYNC: u64 = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_power_cut_costs_nothing_that_was_acknowledged() {
    let cuts = setting("MAILTOWN_CUTS").unwrap_or(CUTS);
    let town = ProcessTown::start_on_forgetful_disks(plan()).await;
    let verdict = live_through(town, cuts, ForgetfulDisk::forget_some).await;
    verdict.assert_faultless();
    assert!(verdict.acknowledged as u64 >= cuts, "hardly anything was acknowledged");
}

/// Else the test above would pass with whatever store.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn syncs_that_do_nothing_are_found_out() {
    let town = ProcessTown::start_on_forgetful_disks(plan()).await;
    for server in [EXMAIL, GMAIL] {
        town.disk(server).swallow_syncs();
    }
    // Some of the rest would be worse than nothing: a store that cannot be opened.
    let verdict = live_through(town, CUTS_WITHOUT_SYNC, |disk, _| disk.forget()).await;
    let lost = verdict.faults.iter().filter(|fault| fault.ends_with("is lost")).count();
    assert!(lost > 0, "nothing that was acknowledged is lost: {verdict}");
}

/// The database, its directory and its schema are there or not, but never half.
#[tokio::test]
async fn a_first_start_may_be_cut_short() {
    let seed = seed();
    eprintln!("MAILTOWN_SEED={seed}");
    let mut random = Random(seed);
    let store = Service { binary: "mailbox-store", server: EXMAIL };
    let mut town = ProcessTown::start_on_forgetful_disks(plan()).await;
    for _ in 0..FIRST_STARTS {
        town.kill(store).await;
        town.disk(EXMAIL).erase();
        town.spawn(store);
        sleep(Duration::from_millis(random.within(FIRST_START_MS))).await;
        town.kill(store).await;
        town.disk(EXMAIL).forget_some(&mut random);
        town.restart(store).await;
    }
    town.kill(store).await;
    sound(&town, EXMAIL);
}

async fn live_through(town: ProcessTown, cuts: u64, forget: fn(&ForgetfulDisk, &mut Random)) -> Verdict {
    let seed = seed();
    eprintln!("MAILTOWN_CUTS={cuts} MAILTOWN_SEED={seed}");
    let random = Random(seed);
    let verdict = survive(town, async |town, ledger| cut_power(town, ledger, cuts, random, forget).await).await;
    eprintln!("MAILTOWN_SEED={seed}: {verdict}");
    verdict
}

/// Cuts the power of one store after the other, looks at what is left, and starts it again.
async fn cut_power(
    town: &mut ProcessTown,
    ledger: &Ledger,
    cuts: u64,
    mut random: Random,
    forget: fn(&ForgetfulDisk, &mut Random),
) -> Vec<Kill> {
    let mut killed = Vec::new();
    for number in 1..=cuts {
        sleep(Duration::from_millis(random.within(PAUSE_MS))).await;
        let server = if random.percent(50) { EXMAIL } else { GMAIL };
        let service = Service { binary: "mailbox-store", server };
        killed.push(Kill { at: SystemTime::now(), service });
        town.kill(service).await;
        forget(town.disk(server), &mut random);
        sound(town, server);
        town.spawn(service);
        if number.is_multiple_of(100) {
            eprintln!("{number} cuts, {} messages", ledger.len());
        }
    }
    killed
}
