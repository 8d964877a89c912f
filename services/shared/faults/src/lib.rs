//! Faults: what goes wrong on purpose, where, and when.
//!
//! A [`Fault`] is a rule that a person or a test has written. [`Faults`] has those that concern one service of one stack. The
//! service asks it at each [`Point`] at which something can go wrong, and does what the [`Outcome`] says. While there is no
//! fault, asking costs one branch.

mod armed;
mod counts;
mod definition;
mod edge;
mod glob;
mod magic;
mod outcome;
mod recipients;
mod rules;
mod service;
mod shaped;
mod words;

pub use counts::{Count, Counts, Minute};
pub use definition::{Cut, DnsAnswer, Fault, Pause, Place, Way, What, When};
pub use edge::InvalidHop;
pub use outcome::{Action, Outcome};
pub use rules::{InvalidFault, check_name};
pub use service::{FaultState, Faults, Point, Settings};
pub use shaped::{Shape, ShapedIo, Shaping};
