//! Dialogues that go over to TLS.

use super::*;
use crate::stream::tls::HANDSHAKE_RECORD;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use tokio_rustls::rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{PrivateKeyDer, ServerName},
};

/// The sides of a server that is called `name`, and of a client that wants to talk to mx.test.
fn sides(name: &str) -> (Tls, Tls) {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed([name.to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let provider = Arc::new(ring::default_provider());
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let server = server.unwrap().with_no_client_auth().with_single_cert(vec![cert.der().clone()], key).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).unwrap();
    let client = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let client = client.unwrap().with_root_certificates(roots).with_no_client_auth();
    (Tls::Client(Arc::new(client), ServerName::try_from("mx.test").unwrap()), Tls::Server(Arc::new(server)))
}

/// A client and a server that have agreed on TLS after the server's go-ahead, each with what the other has injected.
async fn encrypted(client_injects: &[u8], server_injects: &[u8]) -> (LineStream, LineStream) {
    let (mut client, mut server) = streams();
    let (client_side, server_side) = sides("mx.test");
    let client = async {
        client.push([b"STARTTLS\r\n".as_slice(), client_injects].concat().as_slice());
        assert_eq!(next_line(&mut client).await, "220 go ahead");
        client.upgrade(client_side).await.unwrap()
    };
    let server = async {
        assert_eq!(next_line(&mut server).await, "STARTTLS");
        server.push([b"220 go ahead\r\n".as_slice(), server_injects].concat().as_slice());
        server.upgrade(server_side).await.unwrap()
    };
    tokio::join!(client, server)
}

#[tokio::test]
async fn a_dialogue_goes_on_in_tls() {
    let (mut client, mut server) = encrypted(b"", b"").await;
    assert!(client.is_encrypted() && server.is_encrypted());
    assert_eq!(client.ends().unwrap().peer, server.ends().unwrap().local);
    let long = vec![b'x'; 200_000];
    let client = async {
        client.push(b"EHLO a\r\n".as_slice());
        assert_eq!(next_line(&mut client).await, "250 hello");
        client.write(Kind::Body, |output| {
            let mut dots = DotEncoder::default();
            dots.encode(&long, output);
            dots.finish(output);
        });
        client.flush().await.unwrap();
        client.close().await;
    };
    let server = async {
        assert_eq!(next_line(&mut server).await, "EHLO a");
        server.push(&smtp::Reply::plain(250, "hello"));
        let (mut content, mut dots, mut pace) = (Vec::new(), DotDecoder::default(), server.pace(1));
        while !server.body(&mut dots, &mut pace, &mut content).await.unwrap() {}
        assert_eq!(content.len(), long.len() + 2);
        assert!(matches!(server.line(server.deadline()).await, Err(Closed::End)), "the end was announced");
        assert_eq!(server.input.capacity(), 0);
    };
    tokio::join!(client, server);
}

/// RFC 9266 §2, RFC 5929 §4.
#[tokio::test]
async fn both_ends_know_what_binds_their_channel() {
    let (client, server) = encrypted(b"", b"").await;
    let (other, _server) = encrypted(b"", b"").await;
    let exporter = |stream: &LineStream| stream.channel_bindings().exporter.clone().unwrap();
    assert_eq!((exporter(&client), exporter(&client).len()), (exporter(&server), 32));
    assert_ne!(exporter(&client), exporter(&other));
    // The certificates of rcgen are signed with SHA-256.
    assert_eq!(client.channel_bindings().end_point.as_ref().map(Vec::len), Some(32));
    let (in_clear, _) = streams();
    assert!(in_clear.channel_bindings().is_empty());
}

#[tokio::test]
async fn what_was_injected_before_the_handshake_is_dropped() {
    let (mut client, mut server) = encrypted(b"NOOP\r\nRSE", b"250 injected\r\n25").await;
    client.push(b"QUIT\r\n".as_slice());
    client.flush().await.unwrap();
    assert_eq!(next_line(&mut server).await, "QUIT");
    server.push(&smtp::Reply::plain(221, "bye"));
    server.flush().await.unwrap();
    assert_eq!(next_line(&mut client).await, "221 bye");
}

#[tokio::test]
async fn a_connection_that_is_cut_off_is_not_one_that_has_ended() {
    let (client, mut server) = encrypted(b"", b"").await;
    drop(client);
    assert!(matches!(server.line(server.deadline()).await, Err(Closed::Truncated)));
}

#[tokio::test]
async fn a_handshake_with_the_wrong_server_fails_on_both_sides() {
    let (client, server) = streams();
    let (client_side, server_side) = sides("other.test");
    let (client, server) = tokio::join!(client.upgrade(client_side), server.upgrade(server_side));
    assert!(matches!(client, Err(TlsError::Handshake(_))) && matches!(server, Err(TlsError::Handshake(_))));
}

#[tokio::test]
async fn what_is_no_handshake_fails() {
    let (mut client, server) = streams();
    client.push(b"EHLO in the clear\r\n".as_slice());
    client.flush().await.unwrap();
    assert!(matches!(server.upgrade(sides("mx.test").1).await, Err(TlsError::Handshake(_))));
}

/// Far less than the time that a peer may be silent.
#[tokio::test(start_paused = true)]
async fn a_handshake_has_a_time_limit_of_its_own() {
    let (clock, started) = (Clock::system().io, Clock::system().io.instant());
    let (_client, server) = streams();
    assert!(matches!(server.upgrade(sides("mx.test").1).await, Err(TlsError::Closed(Closed::Idle))));
    assert_eq!(clock.since(started).as_secs(), 30);
    // One that begins and goes no further has no more time.
    let (mut client, server) = streams();
    client.push([HANDSHAKE_RECORD, 3, 1].as_slice());
    client.flush().await.unwrap();
    let begun = server.begin_with_tls(server_config(), b"in clear".as_slice()).await;
    assert!(matches!(begun, Err(TlsError::Closed(Closed::Idle))));
    assert_eq!(clock.since(started).as_secs(), 60);
}

fn server_config() -> Arc<ServerConfig> {
    let (_, Tls::Server(config)) = sides("mx.test") else { panic!("the server's side comes second") };
    config
}

/// RFC 8314 §3.3.
#[tokio::test]
async fn a_dialogue_begins_with_tls() {
    let (client, server) = streams();
    let (client_side, Tls::Server(config)) = sides("mx.test") else { panic!("the server's side comes second") };
    let server = server.begin_with_tls(config, b"in clear".as_slice());
    let (client, server) = tokio::join!(client.upgrade(client_side), server);
    let (mut client, mut server) = (client.unwrap(), server.unwrap());
    assert!(server.is_encrypted() && server.channel_bindings().exporter == client.channel_bindings().exporter);
    server.push(b"220 hello\r\n".as_slice());
    server.flush().await.unwrap();
    assert_eq!(next_line(&mut client).await, "220 hello");
}

/// Who speaks in clear, or waits for the server to speak first, is told so.
#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_begin_with_tls_gets_last_words() {
    for said in ["EHLO in the clear\r\n", "E", ""] {
        let (mut client, server) = streams();
        client.push(said.as_bytes());
        client.flush().await.unwrap();
        let server = tokio::spawn(server.begin_with_tls(server_config(), b"421 TLS is spoken here\r\n".as_slice()));
        assert_eq!(next_line(&mut client).await, "421 TLS is spoken here", "{said:?}");
        assert!(matches!(client.line(client.deadline()).await, Err(Closed::End)));
        drop(client);
        assert!(matches!(server.await.unwrap(), Err(TlsError::InClear)));
    }
    let (client, server) = streams();
    drop(client);
    let gone = server.begin_with_tls(server_config(), b"".as_slice()).await;
    assert!(matches!(gone, Err(TlsError::Closed(Closed::End))));
}

#[tokio::test]
async fn there_is_no_tls_in_tls() {
    let (client, _server) = encrypted(b"", b"").await;
    assert!(matches!(client.upgrade(sides("mx.test").0).await, Err(TlsError::Nested)));
}
