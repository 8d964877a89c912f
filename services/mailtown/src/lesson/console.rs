//! What a lesson asks the console of its town.

use crate::output::printable;
use anyhow::{Context, ensure};
use lessons::Fault;
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{net::SocketAddr, time::Duration};

/// The longest that the console may take, beyond what it is asked to wait.
const PATIENCE: Duration = Duration::from_secs(90);

/// What a problem document says to people, whatever its type is.
#[derive(Deserialize)]
struct Problem {
    title: String,
    #[serde(default)]
    detail: String,
}

/// What an answer says that is no success: the words of its problem; of another answer, the status and the text.
fn words(status: StatusCode, text: &str) -> String {
    let words = match serde_json::from_str(text) {
        Ok(Problem { title, detail }) if detail.is_empty() => title,
        Ok(Problem { title, detail }) => format!("{title}: {detail}"),
        Err(_) => format!("{status}: {}", text.trim_end()),
    };
    printable(&words)
}

/// A client of the console.
#[derive(Debug, Clone)]
pub(super) struct Console {
    base: String,
    http: Client,
}

impl Console {
    /// Of the console at this address.
    ///
    /// # Errors
    /// When there can be no HTTP client.
    pub(super) fn new(address: SocketAddr) -> anyhow::Result<Self> {
        let http = Client::builder().no_proxy().timeout(PATIENCE).build()?;
        Ok(Self { base: format!("http://{address}"), http })
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base))
    }

    async fn json(&self, request: RequestBuilder) -> anyhow::Result<Value> {
        let answer = request.send().await.context("the console of the town")?;
        let (status, text) = (answer.status(), answer.text().await?);
        ensure!(status.is_success(), "the console of the town says {}", words(status, &text));
        Ok(serde_json::from_str(&text).unwrap_or_default())
    }

    /// Sets a fault.
    ///
    /// # Errors
    /// When the town has no faults, and when it refuses this one.
    pub(super) async fn set_fault(&self, name: &str, fault: &Fault) -> anyhow::Result<()> {
        let mut body = json!({"where": fault.place, "what": fault.what});
        if let Some(when) = &fault.when {
            body["when"] = when.clone();
        }
        let answer = self.request(Method::PUT, &format!("/v1/faults/{name}")).json(&body).send().await?;
        let (status, text) = (answer.status(), answer.text().await?);
        ensure!(
            status != StatusCode::NOT_FOUND,
            "this town has no faults (/v1/faults answers 404), and the lesson sets one: {name}"
        );
        ensure!(status.is_success(), "faults.{name}: {}", words(status, &text));
        Ok(())
    }

    /// Removes all faults.
    ///
    /// # Errors
    /// When the console does not.
    pub(super) async fn clear_faults(&self) -> anyhow::Result<()> {
        self.json(self.request(Method::DELETE, "/v1/faults")).await.map(drop)
    }

    /// How often a fault has happened.
    ///
    /// # Errors
    /// When the console does not tell.
    pub(super) async fn fired(&self, name: &str) -> anyhow::Result<u64> {
        let fault = self.json(self.request(Method::GET, &format!("/v1/faults/{name}"))).await?;
        Ok(fault["fired"].as_u64().unwrap_or(0))
    }

    /// How many sessions match. `query` is as in the address of `/v1/sessions`.
    ///
    /// # Errors
    /// When the console does not tell.
    pub(super) async fn sessions(&self, query: &str) -> anyhow::Result<usize> {
        let page = self.json(self.request(Method::GET, &format!("/v1/sessions?{query}"))).await?;
        Ok(page["sessions"].as_array().map_or(0, Vec::len))
    }

    /// Waits for mail. Returns why it has not come.
    ///
    /// # Errors
    /// When the console does not tell.
    pub(super) async fn wait(&self, query: &str, count: u32, limit: Duration) -> anyhow::Result<Option<String>> {
        let (count, seconds) = (count.to_string(), limit.as_secs().clamp(1, 60).to_string());
        let asked = [("query", query), ("count", &count), ("timeout", &seconds)];
        let waited = self.json(self.request(Method::GET, "/v1/mail/wait").query(&asked)).await?;
        if waited["timed_out"] == Value::Bool(false) {
            return Ok(None);
        }
        let why = waited["why"]["summary"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let found = waited["mail"].as_array().map_or(0, Vec::len);
        let start = format!("{found} of {count} messages match {query}");
        Ok(Some(std::iter::once(start.as_str()).chain(why).collect::<Vec<_>>().join("\n")))
    }

    /// Waits until the town is idle. Returns how many messages match then.
    ///
    /// # Errors
    /// When the console does not tell.
    pub(super) async fn at_rest(&self, query: &str) -> anyhow::Result<usize> {
        self.json(self.request(Method::GET, "/v1/idle?timeout=10")).await?;
        let page = self.json(self.request(Method::GET, "/v1/mail").query(&[("query", query)])).await?;
        Ok(page["mail"].as_array().map_or(0, Vec::len))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_in_the_words_of_its_problem() {
        let status = StatusCode::BAD_REQUEST;
        let problem = |detail: &str| json!({"type": "urn:x", "title": "It is wrong", "status": 400, "detail": detail});
        assert_eq!(words(status, &problem("there is no x").to_string()), "It is wrong: there is no x");
        assert_eq!(words(status, &json!({"type": "urn:x", "title": "It is wrong"}).to_string()), "It is wrong");
        assert_eq!(words(status, &problem("\u{1b}[1m").to_string()), "It is wrong: ?[1m");
        assert_eq!(words(status, "no\n"), "400 Bad Request: no");
    }
}
