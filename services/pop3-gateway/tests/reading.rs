//! What a gateway asks the store for when a client reads one message after the other.
#![allow(clippy::disallowed_methods, reason = "a test waits for processes, sockets and files in real time")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use mail_proto::pop3::{Command, ReplyDecoder};
use std::time::Duration;
use support::{FakeStore, PATIENCE, RunningGateway, fixture::ACCOUNTS};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{self, timeout},
};

const USR1: &str = "usr1@mail.sustech.edu.cn";

/// A store that brings several messages at once, its gateway, and a client that has logged in as usr1.
async fn logged_in() -> (FakeStore, RunningGateway, TcpStream) {
    let store = FakeStore::start(ACCOUNTS).await;
    store.bring_several();
    let gateway = RunningGateway::start(store.address, |_| {}).await;
    let mut client = gateway.connect().await;
    for command in ["", "USER usr1\r\n", "PASS pass1\r\n"] {
        client.write_all(command.as_bytes()).await.unwrap();
        carried_out(&mut client, &Command::Noop).await;
    }
    (store, gateway, client)
}

/// Says a command and reads its reply.
async fn say(client: &mut TcpStream, command: Command) {
    client.write_all(command.to_wire().as_bytes()).await.unwrap();
    carried_out(client, &command).await;
}

async fn carried_out(client: &mut TcpStream, command: &Command) {
    let (mut decoder, mut input) = (ReplyDecoder::for_command(command), bytes::BytesMut::new());
    while {
        let reply = decoder.decode(&mut input).unwrap();
        assert!(reply.as_ref().is_none_or(|reply| reply.status.as_bytes().starts_with(b"+OK")), "{reply:?}");
        reply.is_none()
    } {
        assert!(timeout(PATIENCE, client.read_buf(&mut input)).await.unwrap().unwrap() > 0, "broken off");
    }
}

/// What was read from the store by now.
async fn reads(store: &FakeStore) -> Vec<String> {
    let calls = store.calls(|_| true).await;
    calls.iter().filter_map(|call| call.strip_prefix(&format!("read {USR1} "))).map(str::to_owned).collect()
}

/// As clients do that look at the header of each message before they fetch it.
#[tokio::test]
async fn top_and_retr_of_each_message_need_two_calls_of_the_store() {
    let (store, gateway, mut client) = logged_in().await;
    for number in 1..=6 {
        say(&mut client, Command::Top { number, lines: 0 }).await;
        say(&mut client, Command::Retr(number)).await;
    }
    assert_eq!(reads(&store).await, ["1", "[1, 2, 3, 4, 5, 6]"]);
    drop(client);
    gateway.stop().await;
}

/// A session that stays idle after RETR gives up its room among those who read ahead. Only RETR prolongs it.
#[tokio::test]
async fn what_is_read_ahead_is_dropped_after_a_while() {
    let (store, gateway, mut client) = logged_in().await;
    let pass = async |seconds| {
        time::pause();
        time::advance(Duration::from_secs(seconds)).await;
        time::resume();
    };
    say(&mut client, Command::Retr(1)).await;
    pass(3).await;
    say(&mut client, Command::Retr(2)).await;
    pass(3).await;
    say(&mut client, Command::Dele(1)).await;
    say(&mut client, Command::Retr(3)).await;
    assert_eq!(reads(&store).await, ["[1, 2, 3, 4, 5, 6]"]);
    pass(3).await;
    say(&mut client, Command::Top { number: 4, lines: 0 }).await;
    assert_eq!(reads(&store).await, ["[1, 2, 3, 4, 5, 6]"], "it is still there");
    pass(3).await;
    say(&mut client, Command::Noop).await;
    say(&mut client, Command::Retr(4)).await;
    assert_eq!(reads(&store).await[1..], ["[4, 5, 6]"]);
    drop(client);
    gateway.stop().await;
}
