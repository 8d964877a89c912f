//! Records: what a service has seen on its sockets, kept in bounded memory and served over HTTP.
//!
//! [`Records`] is the memory of a process. Each service of it has a [`Recorder`], and each connection a [`Recording`],
//! which is a tap of the connection's stream. Readers never delay a connection by more than the copy of one record.
//! While recording is off, a connection costs one branch for each use of its taps.

mod recorder;
mod recording;
mod ring;
mod routes;
mod secrets;
#[cfg(test)]
mod tests;
mod trace;

pub use recorder::{Opening, Recorder};
pub use recording::{LISTED, Recording};
pub use ring::Records;
pub use routes::routes;
