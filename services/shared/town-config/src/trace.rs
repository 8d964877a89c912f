//! What is recorded of sessions.

use serde::Deserialize;

/// `[trace]`: what services keep in memory of their sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Trace {
    /// Whether sessions are recorded.
    pub enabled: bool,
    /// How many octets the records of a process may take.
    pub octets: usize,
    /// How many octets of each message are kept with its session.
    pub body_octets: usize,
    /// What becomes of passwords.
    pub secrets: Secrets,
}

impl Default for Trace {
    fn default() -> Self {
        Self { enabled: true, octets: 32 * 1024 * 1024, body_octets: 64 * 1024, secrets: Secrets::Mask }
    }
}

/// What becomes of passwords in the records of sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Secrets {
    /// Each octet is recorded as `*`.
    #[default]
    Mask,
    /// They are recorded as they are, for lessons.
    Show,
}
