//! What the backends decide alike: pure functions from facts to what is to be written. Nothing here reads or writes.

pub(super) mod outcome;
