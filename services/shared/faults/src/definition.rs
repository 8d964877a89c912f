//! A fault as it is written: where, what and when.

use crate::edge;
use ipnet::IpNet;
use jiff::{SignedDuration, Timestamp};
use mail_net::Hop;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::{
    net::IpAddr,
    num::{NonZeroU32, NonZeroU64},
    time::Duration,
};
use utoipa::ToSchema;

/// Something that goes wrong on purpose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Where it happens.
    #[serde(rename = "where", default)]
    pub place: Place,
    /// What happens.
    pub what: What,
    /// When it happens; always without it.
    #[serde(default, skip_serializing_if = "When::is_always")]
    pub when: When,
}

/// Where a fault happens. All that is given must be so; `*` in a text stands for any characters. Case does not matter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// The server name of the stack, such as `gmail.com`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack: Option<String>,
    /// The service that has the fault: `smtp-gateway`, `pop3-gateway`, `mailbox-store` or `pseudo-dns`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The edge of the town: `agent-smtp`, `smtp-peer`, `gateway-store`, `gateway-dns` or `client-pop3`. Without it, the
    /// service tells; `peer` makes it `smtp-peer`.
    #[serde(default, with = "edge::optional", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "smtp-peer")]
    pub hop: Option<Hop>,
    /// Of the relay: the other server, by the name of the exchange, its `host:port` or the domain of the recipients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// The command: one of SMTP or POP3; `.` for the end of a message; `CONNECT` for the beginning of a connection; the type
    /// of a DNS query; the method of an HTTP request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verb: Option<String>,
    /// The reverse-path of the transaction; empty for the null reverse-path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mail_from: Option<String>,
    /// The recipient of RCPT, or one of those of the message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rcpt_to: Option<String>,
    /// The name that is asked for in the DNS, or the path of an HTTP request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The client's IP address, or a network of addresses.
    #[serde(default, deserialize_with = "network", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "127.0.0.0/8")]
    pub client: Option<IpNet>,
    /// The octets that `throttle` and `slice` are for; both ways without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direction: Option<Way>,
}

/// Which way octets go, seen from the service that has the fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// From the other end.
    Received,
    /// To the other end.
    Sent,
}

/// What a fault does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// This reply comes, and the command is not carried out; `451 4.7.1 greylisted` or `-ERR not today`.
    Reply(String),
    /// The command, the query or the request waits for so long first.
    Delay(Pause),
    /// The connection carries so many octets in a second.
    Throttle(u64),
    /// The connection is cut.
    Cut(Cut),
    /// Nothing comes any more; the connection stays open until somebody has enough.
    Stall,
    /// There is no connection.
    Refuse,
    /// Octets travel in pieces of at most so many.
    Slice(u32),
    /// There is no connection between this stack and that of `where.stack`, in either direction.
    Partition(String),
    /// The name server gives this answer.
    Dns(DnsAnswer),
    /// The HTTP request is answered with this status, 400 to 599.
    Status(u16),
    /// These octets come instead of the reply. They are no reply of the protocol.
    Corrupt(String),
}

/// Where a connection is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Cut {
    /// The command is not carried out.
    BeforeCommand,
    /// The command is carried out, and its reply does not come.
    BeforeReply,
    /// The reply comes, and nothing after it.
    AfterReply,
    /// The message is accepted, and the reply to its final dot does not come.
    AfterDot,
    /// So many octets came and went.
    AfterOctets(u64),
}

/// A wrong answer of a name server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DnsAnswer {
    /// SERVFAIL: the server cannot tell.
    Servfail,
    /// NXDOMAIN: the name does not exist.
    Nxdomain,
    /// No answer.
    Timeout,
    /// This record: the name of an exchange for MX, a port or `host:port` for P.
    Wrong(String),
}

/// When a fault happens. All that is given must be so.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct When {
    /// Not more often than this.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>, minimum = 1)]
    pub times: Option<NonZeroU64>,
    /// Not the first so many times that `where` is so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// Each n-th time that `where` is so.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>, minimum = 1)]
    pub every: Option<NonZeroU64>,
    /// The first n times for each recipient: with 1, this is greylisting.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u32>, minimum = 1)]
    pub first_per_recipient: Option<NonZeroU32>,
    /// When `where` was so more often than this within a minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u32>, minimum = 1)]
    pub above_per_minute: Option<NonZeroU32>,
    /// With this probability, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 1)]
    pub probability: Option<f64>,
    /// Decides what is probable: the same seed, the same decisions. 0 unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Until this time, by the town's clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub until: Option<Timestamp>,
}

/// A probability is a number, which [`Fault::check`] sees to.
impl Eq for When {}

impl When {
    /// Whether nothing is asked for.
    pub fn is_always(&self) -> bool {
        *self == Self::default()
    }
}

/// A network, or an address as a network of its own.
fn network<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<IpNet>, D::Error> {
    let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
    let network = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
    let invalid = || D::Error::custom(format!("{text:?} is no IP address and no network such as 10.0.0.0/8"));
    network.map(Some).ok_or_else(invalid)
}

/// How long something waits, at most an hour. It is written as `5s`, `250ms` or `PT5S`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ToSchema)]
#[schema(value_type = String, example = "5s")]
pub struct Pause(pub Duration);

impl Pause {
    /// The longest.
    pub const LONGEST: Duration = Duration::from_secs(60 * 60);
}

impl std::str::FromStr for Pause {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let duration: SignedDuration =
            text.parse().map_err(|_| format!("{text:?} is no duration such as 5s or 250ms"))?;
        let duration = Duration::try_from(duration).ok().filter(|duration| *duration <= Self::LONGEST);
        duration.map(Self).ok_or_else(|| format!("{text:?} is not within 0 and one hour"))
    }
}

impl std::fmt::Display for Pause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let duration = SignedDuration::try_from(self.0).unwrap_or(SignedDuration::MAX);
        write!(f, "{duration:#}")
    }
}

impl Serialize for Pause {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Pause {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_pause_is_told_with_examples() {
        assert_eq!("250ms".parse(), Ok(Pause(Duration::from_millis(250))));
        assert_eq!("2 weeks".parse::<Pause>(), Err("\"2 weeks\" is no duration such as 5s or 250ms".to_owned()));
    }
}
