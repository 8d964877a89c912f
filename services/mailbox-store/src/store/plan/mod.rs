//! What the backends decide alike: pure functions from facts to what is to be written. Nothing here reads or writes.
//!
//! ```text
//! expansion   which recipients a submission has once its aliases are expanded
//! placement   which recipients of a submission get it here, and which wait in the queue
//! action      what becomes of a queued message when an operator asks for it
//! outcome     what becomes of a queue entry when its attempt has ended
//! abilities   which messages a gateway may have
//! claim       what a claim says of a message
//! local       what becomes of queued mail for mailboxes here
//! holders     when a message may go
//! moments     when leases end, and what is old
//! ```

pub(super) mod abilities;
pub(super) mod action;
pub(super) mod claim;
pub(super) mod expansion;
pub(super) mod holders;
pub(super) mod local;
pub(super) mod moments;
pub(super) mod outcome;
pub(super) mod placement;
