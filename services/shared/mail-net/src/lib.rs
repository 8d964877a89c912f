//! Every socket that carries a dialogue, and the clock that is injected everywhere.

mod clock;

pub use clock::{Clock, IoClock, ManualClock, WallClock};
