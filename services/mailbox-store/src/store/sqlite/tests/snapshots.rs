//! Snapshots, and what becomes of a store that is restored.

use super::{body_files, crash, fixture, in_directory, open, tamper};
use crate::store::{
    Accounts, EventRetention, Events, Lifecycle, Maildrops, Messages, Queue, SnapshotName, Snapshots, StoreError,
    contract::{
        Fixture, HOUR, MINUTE, SECOND, account, columns, dump, finished, furnish, mailbox, manual_clock, octets,
    },
    sqlite::{SqliteSnapshot, SqliteStore, snapshots::restore},
};
use futures_util::{StreamExt, poll};
use internal_api::{EventKind, EventPosition, HoldStage};
use rusqlite::{Connection, types::Value};
use std::{fs, path::Path, pin::pin, time::Duration};
use tempfile::TempDir;

fn name(name: &str) -> SnapshotName {
    name.parse().unwrap()
}

/// Every event, one in a line.
async fn told(store: &dyn Events) -> Vec<String> {
    let page = store.events(EventPosition::default(), 10_000).await.unwrap();
    page.events.iter().map(|event| format!("{event:?}")).collect()
}

async fn last_kind(fixture: &Fixture) -> EventKind {
    let page = fixture.store.events(EventPosition::default(), 10_000).await.unwrap();
    page.events.last().unwrap().kind.clone()
}

/// What is in it is what was in it.
#[tokio::test]
async fn a_restored_store_is_what_it_was() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().to_owned();
    let fixture = in_directory(directory, false).await;
    let store = &fixture.store;
    let kept = fixture.submit("large", &["a@local.test", "x@far.test"], &octets(700_000)).await.unwrap().id;
    let small = fixture.send("small", &["a@local.test", "b@local.test", "y@far.test"]).await;
    let deleted = fixture.send("deleted", &["b@local.test"]).await;
    fixture.delete("b@local.test", &[deleted]).await;
    let before = (columns(&path), told(&**store).await);
    let taken = store.take_snapshot(&name("one"), "kept with it".to_owned()).await.unwrap();
    assert_eq!((taken.messages, taken.queued, taken.note.as_str()), (2, 2, "kept with it"));
    assert_eq!(store.snapshots().await.unwrap(), std::slice::from_ref(&taken));

    fixture.clock.advance(HOUR);
    let late = fixture.submit("late", &["a@local.test", "z@far.test"], &octets(400_000)).await.unwrap().id;
    fixture.delete("a@local.test", &[kept, small]).await;
    let claim = fixture.claim().await.unwrap();
    let session = fixture.open("b@local.test").await.unwrap().session;
    while store.sweep().await.unwrap() {}
    assert_ne!(columns(&path), before.0);

    assert_eq!(store.restore_snapshot(&name("one"), None).await.unwrap(), taken);
    assert_eq!(columns(&path), before.0);
    let events = told(&**store).await;
    assert_eq!(events[..events.len() - 1], before.1);
    assert_eq!(last_kind(&fixture).await, EventKind::Restored { snapshot: "one".to_owned() });
    assert_eq!(fixture.raw(kept).await.unwrap(), octets(700_000));
    assert_eq!(body_files(&path), 1, "the file of what came later is gone");
    assert_eq!(fixture.queued().await.len(), 2);

    // Whoever worked on it before works on nothing now.
    let settled = store.settle(&claim.lease, finished(claim.messages[0].id, &["x@far.test"]), super::body(b"")).await;
    assert_eq!(settled, Err(StoreError::LeaseLost));
    let updated = store.update_maildrop(&mailbox("b@local.test"), &session, vec![small]).await;
    assert_eq!(updated, Err(StoreError::LeaseLost));
    assert_eq!(fixture.listed("b@local.test").await, [small]);

    // Nothing that was given is given again, not after a crash either.
    let crashed = crash(&path);
    for (directory, is_crashed) in [(&path, false), (&crashed.path().to_owned(), true)] {
        let reopened = is_crashed.then(|| open(directory, &manual_clock(), false).unwrap());
        let store = reopened.as_ref().map_or(&**store as &dyn crate::store::Store, |store| store);
        let submission = super::submission("new", &["a@local.test"]);
        let new = store.submit(submission, super::body(b"Subject: new\r\n\r\n")).await.unwrap().id;
        assert!(new > late, "{new} {late}");
        if is_crashed {
            assert_eq!(fixture_free_queue(store).await, 2);
            store.close().await;
        }
    }
}

async fn fixture_free_queue(store: &dyn Queue) -> usize {
    store.queue(None, 100).await.unwrap().entries.len()
}

/// With something of every kind in it. Only who has claimed something has lost it.
#[tokio::test]
async fn nothing_is_missing_from_a_restored_store() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().to_owned();
    let fixture = in_directory(directory, true).await;
    furnish(&fixture).await;
    let mut before = columns(&path);
    fixture.store.take_snapshot(&name("s"), String::new()).await.unwrap();
    tamper(&path, "DELETE FROM accounts; DELETE FROM aliases; DELETE FROM deliveries WHERE message_id % 2 = 0");
    fixture.store.restore_snapshot(&name("s"), None).await.unwrap();
    let leases = before.get_mut("queue.lease").unwrap();
    assert!(leases.iter().any(|lease| *lease != Value::Null));
    leases.fill(Value::Null);
    assert_eq!(columns(&path), before);
}

#[tokio::test]
async fn positions_of_events_go_on_after_a_restore() {
    let fixture = fixture().await;
    fixture.send("one", &["a@local.test"]).await;
    fixture.store.take_snapshot(&name("s"), String::new()).await.unwrap();
    for transaction in ["two", "three"] {
        fixture.send(transaction, &["a@local.test"]).await;
    }
    let after = fixture.store.last_event().await.unwrap();
    let mut changes = fixture.store.event_changes();
    changes.mark_unchanged();
    let back = manual_clock().now();
    fixture.clock.advance(HOUR);
    fixture.store.restore_snapshot(&name("s"), Some(back)).await.unwrap();
    assert!(changes.has_changed().unwrap());
    let page = fixture.store.events(after, 100).await.unwrap();
    assert_eq!(page.events.iter().map(|event| event.kind.name()).collect::<Vec<_>>(), ["restored"]);
    assert_eq!(fixture.store.newest_event_at().await.unwrap(), Some(back));
    // It is the last, which pruning leaves.
    let retention = EventRetention { age: Duration::ZERO, records: 0 };
    fixture.store.prune_events(retention).await.unwrap();
    fixture.send("four", &["a@local.test"]).await;
    let page = fixture.store.events(page.next_after.parse().unwrap(), 100).await.unwrap();
    assert_eq!(page.events.first().unwrap().kind.name(), "accepted");
}

#[tokio::test]
async fn a_snapshot_is_a_backup_as_well() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().to_owned();
    let fixture = in_directory(directory, false).await;
    fixture.submit("large", &["a@local.test", "x@far.test"], &octets(300_000)).await.unwrap();
    fixture.store.take_snapshot(&name("s"), String::new()).await.unwrap();
    let file = path.join("snapshots/s.db");
    let mut backup = SqliteSnapshot::of_backup(&file).unwrap().of_stack("local.test").unwrap();
    assert_eq!(dump(&mut backup), dump(&mut SqliteSnapshot::of_directory(&path).unwrap()));
    let read = fixture.store.snapshot_file(&name("s")).await.unwrap();
    let octets: Vec<u8> = read.chunks.map(|chunk| chunk.unwrap().to_vec()).concat().await;
    assert_eq!((read.octets, octets), (fs::metadata(&file).unwrap().len(), fs::read(&file).unwrap()));
}

#[tokio::test]
async fn a_snapshot_has_one_name_and_goes_when_it_is_removed() {
    let fixture = fixture().await;
    let store = &fixture.store;
    store.take_snapshot(&name("s"), String::new()).await.unwrap();
    assert_eq!(store.take_snapshot(&name("s"), String::new()).await, Err(StoreError::SnapshotExists));
    store.remove_snapshot(&name("s")).await.unwrap();
    assert_eq!(store.snapshots().await.unwrap(), []);
    assert_eq!(store.remove_snapshot(&name("s")).await, Err(StoreError::SnapshotUnknown));
    assert_eq!(store.restore_snapshot(&name("s"), None).await, Err(StoreError::SnapshotUnknown));
    assert_eq!(store.snapshot_file(&name("s")).await.err(), Some(StoreError::SnapshotUnknown));
    for number in 0..100 {
        store.take_snapshot(&name(&format!("s{number}")), String::new()).await.unwrap();
    }
    let full = store.take_snapshot(&name("s"), String::new()).await.unwrap_err();
    assert_eq!(full.to_string(), "a store keeps 100 snapshots and 8 GiB of them at most");
    // It was let go, although it has failed.
    fixture.send("one", &["a@local.test"]).await;
}

fn store_at(path: &Path) -> SqliteStore {
    open(path, &manual_clock(), false).unwrap()
}

#[tokio::test]
async fn what_a_crash_or_another_store_has_left_is_no_snapshot() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().to_owned();
    let fixture = in_directory(directory, false).await;
    fixture.store.take_snapshot(&name("s"), String::new()).await.unwrap();
    fixture.store.close().await;
    let snapshots = path.join("snapshots");
    for half in ["half.db.partial", "half.db.partial-journal"] {
        fs::write(snapshots.join(half), b"half").unwrap();
    }
    fs::write(snapshots.join("strange.db"), b"no database at all, but some text that is long enough").unwrap();
    let foreign = Connection::open(snapshots.join("s.db")).unwrap();
    foreign.execute("UPDATE properties SET value = 'other.test' WHERE name = 'stack'", []).unwrap();
    drop(foreign);
    let store = store_at(&path);
    let left = fs::read_dir(&snapshots).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(!left.into_iter().any(|name| name.starts_with("half")));
    let known = store.snapshots().await.unwrap();
    assert_eq!(known.iter().map(|snapshot| snapshot.name.as_str()).collect::<Vec<_>>(), ["s"]);
    let error = store.restore_snapshot(&name("s"), None).await.unwrap_err().to_string();
    assert!(error.contains("holds the mail of other.test"), "{error}");
    assert!(store.restore_snapshot(&name("strange"), None).await.is_err());
    store.close().await;
}

#[tokio::test]
async fn a_held_store_hands_out_no_claims_and_then_takes_no_changes() {
    let fixture = fixture().await;
    let store = &fixture.store;
    fixture.send("one", &["x@far.test"]).await;
    let claim = fixture.claim().await.unwrap();
    fixture.send("two", &["y@far.test"]).await;
    assert_eq!(store.hold("console", HoldStage::Claims, MINUTE).await, Ok(1));
    assert!(fixture.claim().await.is_none());
    fixture.send("three", &["z@far.test"]).await;
    store.settle(&claim.lease, finished(claim.messages[0].id, &["x@far.test"]), super::body(b"")).await.unwrap();
    assert_eq!(store.hold("console", HoldStage::Commits, MINUTE).await, Ok(0));
    assert_eq!(store.hold("other", HoldStage::Claims, MINUTE).await, Err(StoreError::Held));

    let mut waiting = pin!(fixture.submit("four", &["a@local.test"], b"Subject: x\r\n\r\n"));
    assert!(poll!(&mut waiting).is_pending());
    // A snapshot comes through, and what waits is not in it.
    let taken = store.take_snapshot(&name("s"), String::new()).await.unwrap();
    assert_eq!((taken.messages, taken.queued), (2, 2));
    assert!(poll!(&mut waiting).is_pending());
    store.restore_snapshot(&name("s"), None).await.unwrap();
    let mut changes = store.queue_changes();
    changes.mark_unchanged();
    store.release_hold("console").await.unwrap();
    assert!(changes.has_changed().unwrap(), "those who wait for claims look again");
    waiting.await.unwrap();
    assert!(fixture.claim().await.is_some());
    assert_eq!(store.release_hold("console").await, Err(StoreError::LeaseLost));
    assert_eq!(fixture.listed("a@local.test").await.len(), 1);
}

/// A console that has died blocks nobody for longer than the lease.
#[tokio::test]
async fn a_hold_ends_with_its_lease() {
    let fixture = fixture().await;
    fixture.store.hold("console", HoldStage::Commits, SECOND).await.unwrap();
    fixture.send("one", &["x@far.test"]).await;
    assert!(fixture.claim().await.is_some());
    assert_eq!(fixture.store.release_hold("console").await, Err(StoreError::LeaseLost));
}

/// A session that ends while the store becomes another one deletes nothing there.
#[tokio::test]
async fn an_update_that_waited_for_a_restore_is_lost() {
    let fixture = fixture().await;
    let store = &fixture.store;
    let id = fixture.send("one", &["a@local.test"]).await;
    store.take_snapshot(&name("s"), String::new()).await.unwrap();
    let session = fixture.open("a@local.test").await.unwrap().session;
    store.hold("console", HoldStage::Commits, MINUTE).await.unwrap();
    let address = mailbox("a@local.test");
    let mut quit = pin!(store.update_maildrop(&address, &session, vec![id]));
    assert!(poll!(&mut quit).is_pending());
    store.restore_snapshot(&name("s"), None).await.unwrap();
    store.release_hold("console").await.unwrap();
    assert_eq!(quit.await, Err(StoreError::LeaseLost));
    assert_eq!(fixture.listed("a@local.test").await, [id]);
}

/// A caller that goes away leaves no hold, and nothing that is half done.
#[tokio::test]
async fn what_was_begun_goes_on_when_its_caller_has_gone() {
    let fixture = fixture().await;
    let store = &fixture.store;
    {
        let name = name("s");
        let mut taking = pin!(store.take_snapshot(&name, String::new()));
        assert!(poll!(&mut taking).is_pending());
    }
    fixture.send("one", &["a@local.test"]).await;
    assert_eq!(store.snapshots().await.unwrap().len(), 1);
    store.take_snapshot(&name("one"), String::new()).await.unwrap();
    fixture.send("two", &["a@local.test"]).await;
    let mut restores = store.restores().unwrap();
    {
        let name = name("one");
        let mut restoring = pin!(store.restore_snapshot(&name, None));
        assert!(poll!(&mut restoring).is_pending());
    }
    restores.changed().await.unwrap();
    assert_eq!(fixture.listed("a@local.test").await.len(), 1);
    fixture.send("three", &["a@local.test"]).await;
}

/// A change that comes during a restore waits for it, although nobody else holds the store.
#[tokio::test]
async fn nothing_changes_during_a_restore() {
    let fixture = fixture().await;
    let store = &fixture.store;
    fixture.send("one", &["a@local.test"]).await;
    store.take_snapshot(&name("s"), String::new()).await.unwrap();
    let kept = name("s");
    let mut restoring = pin!(store.restore_snapshot(&kept, None));
    assert!(poll!(&mut restoring).is_pending());
    // It begins.
    tokio::task::yield_now().await;
    let (restored, sent) = tokio::join!(restoring, fixture.send("two", &["a@local.test"]));
    restored.unwrap();
    assert_eq!(fixture.listed("a@local.test").await.last(), Some(&sent));
}

/// A commit that fails changes nothing, and sessions go on.
#[tokio::test]
async fn a_restore_that_is_not_committed_ends_no_session() {
    let directory = TempDir::new().unwrap();
    let store = store_at(directory.path());
    store.put_accounts(vec![account("a@local.test")]).await.unwrap();
    store.take_snapshot(&name("s"), String::new()).await.unwrap();
    let address = mailbox("a@local.test");
    store.open_maildrop(&address, "session", MINUTE, 100).await.unwrap();
    let restores = store.restores().unwrap();
    let prepared = store.snapshots.prepare(&name("s")).unwrap();
    let failed = store.writer.write_held(move |tx| {
        restore(tx, prepared, None)?;
        Err::<(), _>(StoreError::Unavailable("the disk is full".to_owned()))
    });
    failed.await.unwrap_err();
    assert_eq!(store.renew_maildrop(&address, "session", MINUTE).await, Ok(()));
    assert!(!restores.has_changed().unwrap());
    store.restore_snapshot(&name("s"), None).await.unwrap();
    assert_eq!(store.renew_maildrop(&address, "session", MINUTE).await, Err(StoreError::LeaseLost));
    assert!(restores.has_changed().unwrap());
    store.close().await;
}

/// Those who wait under a hold when the store stops are told to come again.
#[tokio::test]
async fn a_store_that_stops_keeps_nobody_waiting() {
    let fixture = fixture().await;
    fixture.store.hold("console", HoldStage::Commits, MINUTE).await.unwrap();
    let mut waiting = pin!(fixture.submit("one", &["a@local.test"], b"Subject: x\r\n\r\n"));
    assert!(poll!(&mut waiting).is_pending());
    fixture.store.stop_waiting();
    let closed = StoreError::Unavailable("the store is closed".to_owned());
    assert_eq!(waiting.await, Err(closed));
}

fn change_snapshot(store: &Path, sql: &str) {
    Connection::open(store.join("snapshots/s.db")).unwrap().execute_batch(sql).unwrap();
}

/// It fails before anything has changed.
#[tokio::test]
async fn a_message_without_its_body_is_neither_kept_nor_restored() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().to_owned();
    let fixture = in_directory(directory, false).await;
    let store = &fixture.store;
    let large = fixture.submit("large", &["a@local.test"], &octets(300_000)).await.unwrap().id;
    store.take_snapshot(&name("s"), String::new()).await.unwrap();
    change_snapshot(&path, "UPDATE messages SET body = NULL");
    fixture.send("small", &["a@local.test"]).await;
    let (before, session) = (columns(&path), fixture.open("a@local.test").await.unwrap().session);
    assert_eq!(store.check_snapshot(&name("s")).await, Err(StoreError::Damaged(large)));
    assert_eq!(store.restore_snapshot(&name("s"), None).await, Err(StoreError::Damaged(large)));
    assert_eq!(columns(&path), before);
    assert_eq!(store.renew_maildrop(&mailbox("a@local.test"), &session, MINUTE).await, Ok(()));

    // The same is true of a message that has lost its body in the store, until it is in quarantine.
    let body = fs::read_dir(path.join("bodies")).unwrap().next().unwrap().unwrap();
    fs::remove_file(body.path()).unwrap();
    assert_eq!(store.take_snapshot(&name("t"), String::new()).await, Err(StoreError::Damaged(large)));
    assert_eq!(fs::read_dir(path.join("snapshots")).unwrap().count(), 1, "nothing is left of it");
    fixture.raw(large).await.unwrap_err();
    let before = columns(&path);
    store.take_snapshot(&name("t"), String::new()).await.unwrap();
    store.restore_snapshot(&name("t"), None).await.unwrap();
    assert_eq!(columns(&path), before);
}

#[tokio::test]
async fn room_is_needed_for_bodies_too_and_on_the_disk() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().to_owned();
    let fixture = in_directory(directory, false).await;
    let store = &fixture.store;
    store.take_snapshot(&name("s"), String::new()).await.unwrap();
    // It has holes, and takes no room.
    let database = fs::metadata(path.join("store.db")).unwrap().len();
    let kept = fs::File::options().write(true).open(path.join("snapshots/s.db")).unwrap();
    kept.set_len(8 * 1024 * 1024 * 1024 - database - 500_000).unwrap();
    store.take_snapshot(&name("small"), String::new()).await.unwrap();
    store.remove_snapshot(&name("small")).await.unwrap();
    fixture.submit("large", &["a@local.test"], &octets(700_000)).await.unwrap();
    let full = store.take_snapshot(&name("large"), String::new()).await.unwrap_err();
    assert!(matches!(full, StoreError::SnapshotsFull(_)), "{full}");

    kept.set_len(1 << 43).unwrap();
    for failed in [store.check_snapshot(&name("s")).await, store.restore_snapshot(&name("s"), None).await] {
        let said = failed.unwrap_err().to_string();
        assert!(said.contains("the disk of ") && said.contains("is full ("), "{said}");
    }
    store.remove_snapshot(&name("s")).await.unwrap();
    tamper(&path, "UPDATE messages SET octets = 1 << 50 WHERE body_file IS NOT NULL");
    let said = store.take_snapshot(&name("s"), String::new()).await.unwrap_err().to_string();
    assert!(said.contains("is full ("), "{said}");
}

/// A file that breaks off is no snapshot. The ids of the source are not given again, although it has forgotten what they were
/// of.
#[tokio::test]
async fn a_store_of_a_file_goes_on_from_the_ids_of_its_source() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().to_owned();
    let fixture = in_directory(directory, false).await;
    fixture.send("one", &["a@local.test"]).await;
    fixture.store.take_snapshot(&name("before"), String::new()).await.unwrap();
    let gone = fixture.send("gone", &["a@local.test"]).await;
    fixture.store.restore_snapshot(&name("before"), None).await.unwrap();
    fixture.store.take_snapshot(&name("s"), String::new()).await.unwrap();

    let elsewhere = TempDir::new().unwrap();
    let (store, now) = (store_at(elsewhere.path()), manual_clock().now());
    store.take_in_snapshot(&name("s"), path.clone(), now).await.unwrap_err();
    assert_eq!(fs::read_dir(elsewhere.path().join("snapshots")).unwrap().count(), 0);
    store.take_in_snapshot(&name("s"), path.join("snapshots/s.db"), now).await.unwrap();
    let again = store.take_in_snapshot(&name("s"), path.join("snapshots/s.db"), now).await;
    assert_eq!(again, Err(StoreError::SnapshotExists));
    let submission = super::submission("new", &["a@local.test"]);
    let new = store.submit(submission, super::body(b"Subject: new\r\n\r\n")).await.unwrap().id;
    assert!(new > gone, "{new} {gone}");
    store.close().await;
}

/// Its worker still tries it, although the lease has ended by the clock that was moved.
#[tokio::test]
async fn an_attempt_is_counted_after_its_clock_was_moved() {
    let fixture = fixture().await;
    fixture.send("one", &["x@far.test", "y@far.test"]).await;
    let claim = fixture.claim().await.unwrap();
    fixture.clock.advance(HOUR);
    assert_eq!(fixture.store.hold("console", HoldStage::Claims, MINUTE).await, Ok(2));
    let settlement = finished(claim.messages[0].id, &["x@far.test", "y@far.test"]);
    fixture.store.settle(&claim.lease, settlement, super::body(b"")).await.unwrap();
    assert_eq!(fixture.store.hold("console", HoldStage::Claims, MINUTE).await, Ok(0));
}
