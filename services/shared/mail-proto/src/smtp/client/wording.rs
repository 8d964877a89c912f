//! How a client writes its commands.

use crate::smtp::Command;

/// How a client writes its commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Wording {
    /// As RFC 5321 has them, with the parameters that the server knows, and pipelined where it takes that (RFC 2920).
    #[default]
    Standard,
    /// As the course's hand-out shows them: verbs in lower case, one command at a time, and no parameters but those that
    /// came with the message.
    HandOut,
}

impl Wording {
    /// The octets of a command.
    pub(super) fn line(self, command: &Command) -> Vec<u8> {
        let mut line = format!("{command}\r\n").into_bytes();
        if self == Self::HandOut {
            let verb = line.iter().position(|octet| b" \r".contains(octet)).unwrap_or(line.len());
            line[..verb].make_ascii_lowercase();
        }
        line
    }
}
