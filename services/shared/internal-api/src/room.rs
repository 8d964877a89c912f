//! What a message is answered whose mailbox is missing or full, in the words of SMTP (RFC 3463 §3.2, §3.3).

use crate::MailboxSummary;
use mail_proto::{Mailbox, smtp::Reply};

/// The reply when a message of this many octets does not fit into a mailbox: never, or not now.
pub fn no_room(summary: &MailboxSummary, octets: u64) -> Option<Reply> {
    let mailbox = &summary.address;
    if !summary.could_hold(octets) {
        let text = format!("<{mailbox}>: a message of {octets} octets is more than this mailbox may hold");
        return Some(Reply::new(552, (2, 2), text));
    }
    if summary.has_room_for(octets) { None } else { Some(mailbox_full(mailbox)) }
}

/// The temporary reply about a mailbox that has no room now.
pub fn mailbox_full(mailbox: &Mailbox) -> Reply {
    Reply::new(452, (2, 2), format!("<{mailbox}>: mailbox full, try again later"))
}

/// The reply about a local recipient without a mailbox.
pub fn no_such_mailbox(mailbox: &Mailbox) -> Reply {
    Reply::new(550, (1, 1), format!("<{mailbox}>: no such mailbox here"))
}

/// The temporary reply about a recipient of a domain that is local only by what a gateway knows.
pub fn no_mailbox_now(mailbox: &Mailbox) -> Reply {
    Reply::new(450, (1, 1), format!("<{mailbox}>: no mailbox here now"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(messages: u64, octets: u64, quota_messages: Option<u64>, quota_octets: Option<u64>) -> MailboxSummary {
        MailboxSummary { address: "u@a.test".parse().unwrap(), messages, octets, quota_messages, quota_octets }
    }

    #[test]
    fn room_is_there_or_comes_later_or_never() {
        let full = Some("452 4.2.2 <u@a.test>: mailbox full, try again later");
        let never = Some("552 5.2.2 <u@a.test>: a message of 10 octets is more than this mailbox may hold");
        let table = [
            (summary(1000, 1000, None, None), None),
            (summary(1, 90, Some(2), Some(100)), None),
            (summary(2, 0, Some(2), None), full),
            (summary(1, 91, Some(2), Some(100)), full),
            (summary(0, 0, Some(0), None), never),
            (summary(0, 0, None, Some(9)), never),
        ];
        for (summary, expected) in table {
            let reply = no_room(&summary, 10).map(|reply| reply.on_one_line());
            assert_eq!(reply.as_deref(), expected, "{summary:?}");
        }
    }
}
