//! POP3 (RFC 1939), with CAPA and response codes (RFC 2449, RFC 3206), STLS (RFC 2595), AUTH (RFC 5034), UTF8 and LANG
//! (RFC 6856).

pub mod client;
pub mod command;
pub mod lines;
pub mod listing;
pub mod maildrop;
pub mod reply;
pub mod session;
pub mod top;
pub mod transfer;

pub use client::{InvalidReply, ReplyDecoder, ServerReply, StatusLine};
pub use command::{Command, CommandError, InvalidText, UserName};
pub use lines::ListLines;
pub use listing::{Listing, UniqueId};
pub use maildrop::{Listed, Maildrop, NoSuchMessage, SizeStyle};
pub use reply::{Reply, ResponseCode};
pub use session::{Extent, OpenFailure, Proof, ReadFailure, SendMessage, Session, SessionConfig, Step, UpdateFailure};
pub use top::Top;
pub use transfer::{Transfer, WrongLength};
