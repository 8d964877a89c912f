//! How the texts that travel are described in an OpenAPI document; what they are is in `mail_proto`.

use serde::Serialize;
use utoipa::ToSchema;

/// Octets as they are.
#[derive(ToSchema)]
#[schema(format = Binary)]
pub struct Octets(pub String);

/// A mailbox, `local-part@domain` (RFC 5321 §4.1.2).
#[derive(ToSchema)]
#[schema(format = Email, example = "usr1@mail.sustech.edu.cn")]
pub struct Mailbox(pub String);

/// A mailbox in angle brackets, or `<>` for nobody (RFC 5321 §4.1.2 `Reverse-path`).
#[derive(ToSchema)]
#[schema(format = "reverse-path", example = "<usr1@mail.sustech.edu.cn>")]
pub struct ReversePath(pub String);

/// A host name, or an address literal such as `[127.0.0.1]` (RFC 5321 §4.1.2, §4.1.3).
#[derive(ToSchema)]
#[schema(format = "mail-domain", example = "gmail.com")]
pub struct Domain(pub String);

/// An IP address.
#[derive(ToSchema)]
#[serde(untagged)]
pub enum IpAddress {
    /// Of version 4.
    #[schema(format = "ipv4", example = "192.0.2.1")]
    V4(String),
    /// Of version 6.
    #[schema(format = "ipv6", example = "2001:db8::1")]
    V6(String),
}

/// One exchange of a domain (RFC 5321 §5.1).
#[derive(Serialize, ToSchema)]
pub struct MailExchange {
    /// Lower is tried first.
    pub preference: u16,
    /// The exchange's name with its final dot; `.` alone says that the domain takes no mail (RFC 7505).
    pub exchange: String,
}

/// The records of one type under a name. Empty when the name exists without any of that type.
#[derive(Serialize, ToSchema)]
#[serde(tag = "type", content = "records")]
pub enum Records {
    /// By preference, the lowest first.
    #[serde(rename = "MX")]
    Mx(Vec<MailExchange>),
    /// `port`, or `host:port` for a server on another machine.
    P(Vec<String>),
}

/// Whom a message is for: the mailbox, or an object where parameters came with RCPT.
#[derive(ToSchema)]
#[serde(untagged)]
pub enum Recipient {
    /// Nothing came with it.
    Plain(Mailbox),
    /// Something did.
    Detailed {
        /// Who gets the message.
        mailbox: Mailbox,
        /// ORCPT.
        original: Option<OriginalRecipient>,
        /// NOTIFY.
        notify: Option<Notify>,
    },
}

/// An address type, a semicolon and an address, without xtext (RFC 3461 §4.2).
#[derive(ToSchema)]
#[schema(format = "original-recipient", example = "rfc822;usr1@mail.sustech.edu.cn")]
pub struct OriginalRecipient(pub String);

/// `NEVER`, or some of `SUCCESS`, `FAILURE` and `DELAY`, comma separated (RFC 3461 §4.1).
#[derive(ToSchema)]
#[schema(pattern = "^(NEVER|(SUCCESS|FAILURE|DELAY)(,(SUCCESS|FAILURE|DELAY))*)$", example = "FAILURE,DELAY")]
pub struct Notify(pub String);

/// The parameters of a MAIL command. What was not given is absent.
#[derive(ToSchema)]
pub struct MailParameters {
    /// BODY (RFC 6152 §2).
    #[schema(pattern = "^(7BIT|8BITMIME)$")]
    pub body: Option<String>,
    /// SMTPUTF8 (RFC 6531 §3.4).
    #[schema(required = false)]
    pub smtputf8: bool,
    /// RET (RFC 3461 §4.3).
    #[schema(pattern = "^(FULL|HDRS)$")]
    pub ret: Option<String>,
    /// ENVID, without xtext (RFC 3461 §4.4).
    #[schema(pattern = "^[ -~]{1,100}$")]
    pub envid: Option<String>,
    /// REQUIRETLS (RFC 8689 §2).
    #[schema(required = false)]
    pub requiretls: bool,
    /// AUTH, without xtext (RFC 4954 §5): who has submitted the message at first; `<>` where that is not known.
    pub submitter: Option<ReversePath>,
}
