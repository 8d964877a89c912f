//! Requests to read files again.

use tokio::sync::watch;

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

#[cfg(test)]
mod tests {
    use super::*;
    use mail_net::Clock;
    use std::time::Duration;

    #[tokio::test]
    async fn every_clone_sees_a_request() {
        let (request, mut one) = Reload::channel();
        let mut other = one.clone();
        request.send_replace(());
        request.send_replace(());
        one.requested().await;
        other.requested().await;
        let again = Clock::system().io.timeout(Duration::ZERO, one.requested()).await;
        assert!(again.is_err(), "two requests before the call count as one");
    }

    #[tokio::test]
    async fn without_a_sender_nothing_is_requested() {
        let mut reload = Reload::never();
        assert!(Clock::system().io.timeout(Duration::from_millis(1), reload.requested()).await.is_err());
    }
}
