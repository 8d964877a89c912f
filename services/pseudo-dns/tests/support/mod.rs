//! A pseudo-dns on ports of its own.
#![allow(clippy::disallowed_methods, reason = "a test waits for processes, sockets and files in real time")]
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]
#![allow(dead_code, reason = "not every file of tests needs all of it")]

use faults::Faults;
use hickory_proto::{
    op::{Message, Query},
    rr::{Name, RecordType},
};
use mail_net::Clock;
use pseudo_dns::{Config, Listeners, Overlay, SERVICE, ServiceError};
use records::{Recorder, Records};
use service_kit::{http::Token, shutdown::CancellationToken};
use std::{fs, io, net::SocketAddr, sync::Arc, time::Duration};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
    task::JoinHandle,
    time::timeout,
};
use town_config::{FaultKeys, OwnHosts, Reload, Trace};

/// What takes longer will never happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// A running pseudo-dns.
pub(crate) struct PseudoDns {
    pub(crate) http: String,
    pub(crate) dns: SocketAddr,
    pub(crate) directory: TempDir,
    shutdown: CancellationToken,
    pub(crate) running: JoinHandle<Result<(), ServiceError>>,
}

impl PseudoDns {
    pub(crate) async fn start(zone: &str, token: Option<&str>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("fdns.toml"), zone).unwrap();
        let http = TcpListener::bind("127.0.0.1:0").await.unwrap();
        // The same number may be taken for UDP, so try until it is not.
        let (dns_tcp, dns_udp) = loop {
            let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
            if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()).await {
                break (tcp, udp);
            }
        };
        let (http_address, dns) = (http.local_addr().unwrap(), dns_tcp.local_addr().unwrap());
        let config = Config {
            zone: pseudo_dns::ZoneSource::File(directory.path().join("fdns.toml")),
            overlay: Overlay::default(),
            servers: ["server.example", "elsewhere.org"].map(str::to_owned).to_vec(),
            grace: Duration::ZERO,
            reload: Reload::never(),
            token: token.map(Token::from),
            hosts: Arc::new(OwnHosts::default),
            recorder: Recorder::new(
                Records::default(),
                ("server.example".parse().unwrap(), SERVICE),
                Trace::default,
                Clock::system().wall,
            ),
            faults: Faults::none(),
            fault_keys: FaultKeys::default(),
            clock: Clock::system(),
        };
        let shutdown = CancellationToken::new();
        let listeners = Listeners { http: http.into(), dns_tcp, dns_udp };
        let running = tokio::spawn(pseudo_dns::run(config, listeners, shutdown.clone()));
        Self { http: format!("http://{http_address}"), dns, directory, shutdown, running }
    }

    /// Sends octets over UDP and waits for the response.
    pub(crate) async fn udp(&self, octets: &[u8]) -> Message {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.send_to(octets, self.dns).await.unwrap();
        let mut response = [0; 4096];
        let length = timeout(PATIENCE, socket.recv(&mut response)).await.unwrap().unwrap();
        Message::from_vec(&response[..length]).unwrap()
    }

    /// Sends a message over a TCP connection of its own and waits for the response.
    pub(crate) async fn tcp(&self, octets: &[u8]) -> Message {
        let mut client = TcpClient::connect(self.dns).await;
        client.send(&framed(octets)).await;
        client.response().await.unwrap()
    }

    /// Status and body of `GET /v1/resolve?<query>`.
    pub(crate) async fn resolve(&self, query: &str) -> (u16, serde_json::Value) {
        let response = reqwest::get(format!("{}/v1/resolve?{query}", self.http)).await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.running.await.unwrap().unwrap();
    }
}

/// A question of class IN.
pub(crate) fn query(name: &str, record_type: RecordType) -> Message {
    let mut message = Message::query();
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), record_type));
    message
}

/// A message with its length before it (RFC 1035 §4.2.2).
pub(crate) fn framed(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u16).to_be_bytes(), message].concat()
}

/// A client of DNS over TCP.
pub(crate) struct TcpClient(TcpStream);

impl TcpClient {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self(TcpStream::connect(address).await.unwrap())
    }

    /// Sends these octets in one segment, if they fit.
    pub(crate) async fn send(&mut self, octets: &[u8]) {
        self.0.write_all(octets).await.unwrap();
    }

    /// Sends until the server does not take any more.
    pub(crate) async fn send_for_ever(&mut self, octets: &[u8]) {
        let sending = async { while self.0.write_all(octets).await.is_ok() {} };
        timeout(PATIENCE, sending).await.unwrap();
    }

    /// Says that nothing more comes.
    pub(crate) async fn finish(&mut self) {
        self.0.shutdown().await.unwrap();
    }

    /// The next response; `None` when the server has closed the connection.
    pub(crate) async fn response(&mut self) -> Option<Message> {
        let receiving = async {
            let mut response = vec![0; usize::from(self.0.read_u16().await?)];
            self.0.read_exact(&mut response).await.map(|_| response)
        };
        match timeout(PATIENCE, receiving).await.unwrap() {
            Ok(response) => Some(Message::from_vec(&response).unwrap()),
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{error}");
                None
            }
        }
    }
}
