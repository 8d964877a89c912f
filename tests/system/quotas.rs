//! Mailboxes that are full: refused for now, refused for good, or kept waiting; never lost.

use mail_proto::pop3::Command;
use town_tests::{EXMAIL, HOUR, PATIENCE, Plan, SmtpClient, TestTown, USR1, USR2, eventually};

const FULL: &str = "452 4.2.2 <usr2@mail.sustech.edu.cn>: mailbox full, try again later";

fn plan(quota: &str) -> Plan {
    Plan::default().relay(&format!("retry = [\"1h\"]\n[quotas]\n\"{USR2}\" = {quota}"))
}

/// A client that has named its recipient and not sent its message yet.
async fn in_a_transaction(town: &TestTown) -> SmtpClient {
    let mut client = town.smtp(EXMAIL).await;
    client.hello().await;
    assert_eq!(client.command(&format!("MAIL FROM:<{USR1}>")).await.unwrap(), "250 2.1.0 OK");
    assert_eq!(client.command(&format!("RCPT TO:<{USR2}>")).await.unwrap(), "250 2.1.5 OK");
    client
}

async fn send_the_rest(mut client: SmtpClient, message: &str) {
    assert!(client.command("DATA").await.unwrap().starts_with("354"));
    let reply = client.command(&format!("{message}\r\n.")).await.unwrap();
    assert!(reply.starts_with("250 2.0.0 OK queued as "), "{reply}");
}

#[tokio::test]
async fn a_full_mailbox_refuses_at_rcpt() {
    for rfc in [false, true] {
        let plan = plan("{ messages = 2, octets = 1000 }");
        let town = TestTown::start(if rfc { plan.rfc() } else { plan }).await;
        let mut client = town.smtp(EXMAIL).await;
        client.hello().await;
        assert_eq!(client.command(&format!("MAIL FROM:<{USR1}> SIZE=1001")).await.unwrap(), "250 2.1.0 OK");
        let never = "552 5.2.2 <usr2@mail.sustech.edu.cn>: a message of 1001 octets is more than this mailbox may hold";
        assert_eq!(client.command(&format!("RCPT TO:<{USR2}>")).await.unwrap(), never);
        // Others are not concerned, and neither is the next transaction.
        assert_eq!(client.command(&format!("RCPT TO:<{USR1}>")).await.unwrap(), "250 2.1.5 OK");
        client.command("RSET").await.unwrap();
        for _ in 0..2 {
            client.send(USR1, &[USR2], b"Subject: x\r\n\r\nx\r\n").await.unwrap();
        }
        assert_eq!(client.command(&format!("MAIL FROM:<{USR1}>")).await.unwrap(), "250 2.1.0 OK");
        assert_eq!(client.command(&format!("RCPT TO:<{USR2}>")).await.unwrap(), FULL);
        town.stop().await;
    }
}

/// What was accepted before the mailbox was full waits in the queue, and is delivered once there is room.
#[tokio::test]
async fn what_finds_the_mailbox_full_in_the_end_arrives_when_there_is_room() {
    let town = TestTown::start(plan("{ messages = 1 }")).await;
    let (first, second) = (in_a_transaction(&town).await, in_a_transaction(&town).await);
    send_the_rest(first, "Subject: first").await;
    send_the_rest(second, "Subject: second").await;
    let waiting = eventually("an attempt to deliver it", PATIENCE, async || {
        town.queue(EXMAIL).await.pop().filter(|entry| entry.attempts > 0 && !entry.leased)
    })
    .await;
    assert_eq!((waiting.recipient.to_string().as_str(), waiting.last_reply.as_str()), (USR2, FULL));
    let mut client = town.pop3(USR2).await;
    assert_eq!(client.stat().await.0, 1);
    assert_eq!(client.retr(1).await, b"Subject: first\r\n");
    client.command(Command::Dele(1)).await.unwrap();
    client.quit().await;
    town.time.advance(HOUR);
    assert_eq!(town.mail_of(USR2, 1).await, [b"Subject: second\r\n"]);
    town.drained(EXMAIL).await;
    assert_eq!(town.mail(USR1).await, Vec::<Vec<u8>>::new());
    town.stop().await;
}

/// What can never fit is reported to its sender at once.
#[tokio::test]
async fn what_turns_out_too_large_for_the_mailbox_is_reported() {
    let town = TestTown::start(plan("{ octets = 100 }")).await;
    let client = in_a_transaction(&town).await;
    send_the_rest(client, &format!("Subject: large\r\n\r\n{}", "x".repeat(200))).await;
    let report = String::from_utf8(town.mail_of(USR1, 1).await.remove(0)).unwrap();
    let expected = "a message of 220 octets is more than this mailbox may hold";
    assert!(report.split_whitespace().collect::<Vec<_>>().join(" ").contains(expected), "{report}");
    assert!(report.contains("\r\nStatus: 5.2.2\r\n"), "{report}");
    town.drained(EXMAIL).await;
    assert_eq!(town.mail(USR2).await, Vec::<Vec<u8>>::new());
    town.stop().await;
}
