//! Logs on standard error, coloured only on a terminal.

use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// The environment variable that selects what is logged, as `tracing_subscriber`'s `EnvFilter` reads it.
pub const LOG_VARIABLE: &str = "MAILTOWN_LOG";

/// Starts logging, once a process. `default` is the filter when [`LOG_VARIABLE`] is unset.
pub fn start(default: &str) {
    // hickory tells of every query that it was answered.
    let default = format!("{default},hickory_server=warn");
    let filter = EnvFilter::try_from_env(LOG_VARIABLE).unwrap_or_else(|_| EnvFilter::new(default));
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .try_init();
}
