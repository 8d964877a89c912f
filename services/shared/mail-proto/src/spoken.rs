//! Which protocol a dialogue is in, and who speaks.

use std::fmt;

/// What is spoken in a dialogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// SMTP (RFC 5321), also for submission (RFC 6409).
    Smtp,
    /// POP3 (RFC 1939).
    Pop3,
}

/// Who has sent something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// The end that has opened the connection.
    Client,
    /// The end that was called.
    Server,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client => "client",
            Self::Server => "server",
        })
    }
}
