//! `mailtown queue`, on a town whose peer is not at its best.

use internal_api::QueueEntry;
use std::{
    process::Output,
    sync::atomic::{AtomicBool, Ordering},
};
use town_tests::{
    Answer, EXMAIL, FakePeer, GMAIL, HOUR, Line, PATIENCE, Plan, TOKEN, TestTown, USR, USR1, eventually, mailtown,
    polite,
};

/// `mailtown queue` on a running town: whether it succeeded, what it printed, and what it complained of.
async fn queue(town: &TestTown, arguments: &[&str]) -> (bool, String, String) {
    let mut command = mailtown::command("mailtown");
    command.args(["queue", "--config"]).arg(town.config()).args(arguments).env("MAILTOWN_TOKEN", TOKEN);
    let Output { status, stdout, stderr } = command.output().await.unwrap();
    (status.success(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

/// What `mailtown queue` prints; it must succeed without a complaint.
async fn printed(town: &TestTown, arguments: &[&str]) -> String {
    let (succeeded, printed, complaints) = queue(town, arguments).await;
    assert!(succeeded && complaints.is_empty(), "{arguments:?}: {complaints}");
    printed
}

/// What `mailtown queue` complains of; it must fail.
async fn complaint(town: &TestTown, arguments: &[&str]) -> String {
    let (succeeded, printed, complaints) = queue(town, arguments).await;
    assert!(!succeeded, "{arguments:?}: {printed}");
    complaints
}

const MISSING: &str = "error: give the ids of messages, which `mailtown queue` lists, or --all\n";

/// Puts every recipient off.
fn busy(line: &Line<'_>) -> Answer {
    if line.text.starts_with("RCPT") { "451 4.2.0 busy".into() } else { polite(line) }
}

/// A town that tries again after an hour, and its peer.
async fn town_with_peer(script: impl Fn(&Line<'_>) -> Answer + Send + Sync + 'static) -> (TestTown, FakePeer) {
    let peer = FakePeer::start(script).await;
    let plan = Plan::default().peer("peer.example", peer.port()).relay("retry = [\"1h\"]");
    (TestTown::start(plan).await, peer)
}

/// A server's queue, once it has this many entries, each of which was tried this often and is not being tried.
async fn put_off(town: &TestTown, server: &str, attempts: &[u32]) -> Vec<QueueEntry> {
    eventually(&format!("{attempts:?} attempts"), PATIENCE, async || {
        let queue = town.queue(server).await;
        let tried: Vec<_> = queue.iter().map(|entry| entry.attempts).collect();
        (tried == attempts && queue.iter().all(|entry| !entry.leased)).then_some(queue)
    })
    .await
}

/// How often a peer was asked to take mail for this recipient.
fn asked(peer: &FakePeer, recipient: &str) -> usize {
    peer.transcript().iter().filter(|said| **said == format!("C: RCPT TO:<{recipient}>")).count()
}

/// Mail on hold is not tried, however long that takes. Once released, it is.
#[tokio::test]
async fn mail_waits_on_hold_until_it_is_released() {
    let tried = AtomicBool::new(false);
    let (town, peer) = town_with_peer(move |line| {
        let is_first = line.text.starts_with("RCPT") && !tried.swap(true, Ordering::Relaxed);
        if is_first { busy(line) } else { polite(line) }
    })
    .await;
    assert_eq!(printed(&town, &[]).await, "The queue is empty.\n");
    town.send(USR1, &["a@peer.example"], b"Subject: hold\r\n\r\n").await;
    let entry = town.deferred(EXMAIL).await;
    let id = &*entry.message.to_string();
    let [arrived, next] =
        [entry.queued_at, entry.next_attempt_at].map(|at| at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
    let indent = " ".repeat(64);
    let expected = format!(
        "id                 octets  arrived               server         sender and recipients
{id}          17  {arrived}  exmail.qq.com  <usr1@mail.sustech.edu.cn>
{indent}(451 4.2.0 busy)
{indent}a@peer.example, next attempt {next}

-- 17 octets in 1 message.
"
    );
    assert_eq!(printed(&town, &[]).await, expected);
    assert_eq!(printed(&town, &["list"]).await, expected);
    assert_eq!(printed(&town, &["-n", GMAIL]).await, "The queue of gmail.com is empty.\n");

    assert_eq!(printed(&town, &["hold", id]).await, format!("exmail.qq.com: {id} is on hold\n"));
    let refused = format!("error: exmail.qq.com: {id}: The message is on hold; release it first\n");
    assert_eq!(complaint(&town, &["retry", id]).await, refused);
    assert!(printed(&town, &[]).await.contains(&format!("\n{id} !        17  ")));
    assert_eq!(
        printed(&town, &["retry", "--all"]).await.lines().next(),
        Some("exmail.qq.com: 0 recipients are due now")
    );
    // Past its next attempt, the notice of a delay and its expiry. What comes later would be tried after it.
    town.time.advance(48 * HOUR);
    town.send(USR1, &["b@peer.example"], b"Subject: other\r\n\r\n").await;
    peer.heard("S: 250 2.0.0 taken", 1).await;
    assert_eq!((asked(&peer, "a@peer.example"), asked(&peer, "b@peer.example")), (1, 1));
    assert_eq!(town.deferred(EXMAIL).await.message, entry.message);
    let shown = printed(&town, &["show", id]).await;
    assert!(shown.contains("\nattempts   1\nstate      on hold\nlast reply 451 4.2.0 busy\n"), "{shown}");

    assert_eq!(printed(&town, &["release", id]).await, format!("exmail.qq.com: {id} is released\n"));
    peer.heard("S: 250 2.0.0 taken", 2).await;
    town.drained(EXMAIL).await;
    assert_eq!(asked(&peer, "a@peer.example"), 2);
    assert!(town.listing(USR1).await.messages.is_empty(), "nobody was told of anything");
}

/// One message is tried at once, or all are. What is removed is gone, and its sender is not told.
#[tokio::test]
async fn mail_is_tried_at_once_and_removed() {
    let (town, peer) = town_with_peer(busy).await;
    let sent = [(USR1, "a@peer.example"), (USR1, "b@peer.example"), (USR1, "c@peer.example"), (USR, "d@peer.example")];
    for (sender, recipient) in sent {
        town.send(sender, &[recipient], b"Subject: retry\r\n\r\n").await;
    }
    let waiting = put_off(&town, EXMAIL, &[1, 1, 1]).await;
    let [a, b, c] = &waiting[..] else { panic!("{waiting:?}") };
    let [a, b, c] = [a, b, c].map(|entry| entry.message.to_string());
    let d = put_off(&town, GMAIL, &[1]).await[0].message.to_string();

    // The second is of another server.
    let said = printed(&town, &["retry", &a, &d]).await;
    assert_eq!(said, format!("exmail.qq.com: {a} is due now\ngmail.com: {d} is due now\n"));
    put_off(&town, EXMAIL, &[2, 1, 1]).await;
    assert_eq!(printed(&town, &["release", &a]).await, format!("exmail.qq.com: {a} was not on hold\n"));
    put_off(&town, GMAIL, &[2]).await;
    let said = printed(&town, &["retry", "--all"]).await;
    assert_eq!(said, "exmail.qq.com: 3 recipients are due now\ngmail.com: 1 recipient is due now\n");
    put_off(&town, EXMAIL, &[3, 2, 2]).await;
    put_off(&town, GMAIL, &[3]).await;
    assert_eq!(sent.map(|(_, recipient)| asked(&peer, recipient)), [3, 2, 2, 3]);

    // Those that are on hold already, or are not, are not counted.
    assert_eq!(printed(&town, &["hold", &a]).await, format!("exmail.qq.com: {a} is on hold\n"));
    let said = printed(&town, &["hold", "--all"]).await;
    assert_eq!(said, "exmail.qq.com: 2 messages are on hold now\ngmail.com: 1 message is on hold now\n");
    let said = printed(&town, &["-n", GMAIL, "release", "--all"]).await;
    assert_eq!(said, "gmail.com: 1 message is released\n");
    put_off(&town, GMAIL, &[4]).await;
    assert!(town.queue(EXMAIL).await.iter().all(|entry| entry.held));
    let said = printed(&town, &["release", "--all"]).await;
    assert_eq!(said, "exmail.qq.com: 3 messages are released\ngmail.com: 0 messages are released\n");
    put_off(&town, EXMAIL, &[4, 3, 3]).await;
    assert_eq!(sent.map(|(_, recipient)| asked(&peer, recipient)), [4, 3, 3, 4]);

    assert_eq!(printed(&town, &["delete", &a]).await, format!("exmail.qq.com: {a} is removed\n"));
    let lines = printed(&town, &["--json"]).await;
    let lines: Vec<serde_json::Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let left: Vec<_> = lines.iter().map(|line| (&line["server"], &line["message"], line["held"] == false)).collect();
    let left = serde_json::json!(left);
    assert_eq!(left, serde_json::json!([[EXMAIL, b, true], [EXMAIL, c, true], [GMAIL, d, true]]));
    assert_eq!(printed(&town, &["-n", GMAIL, "remove", "--all"]).await, "gmail.com: 1 message is removed\n");
    let said = printed(&town, &["remove", "--all"]).await;
    assert_eq!(said, "exmail.qq.com: 2 messages are removed\ngmail.com: 0 messages are removed\n");
    assert_eq!(printed(&town, &["--json"]).await, "");
    town.time.advance(48 * HOUR);
    // What comes later would be tried after it, and what failed would be told before.
    town.send(USR1, &[USR], b"Subject: last\r\n\r\n").await;
    town.mail_of(USR, 1).await;
    for user in [USR1, USR] {
        let messages = town.listing(user).await.messages;
        assert_eq!(messages.len(), usize::from(user == USR), "{user}: nothing has failed");
    }
    assert_eq!(asked(&peer, "a@peer.example"), 4);
}

/// What is given up is not tried again, and its sender is told once.
#[tokio::test]
async fn messages_are_given_up_one_by_one_and_all_at_once() {
    let (town, _peer) = town_with_peer(|line| match line.text.starts_with("RCPT") {
        true => "451 4.3.2 not now".into(),
        false => polite(line),
    })
    .await;
    for (number, (sender, recipient)) in
        [(USR1, "a@peer.example"), (USR1, "b@peer.example"), (USR, "c@peer.example")].into_iter().enumerate()
    {
        town.send(sender, &[recipient], format!("Subject: {number}\r\n\r\n").as_bytes()).await;
    }
    for server in [EXMAIL, GMAIL] {
        put_off(&town, server, &vec![1; if server == EXMAIL { 2 } else { 1 }]).await;
    }
    let first = town.queue(EXMAIL).await.into_iter().find(|entry| entry.recipient.to_string() == "a@peer.example");
    let id = first.unwrap().message.to_string();
    let said = printed(&town, &["give-up", &id]).await;
    assert_eq!(said, format!("exmail.qq.com: {id} is given up; its sender is told\n"));
    let failed = town.mail_of(USR1, 1).await.remove(0);
    assert!(String::from_utf8_lossy(&failed).contains("a@peer.example"), "{failed:?}");
    let said = printed(&town, &["give-up", "--all"]).await;
    assert_eq!(
        said,
        "exmail.qq.com: 1 message is given up; senders are told\ngmail.com: 1 message is given up; senders are told\n"
    );
    town.drained(EXMAIL).await;
    town.drained(GMAIL).await;
    assert_eq!((town.mail(USR1).await.len(), town.mail(USR).await.len()), (2, 1));
    assert_eq!(
        printed(&town, &["give-up", "--all"]).await,
        "exmail.qq.com: 0 messages are given up; senders are told\ngmail.com: 0 messages are given up; senders are told\n"
    );
}

/// A message that is being tried is not removed. What is wrong is said with the server and the message.
#[tokio::test]
async fn what_cannot_be_done_to_the_queue_is_named() {
    let (town, peer) = town_with_peer(|line| if line.text == "." { Answer::Hang } else { polite(line) }).await;
    town.send(USR1, &["a@peer.example"], b"Subject: hang\r\n\r\n").await;
    peer.heard("C: .", 1).await;
    let id = &*town.queue(EXMAIL).await[0].message.to_string();
    assert!(printed(&town, &[]).await.contains(&format!("\n{id} *        17  ")));
    let tried = format!("error: exmail.qq.com: {id}: A relay worker is trying to send the message, try again soon\n");
    assert_eq!(complaint(&town, &["remove", id]).await, tried);
    assert_eq!(complaint(&town, &["remove", "--all"]).await, tried);
    assert_eq!(
        printed(&town, &["retry", id]).await,
        format!("exmail.qq.com: {id} was due already, or is being tried\n")
    );
    assert_eq!(town.queue(EXMAIL).await.len(), 1);

    let unknown = "0000000000007";
    let missing = format!("error: {unknown} is not in the queue of exmail.qq.com, gmail.com\n");
    assert_eq!(complaint(&town, &["show", unknown]).await, missing);
    // One that is missing does not keep the others from it.
    let (succeeded, said, complaints) = queue(&town, &["hold", unknown, id, unknown]).await;
    assert_eq!((succeeded, said), (false, format!("exmail.qq.com: {id} is on hold\n")));
    assert_eq!(complaints, missing.repeat(2));
    for (arguments, expected) in [
        (
            &["hold", "zzzzzzzzzzzzz"][..],
            "a message id has 13 characters: digits, and lower-case letters except i, l, o and u",
        ),
        (&["remove"], MISSING),
        (&["hold"], MISSING),
        (&["show"], "error: give the id of a message, which `mailtown queue` lists\n"),
        (&["hold", "--all", id], "cannot be used with"),
        (&["remove", "--all", id], "cannot be used with"),
        (&["--json", "hold", id], "--json is for the list and for show"),
    ] {
        let complaints = complaint(&town, arguments).await;
        assert!(complaints.contains(expected), "{arguments:?}: {complaints}");
    }
    assert_eq!(town.queue(EXMAIL).await.len(), 1);
    for command in ["list", "show", "retry", "hold", "release", "give-up", "remove"] {
        assert!(printed(&town, &[command, "--help"]).await.contains("Example"), "{command}");
    }
}
