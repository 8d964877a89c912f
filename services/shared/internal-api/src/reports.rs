//! What the queue says of a recipient whose sender is to be told, although nobody is to be asked any more.
//!
//! One kind is a success (RFC 3461 §5.2).
//! Such a recipient waits in the queue for a gateway that writes the report, although the message is delivered. The reply
//! that is kept with it is a positive one, which no recipient that waits for the message has. The other kind is a recipient
//! that an operator has given up.

use mail_proto::{Mailbox, smtp::Reply};

/// The reply kept with a recipient whose maildrop has got the message.
pub const DELIVERED: &str = "250 2.1.5 delivered";

/// The reply kept with a list that was expanded: its mail went on to its members (RFC 5321 §3.4).
const EXPANDED: u16 = 251;

/// The reply kept with a recipient that an operator has given up: it was refused here.
pub const GIVEN_UP: &str = "554 5.0.0 given up by an operator of this server";

/// Whether the queue keeps this reply with a recipient that only waits for a gateway to report it.
pub fn is_final(reply: &str) -> bool {
    is_success(reply) || reply == GIVEN_UP
}

/// Whether the queue keeps this reply with a recipient that only waits for the report of a success.
pub fn is_success(reply: &str) -> bool {
    reply.starts_with('2')
}

/// The reply kept with a list that was expanded.
pub fn expanded(list: &Mailbox) -> Reply {
    Reply::new(EXPANDED, (1, 5), format!("<{list}>: expanded"))
}

/// Whether this reply is kept with a list that was expanded.
pub fn says_expanded(reply: &Reply) -> bool {
    reply.code() == EXPANDED
}

#[cfg(test)]
mod tests {
    use super::*;
    use mail_proto::smtp::ReplyReader;

    #[test]
    fn successes_are_told_apart_and_from_what_waits() {
        let list = expanded(&"list@x".parse().unwrap());
        assert_eq!(list.on_one_line(), "251 2.1.5 <list@x>: expanded");
        let delivered = ReplyReader::default().line(DELIVERED.as_bytes()).unwrap().unwrap();
        assert!(says_expanded(&list) && !says_expanded(&delivered));
        for (reply, expected) in [(DELIVERED, true), ("", false), ("452 4.2.2 full", false), ("550 no", false)] {
            assert_eq!(is_success(reply), expected, "{reply}");
            assert_eq!(is_final(reply), expected, "{reply}");
        }
        let given_up = ReplyReader::default().line(GIVEN_UP.as_bytes()).unwrap().unwrap();
        assert!(is_final(GIVEN_UP) && !is_success(GIVEN_UP) && given_up.is_permanent());
    }
}
