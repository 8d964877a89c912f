//! A client, in clear and over TLS alike.

use super::PATIENCE;
use dialogue::Duplex;
use mail_proto::sasl::ClientExchange;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

/// Sends a line, and reads one.
pub(crate) async fn ask(client: &mut Box<dyn Duplex>, line: &str) -> String {
    client.write_all(format!("{line}\r\n").as_bytes()).await.unwrap();
    client.flush().await.unwrap();
    read_line(client).await
}

pub(crate) async fn read_line(client: &mut Box<dyn Duplex>) -> String {
    let mut received = Vec::new();
    while !received.ends_with(b"\r\n") {
        let octet = timeout(PATIENCE, client.read_u8()).await.unwrap().unwrap();
        received.push(octet);
    }
    String::from_utf8(received).unwrap().trim_end().to_owned()
}

/// Logs in with SCRAM-SHA-256; returns the last reply.
pub(crate) async fn scram(client: &mut Box<dyn Duplex>, user: &str, password: &str) -> String {
    let mut exchange = ClientExchange::scram(user, &password.to_owned().into(), "nonce").unwrap();
    let mut reply = ask(client, &format!("AUTH {} {}", exchange.mechanism(), exchange.initial())).await;
    while let Some(challenge) = reply.strip_prefix("+ ") {
        let response = exchange.challenge(challenge).unwrap();
        reply = ask(client, &response).await;
    }
    reply
}
