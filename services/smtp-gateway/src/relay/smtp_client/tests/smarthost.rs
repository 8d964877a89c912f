//! Dialogues with a smarthost, to which the relay logs in.

use super::{
    tls::{authority, file},
    *,
};
use crate::relay::route::{self, Destination, Found};

/// A relay whose smarthost is mx.test, with this key.
fn relay(tls: &str, authority: Option<PathBuf>) -> (Fixture, MemoryListener) {
    let smarthost = "[relay.smarthost]\nhost = \"mx.test\"\nport = 25\nuser = \"user\"\npassword = \"pencil\"\n";
    Fixture::rfc(&format!("{smarthost}tls = \"{tls}\""), authority)
}

const HELLO: &str = "EHLO exmail.qq.com";
const LOGIN: &str = "AUTH PLAIN AHVzZXIAcGVuY2ls";
const OFFER: &str = "250-mx.test\r\n250-AUTH PLAIN\r\n250 8BITMIME";

#[tokio::test]
async fn all_mail_goes_to_it() {
    let (fixture, _listener) = relay("off", None);
    for domain in ["gmail.com", "nowhere.invalid", "[192.0.2.1]"] {
        let found = route::exchanges(&fixture.context, &domain.parse().unwrap()).await.unwrap();
        let expected = Found { exchanges: vec![(*fixture.exchange).clone()], unanswered: None };
        assert_eq!(found, expected, "{domain}");
    }
}

/// Its limit of connections is for all domains together.
#[tokio::test]
async fn all_domains_share_its_connections() {
    let (fixture, _listener) = relay("off", None);
    let limits = &fixture.context.stack.current().relay;
    let [one, other] = ["a.test", "b.test"].map(|domain| Destination::of(&domain.parse().unwrap(), limits));
    assert_eq!(one, other);
    let slots = Arc::new(DomainSlots::new(Clock::system().io));
    let taken: Vec<_> = (0..5).map(|_| slots.begin(&one, limits, &CancellationToken::new())).collect();
    assert_eq!(slots.closed_to(limits), Some(vec![one]), "five are as many as an unknown destination has");
    drop(taken);
    assert_eq!(slots.closed_to(limits), Some(Vec::new()));
}

#[tokio::test]
async fn the_password_goes_over_tls() {
    for tls in ["starttls", "implicit"] {
        let (directory, server) = authority("mx.test");
        let (fixture, mut listener) = relay(tls, file(&directory));
        let receiving = async {
            let (hop, io) = listener.accept().await.unwrap();
            assert_eq!(hop, Hop::SmtpToPeer);
            let mut stream = stream(io);
            if tls == "starttls" {
                stream.push(b"220 mx.test\r\n".as_slice());
                let offer = "250-mx.test\r\n250-AUTH PLAIN\r\n250 STARTTLS";
                play(&mut stream, &[(HELLO, offer), ("STARTTLS", "220 go ahead")]).await;
                stream = stream.upgrade(server).await.unwrap();
            } else {
                stream = stream.upgrade(server).await.unwrap();
                stream.push(b"220 mx.test\r\n".as_slice());
            }
            play(&mut stream, &[(HELLO, OFFER), (LOGIN, "235 2.7.0 welcome")]).await;
            stream
        };
        let (connection, _stream) = tokio::join!(fixture.open(), receiving);
        assert!(connection.unwrap().client.extensions().eight_bit_mime, "{tls}");
    }
}

/// RFC 4954 §5: a server that knows us may believe who has submitted a message.
#[tokio::test]
async fn it_learns_who_has_submitted_a_message() {
    for (submitter, expected) in
        [(Some("<e=mc2@a.test>"), "e+3Dmc2@a.test"), (Some("<>"), "<>"), (None, "<>"), (Some("<é@a.test>"), "<>")]
    {
        let (directory, server) = authority("mx.test");
        let (fixture, mut listener) = relay("implicit", file(&directory));
        let recipient = Recipient::from("b@a.test".parse::<Mailbox>().unwrap());
        let mut message = message(&recipient);
        message.parameters.submitter = submitter.map(|path| path.parse().unwrap());
        let relaying = async {
            let mut connection = fixture.open().await.unwrap();
            let (recipients, body) = (vec![recipient], Some(Bytes::from_static(b"a\r\n")));
            let mail = Outgoing { message: &message, recipients, body, trace: None };
            connection.transact(&fixture.context, &fixture.slot, &mail).await.unwrap();
        };
        let receiving = async {
            let (_, io) = listener.accept().await.unwrap();
            let mut stream = stream(io).upgrade(server).await.unwrap();
            stream.push(b"220 mx.test\r\n".as_slice());
            let mail = format!("MAIL FROM:<> BODY=8BITMIME AUTH={expected}");
            let script = [(HELLO, OFFER), (LOGIN, "235 2.7.0 welcome"), (&mail, "550 no"), ("RSET", "250 OK")];
            play(&mut stream, &script).await;
        };
        tokio::join!(relaying, receiving);
    }
}

/// The error, after this dialogue in the clear.
async fn refused(script: &[(&str, &str)]) -> String {
    let (fixture, mut listener) = relay("off", None);
    let receiving = async { play(&mut accept(&mut listener).await, script).await };
    let (broken, ()) = tokio::join!(fixture.open(), receiving);
    let verdict = broken.unwrap_err().verdict(&fixture.exchange);
    let Verdict::Ours(reply) = verdict else { panic!("{verdict:?}") };
    reply.on_one_line()
}

#[tokio::test]
async fn a_login_that_fails_is_temporary_and_the_password_is_not_told_to_listeners() {
    let goodbye = ("QUIT", "221 bye");
    let said = refused(&[(HELLO, OFFER), goodbye]).await;
    let expected = "451 4.7.8 mx.test (mx.test:25): it offers neither SCRAM-SHA-256 nor, over TLS, PLAIN";
    assert_eq!(said, expected);
    let (fixture, mut listener) = relay("off", None);
    let receiving = async {
        let mut stream = accept(&mut listener).await;
        play(&mut stream, &[(HELLO, "250-mx.test\r\n250 AUTH SCRAM-SHA-256 PLAIN")]).await;
        let line = stream.line(stream.deadline()).await.unwrap().unwrap();
        assert!(line.starts_with(b"AUTH SCRAM-SHA-256 "), "{line:?}");
        stream.push(b"535 5.7.8 wrong\r\n".as_slice());
        play(&mut stream, &[goodbye]).await;
    };
    let (broken, ()) = tokio::join!(fixture.open(), receiving);
    let verdict = broken.unwrap_err().verdict(&fixture.exchange);
    let Verdict::Ours(reply) = verdict else { panic!("{verdict:?}") };
    assert_eq!(reply.on_one_line(), "451 4.7.8 mx.test (mx.test:25): it refuses the login: 535 5.7.8 wrong");
}

/// Who stands between and strips the offer, or refuses STARTTLS, hears no login: he could pass it on to the smarthost.
#[tokio::test]
async fn without_tls_nobody_logs_in() {
    let offer = "250-mx.test\r\n250-STARTTLS\r\n250 AUTH SCRAM-SHA-256 PLAIN";
    let goodbye = ("QUIT", "221 bye");
    for script in [
        &[(HELLO, "250-mx.test\r\n250 AUTH SCRAM-SHA-256 PLAIN"), goodbye][..],
        &[(HELLO, offer), ("STARTTLS", "454 4.7.0 not now"), goodbye],
    ] {
        let (directory, _) = authority("mx.test");
        let (fixture, mut listener) = relay("starttls", file(&directory));
        let receiving = async { play(&mut accept(&mut listener).await, script).await };
        let (broken, ()) = tokio::join!(fixture.open(), receiving);
        assert!(matches!(broken, Err(Broken::InTheClear(_))), "{broken:?}");
    }
}

/// As after a change of the configuration between look-up and connection.
#[tokio::test]
async fn another_exchange_gets_no_password() {
    let (mut fixture, _) = relay("off", None);
    let network = MemoryNetwork::default();
    let mut listener = network.listen("other.test:25".parse().unwrap());
    fixture.context.dial = Arc::new(network);
    fixture.exchange = Arc::new(Exchange {
        preference: 0,
        name: "other.test".to_owned(),
        address: "other.test:25".to_owned(),
        is_proven: true,
    });
    let receiving = async { play(&mut accept(&mut listener).await, &[(HELLO, OFFER)]).await };
    let (connection, ()) = tokio::join!(fixture.open(), receiving);
    let stack = fixture.context.stack.current();
    assert!(!connection.unwrap().is_fit_for(Security::Configured, &stack), "it is not what all mail goes to");
}
