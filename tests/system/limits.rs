//! Clients that are too many, too slow, or gone.

use std::{fs, time::Duration};
use tokio::{io::AsyncWriteExt, net::TcpStream, time::Instant};
use town_config::PortKey;
use town_tests::{EXMAIL, FakePeer, PATIENCE, Plan, Pop3Client, SmtpClient, TestTown, USR1, USR2, eventually, polite};

#[tokio::test]
async fn connections_over_the_limit_are_told_so() {
    let town = TestTown::start(Plan::default().limits("connections_per_peer = 2")).await;
    // A client in the middle of a message is not idle.
    let first = in_the_middle_of_a_message(&town, 10).await;
    let second = in_the_middle_of_a_message(&town, 10).await;
    let mut third = town.smtp(EXMAIL).await;
    assert_eq!(third.greeting, "421 4.3.2 too many connections, try again later");
    assert_eq!(third.rest().await.unwrap(), "");
    drop(first);
    eventually("a place among the connections", PATIENCE, async || {
        let client = town.smtp(EXMAIL).await;
        (client.greeting == "220 exmail.qq.com SMTP server ready").then_some(())
    })
    .await;
    drop(second);
    town.stop().await;
}

#[tokio::test]
async fn idle_connections_from_this_machine_shut_nobody_out() {
    let town = TestTown::start(Plan::default().limits("connections_per_peer = 3")).await;
    let mut idle = Vec::new();
    for _ in 0..3 {
        idle.push(town.smtp(EXMAIL).await);
    }
    // A connection counts as idle a moment after its greeting.
    let mut next = eventually("a place for another", PATIENCE, async || {
        let client = town.smtp(EXMAIL).await;
        client.greeting.starts_with("220").then_some(client)
    })
    .await;
    next.hello().await;
    let marker = b"Subject: marker\r\n\r\n";
    next.send(USR1, &[USR2], marker).await.unwrap();
    assert_eq!(town.mail_of(USR2, 1).await, [marker]);
    let mut replies = Vec::new();
    for client in &mut idle {
        replies.push(client.command("NOOP").await.unwrap());
    }
    replies.sort_unstable();
    assert_eq!(replies, ["250 2.0.0 OK", "250 2.0.0 OK", "421 4.3.2 closed to make room for another"]);
    town.stop().await;
}

/// They do not count as idle at once: the next octet may be on its way.
#[tokio::test]
async fn connections_that_are_silent_in_a_message_shut_nobody_out() {
    let town = TestTown::start(Plan::default().limits("connections_per_peer = 3")).await;
    let mut silent = Vec::new();
    for _ in 0..3 {
        silent.push(in_the_middle_of_a_message(&town, 10).await);
    }
    let next = eventually("a place for another", PATIENCE, async || {
        let client = town.smtp(EXMAIL).await;
        client.greeting.starts_with("220").then_some(client)
    });
    drop(next.await);
    assert_eq!(silent[0].rest().await.unwrap(), "421 4.3.2 closed to make room for another\r\n");
    assert_only_the_marker_is_there(&town).await;
    town.stop().await;
}

#[tokio::test]
async fn connections_that_read_nothing_shut_nobody_out() {
    let town = TestTown::start(Plan::default().limits("connections_per_peer = 1")).await;
    // More than the sockets of both sides hold.
    let message = [b"Subject: large\r\n\r\n", "x\r\n".repeat(4_000_000).as_bytes()].concat();
    town.send(USR1, &[USR1], &message).await;
    let pop3 = town.address(EXMAIL, PortKey::Pop);
    let mut deaf = TcpStream::connect(pop3).await.unwrap();
    deaf.write_all(b"USER usr1@mail.sustech.edu.cn\r\nPASS pass1\r\nRETR 1\r\n").await.unwrap();
    deaf.readable().await.unwrap();
    eventually("a place for another", PATIENCE, async || Pop3Client::connect(pop3).await.ok()).await;
    town.stop().await;
}

#[tokio::test]
async fn a_silent_client_is_sent_away() {
    let town = TestTown::start(Plan::default().limits("smtp_idle = \"200ms\"")).await;
    let mut client = town.smtp(EXMAIL).await;
    assert_eq!(client.rest().await.unwrap(), "421 4.4.2 idle for too long\r\n");
    town.stop().await;
}

#[tokio::test]
async fn an_octet_now_and_then_keeps_no_connection_open() {
    let town = TestTown::start(Plan::default().limits("smtp_idle = \"300ms\"")).await;
    for message in [false, true] {
        let mut client = if message { in_the_middle_of_a_message(&town, 10).await } else { town.smtp(EXMAIL).await };
        let mut pace = tokio::time::interval(Duration::from_millis(50));
        // The server stops listening long before that.
        let refused = async {
            for _ in 0..1000 {
                pace.tick().await;
                if client.write(b"N").await.is_err() {
                    return true;
                }
            }
            false
        };
        assert!(tokio::time::timeout(PATIENCE, refused).await.unwrap_or(false), "in a message: {message}");
    }
    assert_only_the_marker_is_there(&town).await;
    town.stop().await;
}

#[tokio::test]
async fn a_client_that_falls_silent_in_the_middle_of_a_message_leaves_nothing() {
    let town = TestTown::start(Plan::default().limits("smtp_idle = \"200ms\"")).await;
    let mut client = in_the_middle_of_a_message(&town, 10).await;
    assert_eq!(client.rest().await.unwrap(), "421 4.4.2 idle for too long\r\n");
    assert_only_the_marker_is_there(&town).await;
    town.stop().await;
}

#[tokio::test]
async fn a_slow_client_is_served_as_long_as_it_goes_on() {
    let town = TestTown::start(Plan::default().limits("smtp_idle = \"500ms\"")).await;
    let mut client = town.smtp(EXMAIL).await;
    let message = "Subject: slow\r\n\r\noctet by octet\r\n";
    let dialogue = [
        ("EHLO laptop\r\n", "250"),
        ("MAIL FROM:<usr1@mail.sustech.edu.cn>\r\n", "250 2.1.0 OK"),
        ("RCPT TO:<usr2@mail.sustech.edu.cn>\r\n", "250 2.1.5 OK"),
        ("DATA\r\n", "354"),
        (message, ""),
        (".\r\n", "250 2.0.0 OK queued as "),
    ];
    let started = Instant::now();
    // The pace of the client is what this is about.
    let mut pace = tokio::time::interval(Duration::from_millis(6));
    for (text, reply) in dialogue {
        for octet in text.as_bytes().chunks(1) {
            pace.tick().await;
            client.write(octet).await.unwrap();
        }
        if !reply.is_empty() {
            let answer = client.reply().await.unwrap();
            assert!(answer.starts_with(reply), "{answer}");
        }
    }
    assert!(started.elapsed() > Duration::from_millis(500), "too fast to show anything: {:?}", started.elapsed());
    assert_eq!(town.mail_of(USR2, 1).await, [message.as_bytes()]);
    town.stop().await;
}

#[tokio::test]
async fn a_client_that_vanishes_in_the_middle_of_a_message_leaves_nothing() {
    // Small enough to wait at the gateway; on its way to the store; on its way to a file there.
    for octets in [10, 100_000, 1_000_000] {
        let town = TestTown::start(Plan::default()).await;
        drop(in_the_middle_of_a_message(&town, octets).await);
        assert_only_the_marker_is_there(&town).await;
        eventually("no file left behind", PATIENCE, async || (body_files(&town) == 0).then_some(())).await;
        town.stop().await;
    }
}

/// A client that has sent the beginning of a message.
async fn in_the_middle_of_a_message(town: &TestTown, octets: usize) -> SmtpClient {
    let mut client = town.smtp(EXMAIL).await;
    client.hello().await;
    for line in [format!("MAIL FROM:<{USR1}>"), format!("RCPT TO:<{USR2}>"), "DATA".to_owned()] {
        client.command(&line).await.unwrap();
    }
    client.write(b"Subject: half\r\n\r\n").await.unwrap();
    client.write(&vec![b'x'; octets]).await.unwrap();
    client
}

/// What comes later is there, and nothing else.
async fn assert_only_the_marker_is_there(town: &TestTown) {
    let marker = b"Subject: marker\r\n\r\n";
    let id = town.send(USR1, &[USR2], marker).await;
    assert_eq!(town.mail_of(USR2, 1).await, [marker]);
    let ids: Vec<_> = town.messages(EXMAIL).await.messages.iter().map(|message| message.id.to_string()).collect();
    assert_eq!(ids, [id]);
}

/// The bodies that the store has in files of their own.
fn body_files(town: &TestTown) -> usize {
    fs::read_dir(town.state().join(EXMAIL).join("bodies")).unwrap().count()
}

/// More than are sent to the store together with other messages.
#[tokio::test]
async fn as_many_recipients_as_are_allowed_are_one_transaction() {
    let peer = FakePeer::start(polite).await;
    let plan = Plan::default().limits("recipients = 2000").peer("peer.example", peer.port());
    let town = TestTown::start(plan).await;
    let recipients: Vec<_> = (0..2000).map(|number| format!("r{number}@peer.example")).collect();
    let recipients: Vec<_> = recipients.iter().map(String::as_str).collect();
    town.send(USR1, &recipients, b"Subject: many\r\n\r\n").await;
    let transcript = peer.heard("S: 250 2.0.0 taken", 1).await;
    assert_eq!(transcript.iter().filter(|said| *said == "S: 250 2.1.5 OK").count(), 2000);
    town.drained(EXMAIL).await;
}
