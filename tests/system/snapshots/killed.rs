//! A store that is killed while it takes a snapshot or is restored.

use internal_api::{MaildropPage, RestoreRequest};
use std::{fs, path::Path, process::Command};
use town_tests::{EXMAIL, PATIENCE, Plan, ProcessTown, Service, USR1, USR2, binaries, eventually};

const STORE: Service = Service { binary: "mailbox-store", server: EXMAIL };
/// How many large messages there are, so that a snapshot takes a while.
const LARGE: usize = 20;
/// How often a store is killed.
const ROUNDS: usize = 5;

async fn send_large(town: &ProcessTown, count: usize) {
    let message = "Subject: large\r\n\r\n".to_owned() + &("x".repeat(70) + "\r\n").repeat(8_000);
    for _ in 0..count {
        town.send(USR1, &[USR2], message.as_bytes()).await;
    }
}

fn files(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// `mailbox-store check` finds nothing in a store that was killed, and nothing is left of what it had begun.
async fn restart(town: &mut ProcessTown) -> MaildropPage {
    town.restart(STORE).await;
    let data = town.data(EXMAIL);
    let mut check = Command::new(binaries::path("mailbox-store"));
    check.args(["--name", EXMAIL, "--config"]).arg(town.config()).arg("--data").arg(&data).arg("check");
    let output = check.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let half: Vec<_> = files(&data.join("snapshots")).into_iter().filter(|name| !name.ends_with(".db")).collect();
    assert!(half.is_empty(), "{half:?}");
    let listing = town.listing(USR2).await;
    assert_eq!(files(&data.join("bodies")).len(), listing.messages.len(), "each large body is in a file");
    listing
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_killed_during_a_take_has_the_snapshot_whole_or_not_at_all() {
    let mut town = ProcessTown::start(Plan::default()).await;
    send_large(&town, LARGE).await;
    let (before, snapshots) = (town.listing(USR2).await, town.data(EXMAIL).join("snapshots"));
    for round in 0..ROUNDS {
        let (store, name) = (town.store(EXMAIL), format!("s{round}"));
        let taking = tokio::spawn(async move { store.take_snapshot(&name, String::new()).await });
        eventually("the snapshot is being written", PATIENCE, async || {
            let has_begun = files(&snapshots).iter().any(|file| file.ends_with(".partial"));
            (has_begun || taking.is_finished()).then_some(())
        })
        .await;
        town.kill(STORE).await;
        let is_acknowledged = taking.await.unwrap().is_ok();
        assert_eq!(restart(&mut town).await, before);
        let store = town.store(EXMAIL);
        let listed = store.snapshots().await.unwrap().snapshots;
        assert!(!is_acknowledged || listed.iter().any(|snapshot| snapshot.name == format!("s{round}")));
        for snapshot in listed {
            assert_eq!(store.check_snapshot(&snapshot.name).await.unwrap(), snapshot);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_killed_during_a_restore_is_as_before_or_as_the_snapshot() {
    let mut town = ProcessTown::start(Plan::default()).await;
    send_large(&town, LARGE).await;
    let then = town.listing(USR2).await;
    town.store(EXMAIL).take_snapshot("s", String::new()).await.unwrap();
    let (bodies, log) = (town.data(EXMAIL).join("bodies"), town.data(EXMAIL).join("store.db-wal"));
    for round in 0..ROUNDS {
        send_large(&town, 1).await;
        let (before, there) = (town.listing(USR2).await, files(&bodies).len());
        let store = town.store(EXMAIL);
        let logged = || fs::metadata(&log).map_or(0, |log| log.len());
        let was_logged = logged();
        let restoring = tokio::spawn(async move { store.restore_snapshot("s", RestoreRequest::default()).await });
        // Later in each round: while bodies are written, and while the change is.
        let awaited = there + 1 + round * LARGE / (ROUNDS - 2);
        eventually("the restore has begun", PATIENCE, async || {
            let has_come = files(&bodies).len() >= awaited || logged() > was_logged;
            (has_come || restoring.is_finished()).then_some(())
        })
        .await;
        town.kill(STORE).await;
        let is_acknowledged = restoring.await.unwrap().is_ok();
        let listing = restart(&mut town).await;
        assert!(listing == then || !is_acknowledged && listing == before, "{listing:?}");
    }
    town.store(EXMAIL).restore_snapshot("s", RestoreRequest::default()).await.unwrap();
    assert_eq!(town.listing(USR2).await, then);
}
