//! Snapshots of a store, and the hold under which the stores of a town take them together.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The media type of a snapshot's file: an SQLite database.
pub const SNAPSHOT_MEDIA_TYPE: &str = "application/vnd.sqlite3";

/// The longest note of a snapshot. The console's has the counts of faults: 10,000 recipients of 320 octets, counted by two
/// gateways for one fault and for the addresses that ask for one, are 14 MiB.
pub const SNAPSHOT_NOTE_OCTETS: usize = 16 * 1024 * 1024;

/// What a name of a snapshot is like.
pub const SNAPSHOT_NAMES: &str =
    "a snapshot's name is 1 to 64 of a to z, 0 to 9, '.', '_' and '-', and begins with a letter or a digit";

/// Whether this can be the name of a snapshot: [`SNAPSHOT_NAMES`].
pub fn is_snapshot_name(text: &str) -> bool {
    let is_plain = |octet: u8| octet.is_ascii_lowercase() || octet.is_ascii_digit();
    let octets = text.as_bytes();
    (1..=64).contains(&octets.len())
        && is_plain(octets[0])
        && octets.iter().all(|octet| is_plain(*octet) || b"._-".contains(octet))
}

/// How much a hold keeps back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum HoldStage {
    /// No new claims are handed out. Attempts that are under way go on to their end.
    Claims,
    /// Whatever would change the store waits, too.
    Commits,
}

/// How a store is to be held, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HoldRequest {
    /// How much is kept back.
    pub stage: HoldStage,
    /// The hold ends by itself after this time, unless it is renewed.
    #[schema(minimum = 1, maximum = 60)]
    pub lease_seconds: u32,
}

/// A store that is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Held {
    /// How many recipients of queued messages relay workers are trying.
    pub claimed: u64,
}

/// What is to be kept with a snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SnapshotRequest {
    /// A text that the store keeps in the snapshot and does not read.
    #[schema(max_length = 16_777_216)]
    pub note: String,
}

/// A snapshot of a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StoreSnapshot {
    /// Its name.
    #[schema(pattern = "^[a-z0-9][a-z0-9._-]{0,63}$")]
    pub name: String,
    /// When it was taken, by the store's clock.
    #[schema(value_type = String, format = DateTime)]
    pub taken_at: Timestamp,
    /// The length of its file.
    pub octets: u64,
    /// How many messages it has.
    pub messages: u64,
    /// For how many recipients messages are queued in it.
    pub queued: u64,
    /// What was kept with it.
    pub note: String,
}

/// The answer to `GET /v1/snapshots`: all snapshots of a store, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StoreSnapshots {
    /// The snapshots.
    pub snapshots: Vec<StoreSnapshot>,
}

/// How a store is to become what it was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RestoreRequest {
    /// What the clock of the town will show: the event that tells of the restore has this time. The store's own time unless
    /// given.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub now: Option<Timestamp>,
    /// Only look whether the store could become that: it changes nothing, and fails as the restore would.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub check_only: bool,
}
