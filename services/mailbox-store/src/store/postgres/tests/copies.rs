//! A store as a whole: moved between the backends, checked.

use super::*;
use crate::store::{
    check::{Report, check},
    contract::{columns, dump, fill, furnish, goes_on},
    copy::{Destination, copy, fingerprint},
    postgres::{OpenError, PostgresDestination, PostgresSnapshot},
    snapshot::Snapshot,
    sqlite::{self, SqliteDestination, SqliteSnapshot, SqliteStore},
};
use indicatif::ProgressBar;
use rusqlite::types::Value;
use std::path::Path;

const STACK: &str = "local.test";

impl Town {
    /// What `look` finds in the store as a whole. Off the runtime, because it blocks.
    async fn whole<T: Send + 'static>(&self, look: impl FnOnce(&mut dyn Snapshot) -> T + Send + 'static) -> T {
        let url = self.url.parse().unwrap();
        blocking(move || look(&mut PostgresSnapshot::open(&url, STACK, manual_clock().clock().io).unwrap())).await
    }

    async fn destination_error(&self, stack: &'static str) -> OpenError {
        let url = self.url.parse().unwrap();
        blocking(move || PostgresDestination::open(&url, stack, manual_clock().clock().io).err().unwrap()).await
    }

    async fn check(&self) -> Report {
        self.whole(|store| check(store, &ProgressBar::hidden(), manual_clock().now()).unwrap()).await
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

async fn in_directory(directory: &Path, clock: &ManualClock) -> Fixture {
    let metrics = Metrics::new(&mut Registry::default());
    let options = sqlite::Options {
        directory: directory.to_owned(),
        stack: "local.test".to_owned(),
        adds_return_path: true,
        clock: clock.clock(),
        metrics,
    };
    Fixture::new(Arc::new(SqliteStore::open(options).unwrap()), clock.clone(), Box::new(())).await
}

fn in_sqlite(directory: &Path) -> SqliteSnapshot {
    SqliteSnapshot::of_directory(directory).unwrap()
}

/// There and back again: every record is the same, and the store goes on at each end.
#[tokio::test]
async fn a_store_moves_between_backends_and_stays_the_same() {
    let Some(town) = Town::new().await else { return };
    let directory = TempDir::new().unwrap();
    let source = directory.path().join("source");
    let fixture = in_directory(&source, &town.clock).await;
    let messages = furnish(&fixture).await;
    let tamper = "UPDATE deliveries SET quarantined_at_ms = 1767225600123 WHERE message_id = ?1;";
    let quarantined = messages.iter().find(|(name, _)| *name == "set-aside").unwrap().1.number() as i64;
    let database = rusqlite::Connection::open(source.join("store.db")).unwrap();
    database.execute(tamper, [quarantined]).unwrap();
    database.execute("UPDATE queue SET quarantined_at_ms = 1 WHERE message_id = ?1", [quarantined]).unwrap();
    let recount = "UPDATE accounts SET messages = messages - 1,
         octets = octets - (SELECT octets FROM deliveries WHERE message_id = ?1) WHERE address = 'b@local.test'";
    database.execute(recount, [quarantined]).unwrap();
    let parameters =
        "UPDATE messages SET identity = 'a@local.test', body_type = '8BITMIME', smtputf8 = 1, ret = 'FULL',
             envid = 'x y', requiretls = 1, submitter = '<s@far.test>' WHERE reverse_path <> '<>';
         UPDATE queue SET original_recipient = 'rfc822;u@far.test', notify = 'NEVER', via = 'l@local.test', delay_told = 1,
             held_at_ms = 1767225600456;
         UPDATE accounts SET source = 'api' WHERE address = 'b@local.test';
         UPDATE aliases SET source = 'api' WHERE address = 'l@local.test'";
    database.execute_batch(parameters).unwrap();
    fixture.store.close().await;

    let (url, path) = (town.url.parse().unwrap(), source.clone());
    let expected = blocking(move || {
        let destination = Box::new(PostgresDestination::open(&url, STACK, manual_clock().clock().io).unwrap());
        assert_eq!(fill(&mut in_sqlite(&path), destination), Vec::<String>::new());
        dump(&mut in_sqlite(&path))
    })
    .await;
    assert!(expected.iter().any(|line| line.contains("quarantined_at_ms: Some(1767225600123)")));
    assert!(expected.iter().any(|line| line.contains("lease: Some(") && line.contains("attempts: 2")), "{expected:?}");
    assert_eq!(town.whole(dump).await, expected);
    let report = town.check().await;
    assert_eq!(report.findings, Vec::<String>::new());
    let counts = [
        ("accounts", 3),
        ("aliases", 2),
        ("messages", 7),
        ("maildrop entries", 9),
        ("queue entries", 4),
        ("checksums right", 7),
        ("without checksum", 0),
        ("body pieces", 11),
    ];
    assert_eq!(report.counts, counts);

    let back = directory.path().join("back");
    let path = back.clone();
    let told = town.whole(move |store| fill(store, Box::new(SqliteDestination::directory(&path).unwrap()))).await;
    assert_eq!(told, Vec::<String>::new());
    assert_eq!(dump(&mut in_sqlite(&back)), expected);
    let moved = columns(&back);
    assert_eq!(moved, columns(&source));
    let is_tried = |value: &Value| !matches!(value, Value::Null | Value::Integer(0));
    let untried: Vec<_> = moved.iter().filter(|(_, values)| !values.iter().any(is_tried)).collect();
    assert_eq!(untried, [], "every column is moved with something in it");
    let store = town.store().await;
    goes_on(&*store, &messages).await;
    let metrics = Metrics::new(&mut Registry::default());
    let options = sqlite::Options {
        directory: back,
        stack: "local.test".to_owned(),
        adds_return_path: true,
        clock: town.clock.clock(),
        metrics,
    };
    goes_on(&SqliteStore::open(options).unwrap(), &messages).await;
}

/// Whatever is wrong is found while a store runs, as it is with SQLite.
#[tokio::test]
async fn a_check_finds_what_is_wrong() {
    let Some(town) = Town::new().await else { return };
    let fixture = town.fixture().await;
    let both = ["a@local.test", "x@far.test"];
    fixture.send("good", &both).await;
    assert_eq!(town.check().await.findings, Vec::<String>::new());
    let changed = fixture.send("changed", &["a@local.test"]).await;
    let shorter = fixture.submit("shorter", &["a@local.test"], &octets(600_000)).await.unwrap().id;
    let bodiless = fixture.send("bodiless", &["b@local.test"]).await;
    let lost = fixture.send("lost", &["b@local.test", "y@far.test"]).await;
    let forgotten = fixture.send("forgotten", &["b@local.test"]).await;
    let held = fixture.send("held", &both).await;
    let odd = fixture.send("odd", &["x@odd.test"]).await;
    let envelope = fixture.send("envelope", &["a@local.test"]).await;
    let [c, s, b, l, f, h, o, e] =
        [changed, shorter, bodiless, lost, forgotten, held, odd, envelope].map(MessageId::number);
    let tamper = format!(
        "UPDATE bodies SET octets = set_byte(octets, 3, 0) WHERE message_id = {c};
         DELETE FROM bodies WHERE message_id = {s} AND piece = 1;
         DELETE FROM bodies WHERE message_id = {b};
         DELETE FROM messages WHERE id = {l};
         DELETE FROM deliveries WHERE message_id = {f};
         UPDATE messages SET holders = 3 WHERE id = {h};
         UPDATE queue SET domain = 'other.test' WHERE message_id = {o};
         UPDATE messages SET reverse_path = 'nonsense' WHERE id = {e};
         UPDATE deliveries SET octets = 1 WHERE message_id = {c}"
    );
    town.stranger().await.batch_execute(&tamper).await.unwrap();
    let expected = [
        format!("{changed}: its body has another checksum"),
        format!("{shorter}: its body has another length"),
        format!("{bodiless}: it has no body"),
        format!("{envelope}: \"nonsense\" is no reverse-path"),
        format!("{changed}: listed with 1 octets in the maildrop of a@local.test"),
        format!("{lost}: in the maildrop of b@local.test, but not among the messages"),
        format!("{lost}: queued for y@far.test, but not among the messages"),
        format!("{odd}: queued for \"x@odd.test\" in \"other.test\""),
        "a@local.test: counts 5 messages of 600068 octets, has 5 of 600052".to_owned(),
        "b@local.test: counts 3 messages of 51 octets, has 2 of 34".to_owned(),
        format!("{forgotten}: neither in a maildrop nor queued"),
        format!("{held}: said to be in 3 places, is in 2"),
        format!("{lost}: a body without its message"),
    ];
    assert_eq!(town.check().await.findings, expected);
    assert_eq!(fixture.raw(changed).await, Err(StoreError::Damaged(changed)));
    let notes = ["1 maildrop entries were quarantined because they could not be read"];
    assert_eq!(town.check().await.notes, notes);
}

/// Damage is quarantined in the copy and told; what is well is copied, and counted anew.
#[tokio::test]
async fn damage_is_quarantined_in_the_copy() {
    let Some(town) = Town::new().await else { return };
    let fixture = town.fixture().await;
    let good = fixture.submit("good", &["a@local.test", "x@far.test"], &octets(600_000)).await.unwrap().id;
    let changed = fixture.submit("changed", &["a@local.test", "x@far.test"], &octets(600_000)).await.unwrap().id;
    let bodiless = fixture.send("bodiless", &["a@local.test"]).await;
    let tamper = format!(
        "UPDATE bodies SET octets = set_byte(octets, 3, 0) WHERE message_id = {} AND piece = 2;
         DELETE FROM bodies WHERE message_id = {}",
        changed.number(),
        bodiless.number()
    );
    town.stranger().await.batch_execute(&tamper).await.unwrap();
    let directory = TempDir::new().unwrap();
    let path = directory.path().to_owned();
    let told = town.whole(move |store| fill(store, Box::new(SqliteDestination::directory(&path).unwrap()))).await;
    assert_eq!(told, [format!("{changed}: its body has another checksum"), format!("{bodiless}: it has no body")]);
    let copy = in_directory(directory.path(), &town.clock).await;
    assert_eq!(copy.listed("a@local.test").await, [good]);
    let summary = copy.store.mailbox(&mailbox("a@local.test")).await.unwrap();
    assert_eq!((summary.messages, summary.octets), (1, 600_000));
    assert_eq!(copy.queued().await, ["x@far.test 0 false"]);
    assert_eq!(copy.raw(good).await.unwrap(), octets(600_000));
    // The store itself is as it was.
    assert_eq!(town.number("SELECT COUNT(*) FROM deliveries WHERE quarantined_at_ms IS NULL").await, 3);
}

/// Until all is there no store takes the database for one; the copy can be begun anew, and who was at it before is told.
#[tokio::test]
async fn an_interrupted_copy_is_refused_and_begun_anew() {
    let Some(town) = Town::new().await else { return };
    let directory = TempDir::new().unwrap();
    let fixture = in_directory(directory.path(), &town.clock).await;
    let id = fixture.submit("large", &["a@local.test"], &octets(600_000)).await.unwrap().id;
    fixture.store.close().await;
    let (url, path) = (town.url.parse().unwrap(), directory.path().to_owned());
    let interrupted = blocking(move || {
        let mut interrupted = PostgresDestination::open(&url, STACK, manual_clock().clock().io).unwrap();
        copy(&mut in_sqlite(&path), &mut interrupted, &ProgressBar::hidden(), manual_clock().now()).unwrap();
        interrupted
    })
    .await;
    assert_eq!(town.number("SELECT COUNT(*) FROM bodies").await, 3);
    let refused = PostgresStore::open(town.options()).await.err().unwrap();
    assert!(matches!(refused, OpenError::Incomplete { .. }), "{refused}");
    let url = town.url.parse().unwrap();
    let refused = blocking(move || PostgresSnapshot::open(&url, STACK, manual_clock().clock().io).err().unwrap()).await;
    assert!(matches!(refused, OpenError::Incomplete { .. }), "{refused}");
    let refused = town.destination_error("other.test").await;
    assert!(matches!(refused, OpenError::Foreign { .. }), "{refused}");

    let (url, path) = (town.url.parse().unwrap(), directory.path().to_owned());
    blocking(move || {
        let anew = Box::new(PostgresDestination::open(&url, STACK, manual_clock().clock().io).unwrap());
        let mut interrupted = Box::new(interrupted);
        // The one that seemed dead goes on.
        let late = interrupted.deliveries(&[]).unwrap_err().to_string();
        assert!(late.contains("was taken by another command or store"), "{late}");
        assert!(interrupted.finish().is_err());
        fill(&mut in_sqlite(&path), anew);
    })
    .await;
    assert_eq!(town.check().await.findings, Vec::<String>::new());
    let store = town.fixture().await;
    assert_eq!(store.raw(id).await.unwrap(), octets(600_000));
}

#[tokio::test]
async fn what_is_there_is_not_overwritten() {
    let Some(town) = Town::new().await else { return };
    // A store that never held anything is no obstacle.
    town.store().await.close().await;
    let url = town.url.parse().unwrap();
    blocking(move || {
        Box::new(PostgresDestination::open(&url, STACK, manual_clock().clock().io).unwrap()).finish().unwrap()
    })
    .await;
    let fixture = town.fixture().await;
    let refused = town.destination_error(STACK).await;
    assert!(matches!(refused, OpenError::Occupied { .. }), "{refused}");
    let refused = town.destination_error("other.test").await;
    assert!(matches!(refused, OpenError::Foreign { .. }), "{refused}");
    fixture.send("still", &["a@local.test"]).await;
    town.stranger()
        .await
        .batch_execute("UPDATE properties SET value = '99' WHERE name = 'schema_version'")
        .await
        .unwrap();
    let refused = town.destination_error(STACK).await;
    assert!(matches!(refused, OpenError::Newer { .. }), "{refused}");
    let url = town.url.parse().unwrap();
    let refused = blocking(move || PostgresSnapshot::open(&url, STACK, manual_clock().clock().io).err().unwrap()).await;
    assert!(matches!(refused, OpenError::Newer { .. }), "{refused}");
    let nothing = Town::new().await.unwrap();
    let url = nothing.url.parse().unwrap();
    let refused = blocking(move || PostgresSnapshot::open(&url, STACK, manual_clock().clock().io).err().unwrap()).await;
    assert!(matches!(refused, OpenError::Missing { .. }), "{refused}");
}

/// A store that is connected is seen; and what one changes is, however little.
#[tokio::test]
async fn a_store_at_work_is_noticed() {
    let Some(town) = Town::new().await else { return };
    let fixture = town.fixture().await;
    fixture.send("queued", &["x@far.test"]).await;
    let before = town.whole(|store| fingerprint(store).unwrap()).await;
    assert_eq!(town.whole(|store| fingerprint(store).unwrap()).await, before);
    fixture.claim().await.unwrap();
    assert_ne!(town.whole(|store| fingerprint(store).unwrap()).await, before);
    let url = town.url.parse().unwrap();
    let refused =
        blocking(move || PostgresSnapshot::open_unused(&url, STACK, manual_clock().clock().io).err().unwrap()).await;
    assert!(matches!(refused, OpenError::InUse { .. }), "{refused}");
    fixture.store.close().await;
    let url = town.url.parse().unwrap();
    assert!(blocking(move || PostgresSnapshot::open_unused(&url, STACK, manual_clock().clock().io).is_ok()).await);
}
