//! Turns recorded sessions into a pcapng file that every Wireshark decodes without options.
//!
//! It does no I/O of its own, and reads no clock. [`Capture`] writes the file of sessions that are known, [`Live`] the
//! file of records as they come.
//!
//! What the file shows was never on a wire in this form. The octets are those that were recorded, in clear also where
//! they were encrypted. All around them is made up so that the dissectors understand them: addresses, server ports,
//! handshakes, acknowledgements, and where a segment ends. The comments of the packets tell the real addresses.
//!
//! - A server of the n-th stack is `10.n.0.25` (SMTP), `10.n.0.110` (POP3) or `10.n.0.53` (DNS), on the ports 25, 587,
//!   110 and 53. A client is `10.0.0.1` with its real port; the next one where the port comes again.
//! - When TLS begins (STARTTLS, STLS), the connection ends, and the dialogue goes on in another one, in clear: SMTP on
//!   port 587, POP3 on 110.
//! - Octets of a body that were not kept ([`SeenOctets::missing`](internal_api::SeenOctets::missing)) are replaced by as
//!   many octets of lines that say so, and the packet's comment counts them. So the sequence numbers and the lengths in
//!   the dialogue are true, which the dissectors rely on: `BDAT` and `+OK n octets`. Where the dialogue goes on after
//!   such a body, but with 421, the body came to its end; this end (`CRLF . CRLF`) is restored. DNS has no lines: there,
//!   only the comment tells.
//! - A client's attempt that got no connection is a SYN, and a RST where it was refused. It is shown from either end,
//!   because no server has seen it. Where it is not known who was called, there is nothing to show.
//!
//! The expert information of Wireshark 4.0 warns of nothing but resets, except where the octets themselves are the reason:
//! it wants a number after the `+OK ` that answers TOP, and it warns of each `AUTH PLAIN` with credentials while its own
//! decoding is off. A message that comes with BDAT is put together, but Wireshark does not show it as a message.

mod address;
mod block;
mod conversation;
mod encoder;
mod ending;
mod file;
mod live;
mod packet;
mod remark;
mod segment;

pub use file::Capture;
pub use live::Live;

use internal_api::{Protocol, RecordedSession, Role};
use mail_proto::Domain;
use std::net::SocketAddr;

/// What a capture is of, and how it is shown.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// What was asked for: it is told in the file's comment.
    pub query: String,
    /// Which ports the servers have.
    pub ports: Ports,
    /// Which end of each connection is shown.
    pub vantage: Vantage,
    /// The servers that are known before. Their stacks have the first numbers, in this order; their real addresses are
    /// listed in the file's comment. Other servers get their numbers as they appear.
    pub servers: Vec<KnownServer>,
}

impl Options {
    /// Adds the server of a session to [`servers`](Self::servers), where the session tells it and it is not there.
    pub fn know(&mut self, session: &RecordedSession) {
        let (stack, protocol) = (session.stack.clone(), session.protocol);
        let known = KnownServer { stack, protocol, address: session.local, name: None };
        if session.role == Role::Server && !self.servers.contains(&known) {
            self.servers.push(known);
        }
    }
}

/// A server of a town.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownServer {
    /// The server name of its stack.
    pub stack: Domain,
    /// What it speaks.
    pub protocol: Protocol,
    /// Where it really listens.
    pub address: Option<SocketAddr>,
    /// The name that Wireshark shows for its address; absent for one like `smtp.gmail.com`.
    pub name: Option<String>,
}

/// Which ports the servers of a capture have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Ports {
    /// Those that Wireshark knows: 25, 587, 110 and 53.
    #[default]
    Synthetic,
    /// Those that the servers really have. Wireshark has to be told: `-d tcp.port==1025,smtp`.
    Real,
}

/// Which end of a connection is shown. Where both were recorded, a file with both would have each packet twice.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Vantage {
    /// The server's. Where the server records nothing, because it is none of the town, the client's.
    #[default]
    Server,
    /// The client's.
    Client,
}
