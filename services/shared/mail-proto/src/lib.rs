//! SMTP (RFC 5321), POP3 (RFC 1939) and SASL (RFC 4422) as values and state machines.
//!
//! Nothing here opens a socket, reads a clock or draws a random number: bytes and answers go in, replies
//! and questions come out. The services put a socket on one side and the mailbox store on the other; the
//! tests put a text file in both places.

pub mod address;
pub mod chunk;
pub mod dot;
mod exchange;
pub mod explain;
pub mod header;
mod http;
pub mod line;
mod password;
pub mod pop3;
pub mod remark;
pub mod sasl;
pub mod smtp;
mod spoken;

pub use address::{AddressError, AddressRules, Domain, ForwardPath, LocalPart, Mailbox, ReversePath};
pub use exchange::MailExchange;
pub use password::Password;
pub use spoken::{Protocol, Side};
