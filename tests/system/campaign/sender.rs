//! One connection's mail: numbered messages, one after the other.

use super::ledger::{Ledger, message};
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{sync::Semaphore, time::sleep};
use town_tests::SmtpClient;

/// How long to leave a server alone that has gone or refuses, or has enough to do.
const PAUSE: Duration = Duration::from_millis(10);

/// Who sends to whom.
pub(super) struct Sender {
    pub(super) address: SocketAddr,
    pub(super) sender: &'static str,
    pub(super) recipients: &'static [&'static str],
    pub(super) ledger: Arc<Ledger>,
    /// Gets a permit once the first message is acknowledged.
    pub(super) begun: Arc<Semaphore>,
}

impl Sender {
    /// Sends until told to stop, over a new connection after each failure, and then a new message: what became
    /// of the one before is unknown.
    pub(super) async fn send_until(self, stop: Arc<AtomicBool>) {
        let Self { address, sender, recipients, ledger, begun } = self;
        let (mut client, mut has_begun) = (None, false);
        while !stop.load(Ordering::Relaxed) {
            if ledger.is_enough() {
                sleep(PAUSE).await;
                continue;
            }
            let Some(connected) = client.as_mut() else {
                match connect(address).await {
                    Ok(connected) => client = Some(connected),
                    Err(_) => sleep(PAUSE).await,
                }
                continue;
            };
            let number = ledger.begin(recipients, sender);
            if connected.send(sender, recipients, &message(number)).await.is_ok() {
                ledger.acknowledge(number);
                if !has_begun {
                    has_begun = true;
                    begun.add_permits(1);
                }
            } else {
                client = None;
                sleep(PAUSE).await;
            }
        }
    }
}

async fn connect(address: SocketAddr) -> std::io::Result<SmtpClient> {
    let mut client = SmtpClient::connect(address).await?;
    client.command("EHLO laptop").await?;
    Ok(client)
}
