//! Stopping: a signal cancels a token, and what is in flight gets a while to finish.

use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
pub use tokio_util::sync::CancellationToken;

/// How long work in flight may take once a service was told to stop.
pub const GRACE: Duration = Duration::from_secs(10);

/// A token that SIGTERM or SIGINT (Ctrl-C) cancels; a second signal ends the process at once.
///
/// # Errors
/// When the platform lets no signal handler be set.
pub fn on_signal() -> std::io::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let token = CancellationToken::new();
    let cancelled = token.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        cancelled.cancel();
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        std::process::exit(130);
    });
    Ok(token)
}
