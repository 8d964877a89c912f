//! One client may do only so much in a minute, and others are served meanwhile.

use std::time::Duration;
use town_tests::{EXMAIL, Plan, TestTown, USR1};

const MINUTE: Duration = Duration::from_secs(60);
const UNTRUSTED: &str = "trusted_networks = [\"192.0.2.0/24\"]";
const LIMITS: &str = "connections_per_minute = 4\nmessages_per_minute = 2\nrecipients_per_minute = 5";

#[tokio::test]
async fn a_stranger_that_does_too_much_is_told_to_come_again() {
    let town = TestTown::start(Plan::default().setting(UNTRUSTED).limits(LIMITS)).await;
    let mut client = town.smtp(EXMAIL).await;
    client.hello().await;

    // Probing for addresses ends, and refused recipients count.
    client.command("MAIL FROM:<a@elsewhere.test>").await.unwrap();
    for number in 0..5 {
        let reply = client.command(&format!("RCPT TO:<nobody{number}@mail.sustech.edu.cn>")).await.unwrap();
        assert!(reply.starts_with("550 5.1.1"), "{reply}");
    }
    let reply = client.command(&format!("RCPT TO:<{USR1}>")).await.unwrap();
    assert_eq!(reply, "451 4.7.0 too many recipients from your address in a minute, try again later");

    client.command("RSET").await.unwrap();
    client.command("MAIL FROM:<a@elsewhere.test>").await.unwrap();
    client.command("RSET").await.unwrap();
    let reply = client.command("MAIL FROM:<a@elsewhere.test>").await.unwrap();
    assert_eq!(reply, "451 4.7.0 too many messages from your address in a minute, try again later");
    client.command("QUIT").await.unwrap();

    for _ in 1..4 {
        assert!(town.smtp(EXMAIL).await.greeting.starts_with("220"));
    }
    let refused = town.smtp(EXMAIL).await;
    assert_eq!(refused.greeting, "421 4.7.0 too many connections from your address in a minute, try again later");

    town.time.advance(MINUTE);
    let mut client = town.smtp(EXMAIL).await;
    client.hello().await;
    client.send("a@elsewhere.test", &[USR1], b"Subject: later\r\n\r\n").await.unwrap();
    town.mail_of(USR1, 1).await;
    town.stop().await;
}

#[tokio::test]
async fn a_trusted_network_has_no_rates() {
    let town = TestTown::start(Plan::default().limits(LIMITS)).await;
    for _ in 0..10 {
        let mut client = town.smtp(EXMAIL).await;
        client.hello().await;
        client.send(USR1, &[USR1], b"Subject: much\r\n\r\n").await.unwrap();
    }
    town.mail_of(USR1, 10).await;
    town.stop().await;
}
