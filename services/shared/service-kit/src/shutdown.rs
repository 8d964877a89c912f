//! Signals: SIGTERM and SIGINT stop a process, SIGHUP has it read its files again.

use std::{io, time::Duration};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};
pub use tokio_util::sync::CancellationToken;

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

/// Says when files are to be read again. Each clone sees each request.
#[derive(Debug, Clone)]
pub struct Reload(watch::Receiver<()>);

impl Reload {
    /// A reload that is requested by sending to the first half.
    pub fn channel() -> (watch::Sender<()>, Self) {
        let (request, requests) = watch::channel(());
        (request, Self(requests))
    }

    /// A reload that nobody requests.
    pub fn never() -> Self {
        Self::channel().1
    }

    /// Waits for the next request. Several that come before this call count as one.
    pub async fn requested(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

async fn stop(mut terminate: Signal, mut interrupt: Signal, shutdown: CancellationToken) {
    let mut next = async || {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    };
    let signal = next().await;
    tracing::info!(signal, "stopping");
    shutdown.cancel();
    next().await;
    std::process::exit(CUT_OFF);
}

async fn request_reloads(mut hang_up: Signal, request: watch::Sender<()>) {
    while hang_up.recv().await.is_some() {
        tracing::info!(signal = "SIGHUP", "reading the files again");
        request.send_replace(());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_clone_sees_a_request() {
        let (request, mut one) = Reload::channel();
        let mut other = one.clone();
        request.send_replace(());
        request.send_replace(());
        one.requested().await;
        other.requested().await;
        let again = tokio::time::timeout(Duration::ZERO, one.requested()).await;
        assert!(again.is_err(), "two requests before the call count as one");
    }

    #[tokio::test]
    async fn without_a_sender_nothing_is_requested() {
        let mut reload = Reload::never();
        assert!(tokio::time::timeout(Duration::from_millis(1), reload.requested()).await.is_err());
    }
}
