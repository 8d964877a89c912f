//! What an idle connection costs a server, in the clear and in TLS.
#![allow(clippy::unwrap_used)]

use mail_net::{Clock, LineStream, StreamLimits, Tls};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use std::{fs, sync::Arc, time::Duration};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, RootCertStore, ServerConfig,
        crypto::ring,
        pki_types::{PrivateKeyDer, ServerName},
    },
};

const CONNECTIONS: u64 = 200;
const LIMITS: StreamLimits = StreamLimits {
    line_octets: 2048,
    read_octets: 16 * 1024,
    silence: Duration::from_secs(300),
    write: Duration::from_secs(300),
};

/// The most that one connection may cost, in KiB.
const PLAIN_KIB: u64 = 9;
const TLS_KIB: u64 = 40;

fn resident_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn sides() -> (Arc<ClientConfig>, Tls) {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["mx.test".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let provider = Arc::new(ring::default_provider());
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let server = server.unwrap().with_no_client_auth().with_single_cert(vec![cert.der().clone()], key).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).unwrap();
    let client = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let client = client.unwrap().with_root_certificates(roots).with_no_client_auth();
    (Arc::new(client), Tls::Server(Arc::new(server)))
}

/// Serves a connection that has said one command and is silent from then on.
async fn serve(stream: TcpStream, tls: Option<Tls>) {
    let mut stream = LineStream::new(Box::new(stream), LIMITS, Clock::system());
    if let Some(tls) = tls {
        stream = stream.upgrade(tls).await.unwrap();
    }
    while stream.line(stream.deadline()).await.is_ok() {
        stream.push(b"250 OK\r\n".as_slice());
    }
}

/// The client's end of a connection that is idle on the server. Of TLS only the socket is kept, since this is the
/// process that is measured.
async fn idle(listener: &TcpListener, tls: Option<&(Arc<ClientConfig>, Tls)>) -> TcpStream {
    let (client, server) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
    let mut client = client.unwrap();
    tokio::spawn(serve(server.unwrap().0, tls.map(|(_, server)| server.clone())));
    match tls {
        None => converse(&mut client).await,
        Some((config, _)) => {
            let connector = TlsConnector::from(Arc::clone(config));
            let mut encrypted = connector.connect(ServerName::try_from("mx.test").unwrap(), client).await.unwrap();
            converse(&mut encrypted).await;
            client = encrypted.into_inner().0;
        }
    }
    client
}

async fn converse(client: &mut (impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin)) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    client.write_all(b"NOOP\r\n").await.unwrap();
    client.flush().await.unwrap();
    client.read_exact(&mut [0; 8]).await.unwrap();
}

#[tokio::test]
async fn an_idle_connection_is_small() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let sides = sides();
    // All stay open, so that no memory is used twice.
    let mut clients = Vec::new();
    for (name, tls, limit_kib) in [("plain", None, PLAIN_KIB), ("TLS", Some(&sides), TLS_KIB)] {
        // The first ones have what is shared paid.
        for _ in 0..20 {
            clients.push(idle(&listener, tls).await);
        }
        let before_kib = resident_kib();
        for _ in 0..CONNECTIONS {
            clients.push(idle(&listener, tls).await);
        }
        let octets = (resident_kib() - before_kib) * 1024 / CONNECTIONS;
        eprintln!("an idle connection, {name}, both sockets included: {octets} octets");
        assert!(octets <= limit_kib * 1024, "{name}: {octets} octets");
    }
}
