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
