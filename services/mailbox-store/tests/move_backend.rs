//! A store's way between SQLite and PostgreSQL as an administrator goes it: the real binary.

#![allow(clippy::unwrap_used, reason = "a test that cannot do its part fails")]

#[path = "../src/store/postgres/tests/server.rs"]
mod server;
mod support;

use rusqlite::Connection;
use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
};
use support::{
    ACCOUNTS, Server,
    admin::{Admin, blocking, large, listed, read, submit},
};
use tempfile::TempDir;

const MAIL: &[u8] = b"Subject: x\r\n\r\nFrom here\r\n.\r\n";
const CLEAN: &str = "findings                     0\n";

/// With mail in it, through backup, check, export and import on each side.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_moves_there_and_back() {
    let Some(postgres) = server::Server::shared() else { return };
    let url = &postgres.new_database().await;
    let running = Server::start().await;
    let admin = Admin::of(&running);
    let small = submit(&running, "small", &["a@local.test", "x@far.test"], MAIL).await;
    let big = submit(&running, "big", &["a@local.test", "b@local.test"], &large(700_000)).await;
    let data = running.data.path().to_owned();
    let (_, said) = admin.fail(&data, &["move-backend", "--to", url]);
    let expected =
        "is in use by another mailbox-store; stop it, or choose another directory (--data; --state of mailtown)";
    assert_eq!(said, format!("error: {} {expected}\n", data.display()));
    let data = running.stop().await;
    let (_, said) = admin.fail(data.path(), &["move-backend", "--to", "mysql://u:s3cret@h/d"]);
    let expected = "no database: it is no postgres:// URL; write postgres://user:password@host:port/database";
    assert_eq!(said, format!("error: --to (MAILTOWN_TO): {expected}\n"));

    let said = admin.succeed(data.path(), &["move-backend", "--to", url]);
    assert!(said.starts_with(&format!("moved {} to postgres://mailtown@", data.path().display())), "{said}");
    assert!(said.ends_with(CLEAN) && !said.contains("s3cret"), "{said}");
    let (_, said) = admin.fail(data.path(), &["move-backend", "--to", url]);
    assert!(said.ends_with("has a store already; give an empty database\n"), "{said}");

    let running = Server::start_over(url).await;
    assert_eq!(listed(&running, "a@local.test").await, [small, big]);
    assert!(read(&running, "b@local.test", big).await.unwrap().ends_with(&large(700_000)));
    let new = submit(&running, "new", &["b@local.test"], MAIL).await;
    assert!(new > big);
    assert_eq!(submit(&running, "small", &["a@local.test"], MAIL).await, small, "a repeat");
    // All of it beside the running store.
    assert!(admin.succeed(url, &["check"]).ends_with(CLEAN));
    let said = admin.succeed(url, &["backup", "backup.db"]);
    assert!(said.starts_with("backed up postgres://mailtown@") && !said.contains("s3cret"), "{said}");
    let said = admin.succeed(url, &["export", "mail"]);
    assert_eq!(said, "exported 4 messages of 3 mailboxes to mail\n");
    for (imported, known) in [(2, ""), (0, "2 were imported before, within a day, and are not imported again\n")] {
        let said = admin.succeed(url, &["import", "--mailbox", "b@local.test", "mail/a@local.test.mbox"]);
        assert_eq!(said, format!("imported {imported} messages into b@local.test\n{known}"));
    }
    let imported = listed(&running, "b@local.test").await;
    assert_eq!((imported.len(), &imported[..2]), (4, &[big, new][..]));
    assert!(read(&running, "b@local.test", imported[3]).await.unwrap().ends_with(&large(700_000)));
    let (_, said) = admin.fail(url, &["move-backend", "--to", "back"]);
    assert!(said.ends_with("is in use by a mailbox-store; stop all of its stores first\n"), "{said}");
    running.stop().await;

    let said = admin.succeed(url, &["move-backend", "--to", "back"]);
    assert!(said.contains(" to back; ") && said.ends_with(CLEAN), "{said}");
    assert!(admin.succeed(admin.path("back"), &["check"]).ends_with(CLEAN));
    // What was backed up before the import fits both.
    let other = &postgres.new_database().await;
    for place in [other, "restored"] {
        let said = admin.succeed(place, &["restore", "backup.db"]);
        assert!(said.ends_with(CLEAN), "{said}");
    }
    for restored in [Server::start_over(other).await, started_in(&admin.path("restored")).await] {
        assert_eq!(listed(&restored, "a@local.test").await, [small, big]);
        assert_eq!(listed(&restored, "b@local.test").await, [big, new]);
        restored.stop().await;
    }
    let moved = started_in(&admin.path("back")).await;
    assert_eq!(listed(&moved, "b@local.test").await, imported);
    assert_eq!(moved.metric("mailtown_store_queue_entries").await, "1");
    moved.stop().await;
}

/// Ten thousand messages in less memory than they have, killed in the middle in both directions. Nobody takes what is
/// there for a store, the source is as it was, and the same command succeeds the next time.
#[tokio::test(flavor = "multi_thread")]
async fn a_move_is_killed_and_repeated() {
    let Some(postgres) = server::Server::shared() else { return };
    let url = &postgres.new_database().await;
    let running = Server::start().await;
    submit(&running, "large", &["a@local.test"], &large(1_000_000)).await;
    let data = running.stop().await;
    fill(data.path());
    let admin = Arc::new(Admin::new("3"));

    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    let mut moving = start(&admin, data.path(), &["move-backend", "--to", url]);
    let moved = "SELECT COUNT(*) > 1000 FROM messages";
    while !client.query_one(moved, &[]).await.is_ok_and(|row| row.get(0)) {
        assert_eq!(moving.try_wait().unwrap(), None, "it is at work");
        tokio::task::yield_now().await;
    }
    kill(moving);
    for command in [&["check"][..], &["export", "mail"], &["backup", "backup.db"], &["move-backend", "--to", "x"], &[]]
    {
        let (_, said) = admin.fail(url, command);
        assert!(
            said.contains("an interrupted restore or move-backend has left this; repeat it"),
            "{command:?}: {said}"
        );
    }
    assert!(admin.succeed(data.path(), &["check"]).ends_with(CLEAN));
    let said = bounded(&admin, data.path(), &["move-backend", "--to", url]);
    assert!(said.contains("messages                 10001\n") && said.ends_with(CLEAN), "{said}");

    let mut moving = start(&admin, url, &["move-backend", "--to", "back"]);
    while !fs::metadata(admin.path("back/store.db.incoming")).is_ok_and(|file| file.len() > 20_000_000) {
        assert_eq!(moving.try_wait().unwrap(), None, "it is at work");
        tokio::task::yield_now().await;
    }
    kill(moving);
    let back = admin.path("back");
    for command in [&["check"][..], &["export", "mail"], &["backup", "backup.db"], &["move-backend", "--to", "x"], &[]]
    {
        let (_, said) = admin.fail(&back, command);
        assert!(
            said.contains("an interrupted restore or move-backend has left this; repeat it"),
            "{command:?}: {said}"
        );
    }
    assert!(admin.succeed(url, &["check"]).ends_with(CLEAN));
    let said = bounded(&admin, url, &["move-backend", "--to", "back"]);
    assert!(said.contains("messages                 10001\n") && said.ends_with(CLEAN), "{said}");
    assert!(said.contains("body files                   1\n"), "{said}");
    assert_eq!(bounded(&admin, "back", &["backup", "backup.db"]), "backed up back to backup.db\n");
}

async fn started_in(directory: &Path) -> Server {
    // Where the server may remove it.
    let data = TempDir::new().unwrap();
    let target = data.path().to_owned();
    let source = directory.to_owned();
    blocking(move || {
        let copied = Command::new("cp").arg("-a").arg(source.join(".")).arg(target).status().unwrap();
        assert!(copied.success());
    })
    .await;
    Server::start_in(data, ACCOUNTS).await
}

/// Adds ten thousand messages of 10 kB to a maildrop, as they were before there were checksums.
fn fill(directory: &Path) {
    let database = Connection::open(directory.join("store.db")).unwrap();
    let sql = "BEGIN;
        CREATE TEMP TABLE numbers AS
            WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000) SELECT i FROM n;
        INSERT INTO messages (id, reverse_path, octets, received_at_ms, adds_return_path, body)
            SELECT i, '<s@far.test>', 10000, 1767225600000 + i, 0, randomblob(10000) FROM numbers;
        INSERT INTO deliveries (address, message_id, octets) SELECT 'b@local.test', i, 10000 FROM numbers;
        UPDATE accounts SET messages = 10000, octets = 100000000 WHERE address = 'b@local.test';
        COMMIT";
    database.execute_batch(sql).unwrap();
}

fn start(admin: &Admin, place: impl AsRef<std::ffi::OsStr>, command: &[&str]) -> Child {
    admin.command(place, command).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

fn kill(mut process: Child) {
    process.kill().unwrap();
    assert_eq!(process.wait().unwrap().code(), None, "it was killed");
}

/// What it prints when it succeeds with 60 MB of memory, which is less than there is mail.
fn bounded(admin: &Admin, place: impl AsRef<std::ffi::OsStr>, command: &[&str]) -> String {
    let whole = admin.command(place, command);
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -d 60000 && exec \"$0\" \"$@\""]).arg(whole.get_program()).args(whole.get_args());
    limited.current_dir(admin.directory.path());
    limited.envs(whole.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = limited.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}
