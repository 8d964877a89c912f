//! How safe the way to an exchange must be (RFC 8689).

use internal_api::ClaimedMessage;

/// How safe the way to an exchange must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Security {
    /// As the configuration says.
    Configured,
    /// Verified TLS, to a server that promises the same for the rest of the way: REQUIRETLS (RFC 8689 §4.2.1).
    Required,
}

impl Security {
    /// What the sender of a message wants.
    pub(super) fn of(message: &ClaimedMessage) -> Self {
        if message.parameters.requiretls { Self::Required } else { Self::Configured }
    }
}
