//! What a gateway can do with a message, and which messages need it.

use internal_api::{ClaimRequest, ClaimedMessage, Outcome};

/// After this many looks that found nothing but withheld messages, others may write.
pub(in crate::store) const LOOKS_PAST_WITHHELD: u32 = 8;

/// How long a withheld message waits before a gateway may claim it again.
const WITHHELD_SECONDS: u64 = 60;

/// What a gateway can do. Gateways of an earlier version say nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Abilities {
    /// It relays a message with REQUIRETLS as RFC 8689 says.
    pub requiretls: bool,
    /// It knows SMTPUTF8 (RFC 6531), and takes addresses beyond ASCII.
    pub smtputf8: bool,
}

impl From<&ClaimRequest> for Abilities {
    fn from(request: &ClaimRequest) -> Self {
        Self { requiretls: request.requiretls, smtputf8: request.smtputf8 }
    }
}

impl Abilities {
    /// Those of a gateway of this version.
    #[cfg(test)]
    pub(crate) const ALL: Self = Self { requiretls: true, smtputf8: true };

    /// Whether a gateway that can do this may have the message.
    pub(in crate::store) fn suffice_for(self, message: &ClaimedMessage) -> bool {
        (self.requiretls || !message.parameters.requiretls) && (self.smtputf8 || is_in_ascii(message))
    }
}

/// Whether nothing of the message's envelope needs SMTPUTF8.
fn is_in_ascii(message: &ClaimedMessage) -> bool {
    let parameters = &message.parameters;
    !parameters.smtputf8
        && message.reverse_path.is_ascii()
        && parameters.submitter.as_ref().is_none_or(|submitter| submitter.is_ascii())
        && message.recipients.iter().all(|recipient| {
            recipient.mailbox.is_ascii()
                && recipient.via.as_ref().is_none_or(|via| via.is_ascii())
                && recipient.original.as_ref().is_none_or(|original| original.address().is_ascii())
        })
}

/// What becomes of a recipient of a withheld message: it waits, and nothing is counted or noted.
pub(in crate::store) fn withheld() -> Outcome {
    let reply = String::new();
    Outcome::Deferred { retry_after_seconds: WITHHELD_SECONDS, reply, untried: true, delay_told: false }
}
