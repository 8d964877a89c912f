//! Dialogues with an exchange, in memory.
#![allow(clippy::disallowed_methods, reason = "a test waits for processes, sockets and files in real time")]

mod answers;
mod search;
mod smarthost;
mod tls;

use super::*;
use crate::{
    Config, Hosts, SERVICE,
    metrics::Metrics,
    relay::slots::{DomainSlots, Interruption},
};
use internal_api::{ClaimedRecipient, DnsClient, Endpoint, InProcess, MessageId, StoreClient};
use mail_net::{Clock, Hop, Io, MemoryListener, MemoryNetwork, StreamLimits};
use mail_proto::{Mailbox, ReversePath, chunk::ChunkDecoder, dot::DotDecoder, smtp::MailParameters};
use prometheus_client::registry::Registry;
use records::{Recorder, Records};
use service_kit::shutdown::CancellationToken;
use std::path::{Path, PathBuf};
use tokio::time::Instant;
use town_config::{LiveConfig, LiveStack, Relay};

const CONFIG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../data/config.toml");

/// A relay, and an exchange that it may connect to.
struct Fixture {
    context: Context,
    slot: DomainSlot,
    exchange: Arc<Exchange>,
    network: MemoryNetwork,
    /// Where a test may be the mailbox store.
    store: InProcess,
    /// Where a test may be the name server.
    dns: InProcess,
}

impl Fixture {
    fn new() -> (Self, MemoryListener) {
        let (_, stack) =
            LiveConfig::open(Path::new(CONFIG), Clock::system().io).unwrap().only("exmail.qq.com").unwrap();
        Self::of(stack, None)
    }

    /// In profile `rfc`, with these lines in `[relay]`.
    fn rfc(relay: &str, authority: Option<PathBuf>) -> (Self, MemoryListener) {
        let text = format!("[server.\"exmail.qq.com\"]\nsmtp = 1\npop = 2\n[relay]\n{relay}\n");
        let config = town_config::Config::parse(&text, Path::new("config.toml")).unwrap();
        Self::of(config.stack("exmail.qq.com").unwrap().clone().into(), authority)
    }

    fn of(stack: LiveStack, authority: Option<PathBuf>) -> (Self, MemoryListener) {
        // Nobody listens there: most tests need neither.
        let (store, dns) = (InProcess::default(), InProcess::default());
        let nobody = |or: &InProcess| Endpoint::new("http://127.0.0.1:9", None).unwrap().in_process(or.clone());
        let network = MemoryNetwork::default();
        let listener = network.listen("mx.test:25".parse().unwrap());
        let clock = Clock::system();
        let recorder = Recorder::of_stack(stack.clone(), SERVICE, Records::default(), clock.wall.clone());
        let config = Config {
            certificate: None,
            authority,
            stack,
            store: StoreClient::new(nobody(&store), Clock::system().io),
            dns: DnsClient::new(nobody(&dns), Clock::system().io),
            dial: Arc::new(network.clone()),
            name_server: None,
            hosts: Hosts::Loopback,
            trusted_networks: None,
            token: None,
            recorder,
            faults: faults::Faults::none(),
            clock,
        };
        let context =
            Context::new(&config, "127.0.0.1:1025".parse().unwrap(), Metrics::register(&mut Registry::default()));
        let slots = Arc::new(DomainSlots::new(Clock::system().io));
        let slot = slots.begin(&"a.test".parse().unwrap(), &Relay::default(), &CancellationToken::new());
        let exchange =
            Exchange { preference: 0, name: "mx.test".to_owned(), address: "mx.test:25".to_owned(), is_proven: true };
        (Self { context, slot, exchange: Arc::new(exchange), network, store, dns }, listener)
    }

    async fn open(&self) -> Result<Connection, Broken> {
        self.open_for(Security::Configured).await
    }

    async fn open_for(&self, security: Security) -> Result<Connection, Broken> {
        Connection::open(&self.context, &self.slot, &self.exchange, security).await
    }
}

/// Takes the next connection and greets.
async fn accept(listener: &mut MemoryListener) -> LineStream {
    let (hop, io) = listener.accept().await.unwrap();
    assert_eq!(hop, Hop::SmtpToPeer);
    let mut stream = stream(io);
    stream.push(b"220 mx.test\r\n".as_slice());
    stream
}

fn stream(io: Box<dyn Io>) -> LineStream {
    let patience = Duration::from_secs(3600);
    let limits = StreamLimits { line_octets: 1024, read_octets: 1024, silence: patience, write: patience };
    LineStream::new(io, limits, Clock::system())
}

/// Hears each command of the script, and says the reply to it.
async fn play(stream: &mut LineStream, script: &[(&str, &str)]) {
    for (command, reply) in script {
        let line = stream.line(stream.deadline()).await.unwrap().unwrap();
        assert_eq!(String::from_utf8_lossy(&line), *command);
        stream.push([reply.as_bytes(), b"\r\n"].concat().as_slice());
    }
    stream.flush().await.unwrap();
}

const HELLO: [(&str, &str); 1] = [("ehlo exmail.qq.com", "250-mx.test\r\n250 8BITMIME")];

fn message(recipient: &Recipient) -> ClaimedMessage {
    ClaimedMessage {
        id: MessageId::from_number(1),
        reverse_path: ReversePath::Null,
        octets: 4,
        queued_at: "2026-01-01T00:00:00Z".parse().unwrap(),
        age_seconds: Some(0),
        parameters: MailParameters::default(),
        recipients: vec![ClaimedRecipient::new(recipient.clone(), 1)],
        inline: true,
    }
}

#[tokio::test]
async fn a_message_travels_over_the_connection_that_was_made() {
    let (fixture, mut listener) = Fixture::new();
    let recipient = Recipient::from("b@a.test".parse::<Mailbox>().unwrap());
    let message = message(&recipient);
    let relaying = async {
        let mut connection = fixture.open().await.unwrap();
        let body = Some(Bytes::from_static(b".a\r\n"));
        let mail = Outgoing {
            message: &message,
            recipients: vec![recipient],
            body,
            trace: Some("Delivered-To: l@b.test\r\n".to_owned()),
        };
        let verdicts = connection.transact(&fixture.context, &fixture.slot, &mail).await.unwrap();
        assert!(matches!(&verdicts[..], [verdict] if verdict.is_taken()), "{verdicts:?}");
        connection.quit().await;
    };
    let receiving = async {
        let mut stream = accept(&mut listener).await;
        play(&mut stream, &HELLO).await;
        let transaction = [("mail FROM:<>", "250 OK"), ("rcpt TO:<b@a.test>", "250 OK"), ("data", "354 go ahead")];
        play(&mut stream, &transaction).await;
        let (mut content, mut dots, mut pace) = (Vec::new(), DotDecoder::default(), stream.pace(1));
        while !stream.body(&mut dots, &mut pace, &mut content).await.unwrap() {}
        assert_eq!(content, b"Delivered-To: l@b.test\r\n\r\n.a\r\n");
        stream.push(b"250 OK queued as 7\r\n".as_slice());
        play(&mut stream, &[("quit", "221 bye")]).await;
    };
    tokio::join!(relaying, receiving);
}

#[tokio::test(start_paused = true)]
async fn an_exchange_that_says_nothing_is_given_up_in_time() {
    let (fixture, _listener) = Fixture::new();
    let started = Instant::now();
    let broken = fixture.open().await.unwrap_err();
    assert!(matches!(&broken, Broken::Connection(error) if error.kind() == io::ErrorKind::TimedOut), "{broken}");
    assert_eq!(started.elapsed(), fixture.context.stack.current().relay.patience().greeting);
}

#[tokio::test]
async fn a_connection_is_kept_only_while_the_exchange_is_quiet() {
    let (fixture, mut listener) = Fixture::new();
    let receiving = async {
        let mut stream = accept(&mut listener).await;
        play(&mut stream, &HELLO).await;
        stream
    };
    let (connection, mut stream) = tokio::join!(fixture.open(), receiving);
    let connection = connection.unwrap().if_quiet().unwrap();
    stream.push(b"421 too late\r\n".as_slice());
    stream.flush().await.unwrap();
    assert!(connection.if_quiet().is_none());
}

#[tokio::test]
async fn a_stop_ends_what_has_not_begun() {
    let (fixture, _listener) = Fixture::new();
    let shutdown = CancellationToken::new();
    let slot =
        Arc::new(DomainSlots::new(Clock::system().io)).begin(&"a.test".parse().unwrap(), &Relay::default(), &shutdown);
    shutdown.cancel();
    let broken = Connection::open(&fixture.context, &slot, &fixture.exchange, Security::Configured).await.unwrap_err();
    assert!(matches!(broken, Broken::Interrupted(Interruption::Shutdown)), "{broken}");
}
