//! Backup, restore and check as an administrator runs them: the real binary, beside a store that runs and without one.

#![allow(clippy::unwrap_used, reason = "a test that cannot do its part fails")]

mod support;

use internal_api::{MaildropUpdate, MessageId, OpenSession, ProblemKind};
use rusqlite::Connection;
use std::{
    fs::{self, OpenOptions},
    os::unix::fs::{FileExt, PermissionsExt},
    path::Path,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};
use support::{
    Server,
    admin::{Admin, blocking, large, listed, read, submit},
    mailbox,
};
use tempfile::TempDir;

const MAIL: &[u8] = b"Subject: x\r\n\r\nFrom here\r\n.\r\n";

/// Backed up while mail comes and goes; restored elsewhere, with the same uids.
#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_a_running_store_is_whole() {
    let server = Server::start().await;
    let admin = Arc::new(Admin::of(&server));
    let small = submit(&server, "small", &["a@local.test", "x@far.test"], MAIL).await;
    let big = submit(&server, "big", &["a@local.test", "b@local.test"], &large(700_000)).await;
    for number in 0..20 {
        submit(&server, &format!("ballast-{number}"), &["postmaster@local.test"], &large(1_000_000)).await;
    }
    // From now on the login is fast.
    listed(&server, "b@local.test").await;
    let done = Arc::new(AtomicBool::new(false));
    let data = server.data.path().to_owned();
    let backing_up = tokio::task::spawn_blocking({
        let (admin, done, data) = (Arc::clone(&admin), Arc::clone(&done), data.clone());
        move || {
            for number in 0..3 {
                admin.succeed(&data, &["backup", &format!("{number}.db")]);
            }
            done.store(true, Ordering::SeqCst);
        }
    });
    let mut number = 0;
    while !done.load(Ordering::SeqCst) {
        number += 1;
        let body = large(300_000 + number);
        let id = submit(&server, &format!("churn-{number}"), &["b@local.test"], &body).await;
        let open = OpenSession { password: "pass b".to_owned(), lease_seconds: 60, client: None, proved: false };
        let session = server.client.open_session(&mailbox("b@local.test"), &open).await.unwrap();
        let update = MaildropUpdate { delete: vec![id] };
        server.client.update_maildrop(&mailbox("b@local.test"), &session.session, &update).await.unwrap();
    }
    backing_up.await.unwrap();
    assert!(number > 1, "nothing came and went meanwhile");
    server.stop().await;
    for number in 0..3 {
        let restored = TempDir::new().unwrap();
        let file = format!("{number}.db");
        let said = admin.succeed(restored.path(), &["restore", &file]);
        assert!(said.ends_with("findings                     0\n"), "{said}");
        let server = Server::start_in(restored, "\"a@local.test\" = \"pass a\"\n\"b@local.test\" = \"pass b\"").await;
        assert_eq!(listed(&server, "a@local.test").await, [small, big]);
        assert_eq!(listed(&server, "b@local.test").await.first(), Some(&big));
        let delivered = read(&server, "a@local.test", big).await.unwrap();
        assert!(delivered.ends_with(&large(700_000)));
        assert_eq!(server.metric("mailtown_store_queue_entries").await, "1");
        assert!(submit(&server, "new", &["a@local.test"], MAIL).await > big);
        server.stop().await;
    }
    let mut left: Vec<_> =
        fs::read_dir(admin.directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["0.db", "1.db", "2.db", "config.toml"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_backed_up_or_restored_says_why() {
    let server = Server::start().await;
    submit(&server, "big", &["a@local.test"], &large(700_000)).await;
    let data = server.stop().await;
    let admin = Admin::new("3");
    let file = admin.path("b.db");
    admin.succeed(data.path(), &["backup", "b.db"]);
    let (_, said) = admin.fail(data.path(), &["backup", "b.db"]);
    assert_eq!(said, "error: b.db exists; choose another name, or remove it\n");
    let (_, said) = admin.fail(data.path(), &["restore", "b.db"]);
    let expected = "has a store already; choose an empty directory";
    assert_eq!(said, format!("error: {} {expected}\n", data.path().display()));
    let nowhere = admin.path("nowhere");
    let (_, said) = admin.fail(&nowhere, &["backup", "c.db"]);
    let expected = "No such file or directory (os error 2); name the directory of a store with --data";
    assert_eq!(said, format!("error: {}/store.db: {expected}\n", nowhere.display()));
    // Cut short, it is no backup, and leaves nothing behind that would keep a whole one out.
    let octets = fs::read(&file).unwrap();
    for length in [0, 600, 300_000, octets.len() - 20_000] {
        fs::write(admin.path("short.db"), &octets[..length]).unwrap();
        let target = admin.path("restored");
        let (_, said) = admin.fail(&target, &["restore", "short.db"]);
        let expected = "error: short.db is no backup of a mailbox-store, or not a whole one; use another\n";
        assert_eq!(said, expected, "{length}");
        assert!(!target.exists());
    }
    admin.succeed(admin.path("restored"), &["restore", "b.db"]);
}

/// Everything that only a damaged disk or a bug would do is found, in a store that is stopped and in one that runs.
#[tokio::test(flavor = "multi_thread")]
async fn a_check_finds_what_is_wrong() {
    let server = Server::start().await;
    let good = submit(&server, "good", &["a@local.test", "x@far.test"], MAIL).await;
    let changed = submit(&server, "changed", &["a@local.test"], MAIL).await;
    let rotten = submit(&server, "rotten", &["a@local.test"], &large(700_000)).await;
    let missing = submit(&server, "missing", &["a@local.test"], &large(500_000)).await;
    let lost = submit(&server, "lost", &["b@local.test"], MAIL).await;
    let forgotten = submit(&server, "forgotten", &["b@local.test"], MAIL).await;
    let admin = Admin::of(&server);
    let data = server.data.path().to_owned();
    let clean = admin.succeed(&data, &["check"]);
    let expected = "accounts                     3\naliases                      0\nmessages                     6\nmaildrop entries             6\n\
                    queue entries                1\nchecksums right              6\nwithout checksum             0\n\
                    body files                   2\norphan files                 0\nfindings                     0\n";
    assert_eq!(clean, expected);

    let database = Connection::open(data.join("store.db")).unwrap();
    let tamper = |sql: &str, id: MessageId| assert_eq!(database.execute(sql, [id.number() as i64]).unwrap(), 1);
    tamper("UPDATE messages SET body = CAST('s' || substr(CAST(body AS TEXT), 2) AS BLOB) WHERE id = ?1", changed);
    tamper("DELETE FROM messages WHERE id = ?1", lost);
    tamper("DELETE FROM deliveries WHERE message_id = ?1", forgotten);
    let path = |octets: u64| {
        let entries = fs::read_dir(data.join("bodies")).unwrap().map(|entry| entry.unwrap().path());
        entries.into_iter().find(|path| fs::metadata(path).unwrap().len() == octets).unwrap()
    };
    let rotten_file = path(700_000);
    OpenOptions::new().write(true).open(&rotten_file).unwrap().write_all_at(b"!", 699_000).unwrap();
    let missing_file = path(500_000);
    fs::remove_file(&missing_file).unwrap();
    fs::write(data.join("bodies/orphan"), b"left behind").unwrap();
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();

    let mut findings = vec![
        format!("finding: {changed}: its body has another checksum"),
        format!("finding: {rotten}: its body has another checksum (bodies/{})", name(&rotten_file)),
        format!(
            "finding: {missing}: its body bodies/{} cannot be read: No such file or directory (os error 2)",
            name(&missing_file)
        ),
        format!("finding: {lost}: in the maildrop of b@local.test, but not among the messages"),
        "finding: b@local.test: counts 2 messages of 120 octets, has 1 of 60".to_owned(),
        format!("finding: {forgotten}: neither in a maildrop nor queued"),
    ];
    let (said, error) = admin.fail(&data, &["check"]);
    assert_eq!(said.lines().filter(|line| line.starts_with("finding")).take(6).collect::<Vec<_>>(), findings);
    // The file may be arriving; that is for the store to know.
    assert!(!said.contains("orphan: "), "{said}");
    let expected = format!("error: {} has 6 findings; restore a backup, or go on without\n", data.display());
    assert_eq!(error, expected);
    assert!(read(&server, "a@local.test", good).await.unwrap().ends_with(MAIL));
    let damaged = read(&server, "a@local.test", changed).await.unwrap_err();
    assert_eq!(damaged.kind(), Some(ProblemKind::MessageDamaged));
    assert!(read(&server, "a@local.test", rotten).await.is_err());

    drop(database);
    let data = server.stop().await;
    let (said, _) = blocking(move || admin.fail(data.path(), &["check"])).await;
    let orphan = "note: bodies/orphan: nothing refers to it; left by a crash; the store removes it when it starts";
    let quarantined = "note: 2 maildrop entries were quarantined because they could not be read";
    findings.extend([orphan.to_owned(), quarantined.to_owned()]);
    findings.iter().for_each(|finding| assert!(said.contains(&format!("{finding}\n")), "{finding} in {said}"));
}

/// SQLite would take the log for the restored database's.
#[test]
fn what_is_left_of_another_store_is_not_mixed_with_a_restored_one() {
    let admin = Admin::new("3");
    let (first, second) = (admin.path("first"), admin.path("second"));
    admin.succeed_importing(&first, "a@local.test", "From u@a.test\nSubject: x\n\ny\n");
    admin.succeed(&first, &["backup", "b.db"]);
    for name in ["store.db-wal", "store.db-shm"] {
        fs::create_dir(&second).unwrap();
        fs::write(second.join(name), b"left").unwrap();
        let (_, said) = admin.fail(&second, &["restore", "b.db"]);
        assert_eq!(said, format!("error: {} has a store already; choose an empty directory\n", second.display()));
        fs::remove_dir_all(&second).unwrap();
    }
    admin.succeed(&second, &["restore", "b.db"]);
}

/// As `head` does.
#[test]
fn who_does_not_listen_to_the_end_is_told_no_more() {
    let admin = Admin::new("3");
    let data = admin.path("data");
    admin.succeed_importing(&data, "a@local.test", "From u@a.test\nSubject: x\n\ny\n");
    let mut check = admin.command(&data, &["check"]);
    let mut check = check.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(check.stdout.take());
    let output = check.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

#[test]
fn a_slip_in_a_url_makes_no_directory() {
    let admin = Admin::new("3");
    let (_, said) = admin.fail(admin.path("data"), &["move-backend", "--to", "postgres:/host/gmail"]);
    assert!(said.starts_with("error: --to (MAILTOWN_TO): ") && said.contains("postgres://user:password@"), "{said}");
    assert!(!admin.path("postgres:").exists());
}

#[test]
fn nobody_else_reads_what_is_in_a_store_or_was() {
    let admin = Admin::new("3");
    let data = admin.path("data");
    // An administrator may have made it for all to look into.
    fs::create_dir(&data).unwrap();
    fs::set_permissions(&data, fs::Permissions::from_mode(0o755)).unwrap();
    admin.succeed_importing(&data, "a@local.test", "From u@a.test\nSubject: x\n\ny\n");
    admin.succeed(&data, &["backup", "b.db"]);
    admin.succeed(&data, &["export", "mbox"]);
    admin.succeed(&data, &["export", "--format", "maildir", "maildir"]);
    let private = [&data.join("store.db"), &admin.path("b.db"), &admin.path("mbox"), &admin.path("maildir")];
    for path in private.into_iter().chain([&admin.path("mbox/a@local.test.mbox")]) {
        let mode = fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{}: {mode:o}", path.display());
    }
}
