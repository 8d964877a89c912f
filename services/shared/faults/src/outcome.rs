//! What is to be done at a point at which faults happen.

use crate::{Cut, DnsAnswer, Shape, What};
use std::time::Duration;

/// What is to be done, in the order of the fields.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Which faults happen: their names, and what each does in a few words.
    pub fired: Vec<(String, String)>,
    /// Wait for so long.
    pub delay: Duration,
    /// Change how the connection carries octets.
    pub shape: Shape,
    /// Do this instead of what the peer asks for; `None` goes on as usual.
    pub action: Option<Action>,
}

/// What is done instead of what the peer asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Send this reply.
    Reply(String),
    /// Send these octets, which are no reply.
    Corrupt(String),
    /// Cut the connection.
    Cut(Cut),
    /// Be silent.
    Stall,
    /// Have no connection.
    Refuse,
    /// Give this answer of the name server.
    Dns(DnsAnswer),
    /// Give this HTTP status.
    Status(u16),
}

impl Outcome {
    /// Adds a fault that happens. Returns whether those after it can happen too.
    pub(crate) fn add(&mut self, name: &str, what: &What, shape: Shape) -> bool {
        self.fired.push((name.to_owned(), what.to_string()));
        self.shape.merge(shape);
        self.action = match what {
            What::Delay(pause) => {
                self.delay += pause.0;
                None
            }
            What::Throttle(_) | What::Slice(_) | What::Cut(Cut::AfterOctets(_)) => None,
            What::Reply(text) => Some(Action::Reply(text.clone())),
            What::Corrupt(octets) => Some(Action::Corrupt(octets.clone())),
            What::Cut(cut) => Some(Action::Cut(*cut)),
            What::Stall => Some(Action::Stall),
            What::Refuse | What::Partition(_) => Some(Action::Refuse),
            What::Dns(answer) => Some(Action::Dns(answer.clone())),
            What::Status(status) => Some(Action::Status(*status)),
        };
        self.action.is_none()
    }

    /// The names of the faults, for people.
    pub fn names(&self) -> String {
        let names: Vec<_> = self.fired.iter().map(|(name, _)| name.as_str()).collect();
        names.join(", ")
    }
}
