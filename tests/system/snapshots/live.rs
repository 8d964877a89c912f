//! Restores of a town that is used meanwhile.

use super::{EXMAIL, GMAIL, Load, StoreFile, busy_peer, call, check_is_clean, delete_all, restore, settled, take};
use mail_proto::pop3;
use reqwest::{Method, StatusCode};
use rusqlite::Connection;
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};
use town_config::PortKey;
use town_tests::{PATIENCE, Plan, Pop3Client, TestTown, USR, USR2, eventually};

/// How many restores there are.
const RESTORES: u64 = 3;

/// Somebody who reads his mail again and again. A session may lose its maildrop.
async fn read_mail(town: &TestTown, is_stopped: &Arc<AtomicBool>, sessions: &Arc<AtomicUsize>) {
    let address = town.address(EXMAIL, PortKey::Pop);
    let (is_stopped, sessions) = (Arc::clone(is_stopped), Arc::clone(sessions));
    let session = async move || {
        let mut client = Pop3Client::connect(address).await?;
        client.log_in(USR2, "pass2").await?;
        let (count, _) = client.command(pop3::Command::Stat).await?.status.two_numbers().unwrap_or_default();
        if count > 0 {
            client.command(pop3::Command::Retr(1)).await?;
            client.command(pop3::Command::Dele(1)).await?;
        }
        client.command(pop3::Command::Quit).await?;
        Ok::<_, std::io::Error>(())
    };
    tokio::spawn(async move {
        while !is_stopped.load(Ordering::Relaxed) {
            if session().await.is_ok() {
                sessions.fetch_add(1, Ordering::Relaxed);
            }
            tokio::task::yield_now().await;
        }
    });
}

/// What is acknowledged after a restore stays, each in one place, and readers go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_lost_that_was_sent_after_a_restore() {
    let peer = busy_peer().await;
    let plan = Plan::default().relay(super::RETRIES).peer("far.test", peer.port());
    let town = TestTown::start_with_console(plan).await;
    let console = town.console_client();
    take(&console, "s").await;
    let (is_stopped, sessions) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
    read_mail(&town, &is_stopped, &sessions).await;
    for round in 0..RESTORES {
        let mut during = Load::start(&town, round, round);
        during.acknowledged(10).await;
        restore(&console, "s").await;
        let (mut after, before) = (Load::start(&town, RESTORES + round, round), sessions.load(Ordering::Relaxed));
        after.acknowledged(10).await;
        eventually("somebody reads his mail", PATIENCE, async || {
            (sessions.load(Ordering::Relaxed) > before).then_some(())
        })
        .await;
        during.stop().await;
        after.stop().await;
        settled(&town, &console).await;
        let mut places = BTreeMap::<_, Vec<String>>::new();
        for (key, place) in [EXMAIL, GMAIL].iter().flat_map(|server| StoreFile::live(&town.state(), server).places()) {
            places.entry(key).or_default().push(place);
        }
        // The reader deletes his.
        let sent: Vec<_> = after.so_far().into_iter().filter(|(_, recipient)| recipient != USR2).collect();
        let wrong: Vec<_> = sent.iter().filter(|sent| places.get(sent).map_or(0, Vec::len) != 1).collect();
        assert!(!sent.is_empty() && wrong.is_empty(), "{wrong:?} {places:?}");
    }
    is_stopped.store(true, Ordering::Relaxed);
    for server in [EXMAIL, GMAIL] {
        check_is_clean(&town, server);
    }
    town.stop().await;
}

/// A store that cannot be restored keeps the others from it.
#[tokio::test]
async fn no_store_is_restored_when_another_cannot_be() {
    let town = TestTown::start_with_console(Plan::default()).await;
    let console = town.console_client();
    town.send(super::USR1, &[USR, USR2], b"Subject: kept\r\n\r\n").await;
    town.mail_of(USR, 1).await;
    settled(&town, &console).await;
    take(&console, "s").await;
    let snapshot = town.state().join(GMAIL).join("snapshots/s.db");
    Connection::open(snapshot).unwrap().execute_batch("UPDATE messages SET body = NULL").unwrap();
    delete_all(&town, USR2).await;
    let (status, problem) = call(&console, Method::POST, "/v1/snapshots/s/restore").await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR, "{problem}");
    let detail = problem["detail"].as_str().unwrap();
    assert!(
        detail.contains("the mailbox-store of gmail.com: message ") && detail.contains("cannot be read"),
        "{detail}"
    );
    assert_eq!(town.mail(USR2).await.len(), 0, "nothing has come back");
    // Nothing is held.
    town.send(super::USR1, &[USR2], b"Subject: on\r\n\r\n").await;
    town.mail_of(USR2, 1).await;
    town.stop().await;
}
