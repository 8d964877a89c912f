//! What a client says of a message before its octets.

use super::Wording;
use crate::{
    address::ReversePath,
    smtp::{BodyType, Extensions, MailParameters, Recipient},
};

/// A message to be sent, except its octets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// Where failure messages go.
    pub reverse_path: ReversePath,
    /// What is known of the message. Each parameter is sent where the server announces its extension, except three: BODY
    /// is always 8BITMIME then, because nobody has counted the bits, and SIZE is `octets`. The wording of the hand-out
    /// has neither. AUTH is sent to a server at which the client has logged in: nobody else may believe it.
    pub parameters: MailParameters,
    /// Who it is for; at least one.
    pub recipients: Vec<Recipient>,
    /// Its octets, declared where the server takes SIZE (RFC 1870).
    pub octets: u64,
}

impl Transaction {
    /// The parameters that go with MAIL.
    pub(super) fn mail_parameters(
        &self,
        extensions: Extensions,
        wording: Wording,
        is_logged_in: bool,
    ) -> MailParameters {
        let (size_octets, body) = match wording {
            Wording::Standard => (Some(self.octets), Some(BodyType::EightBitMime)),
            Wording::HandOut => (None, None),
        };
        // RFC 4954 §5.
        let submitter = is_logged_in.then(|| self.parameters.submitter.clone().unwrap_or(ReversePath::Null));
        extensions.permitted(MailParameters { size_octets, body, submitter, ..self.parameters.clone() })
    }
}
