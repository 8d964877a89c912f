//! Exchanges of SASL: whoever does not know the password is never logged in, whatever they say.

use crate::fuzz;
use mail_proto::{
    Mailbox,
    sasl::{Channel, ChannelBindings, Mechanism, ScramVerifier, ServerExchange, Step},
};

/// The longest challenge in octets of base64, for names as short as these.
const CHALLENGE_OCTETS: usize = 1000;

fn identity() -> Mailbox {
    "u@a.test".parse().unwrap()
}

/// Base64 without any library: a line of octets that a client may send.
fn base64(message: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut line = Vec::new();
    for group in message.chunks(3) {
        let octets = [group[0], *group.get(1).unwrap_or(&0), *group.get(2).unwrap_or(&0)];
        let number = u32::from_be_bytes([0, octets[0], octets[1], octets[2]]);
        for digit in 0..4 {
            let is_there = digit <= group.len();
            let at = (number >> (18 - 6 * digit)) as usize & 63;
            line.push(if is_there { DIGITS[at] } else { b'=' });
        }
    }
    line
}

/// Answers questions as a server does whose user has another password.
fn answered(exchange: &mut ServerExchange, step: Step) -> Step {
    match step {
        Step::Verify(credentials) => {
            assert!(!credentials.user.is_empty() && !credentials.user.contains('\0'), "{credentials:?}");
            exchange.verified(None)
        }
        Step::FindVerifier(user) => {
            assert!(!user.is_empty() && !user.contains('\0'), "{user:?}");
            exchange.verifier_found(Some(identity()), ScramVerifier::of_nobody(b"secret", &user), "nonce")
        }
        step => step,
    }
}

#[test]
fn sasl() {
    let vocabulary: &[&[u8]] = &[
        b"\n",
        b"!",
        b"!*",
        b"\0u@a.test\0pass",
        b"\0",
        b"\x01",
        b"n,",
        b"y,",
        b"p=tls-exporter,",
        b",n=u,r=a",
        b"a=u@a.test,",
        b"=2C",
        b"c=biws,r=anonce,p=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        b"user=u@a.test\x01",
        b"auth=Bearer t\x01\x01",
        b"\xc3\xbc",
        b"\xff",
    ];
    fuzz("sasl", vocabulary, |input| {
        for mechanism in Mechanism::ALL {
            let bindings = ChannelBindings { exporter: Some(vec![1; 32]), end_point: None };
            let channel = Channel { plus_offered: mechanism == Mechanism::ScramSha256Plus, bindings };
            let (mut exchange, step) = ServerExchange::begin(mechanism, channel, None);
            let mut step = answered(&mut exchange, step);
            for message in input.split(|octet| *octet == b'\n') {
                let line = message.strip_prefix(b"!").map_or_else(|| base64(message), <[u8]>::to_vec);
                let next = exchange.response(&line);
                let next = answered(&mut exchange, next);
                match (&step, &next) {
                    (_, Step::Done(identity)) => panic!("{identity} is logged in"),
                    (Step::Failed(_) | Step::Refused, Step::Challenge(_) | Step::Refuse(_)) => {
                        panic!("{next:?} after the end")
                    }
                    (_, Step::Challenge(line) | Step::Refuse(line)) => {
                        assert!(line.len() <= CHALLENGE_OCTETS && line.bytes().all(|octet| octet.is_ascii_graphic()));
                    }
                    (Step::Refuse(_), next) => assert_eq!(*next, Step::Refused),
                    (_, next) => assert!(matches!(next, Step::Failed(_)), "{next:?}"),
                }
                step = next;
            }
        }
    });
}
