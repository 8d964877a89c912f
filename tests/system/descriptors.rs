//! A town that has few file descriptors.

use crate::logs::NativeTown;
use service_kit::{cli, config::PortKey, descriptors};
use std::time::Duration;
use tokio::{
    io::AsyncWriteExt,
    net::TcpStream,
    time::{Instant, timeout},
};
use town_tests::{EXMAIL, PATIENCE, Plan, USR1};

const DESCRIPTORS: usize = 1024;
const SLOW_CLIENTS: usize = 1100;
/// Between two octets of a slow client.
const PACE: Duration = Duration::from_secs(1);

/// Sends an endless header, and begins anew when it is cut off.
async fn send_slowly(address: std::net::SocketAddr) {
    let mut pace = tokio::time::interval(PACE);
    loop {
        pace.tick().await;
        let Ok(mut stream) = TcpStream::connect(address).await else { continue };
        let mut sent = stream.write_all(b"GET /livez HTTP/1.1\r\nX-Slow: ").await;
        while sent.is_ok() {
            pace.tick().await;
            sent = stream.write_all(b"x").await;
        }
    }
}

#[tokio::test]
async fn slow_headers_silence_nobody() {
    descriptors::raise();
    let town = NativeTown::start_with_descriptors(Plan::default(), DESCRIPTORS).await;
    town.logged(&["WARN", "the limit of open file descriptors is too low", "limit=1024"]).await;
    let store = town.site.address(EXMAIL, PortKey::Store);
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..SLOW_CLIENTS {
        clients.spawn(send_slowly(store));
    }
    let started = Instant::now();
    // Longer than a header may take, so that those that are cut off come back.
    while started.elapsed() < Duration::from_secs(15) {
        let others = async {
            town.site.send(USR1, &[USR1], b"Subject: x\r\n\r\n").await;
            town.site.pop3(USR1).await.quit().await;
            cli::ready(store).await.unwrap();
            cli::ready(town.site.address(EXMAIL, PortKey::DnsHttp)).await.unwrap();
        };
        timeout(PATIENCE, others).await.expect("others are served");
    }
    assert_eq!(clients.len(), SLOW_CLIENTS);
}
