//! Logs on standard error, coloured only on a terminal.

use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// The environment variable that selects what is logged, as `tracing_subscriber`'s `EnvFilter` reads it.
pub const LOG_VARIABLE: &str = "MAILTOWN_LOG";

/// The filter when [`LOG_VARIABLE`] is unset. hickory tells of every query that it was answered.
const DEFAULT_FILTER: &str = "info,hickory_server=warn";

/// Starts logging, once a process.
pub fn start() {
    let filter = EnvFilter::try_from_env(LOG_VARIABLE).unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .try_init();
}
