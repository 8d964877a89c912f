//! Edges of the town as texts.

use mail_net::Hop;

/// All edges.
const HOPS: [Hop; 5] = [Hop::AgentToSmtp, Hop::SmtpToPeer, Hop::GatewayToStore, Hop::GatewayToDns, Hop::ClientToPop3];

/// The text names no edge of the town.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no hop; give agent-smtp, smtp-peer, gateway-store, gateway-dns or client-pop3")]
pub struct InvalidHop(String);

fn parse(text: &str) -> Result<Hop, InvalidHop> {
    HOPS.into_iter().find(|hop| hop.as_str() == text).ok_or_else(|| InvalidHop(text.to_owned()))
}

/// For serde: an edge that may be absent.
pub(crate) mod optional {
    use mail_net::Hop;
    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

    pub(crate) fn serialize<S: Serializer>(hop: &Option<Hop>, serializer: S) -> Result<S::Ok, S::Error> {
        match hop {
            Some(hop) => serializer.serialize_str(hop.as_str()),
            None => serializer.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Hop>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| super::parse(&text).map_err(D::Error::custom)).transpose()
    }
}
