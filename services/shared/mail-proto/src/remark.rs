//! Remarks on a dialogue: where one side breaks an RFC, or does what is unwise.
//!
//! [`Remarks`] is fed with what both sides send, in order, and returns what it finds. It does not trust either side: a
//! student's server in the dialogue is judged as the client is. Where it cannot know, it says nothing.
//!
//! ```
//! use mail_proto::{Protocol, Side, remark::{Breach, Form, Remarks}};
//!
//! let mut remarks = Remarks::new(Protocol::Smtp);
//! assert_eq!(remarks.saw(Side::Server, Form::Line, b"220 mail.example\r\n"), []);
//! let found = remarks.saw(Side::Client, Form::Line, b"NOOP\n");
//! assert_eq!((found[0].what, found[0].by, found[0].at), (Breach::BareLf, Side::Client, 1));
//! assert_eq!((found[0].rfc, found[0].section), (5321, "2.3.8"));
//! ```

mod breach;
mod octets;
mod pop3;
mod smtp;
mod text;
mod wire;

pub use breach::{Breach, Weight};

use crate::{Protocol, Side};
use pop3::Pop3;
use smtp::Smtp;

/// What octets are a part of, as a record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Commands or replies.
    Line,
    /// A message or a listing.
    Body,
    /// A line with a password, which may be masked with `*`. Its octets are not judged.
    Secret,
}

/// A breach of an RFC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remark {
    /// What is wrong.
    pub what: Breach,
    /// Whose fault it is.
    pub by: Side,
    /// What is wrong, in one sentence.
    pub text: &'static str,
    /// The RFC that says so.
    pub rfc: u16,
    /// Its section.
    pub section: &'static str,
    /// Whether an RFC forbids it, or advises against it.
    pub weight: Weight,
    /// In which call of [`Remarks::saw`] it was, from 0.
    pub at: usize,
}

/// Watches one connection.
#[derive(Debug)]
pub struct Remarks {
    machine: Machine,
    /// How often octets were seen.
    seen: usize,
    log: Log,
}

#[derive(Debug)]
enum Machine {
    Smtp(Box<Smtp>),
    Pop3(Box<Pop3>),
}

/// The remarks that nobody has taken yet.
#[derive(Debug)]
struct Log {
    protocol: Protocol,
    found: Vec<Remark>,
}

impl Log {
    fn add(&mut self, what: Breach, by: Side, at: usize) {
        let (rfc, section) = what.source(self.protocol);
        self.found.push(Remark { what, by, text: what.text(), rfc, section, weight: what.weight(), at });
    }
}

impl Remarks {
    /// Watches a connection of which nothing was seen yet, in clear.
    pub fn new(protocol: Protocol) -> Self {
        let machine = match protocol {
            Protocol::Smtp => Machine::Smtp(Box::default()),
            Protocol::Pop3 => Machine::Pop3(Box::default()),
        };
        Self { machine, seen: 0, log: Log { protocol, found: Vec::new() } }
    }

    /// `side` has sent these octets: a line, several, or a part of one. Returns what is new to remark.
    ///
    /// Where octets of a body were not recorded, call [`Remarks::missing`] after this. Where other records are missing,
    /// the rest of the session cannot be judged: do not go on.
    pub fn saw(&mut self, side: Side, form: Form, octets: &[u8]) -> Vec<Remark> {
        let at = self.seen;
        self.seen += 1;
        match &mut self.machine {
            Machine::Smtp(smtp) => smtp.saw(side, form, octets, at, &mut self.log),
            Machine::Pop3(pop3) => pop3.saw(side, form, octets, at, &mut self.log),
        }
        std::mem::take(&mut self.log.found)
    }

    /// After what was seen last, this number of octets of the body that `side` sends were on the wire, and are not
    /// known.
    pub fn missing(&mut self, side: Side, octets: u64) {
        match &mut self.machine {
            Machine::Smtp(smtp) => smtp.missing(side, octets),
            Machine::Pop3(pop3) => pop3.missing(side),
        }
    }

    /// TLS is spoken from now on: after STARTTLS or STLS, or from the beginning.
    pub fn encrypted(&mut self) {
        match &mut self.machine {
            Machine::Smtp(smtp) => smtp.encrypted(),
            Machine::Pop3(pop3) => pop3.encrypted(),
        }
    }

    /// The connection has ended; `by` is who closed it first, if that is known.
    pub fn closed(&mut self, by: Option<Side>) -> Vec<Remark> {
        let last = self.seen.saturating_sub(1);
        match &mut self.machine {
            Machine::Smtp(smtp) => smtp.closed(by, last, &mut self.log),
            Machine::Pop3(pop3) => pop3.closed(by, last, &mut self.log),
        }
        std::mem::take(&mut self.log.found)
    }
}

#[cfg(test)]
mod tests;
