//! The words of POP3: commands, status indicators, response codes and capabilities.

use super::{Explanation, Row};

pub(super) const COMMANDS: &[Row] = &[
    ("USER", 1939, "7", "The client says whose maildrop it wants."),
    ("PASS", 1939, "7", "The client sends the password, readable by all who listen unless TLS is spoken."),
    ("APOP", 1939, "7", "The client proves with an MD5 digest that it knows the password."),
    ("AUTH", 5034, "4", "The client asks to log in with this mechanism of SASL."),
    ("STLS", 2595, "4", "The client asks to go on over TLS, and begins anew there."),
    ("CAPA", 2449, "5", "The client asks what the server can do."),
    ("UTF8", 6856, "2.1", "The client takes mail and replies in UTF-8 from now on."),
    ("LANG", 6856, "3", "The client asks which languages replies can have, or chooses one."),
    ("STAT", 1939, "5", "The client asks how many messages there are, and how many octets they have."),
    ("LIST", 1939, "5", "The client asks for the size of one message, or of each."),
    ("RETR", 1939, "5", "The client asks for a message."),
    ("DELE", 1939, "5", "The client marks a message for deletion; it goes at QUIT."),
    ("NOOP", 1939, "5", "The client asks for nothing but a reply."),
    ("RSET", 1939, "5", "The client takes all its marks for deletion back."),
    ("TOP", 1939, "7", "The client asks for the header of a message and the first lines of its body."),
    ("UIDL", 1939, "7", "The client asks for the unique id of one message, or of each."),
    ("QUIT", 1939, "6", "The client ends the session: what it has marked is deleted now."),
    ("LAST", 1460, "5", "The client asks for the last message that was read; this is obsolete."),
];

pub(super) const STATUS: &[Row] = &[
    ("+OK", 1939, "3", "The server has done what was asked."),
    ("-ERR", 1939, "3", "The server refuses, or has failed."),
    ("+", 5034, "4", "The server sends a challenge in base64, and waits for the client's response."),
];

/// Without their brackets.
pub(super) const RESPONSE_CODES: &[Row] = &[
    ("LOGIN-DELAY", 2449, "8.1.1", "The user has logged in a moment ago, and has to wait."),
    ("IN-USE", 2449, "8.1.2", "Another session holds the maildrop, so it cannot be opened now."),
    ("SYS/TEMP", 3206, "4", "The server has trouble that will pass; try again later."),
    ("SYS/PERM", 3206, "4", "The server has trouble that somebody has to repair."),
    ("AUTH", 3206, "5", "Name or password is wrong, or this login is not allowed."),
    ("UTF8", 6856, "5", "What was asked for needs UTF-8, and the client has not said UTF8."),
];

pub(super) const CAPABILITIES: &[Row] = &[
    ("TOP", 2449, "6.1", "The server has the command TOP."),
    ("USER", 2449, "6.2", "The server has the commands USER and PASS."),
    ("SASL", 2449, "6.3", "The client may log in with one of these mechanisms."),
    ("RESP-CODES", 2449, "6.4", "Replies may tell the reason to a program, in square brackets."),
    ("LOGIN-DELAY", 2449, "6.5", "Between two logins there must be this number of seconds."),
    ("PIPELINING", 2449, "6.6", "The client may send several commands without waiting for the replies."),
    ("EXPIRE", 2449, "6.7", "The server keeps messages for at least this number of days, or for ever."),
    ("UIDL", 2449, "6.8", "The server has the command UIDL."),
    ("IMPLEMENTATION", 2449, "6.9", "Which program the server is."),
    ("STLS", 2595, "4", "The client may go on over TLS."),
    ("AUTH-RESP-CODE", 3206, "6", "A failed login tells whether name or password was wrong."),
    ("UTF8", 6856, "2", "The client may ask for UTF-8 with the command UTF8."),
    ("LANG", 6856, "3", "The client may choose the language of the replies."),
];

pub(super) const FINAL_DOT: Explanation =
    Explanation { text: "A line with a single dot ends the reply.", rfc: 1939, section: "3" };
