//! A neighbour that is down is a temporary failure, and is seen to come back; a service that is told to stop
//! finishes first.

use mail_proto::pop3::Command;
use town_config::PortKey;
use town_tests::{EXMAIL, PATIENCE, Plan, Pop3Client, ProcessTown, Service, SmtpClient, USR, USR1, USR2, eventually};

const STORE: Service = Service { binary: "mailbox-store", server: EXMAIL };
const DNS: Service = Service { binary: "pseudo-dns", server: EXMAIL };
const SMTP: Service = Service { binary: "smtp-gateway", server: EXMAIL };
const POP3: Service = Service { binary: "pop3-gateway", server: EXMAIL };

const UNAVAILABLE: &str = "451 4.3.0 a part of this server is unavailable, try again later";

#[tokio::test]
async fn without_its_store_a_gateway_stays_in_step_and_recovers() {
    let mut town = ProcessTown::start(Plan::default()).await;
    let mut client = town.smtp(EXMAIL).await;
    client.hello().await;
    let mail = format!("MAIL FROM:<{USR1}>");
    let rcpt = format!("RCPT TO:<{USR2}>");
    for line in [&mail, &rcpt] {
        client.command(line).await.unwrap();
    }
    assert!(client.command("DATA").await.unwrap().starts_with("354"));
    town.kill(STORE).await;
    assert_eq!(client.command("Subject: lost\r\n\r\n.").await.unwrap(), UNAVAILABLE);
    // Not usr1: that there is such a sender is remembered for a while.
    assert_eq!(client.command(&format!("MAIL FROM:<{USR2}>")).await.unwrap(), UNAVAILABLE);
    assert_eq!(client.command(&rcpt).await.unwrap(), "503 5.5.1 say MAIL FROM first");
    assert_eq!(client.command("NOOP").await.unwrap(), "250 2.0.0 OK");
    assert_eq!(login(&town).await, Err("[SYS/TEMP] the mailbox store is not available, try again later".to_owned()));
    town.restart(STORE).await;
    client.send(USR1, &[USR2], b"Subject: kept\r\n\r\n").await.unwrap();
    assert_eq!(client.command("QUIT").await.unwrap(), "221 2.0.0 Bye");
    assert_eq!(login(&town).await, Ok(()));
    assert_eq!(town.mail_of(USR2, 1).await, [b"Subject: kept\r\n\r\n"]);
}

async fn login(town: &ProcessTown) -> Result<(), String> {
    let address = town.address(EXMAIL, PortKey::Pop);
    let mut client = Pop3Client::connect(address).await.unwrap();
    client.log_in(USR1, "pass1").await.map_err(|error| error.to_string())
}

#[tokio::test]
async fn without_its_name_server_a_relay_waits() {
    let mut town = ProcessTown::start(Plan::default().relay("retry = [\"1s\"]")).await;
    town.kill(DNS).await;
    town.send(USR1, &[USR], b"Subject: where to?\r\n\r\n").await;
    let entry = town.deferred(EXMAIL).await;
    assert_eq!(entry.last_reply, "451 4.4.3 gmail.com: the name cannot be looked up now");
    town.restart(DNS).await;
    assert_eq!(town.mail_of(USR, 1).await, [b"Subject: where to?\r\n\r\n"]);
    assert!(town.listing(USR1).await.messages.is_empty(), "nothing has failed");
}

#[tokio::test]
async fn sigterm_finishes_the_message_in_flight() {
    let mut town = ProcessTown::start(Plan::default()).await;
    let mut idle = town.smtp(EXMAIL).await;
    let mut busy = town.smtp(EXMAIL).await;
    busy.hello().await;
    for line in [format!("MAIL FROM:<{USR1}>"), format!("RCPT TO:<{USR2}>"), "DATA".to_owned()] {
        busy.command(&line).await.unwrap();
    }
    busy.write(b"Subject: in flight\r\n\r\nhalf").await.unwrap();
    town.terminate(SMTP);
    assert_eq!(idle.rest().await.unwrap(), "421 4.3.2 this server is shutting down\r\n");
    let address = town.address(EXMAIL, PortKey::Smtp);
    eventually("no more connections", PATIENCE, async || SmtpClient::connect(address).await.err()).await;
    let reply = busy.command(" a message\r\n.").await.unwrap();
    assert!(reply.starts_with("250 2.0.0 OK queued as "), "{reply}");
    assert_eq!(busy.rest().await.unwrap(), "421 4.3.2 this server is shutting down\r\n");
    assert_eq!(town.ended(SMTP).await.code(), Some(0));
    assert_eq!(town.mail_of(USR2, 1).await, [b"Subject: in flight\r\n\r\nhalf a message\r\n"]);
}

#[tokio::test]
async fn sigterm_ends_each_service_with_success() {
    let mut town = ProcessTown::start(Plan::default()).await;
    for service in [SMTP, POP3, DNS, STORE] {
        town.terminate(service);
        assert_eq!(town.ended(service).await.code(), Some(0), "{service:?}");
    }
}

#[tokio::test]
async fn a_killed_pop3_gateway_deletes_nothing() {
    let mut town = ProcessTown::start(Plan::default()).await;
    town.send(USR1, &[USR2], b"Subject: kept\r\n\r\n").await;
    let mut client = town.pop3(USR2).await;
    client.command(Command::Dele(1)).await.unwrap();
    town.kill(POP3).await;
    town.restart(POP3).await;
    assert_eq!(town.listing(USR2).await.messages.len(), 1);
}
