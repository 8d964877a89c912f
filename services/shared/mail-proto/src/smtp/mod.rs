//! SMTP (RFC 5321) and its extensions; [`extensions`] lists them.

pub mod client;
pub mod command;
pub mod envelope;
pub mod extensions;
pub mod parameters;
pub mod reply;
pub mod session;
mod tolerance;
mod xtext;

pub use command::{Chunk, ClientName, Command, CommandError, Inquiry, Verb, is_secret};
pub use envelope::{Envelope, Hello, Origin, Recipient};
pub use extensions::{AnnouncedLimits, Extensions};
pub use parameters::{
    BodyType, EnvelopeId, MailParameters, Notify, Occasions, OriginalRecipient, ParameterName, RecipientParameters, Ret,
};
pub use reply::{Reply, ReplyError, ReplyReader, Status};
pub use session::{Framing, Received, Session, SessionConfig, Step};
pub use tolerance::Tolerance;
