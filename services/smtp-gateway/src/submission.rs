//! What a port for submissions takes (RFC 6409).

use crate::policy::Policy;
use mail_proto::{
    Mailbox, ReversePath,
    smtp::{Origin, Reply},
};
use std::net::IpAddr;

/// What a transaction is on a port where nobody delivers, or why there is none. `verdict` is what it would be on the port
/// of other servers.
pub(crate) fn sender(
    policy: &Policy,
    peer: IpAddr,
    identity: Option<&Mailbox>,
    path: &ReversePath,
    verdict: Result<Origin, Reply>,
) -> Result<Origin, Reply> {
    match verdict {
        Ok(Origin::Submission) | Err(_) => verdict,
        // Who is logged in is known, whatever the path: a reply that no failure message is to follow has the empty one.
        Ok(Origin::Delivery) if identity.is_some() => Ok(Origin::Submission),
        // RFC 6409 §4.3.
        Ok(Origin::Delivery) if policy.requires_login(peer) => {
            Err(Reply::new(530, (7, 0), "authentication required to submit mail"))
        }
        // RFC 6409 §6.1.
        Ok(Origin::Delivery) => {
            Err(Reply::new(550, (7, 1), format!("{path}: only local users may send on this port, or log in first")))
        }
    }
}
