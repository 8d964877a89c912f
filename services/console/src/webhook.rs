//! Tells somebody of new mail with POST, and never keeps mail waiting for it.

use crate::model::MailSummary;
use internal_api::ApiError;
use mail_net::IoClock;
use reqwest::redirect::Policy;
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
    let client = client()?;
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

/// A redirection would send it to others.
fn client() -> reqwest::Result<reqwest::Client> {
    reqwest::Client::builder().timeout(TIMEOUT).no_proxy().redirect(Policy::none()).build()
}

async fn tell(client: &reqwest::Client, url: &str, mail: &MailSummary, io: IoClock) {
    let mut pauses = PAUSES.iter();
    loop {
        // Who answers with a redirection has not taken the message.
        let error = match client.post(url).json(mail).send().await {
            Ok(answer) if answer.status().is_success() => return,
            Ok(answer) => format!("the answer is {}", answer.status()),
            Err(error) => error.without_url().to_string(),
        };
        let Some(pause) = pauses.next() else {
            facts::ConsoleWebhookFailed { message_id: mail.id, error }.log();
            return;
        };
        io.sleep(*pause).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::{Router, response::Redirect, routing::post};

    #[tokio::test]
    async fn redirections_are_not_followed() {
        let routes = Router::new()
            .route("/", post(async || Redirect::temporary("/elsewhere")))
            .route("/elsewhere", post(async || "taken"));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        assert!(client().unwrap().post(url).send().await.unwrap().status().is_redirection());
    }
}
