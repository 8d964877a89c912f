//! Mail from several clients at once.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};
use tokio::task::JoinSet;
use town_config::PortKey;
use town_tests::{EXMAIL, GMAIL, PATIENCE, Random, SmtpClient, TestTown, USR, USR1, USR2, eventually};

/// How many clients send.
pub(super) const SENDERS: usize = 4;
/// How many messages each of them sends at most: the town stays small.
const MESSAGES: u32 = 40;

/// What one message is for: its subject, and a recipient.
pub(super) type Sent = (String, String);

/// Clients that send until they are stopped.
pub(super) struct Load {
    acknowledged: Arc<Mutex<Vec<Sent>>>,
    is_stopped: Arc<AtomicBool>,
    senders: JoinSet<()>,
}

impl Load {
    pub(super) fn start(town: &TestTown, round: u64, seed: u64) -> Self {
        let (acknowledged, is_stopped) = (Arc::<Mutex<Vec<Sent>>>::default(), Arc::<AtomicBool>::default());
        let mut senders = JoinSet::new();
        for number in 0..SENDERS {
            let (server, sender) = if number % 2 == 0 { (EXMAIL, USR1) } else { (GMAIL, USR) };
            let address = town.address(server, PortKey::Smtp);
            let (acknowledged, is_stopped) = (Arc::clone(&acknowledged), Arc::clone(&is_stopped));
            let mut random = Random(seed ^ (number as u64) << 32);
            senders.spawn(async move {
                let mut client = SmtpClient::connect(address).await.unwrap();
                client.hello().await;
                let mut count = 0;
                while count < MESSAGES && !is_stopped.load(Ordering::Relaxed) {
                    let subject = format!("<{round}-{number}-{count}>");
                    let all = [USR1, USR2, USR, "x@far.test"];
                    let mut recipients: Vec<&str> = all.into_iter().filter(|_| random.percent(40)).collect();
                    if recipients.is_empty() {
                        recipients.push(all[random.within(0..=3) as usize]);
                    }
                    // One in ten is too large for the database.
                    let length = if random.percent(10) { 300_000 } else { random.within(1..=2000) };
                    let body = "x".repeat(70) + "\r\n";
                    let text = format!("Subject: {subject}\r\n\r\n{}", body.repeat(1 + length as usize / 72));
                    client.send(sender, &recipients, text.as_bytes()).await.unwrap();
                    let sent = recipients.iter().map(|recipient| (subject.clone(), (*recipient).to_owned()));
                    acknowledged.lock().unwrap().extend(sent);
                    count += 1;
                }
            });
        }
        Self { acknowledged, is_stopped, senders }
    }

    /// All that was acknowledged so far, in this order.
    pub(super) fn so_far(&self) -> Vec<Sent> {
        self.acknowledged.lock().unwrap().clone()
    }

    /// Waits until so many recipients were acknowledged.
    pub(super) async fn acknowledged(&self, count: usize) {
        eventually("mail is acknowledged", PATIENCE, async || (self.so_far().len() >= count).then_some(())).await;
    }

    pub(super) async fn stop(&mut self) {
        self.is_stopped.store(true, Ordering::Relaxed);
        while let Some(ended) = self.senders.join_next().await {
            ended.unwrap();
        }
    }
}
