//! The name of a session that a service has recorded.

use crate::ConnectionId;
use jiff::Timestamp;
use std::{fmt, str::FromStr};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{ObjectBuilder, RefOr, Schema, SchemaFormat, schema::Type},
};
use uuid::{Builder, Uuid};

/// Names a session: a UUID of version 7 (RFC 9562 §5.7). Sessions that were opened later have greater ids. The last 12
/// digits are the id of the connection in the logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(Uuid);

impl SessionId {
    /// The id of the session that this connection has from `opened_at` on.
    pub fn new(opened_at: Timestamp, connection: &ConnectionId) -> Self {
        let milliseconds = u64::try_from(opened_at.as_millisecond()).unwrap_or(0);
        let within_millisecond = opened_at.subsec_nanosecond().rem_euclid(1_000_000);
        // What is below a millisecond comes first, so that ids sort by time.
        let fraction = u64::try_from(within_millisecond).unwrap_or(0) * 4096 / 1_000_000;
        let mut low = [0_u8; 10];
        low[..2].copy_from_slice(&u16::try_from(fraction).unwrap_or(0).to_be_bytes());
        low[4..].copy_from_slice(&connection.number().to_be_bytes()[2..]);
        Self(Builder::from_unix_timestamp_millis(milliseconds, &low).into_uuid())
    }

    /// The connection whose session it is, as the logs name it.
    pub fn connection(self) -> String {
        format!("{:012x}", self.0.as_u128() & 0xffff_ffff_ffff)
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

/// The text names no session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a session id is a UUID in lower case, such as 019ac8f2-7d3a-7c51-8000-1f0e2d3c4b5a")]
pub struct InvalidSessionId;

impl FromStr for SessionId {
    type Err = InvalidSessionId;

    fn from_str(text: &str) -> Result<Self, InvalidSessionId> {
        let id = Self(Uuid::try_parse(text).map_err(|_| InvalidSessionId)?);
        // Each id has one spelling, which the description of the API can state.
        if id.to_string() == text { Ok(id) } else { Err(InvalidSessionId) }
    }
}

impl serde::Serialize for SessionId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for SessionId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl PartialSchema for SessionId {
    fn schema() -> RefOr<Schema> {
        let schema = ObjectBuilder::new().schema_type(Type::String);
        let schema = schema.format(Some(SchemaFormat::Custom("uuid".to_owned())));
        schema.description(Some("Names a session; a UUID of version 7.")).into()
    }
}

impl ToSchema for SessionId {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_time_and_name_their_connection() {
        let connection = ConnectionId::random();
        let times = [0, 1_000_000, 1_000_000_000_000, 1_800_000_000_000_000_000, 1_800_000_000_000_250_000];
        let ids = times.map(|time| SessionId::new(Timestamp::from_nanosecond(time).unwrap(), &connection));
        assert!(ids.is_sorted_by(|one, other| one < other), "{ids:?}");
        for id in ids {
            assert_eq!(id.connection(), connection.as_str());
            assert_eq!(id.to_string().parse(), Ok(id));
            assert_eq!(id.0.get_version_num(), 7);
        }
    }

    #[test]
    fn other_texts_are_refused() {
        let good = SessionId::new(Timestamp::UNIX_EPOCH, &ConnectionId::random()).to_string();
        for text in ["", "1", &good.to_uppercase().replace('0', "A"), &good.replace('-', ""), &format!("{{{good}}}")] {
            assert_eq!(text.parse::<SessionId>(), Err(InvalidSessionId), "{text}");
        }
    }
}
