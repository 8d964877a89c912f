//! Everything about a message that is not in the message (RFC 5321 §2.3.1).

use super::{ClientName, MailParameters, Notify, OriginalRecipient, RecipientParameters};
use crate::address::{Mailbox, ReversePath};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;

/// What a client has said of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// How the client introduced itself.
    pub hello: Hello,
    /// Whether the message came over TLS.
    pub is_encrypted: bool,
    /// Who is logged in; nobody as long as there is no AUTH (RFC 4954).
    pub identity: Option<Mailbox>,
    /// What the policy made of the sender.
    pub origin: Origin,
    /// Where failure messages go.
    pub reverse_path: ReversePath,
    /// What came with MAIL.
    pub parameters: MailParameters,
    /// Each mailbox once, in the order of the RCPT commands.
    pub recipients: Vec<Recipient>,
}

/// How a client introduced itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// How it calls itself.
    pub name: ClientName,
    /// Whether it used EHLO.
    pub extended: bool,
}

/// What the reverse-path makes of a transaction. The server's policy decides; the session remembers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A local user sends mail, to anywhere.
    Submission,
    /// Another server delivers mail for local users.
    Delivery,
}

/// Whom a message is for, with what came with RCPT.
///
/// As JSON it is the mailbox alone when nothing came with it, and otherwise an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    /// Who gets the message.
    pub mailbox: Mailbox,
    /// ORCPT: whom the sender has named at first (RFC 3461 §4.2).
    pub original: Option<OriginalRecipient>,
    /// NOTIFY: what the sender wants to be told of (RFC 3461 §4.1).
    pub notify: Option<Notify>,
}

impl Recipient {
    /// A mailbox with its parameters.
    pub fn new(mailbox: Mailbox, RecipientParameters { original, notify }: RecipientParameters) -> Self {
        Self { mailbox, original, notify }
    }

    /// Whether the sender wants to know that the recipient has got the message (RFC 3461 §4.1).
    pub fn wants_to_know_of_success(&self) -> bool {
        matches!(self.notify, Some(Notify::Of(occasions)) if occasions.success)
    }

    /// Whether the sender wants to know that the message takes long: also one who has said nothing (RFC 3461 §4.1).
    pub fn wants_to_know_of_delay(&self) -> bool {
        match self.notify {
            Some(Notify::Of(occasions)) => occasions.delay,
            Some(Notify::Never) => false,
            None => true,
        }
    }

    /// What came with RCPT.
    pub fn parameters(&self) -> RecipientParameters {
        RecipientParameters { original: self.original.clone(), notify: self.notify }
    }
}

impl From<Mailbox> for Recipient {
    fn from(mailbox: Mailbox) -> Self {
        Self { mailbox, original: None, notify: None }
    }
}

/// The form of a recipient with parameters.
#[derive(Serialize, Deserialize)]
struct Detailed {
    mailbox: Mailbox,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    original: Option<OriginalRecipient>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    notify: Option<Notify>,
}

impl Serialize for Recipient {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self { mailbox, original: None, notify: None } => mailbox.serialize(serializer),
            Self { mailbox, original, notify } => {
                Detailed { mailbox: mailbox.clone(), original: original.clone(), notify: *notify }.serialize(serializer)
            }
        }
    }
}

impl<'de> Deserialize<'de> for Recipient {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Form)
    }
}

/// Reads either form of a recipient.
struct Form;

impl<'de> de::Visitor<'de> for Form {
    type Value = Recipient;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a mailbox, or an object with one")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Recipient, E> {
        let mailbox: Result<Mailbox, _> = text.parse();
        mailbox.map(Recipient::from).map_err(|error| E::custom(format_args!("{error}: {text:?}")))
    }

    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Recipient, A::Error> {
        let Detailed { mailbox, original, notify } = Detailed::deserialize(de::value::MapAccessDeserializer::new(map))?;
        Ok(Recipient { mailbox, original, notify })
    }
}
