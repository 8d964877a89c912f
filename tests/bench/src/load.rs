//! The load: SMTP clients that do nothing but send one message after the other.

use crate::{statistics::quantile, target::Target};
use anyhow::{Context, bail};
use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream, rustls::pki_types::ServerName};
use tokio_util::either::Either;
use town_tls::Trust;

/// Far more than any reply here has.
const INPUT_OCTETS: usize = 2048;
/// A system that says nothing for so long has failed.
const PATIENCE: Duration = Duration::from_secs(60);
/// The digits of a message's number.
const DIGITS: usize = 12;

/// What is sent, and how.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    /// How many clients send at once.
    pub(crate) connections: usize,
    /// For how long new messages are begun.
    pub(crate) duration: Duration,
    /// The octets of each message.
    pub(crate) message_octets: usize,
}

/// What came of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sent {
    /// When the first message was begun.
    pub(crate) started: Instant,
    /// How many messages were acknowledged.
    pub(crate) messages: u64,
    /// How long that took, to the last acknowledgement.
    pub(crate) elapsed: Duration,
    /// Half of the messages were acknowledged within this many milliseconds.
    pub(crate) median_ms: f64,
    /// 99 of 100 messages were acknowledged within this many milliseconds.
    pub(crate) p99_ms: f64,
}

/// Sends the load to the target. All clients have said EHLO before the clock starts.
///
/// # Errors
/// When any message is not acknowledged.
pub(crate) async fn send(target: &Target, load: Load) -> anyhow::Result<Sent> {
    let mut connecting = JoinSet::new();
    for _ in 0..load.connections {
        connecting.spawn(Client::open_as_wanted(target.smtp, target.tls));
    }
    let clients: Vec<_> = connecting.join_all().await.into_iter().collect::<Result<_, _>>()?;
    let plan = Arc::new(Plan::new(target, load));
    let started = Instant::now();
    let mut sending = JoinSet::new();
    for (number, client) in clients.into_iter().enumerate() {
        sending.spawn(send_until(client, Arc::clone(&plan), number, started + load.duration));
    }
    let mut latencies = Vec::new();
    let mut clients = Vec::new();
    while let Some(ended) = sending.join_next().await {
        let (client, milliseconds) = ended??;
        clients.push(client);
        latencies.extend(milliseconds);
    }
    let elapsed = started.elapsed();
    for client in clients {
        client.quit().await?;
    }
    latencies.sort_by(f64::total_cmp);
    let at = |part| quantile(&latencies, part).unwrap_or_default();
    let (median_ms, p99_ms) = (at(0.5), at(0.99));
    Ok(Sent { started, messages: latencies.len() as u64, elapsed, median_ms, p99_ms })
}

async fn send_until(
    mut client: Client,
    plan: Arc<Plan>,
    number: usize,
    deadline: Instant,
) -> anyhow::Result<(Client, Vec<f64>)> {
    let mut message = plan.message.clone();
    let mut latencies = Vec::new();
    while Instant::now() < deadline {
        let begun = Instant::now();
        let envelope = &plan.envelopes[(number + latencies.len()) % plan.envelopes.len()];
        number_message(&mut message, number * 10_000_000 + latencies.len());
        timeout(PATIENCE, client.transact(envelope, &message)).await.context("no reply")??;
        latencies.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    Ok((client, latencies))
}

/// What all clients send.
struct Plan {
    /// One for each recipient, in turns.
    envelopes: Vec<Envelope>,
    /// A message with the end of data; its number stands at [`NUMBER_AT`].
    message: Vec<u8>,
}

/// MAIL, RCPT and DATA for one recipient.
struct Envelope {
    apart: [String; 3],
    together: String,
}

const HEAD: &str = "Message-ID: <000000000000@load.bench>\r\nDate: Mon, 2 Nov 2026 08:00:00 +0000\r\nSubject: load\r\n";
const NUMBER_AT: usize = "Message-ID: <".len();
const END_OF_DATA: &[u8] = b".\r\n";

impl Plan {
    fn new(target: &Target, load: Load) -> Self {
        let sender = &target.sender;
        let envelope = |recipient: &String| {
            let apart =
                [format!("MAIL FROM:<{sender}>\r\n"), format!("RCPT TO:<{recipient}>\r\n"), "DATA\r\n".to_owned()];
            Envelope { together: apart.concat(), apart }
        };
        let mut message = message(sender, load.message_octets);
        message.extend_from_slice(END_OF_DATA);
        Self { envelopes: target.recipients.iter().map(envelope).collect(), message }
    }
}

/// A message of this many octets.
pub(crate) fn message(sender: &str, octets: usize) -> Vec<u8> {
    let mut message = format!("{HEAD}From: <{sender}>\r\n\r\n").into_bytes();
    const LINE: &[u8] = b"It is not the strongest of the messages that survives, but the best kept.\r\n";
    while message.len() + LINE.len() < octets {
        message.extend_from_slice(LINE);
    }
    message.resize(octets.saturating_sub(2).max(message.len()), b'-');
    message.extend_from_slice(b"\r\n");
    message
}

/// Writes the number into a message.
pub(crate) fn number_message(message: &mut [u8], mut number: usize) {
    for digit in message[NUMBER_AT..NUMBER_AT + DIGITS].iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// One client's connection.
pub(crate) struct Client {
    stream: Either<TcpStream, Box<TlsStream<TcpStream>>>,
    input: Box<[u8; INPUT_OCTETS]>,
    /// What of the input was received and not yet read.
    unread: std::ops::Range<usize>,
    pipelining: bool,
}

impl Client {
    /// Connects, from this address if one is given, and says EHLO.
    ///
    /// # Errors
    /// When the server does not take it.
    pub(crate) async fn open(server: SocketAddr, source: Option<Ipv4Addr>) -> anyhow::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        if let Some(source) = source {
            socket.bind((source, 0).into())?;
        }
        let stream = timeout(PATIENCE, socket.connect(server)).await??;
        stream.set_nodelay(true)?;
        let stream = Either::Left(stream);
        let mut client = Self { stream, input: Box::new([0; INPUT_OCTETS]), unread: 0..0, pipelining: false };
        timeout(PATIENCE, client.expect(b'2')).await.context("no greeting")??;
        timeout(PATIENCE, client.introduce()).await.context("no reply to EHLO")??;
        Ok(client)
    }

    /// Connects, says EHLO, and again over TLS if that is wanted (RFC 3207).
    ///
    /// # Errors
    /// When the server does not take it.
    pub(crate) async fn open_as_wanted(server: SocketAddr, tls: bool) -> anyhow::Result<Self> {
        let client = Self::open(server, None).await?;
        if tls { timeout(PATIENCE, client.encrypt()).await.context("no TLS")? } else { Ok(client) }
    }

    async fn encrypt(mut self) -> anyhow::Result<Self> {
        self.stream.write_all(b"STARTTLS\r\n").await?;
        self.expect(b'2').await?;
        let Either::Left(stream) = self.stream else { bail!("TLS is spoken already") };
        let connector = TlsConnector::from(Trust::new(None).anybody()?);
        let stream = connector.connect(ServerName::from(stream.peer_addr()?.ip()), stream).await?;
        self.stream = Either::Right(Box::new(stream));
        self.introduce().await?;
        Ok(self)
    }

    async fn introduce(&mut self) -> anyhow::Result<()> {
        self.stream.write_all(b"EHLO load.bench\r\n").await?;
        loop {
            let line = self.line().await?;
            let text = &self.input[line];
            self.pipelining |= text.get(4..).is_some_and(|keyword| keyword == b"PIPELINING");
            match text {
                [b'2', _, _, b'-', ..] => {}
                [b'2', ..] => return Ok(()),
                _ => bail!("EHLO was answered {}", String::from_utf8_lossy(text)),
            }
        }
    }

    /// Sends one message, and waits until it is acknowledged.
    async fn transact(&mut self, envelope: &Envelope, message: &[u8]) -> anyhow::Result<()> {
        if self.pipelining {
            self.stream.write_all(envelope.together.as_bytes()).await?;
            self.expect(b'2').await?;
            self.expect(b'2').await?;
        } else {
            let [mail, rcpt, data] = &envelope.apart;
            for command in [mail, rcpt] {
                self.stream.write_all(command.as_bytes()).await?;
                self.expect(b'2').await?;
            }
            self.stream.write_all(data.as_bytes()).await?;
        }
        self.expect(b'3').await?;
        self.stream.write_all(message).await?;
        self.expect(b'2').await
    }

    async fn quit(mut self) -> anyhow::Result<()> {
        self.stream.write_all(b"QUIT\r\n").await?;
        timeout(PATIENCE, self.expect(b'2')).await.context("QUIT was not answered")?
    }

    /// Reads a reply, of which the code must begin with this digit.
    async fn expect(&mut self, digit: u8) -> anyhow::Result<()> {
        loop {
            let line = self.line().await?;
            match &self.input[line] {
                [first, _, _, b'-', ..] if *first == digit => {}
                [first, ..] if *first == digit => return Ok(()),
                other => bail!("the server answered {}", String::from_utf8_lossy(other)),
            }
        }
    }

    /// The next line, without its end.
    async fn line(&mut self) -> anyhow::Result<std::ops::Range<usize>> {
        loop {
            let unread = self.unread.clone();
            if let Some(length) = self.input[unread.clone()].iter().position(|&octet| octet == b'\n') {
                self.unread.start += length + 1;
                let text = self.input[unread.start..unread.start + length].trim_ascii_end().len();
                return Ok(unread.start..unread.start + text);
            }
            self.input.copy_within(unread.clone(), 0);
            self.unread = 0..unread.len();
            let free = &mut self.input[unread.len()..];
            anyhow::ensure!(!free.is_empty(), "the server sent a line without end");
            let read = self.stream.read(free).await?;
            anyhow::ensure!(read > 0, "the server closed the connection");
            self.unread.end += read;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_their_length_and_number() {
        for octets in [300, 4096, 4097] {
            let mut message = message("s@one.bench", octets);
            assert_eq!(message.len(), octets);
            number_message(&mut message, 42);
            assert!(message.starts_with(b"Message-ID: <000000000042@load.bench>\r\n"));
            assert!(message.ends_with(b"\r\n") && !message.windows(3).any(|window| window == b"\n.\r"));
            assert!(message.iter().zip(&message[1..]).all(|(one, next)| (*one == b'\r') == (*next == b'\n')));
        }
    }
}
