//! The trace header that each hop adds (RFC 5321 §4.4).

use jiff::{Timestamp, tz::TimeZone};
use mail_proto::{Domain, smtp::Envelope};
use std::net::{IpAddr, SocketAddr};

/// A `Received:` field for a message that arrives now, folded, with its CRLF.
pub(crate) fn received(
    envelope: &Envelope,
    peer: SocketAddr,
    server_name: &Domain,
    transaction: &str,
    now: Timestamp,
) -> String {
    let literal = match peer.ip().to_canonical() {
        IpAddr::V4(address) => format!("[{address}]"),
        IpAddr::V6(address) => format!("[IPv6:{address}]"),
    };
    let client = match envelope.client_name.as_str() {
        "" => &literal,
        name => name,
    };
    let protocol = if envelope.extended { "ESMTP" } else { "SMTP" };
    // Naming one of several recipients to the others would tell what only the envelope knows.
    let recipient = match envelope.recipients.as_slice() {
        [only] => format!("\r\n\tfor <{only}>"),
        _ => String::new(),
    };
    let date = rfc2822(now);
    format!(
        "Received: from {client} ({literal})\r\n\tby {server_name} with {protocol} id {transaction}{recipient};\r\n\t{date}\r\n"
    )
}

/// A date as header fields have it (RFC 5322 §3.3).
pub(crate) fn rfc2822(now: Timestamp) -> String {
    now.to_zoned(TimeZone::UTC).strftime("%a, %d %b %Y %H:%M:%S %z").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use mail_proto::{ReversePath, smtp::Origin};

    #[test]
    fn a_received_field() {
        let mut envelope = Envelope {
            client_name: "laptop".parse().unwrap(),
            extended: true,
            origin: Origin::Submission,
            reverse_path: ReversePath::Null,
            recipients: vec!["usr@gmail.com".parse().unwrap()],
        };
        let name = "gmail.com".parse().unwrap();
        let field = received(&envelope, "[::ffff:127.0.0.1]:9".parse().unwrap(), &name, "t1", Timestamp::UNIX_EPOCH);
        assert_eq!(
            field,
            "Received: from laptop ([127.0.0.1])\r\n\tby gmail.com with ESMTP id t1\r\n\tfor <usr@gmail.com>;\r\n\
             \tThu, 01 Jan 1970 00:00:00 +0000\r\n"
        );
        envelope.recipients.push("other@gmail.com".parse().unwrap());
        let field = received(&envelope, "[::1]:9".parse().unwrap(), &name, "t1", Timestamp::UNIX_EPOCH);
        assert!(field.starts_with("Received: from laptop ([IPv6:::1])\r\n\tby gmail.com with ESMTP id t1;\r\n"));
        envelope.client_name = "".parse().unwrap();
        let field = received(&envelope, "[::1]:9".parse().unwrap(), &name, "t1", Timestamp::UNIX_EPOCH);
        assert!(field.starts_with("Received: from [IPv6:::1] ([IPv6:::1])\r\n"), "{field}");
    }
}
