//! What every service needs before it can do its own work: a command line, telemetry, shutdown,
//! an HTTP side door and bounded TCP accept loops.

pub mod cli;
pub mod description;
pub mod http;
pub mod shutdown;
pub mod tcp;
pub mod telemetry;
