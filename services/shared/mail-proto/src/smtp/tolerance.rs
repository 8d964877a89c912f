//! What is taken although RFC 5321 forbids it.

/// What is taken from clients and from servers although RFC 5321 forbids it. By default, nothing.
///
/// Whatever is taken, only `CRLF . CRLF` ends a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tolerance {
    /// Lines of commands that end with LF alone.
    pub lf_commands: bool,
    /// Replies of other servers whose lines end with LF alone (RFC 5321 §2.3.8).
    pub lf_replies: bool,
    /// Paths without angle brackets, as in `MAIL FROM:a@b`.
    pub paths_without_brackets: bool,
    /// White space before a command, before the colon of `FROM:` and `TO:`, and inside angle brackets.
    pub odd_spaces: bool,
    /// Local parts with dots at their ends or side by side, as in `a..b@c`.
    pub odd_dots: bool,
    /// Clients that talk before the server has greeted them, or has answered their HELO or EHLO.
    pub early_talk: bool,
    /// LF alone in a message that follows DATA. It becomes CRLF.
    pub bare_lf_in_data: bool,
}

impl Tolerance {
    /// All of it.
    pub const ALL: Self = Self {
        lf_commands: true,
        lf_replies: true,
        paths_without_brackets: true,
        odd_spaces: true,
        odd_dots: true,
        early_talk: true,
        bare_lf_in_data: true,
    };
}
