//! Messages, how they are framed, and how they are answered.

use super::*;

/// The verdict on a message of these octets, sent in profile `rfc` to an exchange that announces this, takes all commands,
/// and answers the message with `answer`, after which the connection ends. And what the exchange has heard of it.
async fn sent(relay: &str, announced: &str, octets: &'static [u8], answer: &[u8]) -> (Verdict, Vec<u8>) {
    let (fixture, mut listener) = Fixture::rfc(relay, None);
    let recipient = Recipient::from("b@a.test".parse::<Mailbox>().unwrap());
    let message = ClaimedMessage { octets: octets.len() as u64, ..message(&recipient) };
    let relaying = async {
        let mut connection = fixture.open().await.unwrap();
        let mail = Outgoing {
            message: &message,
            recipients: vec![recipient],
            body: Some(Bytes::from_static(octets)),
            trace: Some("Delivered-To: l@b.test\r\n".to_owned()),
        };
        match connection.transact(&fixture.context, &fixture.slot, &mail).await {
            Ok(mut verdicts) => verdicts.remove(0),
            Err(mut broken) => broken.verdicts.remove(0),
        }
    };
    let receiving = async {
        let mut stream = accept(&mut listener).await;
        play(&mut stream, &[("EHLO exmail.qq.com", &format!("250-mx.test\r\n250-8BITMIME\r\n250 {announced}"))]).await;
        play(&mut stream, &[("MAIL FROM:<> BODY=8BITMIME", "250 OK"), ("RCPT TO:<b@a.test>", "250 OK")]).await;
        let line = stream.line(stream.deadline()).await.unwrap().unwrap();
        let (mut content, mut pace) = (Vec::new(), stream.pace(1));
        if line == "DATA" {
            stream.push(b"354 go ahead\r\n".as_slice());
            let mut dots = DotDecoder::default();
            while !stream.body(&mut dots, &mut pace, &mut content).await.unwrap() {}
        } else {
            let text = String::from_utf8(line.to_vec()).unwrap();
            let count = text.strip_prefix("BDAT ").and_then(|rest| rest.strip_suffix(" LAST")).unwrap();
            let mut chunk = ChunkDecoder::default();
            chunk.begin(count.parse().unwrap());
            while !stream.body(&mut chunk, &mut pace, &mut content).await.unwrap() {}
        }
        assert!(!stream.has_input(), "nothing follows");
        stream.push(answer);
        stream.close().await;
        content
    };
    tokio::join!(relaying, receiving)
}

#[tokio::test]
async fn messages_arrive_as_they_are_in_either_framing() {
    for announced in ["CHUNKING", "X"] {
        for octets in [&b".\r\n..\r\n\xff\r\n"[..], b"", b"no field\r\n", b"A: b\r\n\r\nx\r\n", &[b'x'; 100_000]] {
            // A message always ends with CRLF.
            let octets: &'static [u8] =
                if octets.len() == 100_000 { [octets, b"\r\n"].concat().leak() } else { octets };
            let (verdict, content) = sent("", announced, octets, b"250 OK\r\n").await;
            assert!(verdict.is_taken(), "{verdict:?}");
            let content = content.strip_prefix(b"Delivered-To: l@b.test\r\n").unwrap();
            assert_eq!(
                content.strip_prefix(b"\r\n").filter(|_| !octets.starts_with(b"\r\n")).unwrap_or(content),
                octets
            );
        }
    }
}

/// An answer that is not understood would have the message sent at every attempt.
#[tokio::test]
async fn after_the_final_dot_whatever_has_a_code_is_an_answer() {
    for announced in ["CHUNKING", "X"] {
        for answer in ["250 ok\n", "250-one\n250 two\n", "250 ok", "250", "250ok\r\n", "\r\n250 ok\n", "250-one\r\n"] {
            let (verdict, _) = sent("", announced, b"A: b\r\n", answer.as_bytes()).await;
            assert!(verdict.is_taken(), "{answer:?}: {verdict:?}");
        }
        for answer in ["550 no\n", "554"] {
            let (verdict, _) = sent("", announced, b"A: b\r\n", answer.as_bytes()).await;
            assert!(verdict.is_permanent(), "{answer:?}: {verdict:?}");
        }
        let (verdict, _) = sent("", announced, b"A: b\r\n", b"ok\n").await;
        assert!(!verdict.is_taken() && !verdict.is_permanent(), "{verdict:?}");
    }
}

#[tokio::test]
async fn other_replies_may_end_with_lf_where_that_is_tolerated() {
    for (tolerance, is_taken) in [("[tolerance]\nlf_replies = true", true), ("", false)] {
        let (fixture, mut listener) = Fixture::rfc(tolerance, None);
        let receiving = async {
            let (_, io) = listener.accept().await.unwrap();
            let mut stream = stream(io);
            stream.push(b"220 mx.test\n".as_slice());
            if is_taken {
                let line = stream.line(stream.deadline()).await.unwrap().unwrap();
                assert_eq!(line, "EHLO exmail.qq.com");
                stream.push(b"250-mx.test\n250 8BITMIME\n".as_slice());
            }
            stream.flush().await.unwrap();
            stream
        };
        let (connection, _stream) = tokio::join!(fixture.open(), receiving);
        assert_eq!(connection.is_ok(), is_taken, "{tolerance}");
    }
}

/// Octets that come one by one do not make the time longer.
#[tokio::test(start_paused = true)]
async fn a_reply_that_comes_slowly_has_the_time_of_one() {
    let (fixture, mut listener) = Fixture::rfc("timeouts = { greeting = \"20s\" }", None);
    let trickling = async {
        let (_, io) = listener.accept().await.unwrap();
        let mut stream = stream(io);
        for octets in ["2", "2", "0", "-", "a\r\n", "220-", "b\r\n"].iter().cycle() {
            stream.push(octets.as_bytes());
            stream.flush().await.unwrap();
            tokio::time::sleep(Duration::from_secs(3)).await;
        }
    };
    let started = Instant::now();
    let broken = tokio::select! {
        broken = fixture.open() => broken.unwrap_err(),
        () = trickling => unreachable!(),
    };
    assert!(matches!(&broken, Broken::Connection(error) if error.kind() == io::ErrorKind::TimedOut), "{broken}");
    assert_eq!(started.elapsed(), Duration::from_secs(20));
}

/// An exchange that replies twice to one command must not have the second reply taken for the message's.
#[tokio::test]
async fn a_reply_too_many_is_no_answer_to_the_message() {
    for announced in ["CHUNKING", "PIPELINING"] {
        for twice in ["MAIL", "RCPT"] {
            let (fixture, mut listener) = Fixture::rfc("", None);
            let recipient = Recipient::from("b@a.test".parse::<Mailbox>().unwrap());
            let message = ClaimedMessage { octets: 3, ..message(&recipient) };
            let relaying = async {
                let mut connection = fixture.open().await.unwrap();
                let body = Some(Bytes::from_static(b"x\r\n"));
                let mail = Outgoing { message: &message, recipients: vec![recipient], body, trace: None };
                connection.transact(&fixture.context, &fixture.slot, &mail).await.unwrap_err()
            };
            let receiving = async {
                let mut stream = accept(&mut listener).await;
                let offer = format!("250-mx.test\r\n250-8BITMIME\r\n250 {announced}");
                play(&mut stream, &[("EHLO exmail.qq.com", &offer)]).await;
                while let Ok(Ok(line)) = stream.line(stream.deadline()).await {
                    let line = String::from_utf8_lossy(&line).into_owned();
                    let replies: &[u8] = match &line[..4] {
                        verb if verb == twice => b"250 OK\r\n250 OK\r\n",
                        "DATA" => b"354 go ahead\r\n",
                        "BDAT" | "x" => panic!("{line}"),
                        _ => b"250 OK\r\n",
                    };
                    stream.push(replies);
                    stream.flush().await.unwrap();
                }
            };
            let (broken, ()) = tokio::join!(relaying, receiving);
            assert!(broken.verdicts.iter().all(|verdict| !verdict.is_taken()), "{announced} {twice}: {broken:?}");
        }
    }
}

/// Each reply comes in time, and all of them together do not. The next transaction is for fewer recipients.
#[tokio::test(start_paused = true)]
async fn a_transaction_has_a_time_limit() {
    let (fixture, mut listener) = Fixture::rfc("", None);
    let recipients: Vec<_> =
        (0..100).map(|number| Recipient::from(format!("r{number}@a.test").parse::<Mailbox>().unwrap())).collect();
    let message = message(&recipients[0]);
    let relaying = async {
        let mut connection = fixture.open().await.unwrap();
        let started = Instant::now();
        let mail = Outgoing { message: &message, recipients, body: Some(Bytes::from_static(b"x\r\n")), trace: None };
        let broken = connection.transact(&fixture.context, &fixture.slot, &mail).await.unwrap_err();
        (broken, started.elapsed(), connection.recipient_limit())
    };
    let receiving = async {
        let mut stream = accept(&mut listener).await;
        play(&mut stream, &[("EHLO exmail.qq.com", "250-mx.test\r\n250 8BITMIME")]).await;
        while let Ok(Ok(_)) = stream.line(stream.deadline()).await {
            tokio::time::sleep(Duration::from_secs(200)).await;
            stream.push(b"250 OK\r\n".as_slice());
            stream.flush().await.unwrap();
        }
    };
    let ((broken, elapsed, limit), ()) = tokio::join!(relaying, receiving);
    assert!(matches!(&broken.broken, Broken::TooSlow), "{broken:?}");
    assert_eq!(elapsed, Duration::from_secs(3600));
    // It has replied to MAIL and to 17 recipients.
    assert_eq!(limit, Some(8));
    let reply = "451 4.4.2 mx.test (mx.test:25): the transaction took too long";
    let is_untried = |verdict: &Verdict| matches!(verdict, Verdict::Untried(said) if said.on_one_line() == reply);
    assert!(broken.verdicts.len() == 100 && broken.verdicts.iter().all(is_untried), "{broken:?}");
}
