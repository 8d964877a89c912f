//! A session as what both sides said in turn: which reply belongs to which command.
//!
//! Nothing here is strict. A student's server or client is read as it is.

mod exchanges;
mod heard;
mod lines;
mod marks;

pub(crate) use exchanges::{Answer, Exchange, FINAL_DOT, GREETING, exchanges};
pub(crate) use heard::Heard;
pub(crate) use lines::{Line, What, lines};
pub(crate) use marks::{is_refusal, sentence};

use internal_api::{Flow, Protocol, RecordedSession, Role};
use mail_proto::{Protocol as Spoken, Side};

/// What is spoken in a session, where there are explanations for it.
pub(crate) fn spoken(protocol: Protocol) -> Option<Spoken> {
    match protocol {
        Protocol::Smtp | Protocol::Submission | Protocol::Submissions => Some(Spoken::Smtp),
        Protocol::Pop3 | Protocol::Pop3s => Some(Spoken::Pop3),
        Protocol::DnsUdp | Protocol::DnsTcp => None,
    }
}

/// Who has sent octets that went in this direction, seen from the service.
pub(crate) fn side(session: &RecordedSession, direction: Flow) -> Side {
    match (session.role, direction) {
        (Role::Server, Flow::Received) | (Role::Client, Flow::Sent) => Side::Client,
        (Role::Server, Flow::Sent) | (Role::Client, Flow::Received) => Side::Server,
    }
}
