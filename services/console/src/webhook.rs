//! Tells somebody of new mail with POST, and never keeps mail waiting for it.

use crate::model::MailSummary;
use internal_api::ApiError;
use mail_net::IoClock;
use service_kit::{shutdown::CancellationToken, telemetry};
use std::time::Duration;
use tokio::sync::mpsc;

/// How many messages may wait. Those that come when all places are taken are not told of.
const WAITING: usize = 1000;
/// How long a call may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The pauses between tries; there is one try more.
const PAUSES: [Duration; 4] =
    [Duration::from_millis(500), Duration::from_secs(2), Duration::from_secs(10), Duration::from_secs(30)];

/// Starts to tell whoever is at `url`. What is sent to the channel is told in order.
///
/// # Errors
/// When the platform gives no HTTP client.
pub(crate) fn start(
    url: &str,
    io: IoClock,
    shutdown: &CancellationToken,
) -> Result<mpsc::Sender<MailSummary>, ApiError> {
    let client = reqwest::Client::builder().timeout(TIMEOUT).no_proxy().build()?;
    let (sender, mut waiting) = mpsc::channel::<MailSummary>(WAITING);
    let (url, until) = (url.to_owned(), shutdown.clone());
    let telling = async move {
        while let Some(mail) = waiting.recv().await {
            tell(&client, &url, &mail, io).await;
        }
    };
    telemetry::spawn(async move { until.run_until_cancelled(telling).await.unwrap_or_default() });
    Ok(sender)
}

async fn tell(client: &reqwest::Client, url: &str, mail: &MailSummary, io: IoClock) {
    let mut pauses = PAUSES.iter();
    loop {
        let answered = client.post(url).json(mail).send().await.and_then(reqwest::Response::error_for_status);
        let Err(error) = answered else { return };
        let Some(pause) = pauses.next() else {
            facts::ConsoleWebhookFailed { message_id: mail.id, error: error.without_url() }.log();
            return;
        };
        io.sleep(*pause).await;
    }
}
