//! SMTP (RFC 5321) with PIPELINING (RFC 2920), SIZE (RFC 1870), 8BITMIME (RFC 6152) and
//! ENHANCEDSTATUSCODES (RFC 2034).

pub mod client;
pub mod command;
pub mod envelope;
pub mod parameters;
pub mod reply;
pub mod session;
mod xtext;

pub use command::{ClientName, Command, CommandError, Verb};
pub use envelope::{Envelope, Hello, Origin, Recipient};
pub use parameters::{
    BodyType, EnvelopeId, MailParameters, Notify, Occasions, OriginalRecipient, RecipientParameters, Ret,
};
pub use reply::{Reply, ReplyError, ReplyReader, Status};
pub use session::{Session, SessionConfig, Step};
