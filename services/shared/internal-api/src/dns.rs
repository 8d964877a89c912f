//! What travels to and from pseudo-dns.

use crate::{ApiError, Endpoint, ProblemKind, text};
use mail_net::IoClock;
use mail_proto::{Domain, MailExchange};
use reqwest::Method;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// The record types that can be asked for over HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum RecordType {
    /// The exchanges of a mail domain (RFC 5321 §5.1).
    #[serde(rename = "MX")]
    Mx,
    /// The TCP port of a name.
    P,
}

/// The query of `GET /v1/resolve`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ResolveQuery {
    /// A domain name, with or without its final dot, in any case.
    #[param(min_length = 1, example = "gmail.com.")]
    pub name: String,
    /// Which records.
    #[serde(rename = "type")]
    pub record_type: RecordType,
}

/// The records of one type under a name. Empty when the name exists without any of that type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "records")]
pub enum Records {
    /// By preference, the lowest first.
    #[serde(rename = "MX")]
    Mx(Vec<MailExchange>),
    /// `port`, or `host:port` for a server on another machine.
    P(Vec<String>),
}

/// The answer of `GET /v1/resolve`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Resolution {
    /// The name asked for, in lower case and with its final dot.
    pub name: String,
    /// What there is.
    #[schema(value_type = text::Records)]
    #[serde(flatten)]
    pub records: Records,
}

/// Asks a pseudo-dns.
#[derive(Debug, Clone)]
pub struct DnsClient {
    endpoint: Endpoint,
    io: IoClock,
}

impl DnsClient {
    /// A client of the pseudo-dns at this endpoint. `io` limits how long it waits.
    pub fn new(endpoint: Endpoint, io: IoClock) -> Self {
        Self { endpoint, io }
    }

    /// The exchanges of `domain`, the lowest preference first; `None` when the name does not exist.
    ///
    /// # Errors
    /// [`ApiError`] when there is no usable answer, which is no answer about the domain.
    pub async fn mail_exchanges(&self, domain: &Domain) -> Result<Option<Vec<MailExchange>>, ApiError> {
        let records = self.resolve(domain.as_str(), RecordType::Mx).await?;
        Ok(records.map(|records| if let Records::Mx(exchanges) = records { exchanges } else { Vec::new() }))
    }

    /// The port records of `name`; `None` when the name does not exist.
    ///
    /// # Errors
    /// As [`DnsClient::mail_exchanges`].
    pub async fn ports(&self, name: &str) -> Result<Option<Vec<String>>, ApiError> {
        let records = self.resolve(name, RecordType::P).await?;
        Ok(records.map(|records| if let Records::P(ports) = records { ports } else { Vec::new() }))
    }

    async fn resolve(&self, name: &str, record_type: RecordType) -> Result<Option<Records>, ApiError> {
        let query = ResolveQuery { name: name.to_owned(), record_type };
        let request = self.endpoint.request(Method::GET, &["v1", "resolve"]).query(&query);
        match self.endpoint.call(request, self.io).await {
            Ok(response) => Ok(Some(response.json::<Resolution>().await?.records)),
            Err(error) if error.kind() == Some(ProblemKind::NameUnknown) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
