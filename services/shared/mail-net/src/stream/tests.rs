//! Dialogues between two streams, in memory and over TCP.

mod tls;

use super::*;
use crate::{
    ManualClock,
    dial::pair,
    tap::{Direction, Tap},
};
use jiff::Timestamp;
use mail_proto::dot::DotEncoder;
use std::{
    future::poll_fn,
    sync::{Arc, Mutex},
    task::Poll,
};
use tokio::net::{TcpListener, TcpStream};

const LIMITS: StreamLimits = StreamLimits {
    line_octets: 64,
    read_octets: 1024,
    silence: Duration::from_secs(300),
    write: Duration::from_secs(60),
};

/// A client and a server.
fn streams() -> (LineStream, LineStream) {
    let (client, server) = pair();
    (stream(client), stream(server))
}

fn stream(io: Box<dyn Io>) -> LineStream {
    LineStream::new(io, LIMITS, Clock::system())
}

async fn next_line(stream: &mut LineStream) -> String {
    let line = stream.line(stream.deadline()).await.unwrap().unwrap();
    String::from_utf8(line.to_vec()).unwrap()
}

/// Polls once.
async fn is_pending(future: impl Future) -> bool {
    let mut future = pin!(future);
    poll_fn(|context| Poll::Ready(future.as_mut().poll(context).is_pending())).await
}

#[tokio::test]
async fn lines_octet_by_octet_and_all_at_once() {
    let wire = b"EHLO a\r\nbare\nMAIL\r\n".as_slice();
    for chunk in [1, wire.len()] {
        let (client, server) = pair();
        let mut server = stream(server);
        let writing = async move {
            let mut client = client;
            for piece in wire.chunks(chunk) {
                client.write_all(piece).await.unwrap();
                tokio::task::yield_now().await;
            }
        };
        let reading = async {
            assert_eq!(next_line(&mut server).await, "EHLO a");
            assert_eq!(server.line(server.deadline()).await.unwrap(), Err(LineError::BareLf));
            assert_eq!(next_line(&mut server).await, "MAIL");
            assert!(matches!(server.line(server.deadline()).await, Err(Closed::End)));
        };
        tokio::join!(writing, reading);
    }
}

#[tokio::test]
async fn replies_to_pipelined_commands_are_sent_at_once() {
    let (mut client, server) = pair();
    let mut server = stream(server);
    client.write_all(b"A\r\nB\r\n").await.unwrap();
    for reply in ["250 a", "250 b"] {
        next_line(&mut server).await;
        server.push(&smtp::Reply::plain(250, &reply[4..]));
    }
    let mut heard = BytesMut::new();
    assert!(
        is_pending(read_some(&mut *client, &mut heard, 100)).await,
        "nothing is sent while there is a command to carry out"
    );
    assert!(is_pending(server.line(server.deadline())).await);
    read_some(&mut *client, &mut heard, 100).await.unwrap();
    assert_eq!(&heard[..], b"250 a\r\n250 b\r\n");
}

#[tokio::test]
async fn much_output_is_sent_while_there_are_commands() {
    let (client, server) = pair();
    let (mut client, mut server) = (stream(client), stream(server));
    client.push(b"A\r\nB\r\n".as_slice());
    client.flush().await.unwrap();
    next_line(&mut server).await;
    server.push([b'x'; OUTPUT_OCTETS].as_slice());
    assert_eq!(next_line(&mut server).await, "B");
    assert!(server.output.is_empty());
}

#[tokio::test]
async fn an_idle_connection_holds_no_buffer() {
    let (mut client, mut server) = streams();
    client.push(b"A\r\nrest".as_slice());
    client.flush().await.unwrap();
    next_line(&mut server).await;
    server.push([b'x'; OUTPUT_OCTETS].as_slice());
    assert!(is_pending(server.line(server.deadline())).await);
    assert_eq!((&server.input[..], server.output.capacity()), (&b"rest"[..], 0));
    client.push(b"\r\n".as_slice());
    client.flush().await.unwrap();
    next_line(&mut server).await;
    assert!(is_pending(server.line(server.deadline())).await);
    assert_eq!((server.input.capacity(), server.output.capacity()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn the_deadline_is_that_of_the_whole_line() {
    let (mut client, mut server) = streams();
    let dripping = async {
        loop {
            client.push(b"x".as_slice());
            client.flush().await.unwrap();
            client.clock.io.sleep(Duration::from_secs(10)).await;
        }
    };
    let started = server.clock.io.instant();
    let deadline = started + Duration::from_secs(45);
    let cut = tokio::select! { cut = server.line(deadline) => cut, () = dripping => unreachable!() };
    assert!(matches!(cut, Err(Closed::Idle)));
    assert_eq!(server.clock.io.since(started), Duration::from_secs(45));

    // A silence may end it earlier.
    let started = client.clock.io.instant();
    let cut = client.line(started + 10 * LIMITS.silence).await;
    assert!(matches!(cut, Err(Closed::Idle)));
    assert_eq!(client.clock.io.since(started), LIMITS.silence);
}

#[tokio::test(start_paused = true)]
async fn who_reads_nothing_is_given_up() {
    let (_client, mut server) = streams();
    server.push(vec![b'x'; 1 << 20].as_slice());
    assert!(matches!(server.line(server.deadline()).await, Err(Closed::Unread)));
}

#[tokio::test]
async fn what_was_half_sent_is_sent_to_its_end() {
    let (mut client, mut server) = streams();
    let octets: Vec<u8> = (0..100_000_u32).map(|number| number as u8).collect();
    server.push(octets.as_slice());
    // The pipe is full then.
    assert!(is_pending(server.line(server.deadline())).await);
    let reading = async {
        let mut heard = BytesMut::new();
        while let Ok(1..) = read_some(&mut *client.io, &mut heard, 1024).await {}
        drop(client);
        heard
    };
    let ((), heard) = tokio::join!(server.close(), reading);
    assert!(heard == octets, "{} octets", heard.len());
}

#[tokio::test]
async fn a_body_ends_where_its_decoder_says() {
    let mut wire = Vec::new();
    let mut dots = DotEncoder::default();
    dots.encode(b".a\r\nb\r\n", &mut wire);
    dots.finish(&mut wire);
    wire.extend_from_slice(b"QUIT\r\n");
    for chunk in 1..=wire.len() {
        let (mut client, mut server) = streams();
        let sending = async {
            for piece in wire.chunks(chunk) {
                client.write(Kind::Body, |output| output.extend_from_slice(piece));
                client.flush().await.unwrap();
                tokio::task::yield_now().await;
            }
        };
        let receiving = async {
            let (mut content, mut dots) = (Vec::new(), DotDecoder::default());
            let mut pace = server.pace(1);
            while !server.body(&mut dots, &mut pace, &mut content).await.unwrap() {}
            assert_eq!(next_line(&mut server).await, "QUIT");
            content
        };
        let ((), content) = tokio::join!(sending, receiving);
        assert_eq!(content, b".a\r\nb\r\n", "in chunks of {chunk}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_keeps_its_pace() {
    // Ten octets in the time that a peer may be silent, or fifty in all.
    for (octets, interval, is_cut) in [(5, 140, false), (5, 160, true), (50, 290, false)] {
        let (mut client, mut server) = streams();
        let sending = tokio::spawn(async move {
            let wire = [vec![b'x'; 50].as_slice(), b"\r\n.\r\n"].concat();
            for piece in wire.chunks(octets) {
                client.clock.io.sleep(Duration::from_secs(interval)).await;
                client.push(piece);
                if client.flush().await.is_err() {
                    break;
                }
            }
            client
        });
        let (mut content, mut dots, mut pace) = (Vec::new(), DotDecoder::default(), server.pace(10));
        let ended = loop {
            match server.body(&mut dots, &mut pace, &mut content).await {
                Ok(false) => {}
                ended => break ended,
            }
        };
        assert_eq!(matches!(ended, Err(Closed::Idle)), is_cut, "{octets} octets each {interval} s: {ended:?}");
        sending.abort();
    }
}

#[tokio::test]
async fn the_last_reply_arrives_though_much_is_unread() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let mut server = stream(Box::new(listener.accept().await.unwrap().0));
    let mut client = stream(Box::new(client));
    client.push([b'x'; 100_000].as_slice());
    client.flush().await.unwrap();
    server.push(&smtp::Reply::plain(421, "enough"));
    let (line, ()) = tokio::join!(next_line(&mut client), server.close());
    assert_eq!(line, "421 enough");
}

#[tokio::test]
async fn a_quiet_peer_has_neither_spoken_nor_gone() {
    for (speaks, name) in [(true, "spoken"), (false, "gone")] {
        let (mut client, mut server) = streams();
        assert!(server.is_quiet());
        if speaks {
            client.push(b"x".as_slice());
            client.flush().await.unwrap();
        } else {
            drop(client);
        }
        assert!(!server.is_quiet(), "{name}");
        assert_eq!(server.has_input(), speaks, "what it has said is not lost");
    }
}

#[test]
fn how_a_connection_ends_as_an_io_error() {
    for (closed, kind) in [
        (Closed::End, io::ErrorKind::ConnectionAborted),
        (Closed::Idle, io::ErrorKind::TimedOut),
        (Closed::Unread, io::ErrorKind::TimedOut),
        (Closed::Truncated, io::ErrorKind::UnexpectedEof),
        (Closed::Io(io::ErrorKind::ConnectionReset.into()), io::ErrorKind::ConnectionReset),
    ] {
        assert_eq!(io::Error::from(closed).kind(), kind);
    }
}

/// Writes down what it sees.
#[derive(Default)]
struct Notes(Mutex<Vec<String>>);

impl Tap for Notes {
    fn saw(&self, at: Timestamp, direction: Direction, kind: Kind, octets: &[u8]) {
        let arrow = if direction == Direction::Sent { '>' } else { '<' };
        let second = at.as_second() % 60;
        self.0.lock().unwrap().push(format!("{second} {arrow} {kind:?} {}", octets.escape_ascii()));
    }
}

impl Notes {
    fn taken(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

/// A server whose dialogue is written down, and the time.
fn tapped() -> (LineStream, LineStream, Arc<Notes>, ManualClock) {
    let (client, server) = pair();
    let manual = ManualClock::starting_at(Timestamp::UNIX_EPOCH);
    let notes = Arc::new(Notes::default());
    let taps = Taps::new(vec![Arc::clone(&notes) as _], |line| line.starts_with(b"PASS "), manual.clock().wall);
    let server = LineStream::new(server, LIMITS, manual.clock()).with_taps(taps);
    (stream(client), server, notes, manual)
}

#[tokio::test]
async fn a_tap_sees_all_octets_in_their_order() {
    let (mut client, mut server, notes, time) = tapped();
    server.push(b"220 hi\r\n".as_slice());
    client.push(b"EHLO a\r\nDATA\r\nb\r\n.\r\nbare\nPASS x\r\nsecret\r\nPASS bare\nrest".as_slice());
    client.flush().await.unwrap();
    next_line(&mut server).await;
    time.advance(Duration::from_secs(7));
    server.push(b"250-a\r\n250 b\r\n".as_slice());
    next_line(&mut server).await;
    let (mut content, mut dots, mut pace) = (Vec::new(), DotDecoder::default(), server.pace(1));
    assert!(server.body(&mut dots, &mut pace, &mut content).await.unwrap());
    for _ in 0..2 {
        let _ = server.line(server.deadline()).await.unwrap();
    }
    server.expect_secret();
    for _ in 0..2 {
        let _ = server.line(server.deadline()).await.unwrap();
    }
    server.write(Kind::Secret, |output| output.extend_from_slice(b"AUTH x\r\n"));
    server.flush().await.unwrap();
    drop(client);
    assert!(matches!(server.line(server.deadline()).await, Err(Closed::End)));
    assert_eq!(
        notes.taken(),
        [
            "0 > Line 220 hi\\r\\n",
            "0 < Line EHLO a\\r\\n",
            "0 < Line DATA\\r\\n",
            "0 < Body b\\r\\n.\\r\\n",
            "0 < Line bare\\n",
            "0 < Secret PASS x\\r\\n",
            "0 < Secret secret\\r\\n",
            "0 < Secret PASS bare\\n",
            "7 > Line 250-a\\r\\n250 b\\r\\n",
            "7 > Secret AUTH x\\r\\n",
            "0 < Line rest",
        ]
    );
}

#[tokio::test]
async fn a_tap_sees_what_was_sent_and_no_more() {
    let (mut client, mut server, notes, _) = tapped();
    server.push(vec![b'x'; 50_000].as_slice());
    server.write(Kind::Body, |output| output.extend_from_slice(&[b'y'; 50_000]));
    assert!(is_pending(server.line(server.deadline())).await);
    let sent = |notes: &Notes| notes.taken().iter().map(|note| note.rsplit(' ').next().unwrap().len()).sum::<usize>();
    assert_eq!(sent(&notes), 64 * 1024, "as much as the pipe takes");
    read_some(&mut *client.io, &mut BytesMut::new(), 100_000).await.unwrap();
    assert!(is_pending(server.line(server.deadline())).await);
    assert_eq!(sent(&notes), 100_000 - 64 * 1024);
}

#[tokio::test]
async fn a_long_secret_is_secret_to_its_end() {
    let (mut client, mut server, notes, _) = tapped();
    client.push([b"PASS ".as_slice(), &[b'x'; 5000], b"\r\nA\r\n"].concat().as_slice());
    client.flush().await.unwrap();
    assert_eq!(server.line(server.deadline()).await.unwrap(), Err(LineError::TooLong));
    assert_eq!(next_line(&mut server).await, "A");
    let notes = notes.taken();
    let (last, secret) = notes.split_last().unwrap();
    assert_eq!(last, "0 < Line A\\r\\n");
    assert!(secret.len() > 1 && secret.iter().all(|note| note.starts_with("0 < Secret ")), "{notes:?}");
}
