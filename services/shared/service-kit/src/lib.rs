//! What every service needs before it can do its own work: a command line, telemetry, shutdown,
//! and an HTTP side door.

pub mod cli;
pub mod description;
pub mod faults;
pub mod http;
pub mod logins;
pub mod metrics;
pub mod shutdown;
pub mod telemetry;
