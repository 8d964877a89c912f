use super::*;
use crate::sasl::{ChannelBindings, ClientError, ClientExchange};

const USER: &str = "usr1@a.test";
const PASSWORD: &str = "pass1";

fn identity() -> Mailbox {
    USER.parse().unwrap()
}

fn channel() -> Channel {
    Channel { bindings: ChannelBindings::default(), plus_offered: false }
}

fn bound() -> Channel {
    let bindings = ChannelBindings { exporter: Some(vec![7; 32]), end_point: Some(vec![8; 32]) };
    Channel { bindings, plus_offered: true }
}

fn line(message: impl AsRef<[u8]>) -> Vec<u8> {
    base64::encode(message).into_bytes()
}

/// Answers what the exchange asks until it has something to say to the client.
fn answered(exchange: &mut ServerExchange, mut step: Step) -> Step {
    loop {
        step = match step {
            Step::Verify(Credentials { user, password }) => {
                let fits = user == USER && password.expose() == PASSWORD;
                exchange.verified(fits.then(identity))
            }
            Step::FindVerifier(user) => {
                let is_known = user == USER;
                let real = ScramVerifier::new(PASSWORD, vec![1; 16], 4096).unwrap();
                let verifier = if is_known { real } else { ScramVerifier::of_nobody(b"secret", &user) };
                exchange.verifier_found(is_known.then(identity), verifier, "3rfcNHYJY1ZVvWVs7j")
            }
            said => return said,
        };
    }
}

/// A whole exchange, with what each response of the client is answered by.
fn exchange(mechanism: Mechanism, channel: Channel, initial: Option<&[u8]>, responses: &[&[u8]]) -> Vec<Step> {
    let (mut exchange, step) = ServerExchange::begin(mechanism, channel, initial);
    let mut said = vec![answered(&mut exchange, step)];
    for response in responses {
        let step = exchange.response(response);
        said.push(answered(&mut exchange, step));
    }
    said
}

fn says(text: &str) -> Step {
    Step::Challenge(text.to_owned())
}

#[test]
fn plain() {
    let good = line("\0usr1@a.test\0pass1");
    let done = Step::Done(identity());
    assert_eq!(exchange(Mechanism::Plain, channel(), Some(&good), &[])[0], done);
    assert_eq!(exchange(Mechanism::Plain, channel(), None, &[&good]), [says(""), done.clone()]);
    let table: &[(&str, Step)] = &[
        ("usr1@a.test\0usr1@a.test\0pass1", done.clone()),
        ("usr1@A.test\0usr1@a.test\0pass1", done),
        ("usr2@a.test\0usr1@a.test\0pass1", Step::Failed(Failure::Credentials)),
        ("\0usr1@a.test\0Pass1", Step::Failed(Failure::Credentials)),
        ("\0nobody@a.test\0pass1", Step::Failed(Failure::Credentials)),
        ("usr1@a.test\0pass1", Step::Failed(Failure::Malformed)),
        ("", Step::Failed(Failure::Malformed)),
    ];
    for (message, expected) in table {
        assert_eq!(exchange(Mechanism::Plain, channel(), None, &[&line(message)])[1], *expected, "{message:?}");
    }
    assert_eq!(exchange(Mechanism::Plain, channel(), Some(b"="), &[]), [Step::Failed(Failure::Malformed)]);
}

#[test]
fn login() {
    let (user, password) = (says("VXNlcm5hbWU6"), says("UGFzc3dvcmQ6"));
    let done = Step::Done(identity());
    let lines = [line(USER), line(PASSWORD)];
    let said = exchange(Mechanism::Login, channel(), None, &[&lines[0], &lines[1]]);
    assert_eq!(said, [user.clone(), password.clone(), done.clone()]);
    assert_eq!(exchange(Mechanism::Login, channel(), Some(&lines[0]), &[&lines[1]]), [password.clone(), done]);
    let wrong = exchange(Mechanism::Login, channel(), None, &[&lines[0], &lines[0]]);
    assert_eq!(wrong, [user.clone(), password, Step::Failed(Failure::Credentials)]);
    assert_eq!(exchange(Mechanism::Login, channel(), None, &[b""]), [user, Step::Failed(Failure::Malformed)]);
}

#[test]
fn a_client_cancels_and_errs() {
    for mechanism in Mechanism::ALL {
        for (response, failure) in [
            (&b"*"[..], Failure::Cancelled),
            (b"=", Failure::Encoding),
            (b"**", Failure::Encoding),
            (b"dXNyMQ", Failure::Encoding),
            (b"dXNyMQ== ", Failure::Encoding),
            (b"\xff", Failure::Encoding),
            (b"/w==", Failure::Malformed),
        ] {
            let said = exchange(mechanism, channel(), None, &[response]);
            assert_eq!(said[1], Step::Failed(failure), "{mechanism} {}", response.escape_ascii());
        }
    }
    // Then the exchange is over.
    let said = exchange(Mechanism::Plain, channel(), None, &[b"*", &line("\0usr1@a.test\0pass1")]);
    assert_eq!(said[2], Step::Failed(Failure::Malformed));
}

#[test]
fn tokens() {
    // RFC 7628 §4.1, with another user.
    let bearer = line("n,a=usr1@a.test,\x01host=server.example.com\x01port=587\x01auth=Bearer pass1\x01\x01");
    let xoauth2 = line("user=usr1@a.test\x01auth=Bearer pass1\x01\x01");
    assert_eq!(exchange(Mechanism::OAuthBearer, channel(), Some(&bearer), &[]), [Step::Done(identity())]);
    assert_eq!(exchange(Mechanism::XOAuth2, channel(), Some(&xoauth2), &[]), [Step::Done(identity())]);
    for (mechanism, message, error) in [
        (Mechanism::OAuthBearer, "n,a=usr1@a.test,\x01auth=Bearer x\x01\x01", oauth::BEARER_REFUSED),
        (Mechanism::XOAuth2, "user=usr1@a.test\x01auth=Bearer x\x01\x01", oauth::XOAUTH2_REFUSED),
    ] {
        let refusal = Step::Refuse(base64::encode(error));
        // RFC 7628 §3.2.3 has `AQ==`; clients of XOAUTH2 say nothing. The end is the same whatever they say.
        for acknowledgement in [&b"AQ=="[..], b"", b"*", b"!"] {
            let said = exchange(mechanism, channel(), Some(&line(message)), &[acknowledgement]);
            assert_eq!(said, [refusal.clone(), Step::Refused]);
        }
    }
}

/// RFC 7677 §3, with the nonces and the salt of the tests.
#[test]
fn scram_from_both_sides() {
    let password = PASSWORD.to_owned().into();
    let mut client = ClientExchange::scram(USER, &password, "rOprNGfwEbeRWgbNEkqO").unwrap();
    let (mut server, step) = ServerExchange::begin(client.mechanism(), channel(), Some(client.initial().as_bytes()));
    let Step::Challenge(first) = answered(&mut server, step) else { panic!("no challenge") };
    assert_eq!(client.succeeded(), Err(ClientError::Impostor));
    let response = client.challenge(&first).unwrap();
    let Step::Challenge(last) = server.response(response.as_bytes()) else { panic!("no signature") };
    assert_eq!(client.challenge(&last).as_deref(), Ok(""));
    assert_eq!(client.succeeded(), Ok(()));
    assert_eq!(server.response(b""), Step::Done(identity()));
}

#[test]
fn scram_fails_for_a_wrong_password_as_for_an_unknown_user() {
    for (user, password) in [(USER, "Pass1"), ("nobody@a.test", PASSWORD), ("nobody@a.test", "")] {
        let password = if password.is_empty() { "x" } else { password }.to_owned().into();
        let mut client = ClientExchange::scram(user, &password, "abc").unwrap();
        let (mut server, step) =
            ServerExchange::begin(Mechanism::ScramSha256, channel(), Some(client.initial().as_bytes()));
        let Step::Challenge(first) = answered(&mut server, step) else { panic!("no challenge") };
        let response = client.challenge(&first).unwrap();
        assert_eq!(server.response(response.as_bytes()), Step::Failed(Failure::Credentials));
    }
}

/// A client that says what it likes: its first message, and what it says of the channel at the end.
fn scram(mechanism: Mechanism, channel: Channel, header: &str, binding: &[u8]) -> Step {
    let bare = "n=usr1@a.test,r=abc";
    let (mut server, step) = ServerExchange::begin(mechanism, channel, Some(&line(format!("{header}{bare}"))));
    let Step::Challenge(first) = answered(&mut server, step) else { return server.response(b"") };
    let first = String::from_utf8(base64::decode(first.as_bytes()).unwrap()).unwrap();
    let without_proof = format!("c={},r=abc3rfcNHYJY1ZVvWVs7j", base64::encode(binding));
    let salted = crate::sasl::scram::salted_password(PASSWORD, &[1; 16], 4096).unwrap();
    let key = crate::sasl::scram::client_key(&salted);
    let proof = crate::sasl::scram::client_proof(&key, &format!("{bare},{first},{without_proof}"));
    match server.response(&line(format!("{without_proof},p={}", base64::encode(proof)))) {
        Step::Challenge(_) => server.response(b""),
        failed => failed,
    }
}

#[test]
fn scram_binds_the_channel() {
    let with = |header: &str, octets: &[u8]| [header.as_bytes(), octets].concat();
    let (exporter, end_point) = ("p=tls-exporter,,", "p=tls-server-end-point,,");
    let done = Step::Done(identity());
    let plus = Mechanism::ScramSha256Plus;
    assert_eq!(scram(plus, bound(), exporter, &with(exporter, &[7; 32])), done);
    assert_eq!(scram(plus, bound(), end_point, &with(end_point, &[8; 32])), done);
    assert_eq!(scram(Mechanism::ScramSha256, bound(), "n,,", b"n,,"), done);
    assert_eq!(scram(Mechanism::ScramSha256, channel(), "y,,", b"y,,"), done);
    assert_eq!(scram(Mechanism::ScramSha256, channel(), "n,a=usr1@a.test,", b"n,a=usr1@a.test,"), done);

    let failed = Step::Failed(Failure::Binding);
    for binding in [with(exporter, &[8; 32]), with(exporter, &[]), with(end_point, &[7; 32]), with("n,,", &[])] {
        assert_eq!(scram(plus, bound(), exporter, &binding), failed);
    }
    assert_eq!(scram(Mechanism::ScramSha256, channel(), "n,,", b"y,,"), failed);
}

fn begins(mechanism: Mechanism, channel: Channel, message: &str) -> Step {
    ServerExchange::begin(mechanism, channel, Some(&line(message))).1
}

#[test]
fn scram_refuses_a_channel_that_cannot_be_bound() {
    let (plain, plus) = (Mechanism::ScramSha256, Mechanism::ScramSha256Plus);
    let only_exporter =
        || Channel { bindings: ChannelBindings { end_point: None, ..bound().bindings }, plus_offered: true };
    for (mechanism, channel, message, failure) in [
        // RFC 5802 §6: the client believes that the server does not offer -PLUS.
        (plain, bound(), "y,,n=u,r=a", Failure::Downgrade),
        (plus, bound(), "p=tls-unique,,n=u,r=a", Failure::Binding),
        (plus, only_exporter(), "p=tls-server-end-point,,n=u,r=a", Failure::Binding),
        (plus, bound(), "n,,n=u,r=a", Failure::Malformed),
        (plus, bound(), "y,,n=u,r=a", Failure::Malformed),
        (plain, bound(), "p=tls-exporter,,n=u,r=a", Failure::Malformed),
        (plain, channel(), "n,,n=\u{7},r=a", Failure::Credentials),
    ] {
        assert_eq!(begins(mechanism, channel, message), Step::Failed(failure), "{message:?}");
    }
}

#[test]
fn scram_checks_nonce_identity_and_acknowledgement() {
    assert_eq!(
        scram(Mechanism::ScramSha256, channel(), "n,a=usr2@a.test,", b"n,a=usr2@a.test,"),
        Step::Failed(Failure::Credentials)
    );
    let first = line("n,,n=usr1@a.test,r=abc");
    let replayed = line(format!("c=biws,r=abc,p={}", base64::encode([0; 32])));
    let said = exchange(Mechanism::ScramSha256, channel(), Some(&first), &[&replayed]);
    assert_eq!(said[1], Step::Failed(Failure::Malformed));

    let (mut server, _) = ServerExchange::begin(Mechanism::ScramSha256, channel(), None);
    server.state = State::Acknowledgement(identity());
    assert_eq!(server.response(b"AQ=="), Step::Failed(Failure::Malformed));
    server.state = State::Acknowledgement(identity());
    assert_eq!(server.response(b"*"), Step::Failed(Failure::Cancelled));
}

#[test]
fn no_password_is_shown() {
    let (exchange, step) = ServerExchange::begin(Mechanism::Plain, channel(), Some(&line("\0usr1@a.test\0pass1")));
    assert!(!format!("{exchange:?} {step:?}").contains("pass1"));
}

#[test]
fn a_client_refuses_bad_servers() {
    let password = PASSWORD.to_owned().into();
    let refused = |message: &str| {
        let mut client = ClientExchange::scram(USER, &password, "abc").unwrap();
        client.challenge(&base64::encode(message)).unwrap_err()
    };
    assert_eq!(refused("r=abcd,s=AAAA,i=4095"), ClientError::Iterations(4095));
    assert_eq!(refused("r=abcd,s=AAAA,i=4000000000"), ClientError::Iterations(4_000_000_000));
    assert_eq!(refused("r=abc,s=AAAA,i=4096"), ClientError::Malformed);
    assert_eq!(refused("r=xbcd,s=AAAA,i=4096"), ClientError::Malformed);
    assert_eq!(refused("e=other-error"), ClientError::Malformed);
    let mut client = ClientExchange::scram(USER, &password, "abc").unwrap();
    client.challenge(&base64::encode("r=abcd,s=AAAA,i=4096")).unwrap();
    assert_eq!(client.challenge(&base64::encode(format!("v={}", base64::encode([0; 32])))), Err(ClientError::Impostor));
    assert_eq!(client.succeeded(), Err(ClientError::Impostor));
    assert_eq!(client.challenge(""), Err(ClientError::Malformed));
    let mut client = ClientExchange::plain(USER, &password);
    assert_eq!(client.initial().as_bytes(), line("\0usr1@a.test\0pass1"));
    assert_eq!((client.succeeded(), client.challenge("")), (Ok(()), Err(ClientError::Malformed)));
}
