//! Dialogues that go over to TLS, or fail to.

use super::*;
use jiff::Timestamp;
use mail_net::Tls;
use tempfile::TempDir;
use town_tls::{Authority, CA_FILE, ServedCertificate};

const OFFER: (&str, &str) = ("EHLO exmail.qq.com", "250-mx.test\r\n250-SIZE 1\r\n250 STARTTLS");
const GO_AHEAD: (&str, &str) = ("STARTTLS", "220 go ahead");
const HELLO_AGAIN: (&str, &str) = ("EHLO exmail.qq.com", "250-mx.test\r\n250 8BITMIME");

/// An authority, and the server side of TLS for a server that is called `name`.
pub(super) fn authority(name: &str) -> (TempDir, Tls) {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::open(directory.path(), Timestamp::now()).unwrap();
    let files = authority.certificate(name, [], Timestamp::now()).unwrap();
    let server = Tls::Server(ServedCertificate::open(files).unwrap().current().config);
    (directory, server)
}

pub(super) fn file(directory: &TempDir) -> Option<PathBuf> {
    Some(directory.path().join(CA_FILE))
}

/// Takes a connection over which the relay asks for TLS.
async fn asked_for_tls(listener: &mut MemoryListener) -> LineStream {
    let mut stream = accept(listener).await;
    play(&mut stream, &[OFFER, GO_AHEAD]).await;
    stream
}

/// Takes a connection over which the relay does without.
async fn in_the_clear(listener: &mut MemoryListener) {
    let mut stream = accept(listener).await;
    play(&mut stream, &[OFFER]).await;
}

#[tokio::test]
async fn tls_is_spoken_whatever_the_certificate_and_what_was_injected_is_dropped() {
    let (_authority, server) = authority("somebody.else.test");
    let (fixture, mut listener) = Fixture::rfc("", None);
    let receiving = async {
        let mut stream = accept(&mut listener).await;
        // A reply to the second EHLO, by somebody who sees only what is in the clear; half of another one.
        let injected = "220 go ahead\r\n250-evil.test\r\n250 PIPELINING\r\n250-evil";
        play(&mut stream, &[OFFER, ("STARTTLS", injected)]).await;
        let mut stream = stream.upgrade(server).await.unwrap();
        play(&mut stream, &[HELLO_AGAIN]).await;
        stream
    };
    let (connection, _stream) = tokio::join!(fixture.open(), receiving);
    let connection = connection.unwrap();
    assert!(connection.stream.is_encrypted());
    let extensions = connection.client.extensions();
    assert!(extensions.eight_bit_mime && !extensions.pipelining && extensions.size.is_none(), "{extensions:?}");
    assert_eq!(connection.client.server_name(), "mx.test");
}

#[tokio::test]
async fn a_handshake_that_fails_is_followed_by_a_connection_in_the_clear() {
    let (fixture, mut listener) = Fixture::rfc("tls = \"opportunistic\"", None);
    let receiving = async {
        let mut stream = asked_for_tls(&mut listener).await;
        // It takes the client's part of the handshake for a command.
        let _ = stream.line(stream.deadline()).await;
        stream.push(b"500 what?\r\n".as_slice());
        stream.flush().await.unwrap();
        in_the_clear(&mut listener).await;
    };
    let (connection, ()) = tokio::join!(fixture.open(), receiving);
    assert!(!connection.unwrap().stream.is_encrypted());
}

/// A middle box that knows no STARTTLS may end the connection, be silent, or say anything.
#[tokio::test(start_paused = true)]
async fn starttls_that_is_not_answered_well_is_followed_by_a_connection_in_the_clear() {
    for answer in [Some("421 4.7.0 go away"), Some("what?"), Some("2x0 what?"), Some("250 OK"), Some(""), None] {
        let (fixture, mut listener) = Fixture::rfc("", None);
        let receiving = async {
            let mut stream = accept(&mut listener).await;
            play(&mut stream, &[OFFER]).await;
            assert_eq!(stream.line(stream.deadline()).await.unwrap().unwrap(), "STARTTLS");
            // An empty answer is the end of the connection; none is silence.
            let silent = match answer {
                Some("") => None,
                Some(answer) => {
                    play_reply(&mut stream, answer).await;
                    Some(stream)
                }
                None => Some(stream),
            };
            in_the_clear(&mut listener).await;
            drop(silent);
        };
        let (connection, ()) = tokio::join!(fixture.open(), receiving);
        assert!(!connection.unwrap_or_else(|broken| panic!("{answer:?}: {broken}")).stream.is_encrypted());
    }
}

/// Who speaks TLS and is busy is not asked to take the mail in the clear.
#[tokio::test]
async fn a_refusal_over_tls_is_that_of_the_server() {
    let (_authority, server) = authority("mx.test");
    let (fixture, mut listener) = Fixture::rfc("", None);
    let receiving = async {
        let mut stream = asked_for_tls(&mut listener).await.upgrade(server).await.unwrap();
        play(&mut stream, &[("EHLO exmail.qq.com", "421 4.3.2 busy"), ("QUIT", "221 bye")]).await;
    };
    let (broken, ()) = tokio::join!(fixture.open(), receiving);
    assert!(matches!(&broken, Err(Broken::Refused(reply)) if reply.code() == 421), "{broken:?}");
}

/// With TLS 1.3 a server may refuse the connection when the client's side of the handshake is over.
#[tokio::test]
async fn a_connection_that_ends_right_after_the_handshake_is_one_that_failed() {
    let (_authority, server) = authority("mx.test");
    let (fixture, mut listener) = Fixture::rfc("", None);
    let receiving = async {
        drop(asked_for_tls(&mut listener).await.upgrade(server).await.unwrap());
        in_the_clear(&mut listener).await;
    };
    let (connection, ()) = tokio::join!(fixture.open(), receiving);
    assert!(!connection.unwrap().stream.is_encrypted());
}

#[tokio::test(start_paused = true)]
async fn a_handshake_has_a_time_limit() {
    let (fixture, mut listener) = Fixture::rfc("", None);
    let receiving = async {
        let silent = asked_for_tls(&mut listener).await;
        in_the_clear(&mut listener).await;
        silent
    };
    let started = Instant::now();
    let (connection, _silent) = tokio::join!(fixture.open(), receiving);
    assert!(!connection.unwrap().stream.is_encrypted());
    let most = fixture.context.stack.current().relay.patience().greeting;
    assert!((Duration::from_secs(1)..=most).contains(&started.elapsed()), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_certificate_is_verified_if_that_is_wanted() {
    let (directory, server) = authority("mx.test");
    let (fixture, mut listener) = Fixture::rfc("tls = \"verify\"", file(&directory));
    let receiving = async {
        let mut stream = asked_for_tls(&mut listener).await.upgrade(server).await.unwrap();
        play(&mut stream, &[HELLO_AGAIN]).await;
    };
    let (connection, ()) = tokio::join!(fixture.open(), receiving);
    assert!(connection.unwrap().stream.is_encrypted());
}

/// Another name, another authority, and a file of authorities that takes the place of the town's. All towns call theirs alike.
#[tokio::test]
async fn a_server_that_nobody_vouches_for_gets_no_mail_now() {
    let (town, misnamed) = authority("other.test");
    let (elsewhere, unknown) = authority("mx.test");
    let of_the_town = authority("mx.test");
    let with_a_file = format!("tls = \"verify\"\nca = {:?}", elsewhere.path().join(CA_FILE));
    let table = [
        (Fixture::rfc("tls = \"verify\"", file(&town)), misnamed, "not valid for name"),
        (Fixture::rfc("tls = \"verify\"", file(&town)), unknown, "BadSignature"),
        (Fixture::rfc(&with_a_file, file(&of_the_town.0)), of_the_town.1, "BadSignature"),
    ];
    for ((fixture, mut listener), server, reason) in table {
        let receiving = async {
            assert!(asked_for_tls(&mut listener).await.upgrade(server).await.is_err());
        };
        let (broken, ()) = tokio::join!(fixture.open(), receiving);
        let verdict = broken.unwrap_err().verdict(&fixture.exchange);
        let Verdict::Ours(reply) = verdict else { panic!("{verdict:?}") };
        let said = reply.on_one_line();
        let expected = "451 4.7.5 mx.test (mx.test:25): the TLS handshake failed: invalid peer certificate: ";
        assert!(said.starts_with(expected) && said.contains(reason), "{said}");
    }
}

/// Says this whatever was heard.
async fn play_reply(stream: &mut LineStream, reply: &str) {
    stream.push([reply.as_bytes(), b"\r\n"].concat().as_slice());
    stream.flush().await.unwrap();
}

#[tokio::test]
async fn without_an_offer_verified_mail_waits() {
    let refused = "it refuses STARTTLS: 454 4.7.0 no";
    for (script, reason) in [
        (vec![HELLO_AGAIN, ("QUIT", "221 bye")], "it does not offer STARTTLS"),
        (vec![OFFER, ("STARTTLS", "454 4.7.0 no"), ("QUIT", "221 bye")], refused),
    ] {
        let (fixture, mut listener) = Fixture::rfc("tls = \"verify\"", None);
        let receiving = async { play(&mut accept(&mut listener).await, &script).await };
        let (broken, ()) = tokio::join!(fixture.open(), receiving);
        let verdict = broken.unwrap_err().verdict(&fixture.exchange);
        let Verdict::Ours(reply) = verdict else { panic!("{verdict:?}") };
        assert_eq!(reply.on_one_line(), format!("451 4.7.5 mx.test (mx.test:25): {reason}"));
    }
}

#[tokio::test]
async fn tls_that_is_refused_or_off_leaves_the_connection_in_the_clear() {
    let refused = [OFFER, ("STARTTLS", "454 4.7.0 not now")];
    for (relay, script) in [("", &refused[..]), ("tls = \"off\"", &[OFFER])] {
        let (fixture, mut listener) = Fixture::rfc(relay, None);
        let receiving = async { play(&mut accept(&mut listener).await, script).await };
        let (connection, ()) = tokio::join!(fixture.open(), receiving);
        assert!(!connection.unwrap().stream.is_encrypted());
    }
}

const PROMISE: (&str, &str) = ("EHLO exmail.qq.com", "250-mx.test\r\n250-8BITMIME\r\n250 REQUIRETLS");

/// Whatever the configuration says (RFC 8689 §4.2.1).
#[tokio::test]
async fn a_message_that_requires_tls_goes_to_a_verified_server_that_promises_the_same() {
    for relay in ["", "tls = \"off\""] {
        let (directory, server) = authority("mx.test");
        let (fixture, mut listener) = Fixture::rfc(relay, file(&directory));
        let recipient = Recipient::from("b@a.test".parse::<Mailbox>().unwrap());
        let mut message = message(&recipient);
        message.parameters.requiretls = true;
        let relaying = async {
            let mut connection = fixture.open_for(Security::of(&fixture.context, &message, None).await).await.unwrap();
            let stack = fixture.context.stack.current();
            assert!(
                [Security::Required, Security::Configured].map(|it| connection.is_fit_for(it, &stack)) == [true; 2]
            );
            let (recipients, body) = (vec![recipient], Some(Bytes::from_static(b"a\r\n")));
            let mail = Outgoing { message: &message, recipients, body, trace: None };
            let verdicts = connection.transact(&fixture.context, &fixture.slot, &mail).await.unwrap();
            assert!(matches!(&verdicts[..], [Verdict::Said(reply, _)] if reply.code() == 550), "{verdicts:?}");
        };
        let receiving = async {
            let mut stream = asked_for_tls(&mut listener).await.upgrade(server).await.unwrap();
            let mail = "MAIL FROM:<> BODY=8BITMIME REQUIRETLS";
            play(&mut stream, &[PROMISE, (mail, "250 OK"), ("RCPT TO:<b@a.test>", "550 no"), ("RSET", "250 OK")]).await;
        };
        tokio::join!(relaying, receiving);
    }
}

#[tokio::test]
async fn a_message_that_requires_tls_fails_where_there_is_none_or_no_promise() {
    let (directory, server) = authority("mx.test");
    let (_, misnamed) = authority("other.test");
    let quit = ("QUIT", "221 bye");
    let without_tls = [HELLO_AGAIN, quit];
    let table = [
        (None, &without_tls[..], "550 5.7.10", "it does not offer STARTTLS"),
        (Some(misnamed), &[], "550 5.7.10", "invalid peer certificate"),
        (Some(server), &without_tls, "550 5.7.30", "it does not support REQUIRETLS"),
    ];
    for (server, script, code, reason) in table {
        let (fixture, mut listener) = Fixture::rfc("tls = \"off\"", file(&directory));
        let receiving = async {
            match server {
                None => play(&mut accept(&mut listener).await, script).await,
                Some(server) => match asked_for_tls(&mut listener).await.upgrade(server).await {
                    Ok(mut stream) => play(&mut stream, script).await,
                    Err(_) => assert!(script.is_empty()),
                },
            }
        };
        let (broken, ()) = tokio::join!(fixture.open_for(Security::Required), receiving);
        let verdict = broken.unwrap_err().verdict(&fixture.exchange);
        let Verdict::Ours(reply) = verdict else { panic!("{verdict:?}") };
        let said = reply.on_one_line();
        assert!(said.starts_with(&format!("{code} mx.test (mx.test:25): the sender requires TLS")), "{said}");
        assert!(said.contains(reason), "{said}");
    }
}

/// What may be better in a moment is tried again.
#[tokio::test]
async fn a_message_that_requires_tls_waits_where_starttls_is_refused_for_now() {
    let (fixture, mut listener) = Fixture::rfc("", None);
    let script = [OFFER, ("STARTTLS", "454 4.7.0 no"), ("QUIT", "221 bye")];
    let receiving = async { play(&mut accept(&mut listener).await, &script).await };
    let (broken, ()) = tokio::join!(fixture.open_for(Security::Required), receiving);
    let verdict = broken.unwrap_err().verdict(&fixture.exchange);
    assert!(!verdict.is_permanent(), "{verdict:?}");
}

#[tokio::test]
async fn a_connection_that_nobody_has_verified_does_not_carry_what_requires_tls() {
    let (_authority, server) = authority("mx.test");
    let (fixture, mut listener) = Fixture::rfc("", None);
    let receiving = async {
        let mut stream = asked_for_tls(&mut listener).await.upgrade(server).await.unwrap();
        play(&mut stream, &[PROMISE]).await;
        stream
    };
    let (connection, _stream) = tokio::join!(fixture.open(), receiving);
    let connection = connection.unwrap();
    assert!(!connection.is_fit_for(Security::Required, &fixture.context.stack.current()));
}

/// The stack with these lines in `[relay]`.
fn stack(relay: &str) -> Arc<Stack> {
    Fixture::rfc(relay, None).0.context.stack.current()
}

/// A connection that was opened before the configuration changed carries what may go over it now.
#[tokio::test]
async fn what_a_reload_demands_holds_for_connections_that_are_kept() {
    let smarthost = |tls: &str| format!("[relay.smarthost]\nhost = \"mx.test\"\nport = 25\ntls = \"{tls}\"");
    let (plain, verify) = (stack(""), stack("tls = \"verify\""));
    let (off, starttls) = (stack(&smarthost("off")), stack(&smarthost("starttls")));
    let (by_exchange, mut listener) = Fixture::rfc("", None);
    let (connection, ()) = tokio::join!(by_exchange.open(), in_the_clear_and_kept(&mut listener));
    let connection = connection.unwrap();
    for (security, expected) in [
        // As it was, verified, through a smarthost in the clear, through one over TLS.
        (Security::Configured, [true, false, false, false]),
        (Security::Waived, [true, true, false, false]),
        (Security::Required, [false; 4]),
    ] {
        let fit = [&plain, &verify, &off, &starttls].map(|stack| connection.is_fit_for(security, stack));
        assert_eq!(fit, expected, "{security:?}");
    }
    let (by_smarthost, mut listener) = Fixture::rfc(&smarthost("off"), None);
    let (connection, ()) = tokio::join!(by_smarthost.open(), in_the_clear_and_kept(&mut listener));
    let connection = connection.unwrap();
    let fit = [&plain, &verify, &off, &starttls].map(|stack| connection.is_fit_for(Security::Configured, stack));
    assert_eq!(fit, [false, false, true, false]);
}

/// Takes a connection whose server offers no TLS.
async fn in_the_clear_and_kept(listener: &mut MemoryListener) {
    play(&mut accept(listener).await, &[HELLO_AGAIN]).await;
}
