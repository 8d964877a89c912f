//! The words of SMTP: commands, parameters, and what EHLO announces.

use super::{Explanation, Row, find};

/// How a command is used, as HELP tells it: its form and the RFC.
pub(crate) fn usage(command: &str) -> Option<String> {
    let form = find_command(command).filter(|command| !command.help.is_empty())?;
    let Explanation { rfc, section, .. } = form.explanation();
    Some(format!("{} (RFC {rfc} section {section})", form.help))
}

/// A command, and what HELP says of it: nothing where this server does not offer it.
pub(super) struct SmtpCommand {
    row: Row,
    help: &'static str,
}

impl SmtpCommand {
    pub(super) fn explanation(&self) -> Explanation {
        let (_, rfc, section, text) = self.row;
        Explanation { text, rfc, section }
    }
}

pub(super) fn find_command(name: &str) -> Option<&'static SmtpCommand> {
    COMMANDS.iter().find(|command| command.row.0.eq_ignore_ascii_case(name))
}

/// What a parameter of MAIL or RCPT means; `keyword` is what stands before its `=`.
pub(super) fn parameter(command: &str, keyword: &str) -> Option<Explanation> {
    match command.to_ascii_uppercase().as_str() {
        "MAIL" => find(MAIL_PARAMETERS, keyword),
        "RCPT" => find(RCPT_PARAMETERS, keyword),
        _ => find(OTHER_PARAMETERS, keyword),
    }
}

const fn command(row: Row, help: &'static str) -> SmtpCommand {
    SmtpCommand { row, help }
}

const COMMANDS: &[SmtpCommand] = &[
    command(("HELO", 5321, "4.1.1.1", "The client gives its name and wants no extensions."), "HELO name"),
    command(
        ("EHLO", 5321, "4.1.1.1", "The client gives its name and asks which extensions the server has."),
        "EHLO name",
    ),
    command(
        ("MAIL", 5321, "4.1.1.2", "The client begins a transaction and says where failure messages go."),
        "MAIL FROM:<address> and parameters",
    ),
    command(
        ("SOML", 821, "3.4", "The client begins a transaction for a terminal or a mailbox; this is obsolete."),
        "SOML FROM:<address> does what MAIL does",
    ),
    command(
        ("SAML", 821, "3.4", "The client begins a transaction for a terminal and a mailbox; this is obsolete."),
        "SAML FROM:<address> does what MAIL does",
    ),
    command(
        ("RCPT", 5321, "4.1.1.3", "The client names one recipient of the message."),
        "RCPT TO:<address> and parameters",
    ),
    command(
        ("DATA", 5321, "4.1.1.4", "The client asks to send the message."),
        "DATA, then the message and a line with a dot",
    ),
    command(
        ("BDAT", 3030, "2", "The client sends a piece of the message: so many octets follow at once."),
        "BDAT octets [LAST], then so many octets of the message",
    ),
    command(
        ("STARTTLS", 3207, "4", "The client asks to go on over TLS, and begins anew there."),
        "STARTTLS, then the TLS handshake",
    ),
    command(
        ("AUTH", 4954, "4", "The client asks to log in with this mechanism."),
        "AUTH mechanism [first message in base64]",
    ),
    command(
        ("RSET", 5321, "4.1.1.5", "The client gives the transaction up: sender and recipients are forgotten."),
        "RSET forgets the transaction",
    ),
    command(("VRFY", 5321, "4.1.1.6", "The client asks whether a mailbox exists."), "VRFY address"),
    command(("EXPN", 5321, "4.1.1.7", "The client asks who is on a mailing list."), "EXPN address of a list"),
    command(("HELP", 5321, "4.1.1.8", "The client asks how commands are used."), "HELP [command]"),
    command(("NOOP", 5321, "4.1.1.9", "The client asks for nothing but a reply."), "NOOP does nothing"),
    command(
        ("QUIT", 5321, "4.1.1.10", "The client ends the dialogue and waits for the reply."),
        "QUIT ends the connection",
    ),
    command(("SEND", 821, "3.4", "The client begins a transaction for a user's terminal; this is obsolete."), ""),
    command(("TURN", 821, "3.8", "The client asks to change roles with the server; this is obsolete."), ""),
    command(("ETRN", 1985, "5", "The client asks the server to send what waits for a node."), ""),
];

/// What is no command, and what the client sends all the same.
pub(super) const FINAL_DOT: Explanation =
    Explanation { text: "A line with a single dot ends the message.", rfc: 5321, section: "4.1.1.4" };

const MAIL_PARAMETERS: &[Row] = &[
    ("SIZE", 1870, "6", "The message has about this number of octets."),
    ("BODY", 6152, "2", "The message has octets over 127 if this is 8BITMIME, and none if this is 7BIT."),
    ("SMTPUTF8", 6531, "3.4", "Addresses or header fields of this message may be in UTF-8."),
    ("RET", 3461, "4.3", "A failure message returns all of the message (FULL) or its header only (HDRS)."),
    ("ENVID", 3461, "4.4", "The sender's own name for this message, which reports about it repeat."),
    ("REQUIRETLS", 8689, "2", "The message may travel only over TLS with verified certificates."),
    ("AUTH", 4954, "5", "Who has handed the message in at first, as the client has proof of it."),
];

const RCPT_PARAMETERS: &[Row] = &[
    ("NOTIFY", 3461, "4.1", "The sender wants reports on success, failure or delay for this recipient, or none."),
    ("ORCPT", 3461, "4.2", "The recipient's address as the sender wrote it at first."),
];

const OTHER_PARAMETERS: &[Row] = &[
    ("SMTPUTF8", 6531, "3.7.4.2", "The reply may be in UTF-8."),
    ("LAST", 3030, "2", "This is the last piece of the message."),
];

/// What a line of the reply to EHLO announces.
pub(super) const KEYWORDS: &[Row] = &[
    ("PIPELINING", 2920, "3", "The client may send several commands without waiting for the replies."),
    ("SIZE", 1870, "3", "The server takes messages of up to this number of octets; 0 is no limit."),
    ("8BITMIME", 6152, "2", "The server takes messages with octets over 127."),
    ("ENHANCEDSTATUSCODES", 2034, "3", "Replies have a second code of three numbers, which says why."),
    ("STARTTLS", 3207, "2", "The client may go on over TLS."),
    ("CHUNKING", 3030, "2", "The client may send the message in counted pieces with BDAT."),
    ("BINARYMIME", 3030, "3", "The server takes messages of any octets, when they come with BDAT."),
    ("SMTPUTF8", 6531, "3.1", "The server takes addresses and header fields in UTF-8."),
    ("DSN", 3461, "4", "The client may ask for reports on delivery with RET, ENVID, NOTIFY and ORCPT."),
    ("REQUIRETLS", 8689, "2", "The client may ask that the message travel only over verified TLS."),
    ("VRFY", 5321, "4.1.1.6", "The server answers whether a mailbox exists."),
    ("EXPN", 5321, "4.1.1.7", "The server answers who is on a mailing list."),
    ("HELP", 5321, "4.1.1.8", "The server answers HELP."),
    ("LIMITS", 9422, "3", "The server names its limits, such as RCPTMAX: recipients of one transaction."),
    ("AUTH", 4954, "3", "The client may log in with one of these mechanisms."),
    ("ETRN", 1985, "4", "The client may ask for the mail that waits for it."),
];
