//! What this hop adds to a header: its trace (RFC 5321 §4.4), and what a submitted message lacks (RFC 6409 §8).

use jiff::{Timestamp, tz::TimeZone};
use mail_proto::{Domain, header::Completion, smtp::Envelope};
use std::net::{IpAddr, SocketAddr};
use uuid::Uuid;

/// A `Received:` field for a message that arrives now, folded, with its CRLF. It has no `id` clause, which is optional:
/// the store gives a message its id when it has all of it, and this field is sent before. Any other id would name nothing.
pub(crate) fn received(envelope: &Envelope, peer: SocketAddr, server_name: &Domain, now: Timestamp) -> String {
    let literal = match peer.ip().to_canonical() {
        IpAddr::V4(address) => format!("[{address}]"),
        IpAddr::V6(address) => format!("[IPv6:{address}]"),
    };
    let client = match envelope.hello.name.as_str() {
        "" => &literal,
        name => name,
    };
    let protocol = protocol(envelope);
    // Naming one of several recipients to the others would tell what only the envelope knows.
    let recipient = match envelope.recipients.as_slice() {
        [only] => format!("\r\n\tfor <{}>", only.mailbox),
        _ => String::new(),
    };
    let date = rfc2822(now);
    format!("Received: from {client} ({literal})\r\n\tby {server_name} with {protocol}{recipient};\r\n\t{date}\r\n")
}

/// The fields that a submitted message is to have (RFC 6409 §8.2, §8.3): this date, and an id that nothing else has.
pub(crate) fn completion(server_name: &Domain, now: Timestamp) -> Completion {
    let id = format!("<{}@{server_name}>", Uuid::new_v4().simple());
    Completion::new([("Date", rfc2822(now)), ("Message-ID", id)])
}

/// How the message was received (RFC 5321 §4.4, RFC 3848, RFC 6531 §3.7.3).
fn protocol(envelope: &Envelope) -> String {
    if !envelope.hello.extended {
        return "SMTP".to_owned();
    }
    let base = if envelope.parameters.smtputf8 { "UTF8SMTP" } else { "ESMTP" };
    let tls = if envelope.is_encrypted { "S" } else { "" };
    let login = if envelope.identity.is_some() { "A" } else { "" };
    format!("{base}{tls}{login}")
}

/// How many of the first octets of a message are trace fields, whole ones with their continuation lines.
pub(crate) fn trace_octets(message: &[u8]) -> usize {
    let mut octets = 0;
    let mut in_trace = false;
    for line in message.split_inclusive(|octet| *octet == b'\n') {
        let continues = in_trace && matches!(line.first(), Some(b' ' | b'\t'));
        in_trace = continues || TRACE_FIELDS.iter().any(|name| begins_with(line, name));
        if !in_trace || !line.ends_with(b"\n") {
            break;
        }
        octets += line.len();
    }
    octets
}

/// The fields that servers add on the way (RFC 5321 §4.4).
const TRACE_FIELDS: [&[u8]; 3] = [b"Received:", b"Return-Path:", b"Delivered-To:"];

fn begins_with(line: &[u8], name: &[u8]) -> bool {
    line.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name))
}

/// A date as header fields have it (RFC 5322 §3.3).
pub(crate) fn rfc2822(now: Timestamp) -> String {
    now.to_zoned(TimeZone::UTC).strftime("%a, %d %b %Y %H:%M:%S %z").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use mail_proto::{
        Mailbox, ReversePath,
        smtp::{Hello, MailParameters, Origin, Recipient},
    };

    fn recipient(address: &str) -> Recipient {
        address.parse::<Mailbox>().unwrap().into()
    }

    #[test]
    fn a_received_field() {
        let mut envelope = Envelope {
            hello: Hello { name: "laptop".parse().unwrap(), extended: true },
            is_encrypted: false,
            identity: None,
            origin: Origin::Submission,
            reverse_path: ReversePath::Null,
            parameters: MailParameters::default(),
            recipients: vec![recipient("usr@gmail.com")],
        };
        let name = "gmail.com".parse().unwrap();
        let field = received(&envelope, "[::ffff:127.0.0.1]:9".parse().unwrap(), &name, Timestamp::UNIX_EPOCH);
        assert_eq!(
            field,
            "Received: from laptop ([127.0.0.1])\r\n\tby gmail.com with ESMTP\r\n\tfor <usr@gmail.com>;\r\n\
             \tThu, 01 Jan 1970 00:00:00 +0000\r\n"
        );
        envelope.recipients.push(recipient("other@gmail.com"));
        let field = received(&envelope, "[::1]:9".parse().unwrap(), &name, Timestamp::UNIX_EPOCH);
        assert!(field.starts_with("Received: from laptop ([IPv6:::1])\r\n\tby gmail.com with ESMTP;\r\n"));
        envelope.hello.name = "".parse().unwrap();
        let field = received(&envelope, "[::1]:9".parse().unwrap(), &name, Timestamp::UNIX_EPOCH);
        assert!(field.starts_with("Received: from [IPv6:::1] ([IPv6:::1])\r\n"), "{field}");
        envelope.parameters.smtputf8 = true;
        assert_eq!(protocol(&envelope), "UTF8SMTP");
        (envelope.is_encrypted, envelope.identity) = (true, Some("a@b".parse().unwrap()));
        assert_eq!(protocol(&envelope), "UTF8SMTPSA");
    }

    #[test]
    fn leading_trace_fields_are_counted_whole() {
        let table = [
            ("", 0),
            ("Subject: x\r\nReceived: y\r\n", 0),
            ("Received: x\r\n", 13),
            ("received: x\r\n\ty\r\nSubject: z\r\n\tReceived: z\r\n", 17),
            ("Return-Path: <>\r\nDelivered-To: x\r\nReceived: y\r\n\r\nReceived: z\r\n", 47),
            ("Received: x\r\nReceived: cut", 13),
            (" Received: x\r\n", 0),
        ];
        for (message, octets) in table {
            assert_eq!(trace_octets(message.as_bytes()), octets, "{message:?}");
        }
    }
}
