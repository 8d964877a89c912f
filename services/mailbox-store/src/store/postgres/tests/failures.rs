//! Databases that are not there, not ours, or not there any more.

use super::*;
use crate::store::contract::nowhere;
use crate::store::{
    contract::MINUTE,
    postgres::{OpenError, failure::Failure},
};
use std::time::{Duration, Instant};

async fn refusal(options: Options) -> String {
    let error: OpenError = PostgresStore::open(options).await.err().unwrap();
    error.to_string()
}

#[tokio::test]
async fn a_database_that_is_not_there_is_named_without_its_password() {
    let url = "postgres://mailtown:s3cret@127.0.0.1:1/gmail".to_owned();
    let said = refusal(Town::on(url).options()).await;
    let expected = "postgres://mailtown@127.0.0.1:1/gmail: database unavailable: cannot connect to the database: error \
         connecting to server: Connection refused (os error 111); start the database, or correct --database \
         (MAILTOWN_DATABASE)";
    assert_eq!(said, expected);
    let Some(server) = Server::shared() else { return };
    for (url, reason) in [
        (server.url("nowhere"), "database \"nowhere\" does not exist (3D000)"),
        (server.url("postgres").replace("s3cret", "wrong"), "password authentication failed"),
    ] {
        let said = refusal(Town::on(url).options()).await;
        assert!(said.contains(reason) && !said.contains("s3cret") && !said.contains("wrong@"), "{said}");
    }
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let Some(town) = Town::new().await else { return };
    town.store().await.close().await;
    let newer = "UPDATE properties SET value = '9' WHERE name = 'schema_version'";
    town.stranger().await.batch_execute(newer).await.unwrap();
    let url: crate::store::postgres::DatabaseUrl = town.url.parse().unwrap();
    let expected = format!("{url} has schema version 9, this program knows 7; use a newer mailbox-store");
    assert_eq!(refusal(town.options()).await, expected);
}

#[tokio::test]
async fn a_database_belongs_to_one_stack() {
    let Some(town) = Town::new().await else { return };
    town.store().await.close().await;
    let url: crate::store::postgres::DatabaseUrl = town.url.parse().unwrap();
    let other = Options { stack: "other.test".to_owned(), ..town.options() };
    let expected = format!("{url} holds the mail of local.test; give every stack a database of its own");
    assert_eq!(refusal(other).await, expected);
}

/// A schema that was created by half is completed.
#[tokio::test]
async fn a_start_that_was_interrupted_is_repeated() {
    let Some(town) = Town::new().await else { return };
    let accounts = include_str!("../migrations/1.sql").split(";\n").next().unwrap();
    let half = format!("CREATE TABLE properties (name TEXT PRIMARY KEY, value TEXT NOT NULL); {accounts}");
    town.stranger().await.batch_execute(&half).await.unwrap();
    let fixture = town.fixture().await;
    fixture.send("t", &["a@local.test", "x@far.test"]).await;
}

/// Durable means durable also where the database is set up to be fast.
#[tokio::test]
async fn commits_wait_for_the_disk() {
    let Some(town) = Town::new().await else { return };
    let shown = |row: tokio_postgres::Row| row.get::<_, String>(0);
    let stranger = town.stranger().await;
    assert_eq!(shown(stranger.query_one("SHOW synchronous_commit", &[]).await.unwrap()), "off");
    let store = town.store().await;
    let setting = store.database.read(&(), |tx, ()| Box::pin(tx.query("SHOW synchronous_commit", &[]))).await;
    assert_eq!(setting.unwrap().into_iter().map(shown).collect::<Vec<_>>(), ["on"]);
}

/// Whatever deletes messages waits for the disk, although those who only hold or release a lock do not. The setting is
/// looked at when the transaction ends.
#[tokio::test]
async fn deletions_wait_for_the_disk() {
    let Some(town) = Town::new().await else { return };
    let fixture = town.fixture().await;
    let note = |table: &str| {
        format!(
            "CREATE CONSTRAINT TRIGGER note AFTER DELETE ON {table} DEFERRABLE INITIALLY DEFERRED
                 FOR EACH ROW EXECUTE FUNCTION note()"
        )
    };
    let noting = "CREATE TABLE notes (table_name TEXT, setting TEXT);
         CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             INSERT INTO notes VALUES (TG_TABLE_NAME, current_setting('synchronous_commit'));
             RETURN NULL;
         END $$";
    for sql in [noting, &note("deliveries"), &note("maildrop_locks")] {
        town.stranger().await.batch_execute(sql).await.unwrap();
    }
    let noted = async || {
        let take = "WITH taken AS (DELETE FROM notes RETURNING *)
             SELECT DISTINCT table_name || ' ' || setting FROM taken ORDER BY 1";
        let rows = town.stranger().await.query(take, &[]).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect::<Vec<String>>()
    };
    let deleted = fixture.send("deleted", &["a@local.test"]).await;
    fixture.send("expired", &["a@local.test"]).await;
    fixture.listed("a@local.test").await;
    assert_eq!(noted().await, ["maildrop_locks off"], "the trigger sees what a session does that deletes nothing");
    fixture.delete("a@local.test", &[deleted]).await;
    assert_eq!(noted().await, ["deliveries on", "maildrop_locks on"]);
    fixture.clock.advance(2 * HOUR);
    fixture.store.expire(HOUR).await.unwrap();
    assert_eq!(noted().await, ["deliveries on", "maildrop_locks on"]);
    assert_eq!(fixture.listed("a@local.test").await, []);
}

/// A full disk is told apart from a database that serves nobody.
#[tokio::test]
async fn what_is_wrong_with_a_database_is_told_apart() {
    let Some(town) = Town::new().await else { return };
    let stranger = town.stranger().await;
    let error_of = async |condition: &str| {
        let raise = format!("DO $$ BEGIN RAISE {condition}; END $$");
        StoreError::from(Failure::from(stranger.batch_execute(&raise).await.unwrap_err()))
    };
    for condition in ["disk_full", "io_error", "read_only_sql_transaction", "data_corrupted"] {
        let error = error_of(condition).await;
        assert!(matches!(error, StoreError::Unavailable(_)), "{condition}: {error:?}");
    }
    for condition in ["too_many_connections", "admin_shutdown", "cannot_connect_now", "query_canceled"] {
        let error = error_of(condition).await;
        assert!(matches!(error, StoreError::DatabaseUnavailable(_)), "{condition}: {error:?}");
    }
}

/// Connections that the database has ended are replaced, and nobody notices.
#[tokio::test]
async fn lost_connections_are_replaced() {
    let Some(town) = Town::new().await else { return };
    let fixture = town.fixture().await;
    let stranger = town.stranger().await;
    for n in 0..20 {
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE datname = current_database() AND pid <> pg_backend_pid()";
        stranger.execute(end, &[]).await.unwrap();
        fixture.send(&format!("{n}"), &["a@local.test"]).await;
        assert_eq!(fixture.listed("a@local.test").await.len(), n + 1);
    }
}

/// While the database is away every call says so at once; when it is back all go on, and nothing is missing.
#[tokio::test]
async fn a_database_that_is_away_is_a_temporary_failure() {
    let Some(server) = Server::start() else { return };
    let town = Town::on(server.new_database().await);
    let fixture = town.fixture().await;
    let before = fixture.submit("before", &["a@local.test", "x@far.test"], &octets(300_000)).await.unwrap().id;
    server.stop();
    let started = Instant::now();
    let large = octets(300_000);
    for message in [&b"S: x\r\n"[..], &large] {
        let submitted = fixture.submit("during", &["a@local.test"], message).await;
        assert!(matches!(submitted, Err(StoreError::DatabaseUnavailable(_))), "{submitted:?}");
    }
    let claimed = fixture.store.claim(MINUTE, 9, Vec::new(), nowhere(), Abilities::ALL).await;
    assert!(matches!(claimed, Err(StoreError::DatabaseUnavailable(_))), "{claimed:?}");
    assert!(matches!(fixture.raw(before).await, Err(StoreError::DatabaseUnavailable(_))));
    assert!(matches!(fixture.store.probe().await, Err(StoreError::DatabaseUnavailable(_))));
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    server.start_again();
    fixture.store.probe().await.unwrap();
    let during = fixture.submit("during", &["a@local.test"], b"S: x\r\n").await.unwrap();
    assert!(!during.repeated);
    assert_eq!(fixture.listed("a@local.test").await, [before, during.id]);
    assert_eq!(fixture.raw(before).await.unwrap(), octets(300_000));
    assert_eq!(fixture.claim().await.unwrap().messages[0].id, before);
}

/// When its events cannot be written a change does not happen, although its commit is on the way already.
#[tokio::test]
async fn a_change_that_cannot_tell_of_itself_fails() {
    let Some(town) = Town::new().await else { return };
    let fixture = town.fixture().await;
    let stranger = town.stranger().await;
    // The statement is known to the connection, or not.
    for known in [false, true] {
        if known {
            fixture.send("before", &["a@local.test", "x@far.test"]).await;
        }
        let (records, listed) = (town.records().await, fixture.listed("a@local.test").await);
        stranger.batch_execute("ALTER TABLE events RENAME TO elsewhere").await.unwrap();
        for message in [&b"S: x\r\n"[..], &octets(300_000)] {
            let refused = fixture.submit("during", &["a@local.test"], message).await;
            assert!(refused.is_err(), "{refused:?}");
        }
        assert_eq!(fixture.store.claim(MINUTE, 9, Vec::new(), nowhere(), Abilities::ALL).await.is_err(), known);
        assert_eq!((town.records().await, fixture.listed("a@local.test").await), (records, listed));
        stranger.batch_execute("ALTER TABLE elsewhere RENAME TO events").await.unwrap();
    }
    assert!(!fixture.submit("during", &["a@local.test"], b"S: x\r\n").await.unwrap().repeated);
    assert_eq!(fixture.queued().await, ["x@far.test 0 false"]);
}
