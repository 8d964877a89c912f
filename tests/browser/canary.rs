//! A server that must not be reached.

use std::sync::{Arc, Mutex};
use tokio::{io::AsyncReadExt, net::TcpListener, time::timeout};
use town_tests::{PATIENCE, eventually};

/// Listens, and keeps what comes.
#[derive(Clone)]
pub(crate) struct Canary {
    /// Where it listens.
    pub(crate) port: u16,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Canary {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let canary = Self { port: listener.local_addr().unwrap().port(), seen: Arc::default() };
        let seen = Arc::clone(&canary.seen);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let seen = Arc::clone(&seen);
                tokio::spawn(async move {
                    // A connection alone says that somebody wanted to come.
                    let place = {
                        let mut seen = seen.lock().unwrap();
                        seen.push("(a connection)".to_owned());
                        seen.len() - 1
                    };
                    let mut request = [0; 200];
                    if let Ok(Ok(octets)) = timeout(PATIENCE, stream.read(&mut request)).await {
                        seen.lock().unwrap()[place] = String::from_utf8_lossy(&request[..octets]).into_owned();
                    }
                });
            }
        });
        canary
    }

    /// What has come.
    pub(crate) fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }

    /// Waits until something comes with this in it.
    pub(crate) async fn sees(&self, part: &str) {
        eventually(part, PATIENCE, async || self.seen().iter().any(|one| one.contains(part)).then_some(())).await;
    }
}
