//! What was counted of faults, so that a town which becomes what it was counts on from there.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// What a service has counted of its faults.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Counts {
    /// By the names of the faults.
    pub faults: BTreeMap<String, Count>,
    /// How often each recipient was deferred whose name asks for it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = BTreeMap<String, u64>)]
    pub deferred: BTreeMap<String, u32>,
}

/// What was counted of one fault.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Count {
    /// How often its `where` was so.
    pub matched: u64,
    /// How often it has happened.
    pub fired: u64,
    /// How often each recipient was seen.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = BTreeMap<String, u64>)]
    pub recipients: BTreeMap<String, u32>,
    /// The last minute in which it was counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minute: Option<Minute>,
    /// The last sessions in which it has happened.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sessions: Vec<String>,
}

/// A minute in which a fault was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Minute {
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    pub began: Timestamp,
    /// How often the `where` of the fault was so in it.
    #[schema(value_type = u64)]
    pub count: u32,
}
