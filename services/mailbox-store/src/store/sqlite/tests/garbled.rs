//! Texts in the database of which a flipped bit has made something that is no UTF-8.

use super::{copies::findings, *};
use crate::store::contract::nowhere;
use crate::store::{
    contract::fill,
    snapshot::Snapshot,
    sqlite::{SqliteDestination, SqliteSnapshot},
};

/// Sets the highest bit of the first octet of a text.
fn garble(directory: &Path, table: &str, column: &str, condition: &str) {
    let rest = format!("substr(CAST({column} AS BLOB), 2)");
    let sql = format!("UPDATE {table} SET {column} = CAST(x'ff' || {rest} AS TEXT) WHERE {condition}");
    assert_eq!(Connection::open(directory.join("store.db")).unwrap().execute(&sql, []).unwrap(), 1, "{sql}");
}

/// A store with a bad message, and a good one that comes after it.
async fn two_messages() -> (Fixture, std::path::PathBuf, [MessageId; 2]) {
    let directory = TempDir::new().unwrap();
    let path = directory.path().to_owned();
    let fixture = in_directory(directory, false).await;
    let bad = fixture.send("bad", &["a@local.test", "x@far.test"]).await;
    fixture.clock.advance(Duration::from_secs(1));
    let good = fixture.send("good", &["a@local.test", "y@near.test"]).await;
    (fixture, path, [bad, good])
}

#[tokio::test]
async fn the_queue_goes_on_without_the_entry() {
    for (table, column, condition) in [
        ("queue", "recipient", "recipient = 'x@far.test'"),
        ("queue", "domain", "domain = 'far.test'"),
        ("messages", "reverse_path", "id = (SELECT MIN(id) FROM messages)"),
    ] {
        let (fixture, path, [_, good]) = two_messages().await;
        garble(&path, table, column, condition);
        let claim = fixture.claim().await.unwrap();
        assert_eq!(claim.messages.iter().map(|message| message.id).collect::<Vec<_>>(), [good], "{column}");
        assert_eq!(fixture.claim().await, None, "{column}");
        assert_eq!(fixture.queued().await, ["y@near.test 1 true"], "{column}");
        fixture.store.settle(&claim.lease, finished(good, &["y@near.test"]), body(b"")).await.unwrap();
    }
}

/// One flipped bit in the head of a record makes a blob of a text, which SQLite lets nobody write to any more.
#[tokio::test]
async fn a_key_that_is_no_text_any_more_stops_nothing_but_the_claim() {
    for column in ["recipient", "domain"] {
        let (fixture, path, _) = two_messages().await;
        // No statement puts a blob where a STRICT table wants a text, and none is checked that is not called so.
        let relax = "PRAGMA writable_schema = ON;
             UPDATE sqlite_schema SET sql = replace(sql, 'STRICT, ', '') WHERE name = 'queue'";
        tamper(&path, relax);
        tamper(&path, &format!("UPDATE queue SET {column} = CAST({column} AS BLOB) WHERE recipient = 'x@far.test'"));
        let claim = fixture.store.claim(Duration::from_secs(60), 20, Vec::new(), nowhere(), Abilities::ALL).await;
        assert!(matches!(claim, Err(StoreError::Internal(_))), "{column}: {claim:?}");
        fixture.send("next", &["a@local.test"]).await;
        assert_eq!(fixture.listed("a@local.test").await.len(), 3);
        let found = findings(&mut SqliteSnapshot::of_directory(&path).unwrap());
        assert!(found.len() < 10, "{column}: {found:?}");
    }
}

#[tokio::test]
async fn where_indexes_disagree_a_claim_says_so_and_the_rest_goes_on() {
    let (fixture, path, _) = two_messages().await;
    // For a moment one of the two indexes is said to be about other entries, and misses one.
    let schema = |from: &str, to: &str| {
        let sql =
            format!("UPDATE sqlite_schema SET sql = replace(sql, '{from}', '{to}') WHERE name = 'queue_by_domain'");
        tamper(&path, &format!("PRAGMA writable_schema = ON; {sql}"));
    };
    schema("IS NULL", "IS NOT NULL");
    let entry = "INSERT INTO queue (message_id, recipient, domain, attempts, next_attempt_at_ms, last_reply)
         SELECT MIN(message_id), 'z@lost.test', 'lost.test', 0, 0, '' FROM queue";
    tamper(&path, entry);
    schema("IS NOT NULL", "IS NULL");
    let claim = fixture.store.claim(Duration::from_secs(60), 20, Vec::new(), nowhere(), Abilities::ALL).await;
    let Err(StoreError::Internal(reason)) = claim else { panic!("{claim:?}") };
    assert!(reason.starts_with("the indexes of the queue disagree"), "{reason}");
    fixture.send("next", &["a@local.test"]).await;
    assert_eq!(fixture.listed("a@local.test").await.len(), 3);
    let found = findings(&mut SqliteSnapshot::of_directory(&path).unwrap());
    assert!(found.iter().any(|finding| finding.contains("index queue_by_domain")), "{found:?}");
}

#[tokio::test]
async fn maildrops_and_listings_go_on_without_the_message() {
    let (fixture, path, [bad, good]) = two_messages().await;
    garble(&path, "messages", "reverse_path", "id = (SELECT MIN(id) FROM messages)");
    let page = fixture.store.messages(MessageId::from_number(0), 10).await.unwrap();
    assert_eq!(page.messages.iter().map(|message| message.id).collect::<Vec<_>>(), [good]);
    assert_eq!(fixture.listed("a@local.test").await, [good]);
    let delivered = fixture.store.delivered_raw(&mailbox("a@local.test"), bad).await;
    assert_eq!(delivered.err(), Some(StoreError::Damaged(bad)));
}

#[tokio::test]
async fn old_mail_expires_whatever_its_mailbox_is_called() {
    let (fixture, path, _) = two_messages().await;
    garble(&path, "deliveries", "address", "message_id = (SELECT MIN(id) FROM messages)");
    fixture.clock.advance(Duration::from_secs(60));
    fixture.store.expire(Duration::from_secs(1)).await.unwrap();
    assert_eq!(fixture.listed("a@local.test").await, []);
}

#[tokio::test]
async fn an_account_is_written_anew() {
    for column in ["address", "password_hash"] {
        let (fixture, path, [bad, good]) = two_messages().await;
        let account = || crate::store::Account { password_hash: Some("hash".to_owned()), ..account("a@local.test") };
        fixture.store.put_accounts(vec![account()]).await.unwrap();
        garble(&path, "accounts", column, "address = 'a@local.test'");
        fixture.store.put_accounts(vec![account()]).await.unwrap();
        assert_eq!(fixture.store.passwords().await.unwrap().len(), 2, "{column}");
        assert_eq!(fixture.store.mailboxes("", 10).await.unwrap().mailboxes.len(), 2, "{column}");
        assert_eq!(fixture.listed("a@local.test").await, [bad, good], "{column}");
    }
}

#[tokio::test]
async fn a_store_is_checked_and_copied_to_its_end() {
    for (table, column, condition) in [
        ("accounts", "address", "address = 'a@local.test'"),
        ("messages", "reverse_path", "id = (SELECT MAX(id) FROM messages)"),
        ("submissions", "transaction_id", "transaction_id = 'good'"),
        ("deliveries", "address", "message_id = (SELECT MAX(id) FROM messages)"),
        ("queue", "recipient", "recipient = 'y@near.test'"),
    ] {
        let (_fixture, path, _) = two_messages().await;
        garble(&path, table, column, condition);
        let found = findings(&mut SqliteSnapshot::of_directory(&path).unwrap());
        assert!(found.len() < 10 && (!found.is_empty() || table == "submissions"), "{column}: {found:?}");
        let elsewhere = TempDir::new().unwrap();
        let file = elsewhere.path().join("backup");
        fill(&mut SqliteSnapshot::of_directory(&path).unwrap(), Box::new(SqliteDestination::backup(&file).unwrap()));
        let mut backup = SqliteSnapshot::of_backup(&file).unwrap();
        let copied = SqliteSnapshot::of_directory(&path).unwrap().counts().unwrap();
        assert_eq!(backup.counts().unwrap(), copied, "{column}");
    }
}
