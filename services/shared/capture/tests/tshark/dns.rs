//! DNS over UDP and TCP.

use crate::{
    script::{Script, file, live, start},
    tshark::File,
};
use capture::Options;
use internal_api::{Protocol, Role, SessionRecords};

/// A question for the MX of gmail.com, and the answer (RFC 1035 §4).
fn question() -> Vec<u8> {
    [b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0".as_slice(), b"\x05gmail\x03com\0\0\x0f\0\x01"].concat()
}

fn answer() -> Vec<u8> {
    let mut answer = question();
    (answer[2], answer[3], answer[7]) = (0x85, 0x80, 1);
    answer.extend_from_slice(b"\xc0\x0c\0\x0f\0\x01\0\0\0\x3c\0\x09\0\x0a\x04mail\xc0\x0c");
    answer
}

/// A message with its length before it (RFC 1035 §4.2.2).
fn with_length(message: &[u8]) -> Vec<u8> {
    [&u16::try_from(message.len()).unwrap().to_be_bytes(), message].concat()
}

fn session(protocol: Protocol, question: &[u8], answer: &[u8]) -> SessionRecords {
    Script::at(protocol, Role::Server, 40_000, start()).body(true, question, 9999).body(false, answer, 9999).end("done")
}

#[test]
fn questions_and_answers_need_no_options() {
    let udp = session(Protocol::DnsUdp, &question(), &answer());
    let tcp = session(Protocol::DnsTcp, &with_length(&question()), &with_length(&answer()));
    for (session, packets) in [(udp, 2), (tcp, 8)] {
        let sessions = [session];
        for octets in [live(Options::default(), &sessions), file(Options::default(), sessions.clone())] {
            let file = File::new(&octets);
            file.assert_sound();
            assert_eq!(file.field("dns.qry.name"), ["gmail.com", "gmail.com"]);
            assert_eq!(file.field("dns.mx.mail_exchange"), ["mail.gmail.com"]);
            assert_eq!(file.field("frame.number").len(), packets);
            assert_eq!(file.warnings(), Vec::<String>::new());
            let ends = file.fields("dns.mx.mail_exchange", ["ip.src", "ip.dst"]);
            assert_eq!(ends, [["10.1.0.53", "10.0.0.1"]]);
        }
    }
}
