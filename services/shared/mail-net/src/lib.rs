//! Every socket that carries a dialogue, and the clock that is injected everywhere.

mod accept;
mod clock;
mod close;
pub mod descriptors;

pub use accept::{AcceptLoop, ConnectionLimits, Place, accept_one};
pub use clock::{Clock, IoClock, ManualClock, WallClock};
pub use close::close;
