//! A store as a whole: backed up, restored, checked.

use super::*;
use crate::store::{
    check::check,
    contract::{columns, dump, fill, furnish, goes_on},
    copy::Destination,
    snapshot::{Snapshot, SnapshotError},
    sqlite::{SqliteDestination, SqliteSnapshot},
};
use indicatif::ProgressBar;

fn snapshot(directory: &Path) -> SqliteSnapshot {
    SqliteSnapshot::of_directory(directory).unwrap()
}

pub(super) fn findings(store: &mut dyn Snapshot) -> Vec<String> {
    check(store, &ProgressBar::hidden(), manual_clock().now()).unwrap().findings
}

/// A running store, into a backup, into a directory: every record is the same, and it goes on.
#[tokio::test]
async fn a_backup_is_the_store() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().to_owned();
    let fixture = in_directory(directory, true).await;
    let messages = furnish(&fixture).await;
    fixture.store.probe().await.unwrap();
    let expected = dump(&mut snapshot(&path));
    let elsewhere = TempDir::new().unwrap();
    let file = elsewhere.path().join("backup");
    assert_eq!(fill(&mut snapshot(&path), Box::new(SqliteDestination::backup(&file).unwrap())), Vec::<String>::new());
    let mut backup = SqliteSnapshot::of_backup(&file).unwrap();
    assert_eq!(dump(&mut backup), expected);
    assert_eq!(findings(&mut backup), Vec::<String>::new());
    let restored = elsewhere.path().join("restored");
    fill(&mut backup, Box::new(SqliteDestination::directory(&restored).unwrap()));
    assert_eq!(dump(&mut snapshot(&restored)), expected);
    assert_eq!(columns(&restored), columns(&path));
    assert_eq!(findings(&mut snapshot(&restored)), Vec::<String>::new());
    assert_eq!(body_files(&restored), body_files(&path));
    goes_on(&open(&restored, &fixture.clock, true).unwrap(), &messages).await;
}

/// A message that is deleted while its body waits to be copied is as deleted in the copy.
#[tokio::test]
async fn a_copy_forgets_what_is_deleted_under_its_hands() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().to_owned();
    let fixture = in_directory(directory, false).await;
    let kept = fixture.submit("kept", &["a@local.test"], &octets(300_000)).await.unwrap().id;
    let recipients = ["a@local.test", "b@local.test"];
    let deleted = fixture.submit("deleted", &recipients, &octets(400_000)).await.unwrap().id;
    let mut source = snapshot(&path);
    for address in recipients {
        let session = fixture.open(address).await.unwrap().session;
        fixture.store.update_maildrop(&mailbox(address), &session, vec![deleted]).await.unwrap();
    }
    fixture.store.probe().await.unwrap();
    assert_eq!(findings(&mut source), Vec::<String>::new());
    let copy = TempDir::new().unwrap();
    fill(&mut source, Box::new(SqliteDestination::directory(copy.path()).unwrap()));
    assert_eq!(findings(&mut snapshot(copy.path())), Vec::<String>::new());
    let copy = in_directory(copy, false).await;
    assert_eq!(copy.listed("a@local.test").await, [kept]);
    assert_eq!(copy.listed("b@local.test").await, []);
}

/// Damage is quarantined in the copy and told; what is well is copied.
#[tokio::test]
async fn damage_is_quarantined_in_the_copy() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().to_owned();
    let fixture = in_directory(directory, false).await;
    let changed = fixture.send("changed", &["a@local.test", "x@far.test"]).await;
    let shorter = fixture.submit("shorter", &["a@local.test"], &octets(300_000)).await.unwrap().id;
    let missing = fixture.submit("missing", &["b@local.test"], &octets(400_000)).await.unwrap().id;
    let none = fixture.send("none", &["b@local.test"]).await;
    let good = fixture.send("good", &["a@local.test", "x@far.test"]).await;
    let number = |message: MessageId| message.number();
    tamper(&path, &format!("UPDATE messages SET body = zeroblob(17) WHERE id = {}", number(changed)));
    tamper(&path, &format!("UPDATE messages SET body = NULL WHERE id = {}", number(none)));
    let mut files = Vec::new();
    for entry in fs::read_dir(path.join("bodies")).unwrap().map(Result::unwrap) {
        match entry.metadata().unwrap().len() {
            300_000 => fs::write(entry.path(), b"short").unwrap(),
            _ => fs::remove_file(entry.path()).unwrap(),
        }
        files.push((entry.metadata().is_ok(), entry.file_name().into_string().unwrap()));
    }
    files.sort();
    let expected = [
        format!("{changed}: its body has another checksum"),
        format!("{shorter}: its body has another length (bodies/{})", files[1].1),
        format!("{missing}: its body bodies/{} cannot be read: No such file or directory (os error 2)", files[0].1),
        format!("{none}: it has no body"),
    ];
    let copy = TempDir::new().unwrap();
    let told = fill(&mut snapshot(&path), Box::new(SqliteDestination::directory(copy.path()).unwrap()));
    // By maildrop.
    assert_eq!(told, expected);
    let copied = copy.path().to_owned();
    let again = TempDir::new().unwrap();
    let told = fill(&mut snapshot(&copied), Box::new(SqliteDestination::directory(again.path()).unwrap()));
    assert_eq!(told, Vec::<String>::new(), "it is known already");
    assert_eq!(dump(&mut snapshot(again.path())), dump(&mut snapshot(&copied)));
    let copy = in_directory(copy, false).await;
    assert_eq!(copy.listed("a@local.test").await, [good]);
    assert_eq!(copy.listed("b@local.test").await, []);
    assert_eq!(copy.queued().await, ["x@far.test 0 false"]);
    assert_eq!(copy.raw(good).await.unwrap().len(), 17);
}

/// What is not finished is no store, and can be begun anew.
#[tokio::test]
async fn an_interrupted_copy_is_refused_and_begun_anew() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().to_owned();
    let fixture = in_directory(directory, false).await;
    fixture.submit("large", &["a@local.test"], &octets(300_000)).await.unwrap();
    let expected = dump(&mut snapshot(&path));
    let target = TempDir::new().unwrap();
    // As a kill leaves it.
    let mut interrupted = SqliteDestination::directory(target.path()).unwrap();
    crate::store::copy::copy(&mut snapshot(&path), &mut interrupted, &ProgressBar::hidden(), manual_clock().now())
        .unwrap();
    assert_eq!(body_files(target.path()), 1);
    let in_use = SqliteDestination::directory(target.path()).err().unwrap().to_string();
    assert!(in_use.contains("is in use by another mailbox-store"), "{in_use}");
    let remains = TempDir::new().unwrap();
    fs::create_dir(remains.path().join("bodies")).unwrap();
    fs::write(remains.path().join("bodies/partial"), b"x").unwrap();
    fs::copy(target.path().join("store.db.incoming"), remains.path().join("store.db.incoming")).unwrap();
    drop(interrupted);
    // As an error leaves it.
    assert_eq!(body_files(target.path()), 0);
    open(target.path(), &fixture.clock, false).unwrap();

    let refused = open(remains.path(), &fixture.clock, false).err().unwrap();
    assert!(matches!(refused, OpenError::Incomplete { .. }), "{refused}");
    let refused = SqliteSnapshot::of_directory(remains.path()).err().unwrap();
    assert!(matches!(refused, OpenError::Incomplete { .. }), "{refused}");
    fill(&mut snapshot(&path), Box::new(SqliteDestination::directory(remains.path()).unwrap()));
    assert_eq!(dump(&mut snapshot(remains.path())), expected);
    assert_eq!(body_files(remains.path()), 1);
    open(remains.path(), &fixture.clock, false).unwrap();
}

/// Neither a store nor bodies that somebody else has put there are overwritten.
#[tokio::test]
async fn what_is_there_is_not_overwritten() {
    let fixture = fixture().await;
    let occupied = TempDir::new().unwrap();
    fs::create_dir(occupied.path().join("bodies")).unwrap();
    fs::write(occupied.path().join("bodies/precious"), b"x").unwrap();
    let refused = SqliteDestination::directory(occupied.path()).err().unwrap();
    assert!(matches!(refused, OpenError::Occupied { .. }), "{refused}");
    assert_eq!(body_files(occupied.path()), 1);
    let store = TempDir::new().unwrap();
    open(store.path(), &fixture.clock, false).unwrap().close().await;
    let refused = SqliteDestination::directory(store.path()).err().unwrap();
    assert!(matches!(refused, OpenError::Occupied { .. }), "{refused}");
    // Two backups do not get in each other's way.
    let file = store.path().join("twice");
    let first = Box::new(SqliteDestination::backup(&file).unwrap());
    let second = SqliteDestination::backup(&file).err().unwrap();
    assert!(matches!(second, OpenError::InUse { .. }), "{second}");
    fill(&mut snapshot(store.path()), first);
    let third = SqliteDestination::backup(&file).err().unwrap();
    assert!(matches!(third, OpenError::Exists { .. }), "{third}");
    // Nor is a backup of a later version taken for one of this.
    let file = store.path().join("backup");
    let backup: Box<dyn Destination> = Box::new(SqliteDestination::backup(&file).unwrap());
    fill(&mut snapshot(store.path()), backup);
    Connection::open(&file).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let refused = SnapshotError::from(SqliteSnapshot::of_backup(&file).err().unwrap()).to_string();
    assert!(refused.ends_with("has schema version 99, this program knows 10; use a newer mailbox-store"), "{refused}");
}

/// Takes a database back from each schema to the one before.
const EARLIER_SCHEMAS: [&str; 8] = [
    "CREATE TABLE maildrop_locks (address TEXT PRIMARY KEY, session TEXT, expires_at_ms INTEGER);
     PRAGMA user_version = 9",
    "DROP INDEX queue_held; ALTER TABLE messages DROP COLUMN submitter;
     PRAGMA user_version = 8",
    "DROP INDEX queue_by_time; DROP INDEX queue_by_domain; ALTER TABLE queue DROP COLUMN held_at_ms;
     CREATE INDEX queue_by_time ON queue (next_attempt_at_ms, domain) WHERE quarantined_at_ms IS NULL;
     CREATE INDEX queue_by_domain ON queue (domain, next_attempt_at_ms, message_id) WHERE quarantined_at_ms IS NULL;
     PRAGMA user_version = 7",
    "DROP INDEX accounts_by_key; DROP INDEX aliases_by_key; PRAGMA user_version = 6",
    "ALTER TABLE queue DROP COLUMN delay_told; PRAGMA user_version = 5",
    "ALTER TABLE messages DROP COLUMN identity; ALTER TABLE messages DROP COLUMN body_type;
     ALTER TABLE messages DROP COLUMN smtputf8; ALTER TABLE messages DROP COLUMN ret;
     ALTER TABLE messages DROP COLUMN envid; ALTER TABLE messages DROP COLUMN requiretls;
     ALTER TABLE queue DROP COLUMN original_recipient; ALTER TABLE queue DROP COLUMN notify;
     ALTER TABLE queue DROP COLUMN via; DROP TABLE aliases;
     ALTER TABLE accounts DROP COLUMN source; ALTER TABLE accounts DROP COLUMN scram_verifier;
     PRAGMA user_version = 4",
    "DROP TABLE properties; PRAGMA user_version = 3",
    "DROP VIEW held_messages; DROP VIEW maildrops; DROP TABLE deletions; PRAGMA user_version = 2",
];

/// A backup that an earlier version has made can be restored.
#[tokio::test]
async fn a_backup_of_an_earlier_version_is_read() {
    let fixture = fixture().await;
    let store = TempDir::new().unwrap();
    let fixture = Fixture { store: Arc::new(open(store.path(), &fixture.clock, false).unwrap()), ..fixture };
    fixture.store.put_accounts(vec![account("a@local.test")]).await.unwrap();
    let id = fixture.send("t", &["a@local.test", "x@far.test"]).await;
    fixture.store.close().await;
    let file = store.path().join("backup");
    fill(&mut snapshot(store.path()), Box::new(SqliteDestination::backup(&file).unwrap()));
    for earlier in EARLIER_SCHEMAS {
        Connection::open(&file).unwrap().execute_batch(earlier).unwrap();
        let target = TempDir::new().unwrap();
        let restored = Box::new(SqliteDestination::directory(target.path()).unwrap());
        fill(&mut SqliteSnapshot::of_backup(&file).unwrap(), restored);
        let after = in_directory(target, false).await;
        assert_eq!(after.listed("a@local.test").await, [id], "{earlier}");
        assert_eq!(after.queued().await, ["x@far.test 0 false"], "{earlier}");
    }
}

/// What is deleted and not removed yet is in no copy, and no check misses it.
#[tokio::test]
async fn a_copy_holds_nothing_that_was_deleted() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().to_owned();
    let fixture = in_directory(directory, false).await;
    let mut sent = Vec::new();
    for number in 0..600 {
        sent.push(fixture.send(&number.to_string(), &["a@local.test"]).await);
    }
    let kept = sent.pop().unwrap();
    let session = fixture.open("a@local.test").await.unwrap().session;
    fixture.store.update_maildrop(&mailbox("a@local.test"), &session, sent).await.unwrap();
    let report = check(&mut snapshot(&path), &ProgressBar::hidden(), manual_clock().now()).unwrap();
    assert_eq!((report.findings, report.counts[2]), (Vec::new(), ("messages", 1)));
    let target = TempDir::new().unwrap();
    fill(&mut snapshot(&path), Box::new(SqliteDestination::directory(target.path()).unwrap()));
    // A store that dies before it has removed everything goes on when it is started again.
    let dead = in_directory(crash(&path), false).await;
    let restored = in_directory(target, false).await;
    for fixture in [&dead, &restored, &fixture] {
        assert_eq!(fixture.listed("a@local.test").await, [kept]);
        while fixture.store.sweep().await.unwrap() {}
        assert_eq!(fixture.listed("a@local.test").await, [kept]);
        let page = fixture.store.messages(MessageId::from_number(0), 9).await.unwrap();
        assert_eq!(page.messages.len(), 1);
    }
    let messages = Connection::open(path.join("store.db")).unwrap();
    assert_eq!(messages.query_row("SELECT COUNT(*) FROM messages", [], |row| row.get(0)), Ok(1));
}

/// A store, a copy and a backup belong to one stack.
#[tokio::test]
async fn the_store_of_another_stack_is_refused() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().to_owned();
    let fixture = in_directory(directory, false).await;
    fixture.send("1", &["a@local.test"]).await;
    let backup = TempDir::new().unwrap();
    let file = backup.path().join("backup");
    let destination = SqliteDestination::backup(&file).unwrap().of_stack("local.test").unwrap();
    fill(&mut snapshot(&path), Box::new(destination));
    for owner in ["local.test", "other.test"] {
        let opened = [
            SqliteSnapshot::of_directory(&path).unwrap().of_stack(owner),
            SqliteSnapshot::of_backup(&file).unwrap().of_stack(owner),
        ];
        for opened in opened {
            match opened {
                Ok(_) => assert_eq!(owner, "local.test"),
                Err(error) => {
                    assert_eq!(owner, "other.test");
                    assert!(error.to_string().contains(" holds the mail of local.test; "), "{error}");
                }
            }
        }
    }
    fixture.store.close().await;
    let clock = crate::store::contract::manual_clock();
    let metrics = crate::metrics::Metrics::new(&mut prometheus_client::registry::Registry::default());
    let (stack, directory) = ("other.test".to_owned(), path);
    let other =
        crate::store::sqlite::Options { directory, stack, adds_return_path: false, clock: clock.clock(), metrics };
    let refused = crate::store::sqlite::SqliteStore::open(other).err().unwrap().to_string();
    assert!(refused.contains(" holds the mail of local.test; name that server with --name"), "{refused}");
}
