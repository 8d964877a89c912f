//! What every service needs before it can do its own work: configuration, the zone file, telemetry,
//! shutdown, an HTTP side door and bounded TCP accept loops.

pub mod cli;
pub mod config;
pub mod description;
pub mod descriptors;
pub mod http;
pub mod ports_file;
pub mod shutdown;
pub mod small_file;
pub mod tcp;
pub mod telemetry;
mod toml_file;
pub mod watched_file;
pub mod zone;
