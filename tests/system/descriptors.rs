//! A town that has few file descriptors.

use crate::logs::NativeTown;
use service_kit::cli;
use std::{net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep, timeout},
};
use town_config::{PortKey, descriptors};
use town_tests::{EXMAIL, GMAIL, PATIENCE, Plan, USR1};

const DESCRIPTORS: usize = 1024;
const SLOW_CLIENTS: usize = 1100;
/// Between two octets of a slow client.
const PACE: Duration = Duration::from_secs(1);

/// Sends an endless header, and begins anew when it is cut off.
async fn send_slowly(address: SocketAddr) {
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
    town.logged(&["WARN", "service.descriptors_short", "limit=1024"]).await;
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

/// Fewer than [`IDLE_CLIENTS`] on each of four ports need.
const FEW_DESCRIPTORS: usize = 300;
/// Fewer than the limit for one address, so that none has to make room.
const IDLE_CLIENTS: usize = 90;
/// Fewer than the limit of DNS for one address.
const WAITING_CLIENTS: usize = 20;
/// For how long the load of the town is measured.
const MEASURED: Duration = Duration::from_secs(3);
/// The part of a core that a town may use that has nothing to do. One that tries again at once uses more than half of one.
const MOST_LOAD: f64 = 0.2;
/// `MX gmail.com.`, with its length before it (RFC 1035 §4).
const QUERY: &[u8] = b"\0\x1b\0\x07\x01\0\0\x01\0\0\0\0\0\0\x05gmail\x03com\0\0\x0f\0\x01";

/// Asks over DNS. The answer may come later.
async fn asked(address: SocketAddr) -> TcpStream {
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(QUERY).await.unwrap();
    client
}

async fn assert_answered(mut client: TcpStream) {
    let mut head = [0; 10];
    timeout(PATIENCE, client.read_exact(&mut head)).await.expect("an answer").unwrap();
    assert_eq!((head[3], head[5] & 15, head[9]), (7, 0, 1), "id, code and number of answers in {head:?}");
}

#[tokio::test]
async fn a_town_without_descriptors_waits_for_them() {
    descriptors::raise();
    let town = NativeTown::start_with_descriptors(Plan::default(), FEW_DESCRIPTORS).await;
    let dns = [EXMAIL, GMAIL].map(|server| town.site.address(server, PortKey::Dns));
    assert_answered(asked(dns[0]).await).await;
    let mut idle = Vec::new();
    for (server, key) in [EXMAIL, GMAIL].into_iter().flat_map(|name| [(name, PortKey::Smtp), (name, PortKey::Pop)]) {
        for _ in 0..IDLE_CLIENTS {
            idle.push(TcpStream::connect(town.site.address(server, key)).await.unwrap());
        }
    }
    town.logged(&["service.accept_failed", "raise the limit of open file descriptors"]).await;
    // Single descriptors become free meanwhile, so one client would not do.
    let mut waiting = Vec::new();
    for _ in 0..WAITING_CLIENTS {
        waiting.extend([asked(dns[0]).await, asked(dns[1]).await]);
    }
    let (before, started) = (town.processor_seconds(), Instant::now());
    sleep(MEASURED).await;
    let load = (town.processor_seconds() - before) / started.elapsed().as_secs_f64();
    let waits = |client: &TcpStream| {
        client.try_read(&mut [0]).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    };
    waiting.retain(waits);
    assert!(!waiting.is_empty(), "there are descriptors left");
    assert!(load < MOST_LOAD, "it uses {load:.2} of a core");
    drop(idle);
    for client in waiting {
        assert_answered(client).await;
    }
    assert_answered(asked(dns[0]).await).await;
}
