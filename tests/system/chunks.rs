//! Messages in chunks (RFC 3030) that are long enough to be on their way to the store before they are whole.

use town_tests::{EXMAIL, Plan, SmtpClient, TestTown, USR1, USR2};

const CHUNK_OCTETS: usize = 50_000;

/// A client that has sent the first chunk of a message.
async fn begun(town: &TestTown) -> SmtpClient {
    let mut client = town.smtp(EXMAIL).await;
    client.hello().await;
    client.command(&format!("MAIL FROM:<{USR1}>")).await.unwrap();
    client.command(&format!("RCPT TO:<{USR2}>")).await.unwrap();
    client.write(format!("BDAT {CHUNK_OCTETS}\r\nSubject: half\r\n\r\n").as_bytes()).await.unwrap();
    let rest = CHUNK_OCTETS - "Subject: half\r\n\r\n".len();
    client.write("x".repeat(rest - 2).as_bytes()).await.unwrap();
    let reply = client.command("").await.unwrap();
    assert_eq!(reply, format!("250 2.0.0 {CHUNK_OCTETS} octets received"));
    client
}

#[tokio::test]
async fn a_message_whose_last_chunk_never_comes_is_never_delivered() {
    let town = TestTown::start(Plan::default()).await;
    for end in ["QUIT", "RSET", "EHLO laptop", "STARTTLS", "BDAT many"] {
        let mut client = begun(&town).await;
        let reply = client.command(end).await.unwrap();
        assert!(reply.starts_with('2') || reply.starts_with("421"), "{end}: {reply}");
    }
    drop(begun(&town).await);
    let marker = b"Subject: marker\r\n\r\n";
    let mut client = town.smtp(EXMAIL).await;
    client.hello().await;
    client.send(USR1, &[USR2], marker).await.unwrap();
    assert_eq!(town.mail_of(USR2, 1).await, [marker]);
    let store = rusqlite::Connection::open(town.state().join(EXMAIL).join("store.db")).unwrap();
    let messages: i64 = store.query_row("SELECT COUNT(*) FROM messages", [], |row| row.get(0)).unwrap();
    assert_eq!(messages, 1, "nothing but the marker");
    // A shutdown ends such a message too.
    let _open = begun(&town).await;
    drop(store);
    town.stop().await;
}

#[tokio::test]
async fn a_message_in_long_chunks_arrives_whole() {
    let town = TestTown::start(Plan::default()).await;
    let mut client = begun(&town).await;
    let reply = client.command("BDAT 6 LAST\r\ntail").await.unwrap();
    assert!(reply.starts_with("250 2.0.0 OK queued as"), "{reply}");
    let mail = town.mail_of(USR2, 1).await;
    assert!(mail[0].len() == CHUNK_OCTETS + 6 && mail[0].ends_with(b"xx\r\ntail\r\n"));
    town.stop().await;
}
