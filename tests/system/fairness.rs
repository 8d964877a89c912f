//! Peers that say nothing, and the mail that is not for them.

use std::time::Duration;
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    time::timeout,
};
use town_tests::{
    Answer, EXMAIL, FakePeer, PATIENCE, Plan, ProcessTown, Service, Site, TestTown, USR, USR1, eventually, polite,
};

/// Ten times what a quiet machine needs.
const SOON: Duration = Duration::from_secs(10);

/// A peer that says nothing any more once it hears this.
async fn silent_at(verb: &'static str) -> FakePeer {
    FakePeer::start(
        move |line| if line.text.split([' ', ':']).next() == Some(verb) { Answer::Hang } else { polite(line) },
    )
    .await
}

/// Peers that hang at `verb`, their domains, and the plan of a town that knows them.
async fn silent_peers(count: usize, verb: &'static str) -> (Vec<(FakePeer, String)>, Plan) {
    let (mut peers, mut plan) = (Vec::new(), Plan::default());
    for number in 0..count {
        let (peer, domain) = (silent_at(verb).await, format!("silent{number}.example"));
        plan = plan.peer(&domain, peer.port());
        peers.push((peer, domain));
    }
    (peers, plan)
}

async fn healthy_mail_arrives(town: &Site) {
    for count in 1..=3 {
        town.send(USR1, &[USR], b"Subject: quick\r\n\r\n").await;
        town.mail_within(USR, count, SOON).await;
    }
}

#[tokio::test]
async fn four_silent_domains_do_not_stop_other_mail() {
    let (peers, plan) = silent_peers(4, "").await;
    let town = TestTown::start(plan).await;
    // As many messages as there are places.
    for _ in 0..16 {
        for (_, domain) in &peers {
            town.send(USR1, &[&format!("a@{domain}")], b"Subject: slow\r\n\r\n").await;
        }
    }
    for (peer, _) in &peers {
        peer.heard("-- 1", 1).await;
    }
    healthy_mail_arrives(&town).await;
}

#[tokio::test]
async fn as_many_silent_domains_as_places_do_not_stop_other_mail() {
    for verb in ["", "EHLO", "MAIL", "RCPT", "DATA", "."] {
        let (peers, plan) = silent_peers(4, verb).await;
        let town = TestTown::start(plan.relay("connections = 4\nretry = [\"1h\"]")).await;
        for (peer, domain) in &peers {
            town.send(USR1, &[&format!("a@{domain}")], b"Subject: slow\r\n\r\n").await;
            peer.heard("-- 1", 1).await;
        }
        healthy_mail_arrives(&town).await;
        let queue = town.queue(EXMAIL).await;
        assert_eq!(queue.len(), 4, "{verb}");
        // Whether the message was taken is unknown after its dot: nobody gives up then.
        let given_up = queue.iter().filter(|entry| !entry.leased).count();
        assert_eq!(given_up > 0, verb != ".", "{verb}: {queue:?}");
        assert!(queue.iter().filter(|entry| !entry.leased).all(|entry| {
            entry.attempts == 1 && entry.last_reply.ends_with("no answer yet, and other mail needs the connection")
        }));
    }
}

/// A listener that accepts nothing and has a full queue: whoever connects to it waits.
struct FullListener {
    listener: TcpListener,
    _queue: Vec<TcpStream>,
}

impl FullListener {
    async fn start() -> Self {
        /// Far longer than connecting takes where there is room.
        const LONG: Duration = Duration::from_secs(1);
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let mut queue = Vec::new();
        while let Ok(connected) = timeout(LONG, TcpStream::connect(address)).await {
            queue.push(connected.unwrap());
        }
        Self { listener, _queue: queue }
    }

    fn port(&self) -> u16 {
        self.listener.local_addr().unwrap().port()
    }
}

#[tokio::test]
async fn as_many_domains_that_hang_in_connecting_as_places_do_not_stop_other_mail() {
    let (mut listeners, mut plan) = (Vec::new(), Plan::default());
    for number in 0..4 {
        let listener = FullListener::start().await;
        plan = plan.peer(&format!("silent{number}.example"), listener.port());
        listeners.push(listener);
    }
    let town = TestTown::start(plan.relay("connections = 4\nretry = [\"1h\"]")).await;
    for number in 0..listeners.len() {
        town.send(USR1, &[&format!("a@silent{number}.example")], b"Subject: slow\r\n\r\n").await;
    }
    eventually("a connection under way to each", PATIENCE, async || {
        town.queue(EXMAIL).await.iter().all(|entry| entry.leased).then_some(())
    })
    .await;
    healthy_mail_arrives(&town).await;
    let queue = town.queue(EXMAIL).await;
    let mut given_up = queue.iter().filter(|entry| !entry.leased).peekable();
    assert!(queue.len() == 4 && given_up.peek().is_some(), "{queue:?}");
    assert!(given_up.all(|entry| entry.last_reply.ends_with("no answer yet, and other mail needs the connection")));
}

#[tokio::test]
async fn a_gateway_that_stops_gives_up_what_has_not_reached_its_dot() {
    let gateway = Service { binary: "smtp-gateway", server: EXMAIL };
    for verb in ["", "EHLO", "MAIL", "DATA"] {
        let peer = silent_at(verb).await;
        let mut town = ProcessTown::start(Plan::default().peer("peer.example", peer.port())).await;
        town.send(USR1, &["a@peer.example"], b"Subject: hang\r\n\r\n").await;
        peer.heard("-- 1", 1).await;
        if !verb.is_empty() {
            eventually("the relay to hang", SOON, async || {
                peer.transcript().iter().any(|line| line.starts_with(&format!("C: {verb}"))).then_some(())
            })
            .await;
        }
        let stopped = std::time::Instant::now();
        town.terminate(gateway);
        assert_eq!(town.ended(gateway).await.code(), Some(0));
        assert!(stopped.elapsed() < service_kit::shutdown::GRACE, "{verb}: given up, not waited for");
        let queue = town.queue(EXMAIL).await;
        let entry = &queue[0];
        assert_eq!((entry.attempts, entry.leased, entry.last_reply.as_str()), (0, false, ""), "{verb}");
    }
}
