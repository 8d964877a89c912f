//! The mechanisms of SASL, and what a client says in each of them.

use super::Row;

/// By name. LOGIN and XOAUTH2 are in no RFC of their own; the RFC is the one of the framework, or of the successor.
pub(super) const MECHANISMS: &[Row] = &[
    ("PLAIN", 4616, "2", "The client sends its name and its password in one message, readable by all who listen."),
    ("LOGIN", 4422, "3", "The client sends name and password in a message each; no RFC defines this old mechanism."),
    ("SCRAM-SHA-256", 7677, "3", "The client proves with a hash that it knows the password, without sending it."),
    ("SCRAM-SHA-256-PLUS", 7677, "3", "The client proves that it knows the password, bound to this TLS connection."),
    ("SCRAM-SHA-1", 5802, "4", "The client proves with a SHA-1 hash that it knows the password, without sending it."),
    ("CRAM-MD5", 2195, "2", "The client proves that it knows the password with an MD5 hash, which is too weak today."),
    ("DIGEST-MD5", 6331, "1", "The client proves with an MD5 digest that it knows the password; this is obsolete."),
    ("EXTERNAL", 4422, "A", "The client is who its TLS certificate says it is."),
    ("ANONYMOUS", 4505, "2", "The client does not say who it is."),
    ("GSSAPI", 4752, "3", "The client proves who it is with a Kerberos ticket."),
    ("XOAUTH2", 7628, "3", "The client sends a token in place of a password; Google had this before OAUTHBEARER."),
    ("OAUTHBEARER", 7628, "3.1", "The client sends a token that another service has given it in place of a password."),
];

/// What a message of the client within an exchange is, by mechanism.
pub(super) const RESPONSES: &[Row] = &[
    ("PLAIN", 4616, "2", "In base64: whom to act as, the name and the password, with a NUL between them."),
    ("LOGIN", 4422, "3", "In base64: the name first, and the password after the next challenge."),
    ("SCRAM-SHA-256", 5802, "5.1", "In base64: name and nonce first, then the proof that the password is known."),
    ("SCRAM-SHA-256-PLUS", 5802, "5.1", "In base64: name and nonce first, then the proof for this TLS connection."),
    ("XOAUTH2", 7628, "3", "In base64: the name and the token, with octets of value 1 between them."),
    ("OAUTHBEARER", 7628, "3.1", "In base64: the name and the token, with octets of value 1 between them."),
];

/// What else may stand where a response is expected.
pub(super) const IN_EXCHANGE: &[Row] = &[
    ("*", 4954, "4", "The client cancels the exchange and stays without a login."),
    ("=", 4954, "4", "The client's first message is empty."),
    ("", 4954, "4", "The client's message is empty."),
    ("response", 4954, "4", "The client answers the challenge with a message of the mechanism in base64."),
    ("initial", 4954, "4", "The client sends the mechanism's first message, in base64, along with the command."),
    ("challenge", 4422, "3", "The server sends a challenge of the mechanism in base64."),
];
