//! SASL (RFC 4422): how a client proves who it is, as values and state machines.
//!
//! [`ServerExchange`] is the server's side as SMTP's and POP3's AUTH use it (RFC 4954, RFC 5034), and [`ClientExchange`]
//! the client's. Lines in base64 go in and come out; what only a server of accounts knows is asked for by a [`Step`].
//! Random nonces come in as arguments.

mod base64;
mod channel;
mod client;
mod mechanism;
mod oauth;
mod plain;
mod saslprep;
pub mod scram;
mod server;

pub use channel::{Binding, ChannelBindings, end_point_binding};
pub use client::{ClientError, ClientExchange};
pub use mechanism::{Mechanism, Mechanisms, UnknownMechanism};
pub use saslprep::{Unpreparable, is_permitted, prepare};
pub use scram::ScramVerifier;
pub use server::{Channel, Credentials, Failure, LoginsUnavailable, ServerExchange, Step};

/// The longest line of an exchange in octets, its CRLF included (RFC 4954 §4, RFC 5034 §4).
pub const LINE_OCTETS: usize = 12_288;
