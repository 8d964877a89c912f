//! Signals: SIGTERM and SIGINT stop a process, SIGHUP has it read its files again.

use std::{io, time::Duration};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};
pub use tokio_util::sync::CancellationToken;
use town_config::Reload;

/// How long work in flight may take once a service was told to stop.
pub const GRACE: Duration = Duration::from_secs(10);

/// The exit code of a process that a second signal ends: that of SIGINT in a shell.
const CUT_OFF: i32 = 130;

/// What the signals of a process do.
#[derive(Debug, Clone)]
pub struct Signals {
    /// Cancelled by SIGTERM or SIGINT (Ctrl-C). A second one of them ends the process at once.
    pub shutdown: CancellationToken,
    /// Requested by SIGHUP.
    pub reload: Reload,
}

/// Handles the signals of this process from now on.
///
/// # Errors
/// When the platform lets no signal handler be set.
pub fn on_signal() -> io::Result<Signals> {
    let (terminate, interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let hang_up = signal(SignalKind::hangup())?;
    let shutdown = CancellationToken::new();
    tokio::spawn(stop(terminate, interrupt, shutdown.clone()));
    let (request, reload) = Reload::channel();
    tokio::spawn(request_reloads(hang_up, request));
    Ok(Signals { shutdown, reload })
}

async fn stop(mut terminate: Signal, mut interrupt: Signal, shutdown: CancellationToken) {
    let mut next = async || {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    };
    let signal = next().await;
    facts::ServiceStopping { signal }.log();
    shutdown.cancel();
    next().await;
    std::process::exit(CUT_OFF);
}

async fn request_reloads(mut hang_up: Signal, request: watch::Sender<()>) {
    while hang_up.recv().await.is_some() {
        facts::ServiceReload { signal: "SIGHUP" }.log();
        request.send_replace(());
    }
}
