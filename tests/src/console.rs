//! A client of the console.

use crate::{PATIENCE, TOKEN};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::Value;
use std::net::SocketAddr;

/// Asks a console. No answer may have the token of the internal API in it.
#[derive(Debug, Clone)]
pub struct ConsoleClient {
    base: String,
    http: reqwest::Client,
}

impl ConsoleClient {
    /// A client of the console at this address.
    ///
    /// # Panics
    /// When there can be no HTTP client.
    pub fn new(address: SocketAddr) -> Self {
        let http = reqwest::Client::builder().no_proxy().timeout(4 * PATIENCE).build().unwrap();
        Self { base: format!("http://{address}"), http }
    }

    /// A request that can be changed before it is sent.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base))
    }

    /// Status and text of the answer.
    ///
    /// # Panics
    /// When there is none, and when it has the token in it.
    pub async fn answer(&self, request: RequestBuilder) -> (StatusCode, String) {
        let answer = request.send().await.unwrap();
        let (status, headers) = (answer.status(), format!("{:?}", answer.headers()));
        let text = String::from_utf8_lossy(&answer.bytes().await.unwrap()).into_owned();
        assert!(!text.contains(TOKEN) && !headers.contains(TOKEN), "the token of the internal API is in an answer");
        (status, text)
    }

    /// The JSON at a path.
    ///
    /// # Panics
    /// When there is none.
    pub async fn get(&self, path: &str) -> Value {
        self.json(Method::GET, path).await
    }

    /// The JSON that a request without a body is answered with.
    ///
    /// # Panics
    /// When there is none.
    pub async fn json(&self, method: Method, path: &str) -> Value {
        let (status, text) = self.answer(self.request(method, path)).await;
        assert!(status.is_success(), "{path}: {status} {text}");
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}: {text}"))
    }

    /// The text at a path.
    ///
    /// # Panics
    /// When there is none.
    pub async fn text(&self, path: &str) -> String {
        let (status, text) = self.answer(self.request(Method::GET, path)).await;
        assert!(status.is_success(), "{path}: {status} {text}");
        text
    }

    /// The subjects of the messages that match, the newest first.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn subjects(&self, query: &str) -> Vec<String> {
        let request = self.request(Method::GET, "/v1/mail").query(&[("query", query)]);
        let (status, text) = self.answer(request).await;
        assert!(status.is_success(), "{query}: {status} {text}");
        let page: Value = serde_json::from_str(&text).unwrap();
        let mail = page["mail"].as_array().unwrap();
        mail.iter().map(|mail| mail["subject"].as_str().unwrap().to_owned()).collect()
    }
}
