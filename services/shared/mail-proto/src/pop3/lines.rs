//! What LIST and UIDL say of all messages, bit by bit (RFC 1939 §5, §7).

use super::{Maildrop, UniqueId};
use std::io::Write;

/// How many messages are listed at once: a few KiB.
const AT_ONCE: usize = 256;

/// A list of all messages that is being sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListLines {
    what: Told,
    /// The number from which it goes on.
    next: u64,
}

/// What is told of each message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Size,
    UniqueId,
}

impl ListLines {
    /// LIST: the sizes.
    pub(super) fn sizes() -> Self {
        Self { what: Told::Size, next: 1 }
    }

    /// UIDL: the unique ids.
    pub(super) fn unique_ids() -> Self {
        Self { what: Told::UniqueId, next: 1 }
    }

    /// Appends the next lines, a few KiB at most; after the last of them the final dot. Returns whether there are more.
    pub(super) fn encode<U: UniqueId>(&mut self, maildrop: &Maildrop<U>, output: &mut Vec<u8>) -> bool {
        let mut messages = maildrop.listed_from(self.next);
        for message in messages.by_ref().take(AT_ONCE) {
            self.next = message.number + 1;
            // Writing to a Vec does not fail. No line begins with a dot.
            let _ = match self.what {
                Told::Size => write!(output, "{} {}\r\n", message.number, message.size),
                Told::UniqueId => write!(output, "{} {}\r\n", message.number, message.uid),
            };
        }
        let more = messages.next().is_some();
        if !more {
            output.extend_from_slice(b".\r\n");
        }
        more
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pop3::SizeStyle;

    #[test]
    fn lists_come_in_portions() {
        for count in [0, 1, AT_ONCE - 1, AT_ONCE, AT_ONCE + 1, 3 * AT_ONCE] {
            let listing = (0..count as u64).map(|n| (n + 7, n)).collect();
            let mut maildrop = Maildrop::<u64>::new(listing, SizeStyle::Message);
            if count > 1 {
                maildrop.mark(2).unwrap();
            }
            let (mut lines, mut output, mut portions) = (ListLines::unique_ids(), Vec::new(), 1);
            while lines.encode(&maildrop, &mut output) {
                portions += 1;
            }
            let numbers =
                (1..=count).filter(|number| *number != 2).map(|number| format!("{number} {}\r\n", number + 6));
            assert_eq!(String::from_utf8(output).unwrap(), numbers.collect::<String>() + ".\r\n");
            assert_eq!(portions, (maildrop.count() as usize).div_ceil(AT_ONCE).max(1), "{count}");
        }
    }
}
