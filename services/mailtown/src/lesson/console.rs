//! What a lesson asks the console of its town.

use anyhow::{Context, ensure};
use lessons::Fault;
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use std::{net::SocketAddr, time::Duration};

/// The longest that the console may take, beyond what it is asked to wait.
const PATIENCE: Duration = Duration::from_secs(90);

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
        ensure!(status.is_success(), "the console of the town says {status}: {text}");
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
        ensure!(status.is_success(), "faults.{name}: {status}: {text}");
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
