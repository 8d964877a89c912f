//! SMTP (RFC 5321) with PIPELINING (RFC 2920), SIZE (RFC 1870), 8BITMIME (RFC 6152) and
//! ENHANCEDSTATUSCODES (RFC 2034).

pub mod client;
pub mod command;
pub mod reply;
pub mod session;

pub use command::{BodyType, ClientName, Command, CommandError, MailParameters, Verb};
pub use reply::{Reply, ReplyError, ReplyReader, Status};
pub use session::{Envelope, Origin, Session, SessionConfig, Step};
