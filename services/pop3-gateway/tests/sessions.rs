//! What a dialogue cannot show: locks, long messages, silent clients, shutdown, metrics.
#![allow(clippy::disallowed_methods, reason = "a test waits for processes, sockets and files in real time")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use axum::{body::Body, response::IntoResponse};
use bytes::{Bytes, BytesMut};
use dialogue::Dialogue;
use futures_util::{StreamExt, stream};
use mail_proto::pop3::{Command, ReplyDecoder, ServerReply};
use std::{convert::Infallible, io, sync::Arc, time::Duration};
use support::{
    FakeStore, PATIENCE, RunningGateway,
    fixture::{ACCOUNTS, Account, Login, Message, Read, Update},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Notify,
    time::timeout,
};

const USR1: &str = "usr1@mail.sustech.edu.cn";
const LOGIN: &str = "S: +OK POP3 server ready\nC: USER usr1@mail.sustech.edu.cn\nC: PASS pass1\nS: +OK\nS: +OK user successfully logged on\n";

/// One maildrop with one message of these octets.
const fn one_message(octets: u64) -> Account {
    let messages: &'static [Message] = match octets {
        BIG => &[Message { octets: BIG, read: Read::Gone }],
        _ => &[Message { octets: SMALL, read: Read::Gone }],
    };
    Account { address: USR1, password: "pass1", login: Login::Opens, messages, update: Update::Commits }
}

const BIG: u64 = 8 * 1024 * 1024;
const SMALL: u64 = 8;
const ONE_BIG_MESSAGE: &[Account] = &[one_message(BIG)];
const ONE_SMALL_MESSAGE: &[Account] = &[one_message(SMALL)];

/// Plays a login and then `events`, and leaves the connection by closing it.
async fn play(gateway: &RunningGateway, events: &str) {
    let dialogue = Dialogue::parse("events", &format!("# rule\n{LOGIN}{events}"), &[]).unwrap();
    dialogue.play_over(gateway.connect().await, usize::MAX).await.unwrap_or_else(|mismatch| panic!("{mismatch}"));
}

/// Logs in as usr1 and keeps the connection.
async fn logged_in(gateway: &RunningGateway) -> TcpStream {
    let mut client = gateway.connect().await;
    client.write_all(b"USER usr1@mail.sustech.edu.cn\r\nPASS pass1\r\n").await.unwrap();
    let expected = b"+OK POP3 server ready\r\n+OK\r\n+OK user successfully logged on\r\n";
    let mut replies = vec![0; expected.len()];
    client.read_exact(&mut replies).await.unwrap();
    assert_eq!(replies, expected);
    client
}

/// All that comes until the server closes.
async fn read_to_end(client: &mut TcpStream) -> String {
    let mut received = String::new();
    timeout(PATIENCE, client.read_to_string(&mut received)).await.unwrap().unwrap();
    received
}

#[tokio::test]
async fn quit_deletes_what_is_marked_and_unlocks() {
    let store = FakeStore::start(ACCOUNTS).await;
    let gateway = RunningGateway::start(store.address, |_| {}).await;
    play(
        &gateway,
        "C: DELE 3\nC: DELE 1\nC: QUIT\nS: +OK message 3 deleted\nS: +OK message 1 deleted\nS: +OK\nS-EOF\n",
    )
    .await;
    let expected = [format!("open {USR1}"), format!("update {USR1} lock [1, 3]")];
    assert_eq!(store.calls(|calls| calls.len() >= 2).await, expected);
    gateway.stop().await;
}

#[tokio::test]
async fn a_connection_that_ends_without_quit_unlocks_and_deletes_nothing() {
    let store = FakeStore::start(ACCOUNTS).await;
    let gateway = RunningGateway::start(store.address, |config| config.limits.bad_commands = 1).await;
    let expected = [format!("open {USR1}"), format!("close {USR1} lock")];
    play(&gateway, "C: DELE 1\nS: +OK message 1 deleted\nC-EOF\nS-EOF\n").await;
    assert_eq!(store.calls(|calls| calls.len() >= 2).await, expected);
    play(&gateway, "C: DELE 1\nC: X\nS: +OK message 1 deleted\nS: -ERR too many bad commands\nS-EOF\n").await;
    assert_eq!(store.calls(|calls| calls.len() >= 4).await[2..], expected);
    gateway.stop().await;
}

#[tokio::test]
async fn the_lock_is_renewed_while_the_session_lives() {
    let store = FakeStore::start(ACCOUNTS).await;
    let gateway = RunningGateway::start(store.address, |config| config.limits.pop3_lease_seconds = 1).await;
    let client = logged_in(&gateway).await;
    let renewal = format!("renew {USR1} lock");
    let calls = store.calls(|calls| calls.len() >= 4).await;
    assert_eq!(calls, [format!("open {USR1}"), renewal.clone(), renewal.clone(), renewal]);
    drop(client);
    store.calls(|calls| calls.last() == Some(&format!("close {USR1} lock"))).await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_long_message_arrives_as_it_is() {
    let line = "..a line of a long message, which begins with dots\r\n".repeat(8);
    let lines = BIG as usize / line.len();
    let message: Bytes = line.repeat(lines).into();
    let rest = Bytes::from("x".repeat(BIG as usize - message.len()));
    let expected = [&message[..], &rest, b"\r\n"].concat();
    let store = FakeStore::with_contents(ONE_BIG_MESSAGE, move |_| {
        let pieces = [message.clone(), rest.clone()];
        Some(Body::from_stream(stream::iter(pieces.map(Ok::<_, Infallible>))).into_response())
    })
    .await;
    let gateway = RunningGateway::start(store.address, |_| {}).await;
    let mut client = logged_in(&gateway).await;
    let command = Command::Retr(1);
    client.write_all(command.to_wire().as_bytes()).await.unwrap();
    let reply = reply(&mut client, &command).await;
    assert_eq!(reply.status.as_bytes(), format!("+OK {BIG} octets").as_bytes());
    assert!(reply.body == expected, "{} octets of {}", reply.body.len(), expected.len());
    drop(client);
    gateway.stop().await;
}

async fn reply(client: &mut TcpStream, command: &Command) -> ServerReply {
    let mut decoder = ReplyDecoder::for_command(command);
    let mut input = BytesMut::new();
    loop {
        if let Some(reply) = decoder.decode(&mut input).unwrap() {
            return reply;
        }
        assert!(timeout(PATIENCE, client.read_buf(&mut input)).await.unwrap().unwrap() > 0, "broken off");
    }
}

#[tokio::test]
async fn a_client_that_never_reads_is_timed_out() {
    let store = FakeStore::with_contents(ONE_BIG_MESSAGE, |_| {
        let endless = stream::repeat_with(|| Ok::<_, Infallible>(Bytes::from_static(&[b'x'; 8192])));
        Some(Body::from_stream(endless).into_response())
    })
    .await;
    let gateway =
        RunningGateway::start(store.address, |config| config.limits.pop3_idle = Duration::from_millis(300)).await;
    let mut client = logged_in(&gateway).await;
    client.write_all(b"RETR 1\r\n").await.unwrap();
    store.calls(|calls| calls.last() == Some(&format!("close {USR1} lock"))).await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_client_that_says_nothing_or_too_little_is_timed_out() {
    let store = FakeStore::start(ACCOUNTS).await;
    let gateway =
        RunningGateway::start(store.address, |config| config.limits.pop3_idle = Duration::from_millis(300)).await;
    let mut silent = gateway.connect().await;
    assert_eq!(read_to_end(&mut silent).await, "+OK POP3 server ready\r\n");

    let (mut reader, mut writer) = logged_in(&gateway).await.into_split();
    let octets = tokio::spawn(async move {
        // An octet now and then does not make a command.
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        while writer.write_all(b"N").await.is_ok() {
            ticks.tick().await;
        }
    });
    let mut received = Vec::new();
    // The server closes with octets unread, which may also come as a reset.
    let _ = timeout(PATIENCE, reader.read_to_end(&mut received)).await.unwrap();
    assert_eq!(received, b"");
    store.calls(|calls| calls.last() == Some(&format!("close {USR1} lock"))).await;
    octets.abort();
    gateway.stop().await;
}

#[tokio::test]
async fn a_message_that_breaks_off_never_looks_complete() {
    let gate = Arc::new(Notify::new());
    let failure = Arc::clone(&gate);
    let beginning = Bytes::from("a line of sixteen\r\n".repeat(2000));
    let first = beginning.clone();
    let store = FakeStore::with_contents(ONE_BIG_MESSAGE, move |_| {
        let gate = Arc::clone(&gate);
        let failure = async move {
            gate.notified().await;
            Err(io::Error::other("the disk is gone"))
        };
        Some(Body::from_stream(stream::iter([Ok(first.clone())]).chain(stream::once(failure))).into_response())
    })
    .await;
    let gateway = RunningGateway::start(store.address, |_| {}).await;
    let mut client = logged_in(&gateway).await;
    client.write_all(b"RETR 1\r\nNOOP\r\n").await.unwrap();
    let mut first_octets = [0; 4];
    client.read_exact(&mut first_octets).await.unwrap();
    failure.notify_one();
    let received = read_to_end(&mut client).await;
    let expected = [format!("{BIG} octets\r\n").as_bytes(), &beginning].concat();
    assert!(first_octets == *b"+OK " && received.as_bytes() == expected, "{received}");
    store.calls(|calls| calls.last() == Some(&format!("close {USR1} lock"))).await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_store_that_is_down_is_a_temporary_failure() {
    let unused = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = unused.local_addr().unwrap();
    drop(unused);
    let gateway = RunningGateway::start(address, |_| {}).await;
    let events = "# rule\nS: +OK POP3 server ready\nC: USER usr1@mail.sustech.edu.cn\nC: PASS pass1\nC: QUIT\n\
        S: +OK\nS: -ERR [SYS/TEMP] the mailbox store is not available, try again later\nS: +OK\nS-EOF\n";
    let dialogue = Dialogue::parse("events", events, &[]).unwrap();
    dialogue.play_over(gateway.connect().await, usize::MAX).await.unwrap();
    let ready = reqwest::get(format!("http://{}/readyz", gateway.http)).await.unwrap();
    assert_eq!(ready.status(), 503);
    gateway.stop().await;
}

#[tokio::test]
async fn shutdown_finishes_the_command_in_flight() {
    let gate = Arc::new(Notify::new());
    let open_gate = Arc::clone(&gate);
    let store = FakeStore::with_contents(ONE_SMALL_MESSAGE, move |_| {
        let gate = Arc::clone(&gate);
        let rest = stream::once(async move {
            gate.notified().await;
            Ok::<_, Infallible>(Bytes::from("\r\n\r\n"))
        });
        Some(Body::from_stream(stream::iter([Ok(Bytes::from("A: b"))]).chain(rest)).into_response())
    })
    .await;
    let gateway = RunningGateway::start(store.address, |_| {}).await;
    let mut idle = logged_in(&gateway).await;
    let mut busy = logged_in(&gateway).await;
    busy.write_all(b"RETR 1\r\nDELE 1\r\nQUIT\r\n").await.unwrap();
    store.calls(|calls| calls.last() == Some(&format!("read {USR1} 1"))).await;
    gateway.shutdown.cancel();
    // The idle session is closed at once, while the other still waits for its message.
    assert_eq!(read_to_end(&mut idle).await, "");
    open_gate.notify_one();
    assert_eq!(read_to_end(&mut busy).await, "+OK 8 octets\r\nA: b\r\n\r\n.\r\n");
    let calls = store.calls(|calls| calls.iter().filter(|call| call.starts_with("close")).count() == 2).await;
    assert!(!calls.iter().any(|call| call.starts_with("update")), "{calls:?}");
    gateway.stop().await;
}

#[tokio::test]
async fn connections_over_the_limit_are_told_so() {
    let store = FakeStore::start(ACCOUNTS).await;
    let gateway = RunningGateway::start(store.address, |config| config.limits.connections = 0).await;
    let mut client = gateway.connect().await;
    assert_eq!(read_to_end(&mut client).await, "-ERR [SYS/TEMP] too many connections, try again later\r\n");
    gateway.stop().await;
}

#[tokio::test]
async fn an_idle_connection_makes_room_for_another() {
    let store = FakeStore::start(ACCOUNTS).await;
    let gateway = RunningGateway::start(store.address, |config| config.limits.connections = 1).await;
    let mut idle = logged_in(&gateway).await;
    // It may be a moment until the first counts as idle; until then others are refused.
    let served = async {
        let mut status = [0; 3];
        while &status != b"+OK" {
            gateway.connect().await.read_exact(&mut status).await.unwrap();
        }
    };
    timeout(PATIENCE, served).await.unwrap();
    assert_eq!(read_to_end(&mut idle).await, "-ERR [SYS/TEMP] closed to make room for another\r\n");
    gateway.stop().await;
}

#[tokio::test]
async fn what_happens_is_counted() {
    let store = FakeStore::start(ACCOUNTS).await;
    let gateway = RunningGateway::start(store.address, |_| {}).await;
    play(&gateway, "C: USER x@y\nS: -ERR already logged in\nC: RETR 3\nS: +OK 27 octets\nS: Subject: cut\nS:\nS: no line end\nS: .\nC: DELE 3\nC: QUIT\nS: +OK message 3 deleted\nS: +OK\nS-EOF\n").await;
    let metrics = reqwest::get(format!("http://{}/metrics", gateway.http)).await.unwrap().text().await.unwrap();
    let counted: Vec<_> = metrics.lines().filter(|line| !line.starts_with('#')).collect();
    let expected = [
        "mailtown_pop3_sessions_total 1",
        "mailtown_pop3_connections_refused_total 0",
        "mailtown_pop3_logins_total{outcome=\"ok\"} 1",
        "mailtown_pop3_messages_retrieved_total 1",
        "mailtown_pop3_messages_sent_bytes_total 27",
        "mailtown_pop3_messages_deleted_total 1",
    ];
    let missing: Vec<_> = expected.iter().filter(|line| !counted.contains(line)).collect();
    assert!(missing.is_empty(), "{missing:?} in {counted:#?}");
    let ready = reqwest::get(format!("http://{}/readyz", gateway.http)).await.unwrap();
    assert_eq!(ready.status(), 200);
    gateway.stop().await;
}

/// A store whose answer to the deletion is lost is asked again, in the same words.
#[tokio::test]
async fn a_deletion_whose_answer_is_lost_is_repeated() {
    let store = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gateway = RunningGateway::start(store.local_addr().unwrap(), |_| {}).await;
    let updates = tokio::spawn(async move {
        let mut updates = Vec::new();
        while updates.len() < 3 {
            let (mut stream, _) = store.accept().await.unwrap();
            while let Some(request) = next_request(&mut stream).await {
                if request.starts_with("POST") && request.contains("/update HTTP") {
                    updates.push(request);
                    match updates.len() {
                        // The connection ends with the answer on its way.
                        1 => drop(stream.write_all(b"HTTP/1.1 20").await),
                        2 => {}
                        _ => stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap(),
                    }
                    break;
                }
                let session = "{\"session\":\"lock\",\"messages\":[{\"id\":\"0000000000001\",\"octets\":7}]}";
                let head = "HTTP/1.1 201 Created\r\ncontent-type: application/json\r\ncontent-length:";
                stream.write_all(format!("{head} {}\r\n\r\n{session}", session.len()).as_bytes()).await.unwrap();
            }
        }
        updates
    });
    play(&gateway, "C: DELE 1\nC: QUIT\nS: +OK message 1 deleted\nS: +OK\nS-EOF\n").await;
    let updates = timeout(PATIENCE, updates).await.unwrap().unwrap();
    assert!(updates[0].ends_with("{\"delete\":[\"0000000000001\"]}"), "{updates:?}");
    assert!(updates.iter().all(|update| *update == updates[0]), "{updates:?}");
    gateway.stop().await;
}

/// A store that cannot be reached has deleted nothing, which the client hears at once.
#[tokio::test]
async fn a_deletion_that_was_not_sent_is_not_repeated() {
    let store = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gateway = RunningGateway::start(store.local_addr().unwrap(), |_| {}).await;
    let opening = tokio::spawn(async move {
        tell_support(&store).await;
        let (mut stream, _) = store.accept().await.unwrap();
        next_request(&mut stream).await.unwrap();
        let head = "HTTP/1.1 201 Created\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length:";
        let session = "{\"session\":\"lock\",\"messages\":[{\"id\":\"0000000000001\",\"octets\":7}]}";
        stream.write_all(format!("{head} {}\r\n\r\n{session}", session.len()).as_bytes()).await.unwrap();
    });
    let mut client = logged_in(&gateway).await;
    timeout(PATIENCE, opening).await.unwrap().unwrap();
    client.write_all(b"DELE 1\r\nQUIT\r\n").await.unwrap();
    let refusal = "+OK message 1 deleted\r\n-ERR [SYS/TEMP] the marked messages could not be deleted\r\n";
    assert_eq!(read_to_end(&mut client).await, refusal);
    gateway.stop().await;
}

/// Answers the first call of a gateway, which asks what logins can be checked.
async fn tell_support(store: &TcpListener) {
    let (mut stream, _) = store.accept().await.unwrap();
    let request = next_request(&mut stream).await.unwrap();
    assert!(request.starts_with("GET /v1/logins "), "{request}");
    let head = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length:";
    stream.write_all(format!("{head} 15\r\n\r\n{{\"scram\":false}}").as_bytes()).await.unwrap();
}

/// The head and the body of the next request on a connection, until the client closes it.
async fn next_request(stream: &mut TcpStream) -> Option<String> {
    let mut request = String::new();
    loop {
        let mut octets = [0; 4096];
        let read = stream.read(&mut octets).await.unwrap();
        request.push_str(std::str::from_utf8(&octets[..read]).unwrap());
        let Some((head, body)) = request.split_once("\r\n\r\n") else {
            match read {
                0 => return None,
                _ => continue,
            }
        };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        if body.len() == length.map_or(0, |length| length.parse().unwrap()) {
            return Some(request);
        }
    }
}

/// A store that breaks off while it opens a maildrop may have locked it. The gateway says which lock to give up.
#[tokio::test]
async fn a_maildrop_that_may_be_locked_is_released() {
    let store = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gateway = RunningGateway::start(store.local_addr().unwrap(), |_| {}).await;
    let calls = tokio::spawn(async move {
        tell_support(&store).await;
        let mut calls = Vec::new();
        while calls.len() < 2 {
            let (mut stream, _) = store.accept().await.unwrap();
            let head = next_request(&mut stream).await.unwrap();
            // The first call, which opens, gets no answer.
            if head.starts_with("DELETE") {
                stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
            }
            calls.push(head);
        }
        calls
    });
    let events = "# rule\nS: +OK POP3 server ready\nC: USER usr1@mail.sustech.edu.cn\nC: PASS pass1\nC: QUIT\n\
        S: +OK\nS: -ERR [SYS/TEMP] the mailbox store is not available, try again later\nS: +OK\nS-EOF\n";
    let dialogue = Dialogue::parse("events", events, &[]).unwrap();
    dialogue.play_over(gateway.connect().await, usize::MAX).await.unwrap();
    let calls = timeout(PATIENCE, calls).await.unwrap().unwrap();
    let name = calls[0].lines().find_map(|line| line.strip_prefix("mailtown-session: ")).unwrap();
    assert!(calls[1].starts_with(&format!("DELETE /v1/mailboxes/{USR1}/sessions/{name} HTTP/1.1\r\n")), "{calls:?}");
    gateway.stop().await;
}

#[tokio::test]
async fn a_client_without_tls_is_told_that_the_port_begins_with_it() {
    let store = FakeStore::start(ACCOUNTS).await;
    let gateway = RunningGateway::start(store.address, |_| {}).await;
    let mut client = gateway.connect_to_pops().await;
    client.write_all(b"CAPA\r\n").await.unwrap();
    assert_eq!(read_to_end(&mut client).await, "-ERR this port begins with TLS\r\n");
    // One that begins with TLS where nobody has asked for it is told so, too.
    let clear = gateway.connect().await;
    assert!(gateway.agree(Box::new(clear)).await.is_err());
    gateway.stop().await;
}

/// The limit is that of both ports together: a client of the one makes room for a client of the other.
#[tokio::test]
async fn both_ports_share_the_limit_of_connections() {
    let store = FakeStore::start(ACCOUNTS).await;
    let gateway = RunningGateway::start(store.address, |config| config.limits.connections = 1).await;
    let mut idle = logged_in(&gateway).await;
    // It may be a moment until the first counts as idle; until then others are refused.
    let served = async { while gateway.agree(Box::new(gateway.connect_to_pops().await)).await.is_err() {} };
    timeout(PATIENCE, served).await.unwrap();
    assert_eq!(read_to_end(&mut idle).await, "-ERR [SYS/TEMP] closed to make room for another\r\n");
    gateway.stop().await;
}
