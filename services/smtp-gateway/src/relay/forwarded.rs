//! The trace fields of a message that leaves through an alias.
//!
//! The relay adds them when it sends the message. The store keeps one body for all recipients, and those who were named
//! by the sender get it without these fields. The gateway that receives the message does not know the members of a list.

use crate::received::rfc2822;
use bytes::Bytes;
use internal_api::{ApiError, ClaimedMessage, RawMessage};
use mail_proto::{Domain, Mailbox, header::separator};
use town_config::{Profile, Stack};

/// How many octets of a message tell whether it begins with a header field: a line has no more (RFC 5322 §2.1.1).
const LINE_OCTETS: usize = 1000;

/// What a message gets before it on its way to the targets of an alias: `Delivered-To:`, by which a loop is recognised, and
/// `Received:`. In profile `rfc` the message has that since it arrived.
pub(crate) fn trace(message: &ClaimedMessage, alias: &Mailbox, stack: &Stack) -> String {
    let received = match stack.profile {
        Profile::Tutorial => received(message, alias, &stack.name),
        Profile::Rfc => String::new(),
    };
    format!("{received}Delivered-To: {alias}\r\n")
}

/// The same at every attempt (RFC 5321 §4.4).
fn received(message: &ClaimedMessage, alias: &Mailbox, server_name: &Domain) -> String {
    let (id, date) = (message.id, rfc2822(message.queued_at));
    format!(
        "Received: from {server_name}\r\n\tby {server_name} with local\r\n\tid {id}\r\n\tfor <{alias}>;\r\n\t{date}\r\n"
    )
}

/// The beginning of a message that leaves with trace fields.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Beginning {
    pub(super) octets: Bytes,
    /// How many of them are not the message's own.
    pub(super) added: u64,
}

/// The trace fields, and as much of the message after them as tells whether an empty line belongs between.
///
/// # Errors
/// When the message cannot be read.
pub(super) async fn beginning(trace: &str, raw: &mut RawMessage) -> Result<Beginning, ApiError> {
    let mut start = Vec::new();
    while start.len() < LINE_OCTETS
        && memchr::memchr(b'\n', &start).is_none()
        && let Some(chunk) = raw.chunk().await?
    {
        start.extend_from_slice(&chunk);
    }
    let separator = separator(&start);
    let added = (trace.len() + separator.len()) as u64;
    Ok(Beginning { octets: [trace.as_bytes(), separator, &start].concat().into(), added })
}

#[cfg(test)]
mod tests {
    use super::*;
    use internal_api::MessageId;
    use mail_proto::{ReversePath, smtp::MailParameters};
    use std::path::Path;
    use town_config::Config;

    fn stack(profile: &str) -> Stack {
        let text = format!("profile = \"{profile}\"\n[server.\"a.test\"]\nsmtp = 1\npop = 2\n");
        Config::parse(&text, Path::new("config.toml")).unwrap().stack("a.test").unwrap().clone()
    }

    #[test]
    fn a_forwarded_message_tells_by_which_server_and_alias() {
        let message = ClaimedMessage {
            id: MessageId::from_number(7),
            reverse_path: ReversePath::Null,
            octets: 2,
            queued_at: jiff::Timestamp::UNIX_EPOCH,
            age_seconds: Some(0),
            parameters: MailParameters::default(),
            recipients: Vec::new(),
            inline: false,
        };
        let alias = "team@a.test".parse().unwrap();
        assert_eq!(trace(&message, &alias, &stack("rfc")), "Delivered-To: team@a.test\r\n");
        let expected = "Received: from a.test\r\n\tby a.test with local\r\n\tid 0000000000007\r\n\tfor <team@a.test>;\r\n\
             \tThu, 01 Jan 1970 00:00:00 +0000\r\nDelivered-To: team@a.test\r\n";
        assert_eq!(trace(&message, &alias, &stack("tutorial")), expected);
    }

    #[tokio::test]
    async fn trace_fields_do_not_join_the_message() {
        for (message, between) in
            [("Subject: x\r\n\r\nx\r\n", ""), ("", ""), ("\r\nx\r\n", ""), ("no field\r\n", "\r\n")]
        {
            let mut raw = RawMessage::from(Bytes::from(message));
            let beginning = beginning("T: t\r\n", &mut raw).await.unwrap();
            let expected = format!("T: t\r\n{between}{message}");
            assert_eq!(beginning.added as usize, expected.len() - message.len());
            assert_eq!(beginning.octets, expected);
            assert_eq!(raw.chunk().await.unwrap(), None);
        }
    }
}
