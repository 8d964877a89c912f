//! A POP3 gateway that is killed in each state of a session, and a store that goes away in the middle of one: nothing is
//! deleted that was not committed, no message looks complete that is not, and the maildrop is free again within the lease.
//!
//! Two hundred clients that ask for a large message and do not read it cost a bounded amount of memory, and others are served.

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use internal_api::Submission;
use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    time::timeout,
};
use town_config::PortKey;
use town_tests::{EXMAIL, GMAIL, PATIENCE, Plan, Pop3Client, ProcessTown, Service, Site, USR, USR1, USR2, eventually};

const STORE: Service = Service { binary: "mailbox-store", server: EXMAIL };
const GATEWAY: Service = Service { binary: "pop3-gateway", server: EXMAIL };
const LEASE: Duration = Duration::from_secs(2);
/// How late a lease may be found to have ended, on a machine that does other things too.
const SLACK: Duration = Duration::from_secs(8);
/// More than the buffers of both ends hold.
const LARGE: usize = 25 * 1024 * 1024;
const SMALL: &[u8] = b"Subject: small\r\n\r\nkept\r\n";
const UNAVAILABLE: &str = "-ERR [SYS/TEMP] the mailbox store is not available, try again later\r\n";

/// A town with a short lease, and a small and a large message for [`USR2`].
async fn town() -> ProcessTown {
    let lease = LEASE.as_secs();
    let town = ProcessTown::start(Plan::default().limits(&format!("pop3_lease = \"{lease}s\""))).await;
    deliver(&town, SMALL.to_vec()).await;
    deliver(&town, large()).await;
    town
}

async fn deliver(town: &Site, message: Vec<u8>) {
    let name = format!("{} octets", message.len());
    let submission = Submission::new(name, "<>".parse().unwrap(), [USR2.parse().unwrap()]);
    town.store(EXMAIL).submit(&submission, Bytes::from(message)).await.unwrap();
}

fn large() -> Vec<u8> {
    let mut message = b"Subject: large\r\n\r\n".to_vec();
    while message.len() < LARGE - 100 {
        message.extend_from_slice(b"a line of a large message, of which there are very many\r\n");
    }
    message
}

/// A connection of which each line can be seen.
struct Client(BufReader<TcpStream>);

impl Client {
    async fn connect(town: &Site) -> Self {
        Self::connect_to(town.address(EXMAIL, PortKey::Pop)).await
    }

    async fn connect_to(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        let mut client = Self(BufReader::new(stream));
        assert_eq!(client.line().await, "+OK POP3 server ready\r\n");
        client
    }

    async fn logged_in(town: &Site) -> Self {
        let mut client = Self::connect(town).await;
        client.says(&format!("USER {USR2}"), "+OK").await;
        client.says("PASS pass2", "+OK").await;
        client
    }

    /// As a user of gmail.com, whose password is the name.
    async fn logged_in_as(address: SocketAddr, name: String) -> Self {
        let mut client = Self::connect_to(address).await;
        client.says(&format!("USER {name}@gmail.com"), "+OK").await;
        client.says(&format!("PASS {name}"), "+OK").await;
        client
    }

    async fn write(&mut self, line: &str) {
        self.0.write_all(format!("{line}\r\n").as_bytes()).await.unwrap();
    }

    /// Sends a line; the reply begins with this.
    async fn says(&mut self, line: &str, reply: &str) {
        self.write(line).await;
        let actual = self.line().await;
        assert!(actual.starts_with(reply), "{line}: {actual}");
    }

    async fn line(&mut self) -> String {
        let mut line = String::new();
        timeout(PATIENCE, self.0.read_line(&mut line)).await.unwrap().unwrap();
        line
    }

    /// What still comes until the connection ends, however it ends.
    async fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        let _ = timeout(PATIENCE, self.0.read_to_end(&mut rest)).await.unwrap();
        rest
    }
}

/// Waits until the maildrop can be opened, within its lease after `since`. Both messages are still there, unchanged.
async fn is_free_and_whole(town: &ProcessTown, since: Instant) {
    let address = town.address(EXMAIL, PortKey::Pop);
    let mut client = eventually("the maildrop to be free", LEASE + SLACK, async || {
        let mut client = Pop3Client::connect(address).await.ok()?;
        client.log_in(USR2, "pass2").await.ok()?;
        Some(client)
    })
    .await;
    assert!(since.elapsed() < LEASE + SLACK, "{:?}", since.elapsed());
    let (small, large) = (SMALL.to_vec(), large());
    assert_eq!(client.stat().await, (2, (small.len() + large.len() + 6) as u64));
    assert_eq!(client.retr(1).await, small);
    assert!(client.retr(2).await == large, "the large message has changed");
    client.quit().await;
}

/// A cut message must not end as a whole one does.
fn assert_cut(octets: &[u8]) {
    assert!(octets.len() < LARGE / 2, "most of the message came");
    assert!(!octets.ends_with(b"\r\n.\r\n"), "a cut message looks complete");
}

#[tokio::test]
async fn a_gateway_killed_in_any_state_deletes_nothing() {
    let mut town = town().await;
    let states: [(&str, &[&str]); 3] = [
        ("after USER", &[]),
        ("with marks", &["PASS pass2", "DELE 1", "DELE 2"]),
        ("after RSET", &["PASS pass2", "DELE 1", "RSET", "DELE 2"]),
    ];
    for (state, lines) in states {
        eprintln!("{state}");
        let mut client = Client::connect(&town).await;
        client.says(&format!("USER {USR2}"), "+OK").await;
        for line in lines {
            client.says(line, "+OK").await;
        }
        town.kill(GATEWAY).await;
        let killed = Instant::now();
        assert_eq!(client.rest().await, b"", "{state}");
        town.restart(GATEWAY).await;
        is_free_and_whole(&town, killed).await;
    }
}

#[tokio::test]
async fn a_gateway_killed_while_it_sends_deletes_nothing() {
    let mut town = town().await;
    let mut client = Client::logged_in(&town).await;
    client.says("DELE 1", "+OK").await;
    client.says("RETR 2", "+OK").await;
    client.write("DELE 2\r\nQUIT").await;
    town.kill(GATEWAY).await;
    let killed = Instant::now();
    assert_cut(&client.rest().await);
    town.restart(GATEWAY).await;
    is_free_and_whole(&town, killed).await;
}

/// Nobody knows whether it is too late. All that was marked is gone or nothing is, and after `+OK` all is.
#[tokio::test]
async fn a_gateway_killed_after_quit_has_deleted_all_or_nothing() {
    const ROUNDS: u64 = 8;
    let plan = Plan::default().limits("pop3_lease = \"1s\"");
    let mut town = ProcessTown::start(plan).await;
    for round in 0..ROUNDS {
        for number in 0..3 {
            let subject = format!("Subject: {round} {number}\r\n\r\n{}", "x".repeat(number));
            town.send(USR1, &[USR2], subject.as_bytes()).await;
        }
        let mut client = Client::logged_in(&town).await;
        let count = town.listing(USR2).await.messages.len();
        client.says("DELE 1", "+OK").await;
        client.says("DELE 2", "+OK").await;
        client.write("QUIT").await;
        tokio::time::sleep(Duration::from_micros(300 * round)).await;
        town.kill(GATEWAY).await;
        let reply = client.rest().await;
        town.restart(GATEWAY).await;
        let address = town.address(EXMAIL, PortKey::Pop);
        let mut next = eventually("the maildrop to be free", LEASE + SLACK, async || {
            let mut next = Pop3Client::connect(address).await.ok()?;
            next.log_in(USR2, "pass2").await.ok()?;
            Some(next)
        })
        .await;
        let left = next.stat().await.0 as usize;
        eprintln!("round {round}: {left} of {count} left, told {:?}", reply.escape_ascii().to_string());
        let is_committed = left == count - 2;
        assert!(is_committed || left == count, "{left} of {count}");
        assert!(
            is_committed || reply.is_empty(),
            "told {:?}, but nothing is deleted",
            reply.escape_ascii().to_string()
        );
        next.quit().await;
    }
}

#[tokio::test]
async fn a_store_gone_before_pass_retr_or_quit_is_a_temporary_failure() {
    let mut town = town().await;
    let mut waiting = Client::connect(&town).await;
    waiting.says(&format!("USER {USR2}"), "+OK").await;
    let mut client = Client::logged_in(&town).await;
    client.says("DELE 1", "+OK").await;
    town.kill(STORE).await;
    waiting.says("PASS pass2", UNAVAILABLE).await;
    client.says("RETR 2", UNAVAILABLE).await;
    client.says("TOP 2 0", UNAVAILABLE).await;
    // What needs no store is answered as before.
    client.says("STAT", &format!("+OK 1 {}\r\n", large().len() + 3)).await;
    client.says("QUIT", "-ERR [SYS/TEMP] ").await;
    assert_eq!(client.rest().await, b"", "closed cleanly");
    waiting.says("QUIT", "+OK").await;
    town.restart(STORE).await;
    is_free_and_whole(&town, Instant::now()).await;
}

#[tokio::test]
async fn a_store_gone_in_the_middle_of_a_message_cuts_it() {
    let mut town = town().await;
    let mut client = Client::logged_in(&town).await;
    client.says("DELE 1", "+OK").await;
    client.says("RETR 2", "+OK").await;
    client.write("DELE 2\r\nQUIT").await;
    town.kill(STORE).await;
    assert_cut(&client.rest().await);
    town.restart(STORE).await;
    is_free_and_whole(&town, Instant::now()).await;
}

const DEAF: usize = 200;
/// For all of them, in each process: 1 MiB each, of the 25 MiB that each has asked for.
const GROWTH_LIMIT_KIB: u64 = DEAF as u64 * 1024;
const DEAF_STORE: Service = Service { binary: "mailbox-store", server: GMAIL };
const DEAF_GATEWAY: Service = Service { binary: "pop3-gateway", server: GMAIL };
/// How many clients log in at once.
const AT_ONCE: usize = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_do_not_read_cost_bounded_memory() {
    let plan = Plan::default().limits("connections_per_peer = 1000").accounts(DEAF);
    let town = ProcessTown::start(plan).await;
    let everybody = (0..DEAF).map(|number| format!("many{number}@gmail.com").parse().unwrap());
    let submission = Submission::new("large", "<>".parse().unwrap(), everybody);
    town.store(GMAIL).submit(&submission, Bytes::from(large())).await.unwrap();
    let address = town.address(GMAIL, PortKey::Pop);
    let log_ins = stream::iter(0..DEAF).map(|number| Client::logged_in_as(address, format!("many{number}")));
    let mut deaf: Vec<_> = log_ins.buffer_unordered(AT_ONCE).collect().await;
    // Logins take memory of their own, for the hashes of passwords.
    let before = [DEAF_STORE, DEAF_GATEWAY].map(|service| town.memory_kib(service, "VmHWM"));
    for client in &mut deaf {
        client.says("RETR 1", "+OK").await;
    }
    let served = Instant::now();
    for _ in 0..10 {
        let count = town.mail(USR).await.len();
        town.send(USR, &[USR], SMALL).await;
        assert_eq!(town.mail_of(USR, count + 1).await[count], SMALL);
    }
    let after = [DEAF_STORE, DEAF_GATEWAY].map(|service| town.memory_kib(service, "VmHWM"));
    eprintln!("store and gateway: {before:?} KiB, then {after:?} KiB; others were served in {:?}", served.elapsed());
    for (before, after) in before.into_iter().zip(after) {
        assert!(after < before + GROWTH_LIMIT_KIB, "{before} KiB, then {after} KiB");
    }
    // Whoever reads at last gets all of it. The store gives up a gateway that has read nothing for 30 s, so it is the last one:
    // a busy machine needs long for all of them.
    let mut message = vec![0; large().len()];
    let last = deaf.last_mut().unwrap();
    timeout(PATIENCE, last.0.read_exact(&mut message)).await.unwrap().unwrap();
    assert!(message == large(), "the large message has changed");
}
