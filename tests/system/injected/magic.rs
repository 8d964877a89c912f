//! Recipients whose names ask for faults.

use reqwest::Method;
use std::time::{Duration, Instant};
use town_tests::{EXMAIL, GMAIL, Plan, TestTown, USR, USR1};

#[tokio::test]
async fn recipients_ask_for_faults_by_their_names() {
    let edit = |text: &str| format!("accept = \"any\"\n{text}\n[faults]\nmagic_recipients = true\n");
    let town = TestTown::start_edited_with_console(Plan::default(), edit).await;
    let mut client = town.smtp(GMAIL).await;
    client.hello().await;
    client.command(&format!("MAIL FROM:<{USR}>")).await.unwrap();
    let rcpt = |local: &str| format!("RCPT TO:<{local}@gmail.com>");
    let words = "as the recipient's name asks for";
    assert_eq!(client.command(&rcpt("bounce+550-5.1.1")).await.unwrap(), format!("550 5.1.1 {words}"));
    for _ in 0..2 {
        assert_eq!(client.command(&rcpt("defer+451x2")).await.unwrap(), format!("451 4.0.0 {words}"));
    }
    assert_eq!(client.command(&rcpt("defer+451x2")).await.unwrap(), "250 2.1.5 OK");
    let started = Instant::now();
    assert_eq!(client.command(&rcpt("slow+200ms")).await.unwrap(), "250 2.1.5 OK");
    assert!(started.elapsed() >= Duration::from_millis(200));
    assert!(client.command(&rcpt("drop")).await.is_err());
    // It is counted anew after a reset.
    town.console_client().json(Method::POST, "/v1/reset").await;
    let mut client = town.smtp(GMAIL).await;
    client.hello().await;
    client.command(&format!("MAIL FROM:<{USR}>")).await.unwrap();
    for expected in ["451 4.0.0 ", "451 4.0.0 ", "250 2.1.5 "] {
        let reply = client.command(&rcpt("defer+451x2")).await.unwrap();
        assert!(reply.starts_with(expected), "{reply}");
    }
    town.send(USR1, &["defer+451x2@gmail.com"], b"Subject: at last\r\n\r\n").await;
    town.drained(EXMAIL).await;
    town.send(USR1, &["bounce+554@gmail.com"], b"Subject: never\r\n\r\n").await;
    town.mail_of(USR1, 1).await;
    town.stop().await;
}
