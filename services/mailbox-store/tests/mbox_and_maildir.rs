//! Export and import as an administrator runs them: the real binary, beside a store that runs and without one.

#![allow(clippy::unwrap_used, reason = "a test that cannot do its part fails")]

mod support;

use std::fs;
use support::{
    Server,
    admin::{Admin, large, listed, read, submit},
};

const MAIL: &[u8] = b"Subject: x\r\n\r\nFrom here\r\n.\r\n";

/// Out as mbox and as Maildir, and in again, into a store that runs and into one that does not.
#[tokio::test(flavor = "multi_thread")]
async fn mail_goes_out_and_comes_in_again() {
    let server = Server::start().await;
    let bodies = [MAIL.to_vec(), large(300_000), b"Subject: y\r\n\r\n>From\r\nFrom me\r\n\r\n".to_vec()];
    for (number, body) in bodies.iter().enumerate() {
        submit(&server, &number.to_string(), &["a@local.test"], body).await;
    }
    let admin = Admin::of(&server);
    let data = server.data.path().to_owned();
    let said = admin.succeed(&data, &["export", "mail"]);
    assert_eq!(said, "exported 3 messages of 3 mailboxes to mail\n");
    let mbox = fs::read_to_string(admin.path("mail/a@local.test.mbox")).unwrap();
    assert!(mbox.starts_with("From sender@far.test "), "{mbox}");
    assert!(mbox.contains("\nReturn-Path: <sender@far.test>\nSubject: x\n\n>From here\n.\n\nFrom "), "{mbox}");
    assert!(mbox.ends_with("\nSubject: y\n\n>From\n>From me\n\n\n"), "{mbox}");
    assert_eq!(fs::read_to_string(admin.path("mail/b@local.test.mbox")).unwrap(), "");
    let said = admin.succeed(&data, &["export", "--format", "maildir", "--mailbox", "a@local.test", "maildirs"]);
    assert_eq!(said, "exported 3 messages of 1 mailboxes to maildirs\n");
    assert_eq!(fs::read_dir(admin.path("maildirs/a@local.test/new")).unwrap().count(), 3);
    let (_, said) = admin.fail(&data, &["export", "mail"]);
    assert_eq!(said, "error: mail/a@local.test.mbox exists; choose an empty directory\n");
    let (_, said) = admin.fail(&data, &["export", "--mailbox", "d@local.test", "other"]);
    assert_eq!(said, "error: no mailbox d@local.test here; GET /v1/mailboxes lists those that there are\n");

    // Into the running store, twice the same: nothing doubles.
    let import = ["import", "--mailbox", "b@local.test", "mail/a@local.test.mbox"];
    assert_eq!(admin.succeed(&data, &import), "imported 3 messages into b@local.test\n");
    let expected = "imported 0 messages into b@local.test\n\
                    3 were imported before, within a day, and are not imported again\n";
    assert_eq!(admin.succeed(&data, &import), expected);
    let imported = listed(&server, "b@local.test").await;
    assert_eq!(imported.len(), 3);
    for (id, body) in imported.iter().zip(&bodies) {
        let expected = [b"Return-Path: <sender@far.test>\r\n", &body[..]].concat();
        assert_eq!(read(&server, "b@local.test", *id).await.unwrap(), expected);
    }
    let (_, said) = admin.fail(&data, &["import", "--mailbox", "c@local.test", "mail/a@local.test.mbox"]);
    assert_eq!(said, "error: no mailbox c@local.test here; add it to the accounts in config.toml\n");

    // And into one that is stopped, from a Maildir with a message that nobody takes.
    let data = server.stop().await;
    fs::write(admin.path("maildirs/a@local.test/cur/0.bad"), b"a bare CR\r in the middle\n").unwrap();
    let (said, error) = admin.fail(data.path(), &["import", "--mailbox", "b@local.test", "maildirs/a@local.test"]);
    assert_eq!(said, "imported 3 messages into b@local.test\n");
    let reason = "the message holds a CR or a LF that is not part of a CRLF";
    assert_eq!(error, format!("left out: message 1: {reason}\nerror: 1 messages were left out\n"));
    let server = Server::start_in(data, "\"a@local.test\" = \"pass a\"\n\"b@local.test\" = \"pass b\"").await;
    assert_eq!(listed(&server, "b@local.test").await.len(), 6);
    let clean = admin.succeed(server.data.path(), &["check"]);
    assert!(clean.ends_with("findings                     0\n"), "{clean}");
    server.stop().await;
}

/// Queued, it would come back to its author as a failure after a day.
#[test]
fn what_a_quota_has_no_room_for_is_left_out() {
    let admin = Admin::new("3");
    admin.configure(|config| format!("{config}[quota]\nmessages = 2\n"));
    let data = admin.path("data");
    let mbox: String = (0..3).map(|number| format!("From u@a.test\nSubject: {number}\n\ny\n\n")).collect();
    fs::write(admin.path("in.mbox"), mbox).unwrap();
    let (said, error) = admin.fail(&data, &["import", "--mailbox", "a@local.test", "in.mbox"]);
    assert_eq!(said, "imported 2 messages into a@local.test\n");
    let expected = "left out: message 3: the quota of a@local.test has no room for it, unless it is there from an earlier import\n\
                    error: 1 messages were left out\n";
    assert_eq!(error, expected);
    let checked = admin.succeed(&data, &["check"]);
    assert!(checked.contains("queue entries                0\n"), "{checked}");

    // 17 octets, and the 25 of its Return-Path.
    for (octets, imported) in [(42, 1), (41, 0)] {
        admin.configure(|config| format!("{}[quota]\noctets = {octets}\n", config.split("[quota]").next().unwrap()));
        let data = admin.path(&octets.to_string());
        let (said, _) = admin.fail(&data, &["import", "--mailbox", "a@local.test", "in.mbox"]);
        assert_eq!(said, format!("imported {imported} messages into a@local.test\n"));
        let checked = admin.succeed(&data, &["check"]);
        assert!(checked.contains("queue entries                0\n"), "{checked}");
    }
}

/// Where nothing is put before a delivered message, what stands there is its own.
#[test]
fn in_the_tutorial_s_profile_a_message_stays_as_it_is() {
    let admin = Admin::new("3");
    admin.configure(|config| format!("profile = \"tutorial\"\n{config}"));
    let data = admin.path("data");
    let mbox = "From u@a.test\nReturn-Path: <w@a.test>\nSubject: x\n\ny\n\n";
    admin.succeed_importing(&data, "a@local.test", mbox);
    admin.succeed(&data, &["export", "mail"]);
    let exported = fs::read_to_string(admin.path("mail/a@local.test.mbox")).unwrap();
    assert!(exported.starts_with("From w@a.test "), "{exported}");
    assert!(exported.ends_with("\nReturn-Path: <w@a.test>\nSubject: x\n\ny\n\n"), "{exported}");
}

/// The store on the configured port may be another one.
#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_is_held_by_no_store_is_not_taken_for_the_running_one() {
    let server = Server::start().await;
    let admin = Admin::of(&server);
    let data = admin.path("data");
    fs::create_dir(&data).unwrap();
    let lock = fs::File::create(data.join("lock")).unwrap();
    lock.lock().unwrap();
    fs::write(admin.path("in.mbox"), "From u@a.test\nSubject: x\n\ny\n").unwrap();
    let (_, said) = admin.fail(&data, &["import", "--mailbox", "a@local.test", "in.mbox"]);
    let expected = format!(
        "error: wait until what else is done to the store has ended: {} is in use by another mailbox-store; stop it, or \
         choose another directory (--data; --state of mailtown)\n",
        data.display()
    );
    assert_eq!(said, expected);
    assert_eq!(listed(&server, "a@local.test").await, []);
    server.stop().await;
}
