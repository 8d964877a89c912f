//! Mail that arrives.

use mail_proto::pop3::Command;
use town_tests::{EXMAIL, FakePeer, GMAIL, Plan, TestTown, USR, USR1, USR2, polite};

#[tokio::test]
async fn several_recipients_in_both_domains_get_it_once_each_and_unchanged() {
    let town = TestTown::start(Plan::default()).await;
    let message = b"Subject: for all\r\n\r\n.\r\n..\r\n...three\r\n\xff\xfe\r\n";
    let id = town.send(USR1, &[USR1, USR2, USR, USR1], message).await;
    let marker = b"Subject: marker\r\n\r\n";
    town.drained(EXMAIL).await;
    town.send(USR1, &[USR1, USR2, USR], marker).await;
    for address in [USR1, USR2, USR] {
        assert_eq!(town.mail_of(address, 2).await, [&message[..], marker], "{address}");
    }
    let uidl = town.pop3(USR1).await.command(Command::Uidl(Some(1))).await.unwrap();
    assert_eq!(uidl.status.text(), format!("1 {id}"));
    town.drained(EXMAIL).await;
    town.stop().await;
}

#[tokio::test]
async fn a_domain_without_mx_is_its_own_exchange() {
    let peer = FakePeer::start(polite).await;
    let town = TestTown::start(Plan::default().peer("solo.example", peer.port())).await;
    town.send(USR1, &["someone@solo.example"], b"Subject: solo\r\n\r\n").await;
    peer.heard("S: 250 2.0.0 taken", 1).await;
    town.drained(EXMAIL).await;
}

#[tokio::test]
async fn the_second_exchange_takes_what_the_first_cannot() {
    let peer = FakePeer::start(polite).await;
    let plan = Plan::default();
    let silent = plan.silent_port();
    let exchanges =
        r#"[{ preference = 20, exchange = "two.example." }, { preference = 10, exchange = "one.example." }]"#;
    let plan = plan.mx("several.example", exchanges).p("one.example", silent).p("two.example", peer.port());
    let town = TestTown::start(plan).await;
    town.send(USR1, &["someone@several.example"], b"Subject: second\r\n\r\n").await;
    peer.heard("S: 250 2.0.0 taken", 1).await;
    town.drained(EXMAIL).await;
}

#[tokio::test]
async fn the_most_preferred_exchange_is_asked_first() {
    let first = FakePeer::start(polite).await;
    let second = FakePeer::start(polite).await;
    let exchanges =
        r#"[{ preference = 20, exchange = "two.example." }, { preference = 10, exchange = "one.example." }]"#;
    let plan = Plan::default().mx("several.example", exchanges);
    let town = TestTown::start(plan.p("one.example", first.port()).p("two.example", second.port())).await;
    town.send(USR1, &["someone@several.example"], b"Subject: first\r\n\r\n").await;
    first.heard("S: 250 2.0.0 taken", 1).await;
    town.drained(EXMAIL).await;
    assert_eq!(second.transcript(), Vec::<String>::new());
}

#[tokio::test]
async fn profile_rfc_traces_each_hop() {
    let town = TestTown::start(Plan::default().rfc()).await;
    let message = "Subject: trace\r\n\r\nbody\r\n";
    town.send(USR1, &[USR, USR2], message.as_bytes()).await;
    for (address, hops) in
        [(USR, &["gmail.com with ESMTPS", "exmail.qq.com with ESMTP"][..]), (USR2, &["exmail.qq.com with ESMTP"])]
    {
        let received = town.mail_of(address, 1).await.remove(0);
        let text = String::from_utf8(received.clone()).unwrap();
        let added = text.strip_suffix(message).expect("the message itself is unchanged");
        let mut fields: Vec<_> = added.replace("\r\n\t", " ").split_terminator("\r\n").map(str::to_owned).collect();
        assert_eq!(fields.remove(0), "Return-Path: <usr1@mail.sustech.edu.cn>");
        assert_eq!(fields.len(), hops.len(), "{added}");
        for (field, hop) in fields.iter().zip(hops) {
            let (trace, date) = field.split_once(';').unwrap();
            assert!(trace.starts_with("Received: from "), "{field}");
            // Nothing else but the recipient may follow: an id would have to be that of the 250 and of UIDL.
            let (_, by) = trace.split_once(" ([127.0.0.1]) by ").unwrap();
            assert_eq!(by.split(" for ").next(), Some(*hop), "{field}");
            assert!(date.ends_with(" +0000"), "{field}");
        }
        assert!(fields[0].contains(" for <usr@gmail.com>;") == (address == USR), "{added}");
        let mut client = town.pop3(address).await;
        assert_eq!(client.stat().await, (1, received.len() as u64));
        let listed = client.command(Command::List(Some(1))).await.unwrap().status.two_numbers().unwrap();
        assert_eq!(listed, (1, received.len() as u64));
    }
    town.stop().await;
}

#[tokio::test]
async fn profile_tutorial_counts_the_closing_dot() {
    let town = TestTown::start(Plan::default()).await;
    let message = b"Subject: size\r\n\r\nbody\r\n";
    town.send(USR1, &[USR2], message).await;
    assert_eq!(town.mail_of(USR2, 1).await, [message]);
    assert_eq!(town.pop3(USR2).await.stat().await, (1, message.len() as u64 + 3));
    town.stop().await;
}

#[tokio::test]
async fn five_mebibytes_cross_the_domains_with_all_their_dots() {
    let town = TestTown::start(Plan::default()).await;
    let mut message = b"Subject: large\r\n\r\n".to_vec();
    for number in 0.. {
        // No two lines alike, so that nothing can be left out or change places.
        let dots = ".".repeat(number % 4);
        message.extend_from_slice(format!("{dots}{number} {}\r\n", "x".repeat(number * 7 % 90)).as_bytes());
        if message.len() >= 5 * 1024 * 1024 {
            break;
        }
    }
    town.send(USR1, &[USR, USR2], &message).await;
    for address in [USR, USR2] {
        let received = town.mail_of(address, 1).await.remove(0);
        assert!(received == message, "{address}: {} octets of {}", received.len(), message.len());
    }
    town.stop().await;
}

#[tokio::test]
async fn mail_goes_both_ways_at_once() {
    let town = TestTown::start(Plan::default()).await;
    let both = async |number: usize| {
        let message = format!("Subject: {number}\r\n\r\n").into_bytes();
        tokio::join!(town.send(USR1, &[USR], &message), town.send(USR, &[USR1], &message));
    };
    tokio::join!(both(0), both(1), both(2), both(3));
    let expected: Vec<_> = (0..4).map(|number| format!("Subject: {number}\r\n\r\n").into_bytes()).collect();
    for address in [USR, USR1] {
        let mut received = town.mail_of(address, 4).await;
        received.sort();
        assert_eq!(received, expected, "{address}");
    }
    town.drained(GMAIL).await;
    town.stop().await;
}

#[tokio::test]
async fn in_profile_rfc_a_message_without_header_fields_stays_apart_from_ours() {
    let town = TestTown::start(Plan::default().rfc()).await;
    for (number, message) in [" Subject: folded\r\nx\r\n", "no field at all\r\n"].iter().enumerate() {
        town.send(USR1, &[USR2], message.as_bytes()).await;
        let mail = town.mail_of(USR2, number + 1).await;
        let text = String::from_utf8_lossy(&mail[number]);
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("Return-Path: <usr1@mail.sustech.edu.cn>\r\nReceived: from "), "{head}");
        assert_eq!(body, *message);
    }
    town.stop().await;
}

#[tokio::test]
async fn in_profile_rfc_a_message_of_exactly_the_limit_reaches_the_other_server() {
    let town = TestTown::start(Plan::default().rfc().limits("message_octets = 70000")).await;
    let head = "Subject: large\r\n\r\n";
    let line = format!("{}\r\n", "x".repeat(98));
    let message = [head, &line.repeat(699), &"y".repeat(100 - head.len() - 2), "\r\n"].concat();
    assert_eq!(message.len(), 70_000);
    town.send(USR1, &[USR], message.as_bytes()).await;
    let mail = town.mail_of(USR, 1).await;
    assert!(mail[0].ends_with(message.as_bytes()));
    assert_eq!(mail[0].split(|octet| *octet == b'\n').filter(|line| line.starts_with(b"Received:")).count(), 2);
    town.stop().await;
}
