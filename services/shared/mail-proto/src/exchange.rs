//! Who takes a domain's mail.

use serde::{Deserialize, Serialize};

/// One exchange of a mail domain: an MX record (RFC 5321 §5.1). The more preferred of two is the lesser.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct MailExchange {
    /// Lower is tried first.
    pub preference: u16,
    /// The exchange's name with its final dot; `.` alone says that the domain takes no mail (RFC 7505).
    pub exchange: String,
}
