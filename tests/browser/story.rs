//! A town in which something has happened.

use serde_json::Value;
use town_tests::{EXMAIL, GMAIL, PATIENCE, Plan, SmtpClient, TestTown, USR, USR1, USR2, eventually};

/// What waits for room in a mailbox.
pub(crate) const SECOND: &str = "A second try";

/// A town with mail of every kind.
pub(crate) struct Story {
    pub(crate) town: TestTown,
    /// A message that waits at its sender's server, because the mailbox at the other one is full.
    pub(crate) waiting: String,
    /// A message for a server that does not answer.
    pub(crate) stuck: String,
    /// The session in which everything was refused.
    pub(crate) refused: String,
}

impl Story {
    /// Sends, and waits until nothing moves.
    pub(crate) async fn begin() -> Self {
        let plan = Plan::default().relay(&format!("retry = [\"1h\"]\n[quotas]\n\"{USR}\" = {{ messages = 1 }}"));
        let silent = plan.silent_port();
        let town = TestTown::start_with_console(plan.peer("far.test", silent)).await;
        town.send(USR1, &[USR], b"Subject: The first one\r\n\r\nIt fills the mailbox.\r\n").await;
        town.drained(EXMAIL).await;
        town.send(USR1, &[USR2], b"Subject: Lunch\r\n\r\nAt noon?\r\n").await;
        let waiting = town.send(USR1, &[USR], format!("Subject: {SECOND}\r\n\r\nHello again.\r\n").as_bytes()).await;
        let refused = refused_session(&town).await;
        let stuck = town.send(USR1, &["x@far.test"], b"Subject: Into the void\r\n\r\n").await;
        eventually("both wait for another attempt", PATIENCE, async || {
            let queue = town.queue(EXMAIL).await;
            (queue.len() == 2 && queue.iter().all(|entry| !entry.last_reply.is_empty() && !entry.leased)).then_some(())
        })
        .await;
        Self { town, waiting, stuck, refused }
    }

    /// Makes room for the message that waits.
    pub(crate) async fn make_room(&self) {
        let mut client = self.town.pop3(USR).await;
        client.delete(1..=1).await.unwrap();
        client.quit().await;
    }

    /// The paths of all pages, with a name for the picture of each.
    pub(crate) fn pages(&self) -> [(&'static str, String); 9] {
        let Self { waiting, stuck, refused, .. } = self;
        [
            ("map", "/".to_owned()),
            ("mail", "/mail".to_owned()),
            ("message", format!("/mail/{waiting}")),
            ("journey", format!("/journey/{waiting}")),
            ("journey-stuck", format!("/mail/{stuck}?tab=journey")),
            ("sessions", "/sessions".to_owned()),
            ("session", format!("/sessions/{refused}")),
            ("queue", "/queue".to_owned()),
            ("service", format!("/town/{EXMAIL}/smtp-gateway")),
        ]
    }
}

/// A client that breaches the RFC, and names nobody who is here; returns its session, once the console has it.
async fn refused_session(town: &TestTown) -> String {
    let mut client: SmtpClient = town.smtp(GMAIL).await;
    client.write(b"EHLO student\n").await.unwrap();
    client.reply().await.unwrap();
    client.command("MAIL FROM:<somebody@elsewhere.test>").await.unwrap();
    let refusal = client.command("RCPT TO:<nobody@gmail.com>").await.unwrap();
    assert!(refusal.starts_with("550 5.1.1"), "{refusal}");
    client.command("QUIT").await.unwrap();
    let console = town.console_client();
    let session = eventually("the console has the session", PATIENCE, async || {
        let found: Value = console.get("/v1/sessions?refused=nobody@gmail.com&open=false").await;
        found["sessions"][0]["id"].as_str().map(str::to_owned)
    });
    session.await
}
