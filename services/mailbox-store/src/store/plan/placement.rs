//! Where a submission goes.

use crate::store::records::{MAILBOX_FULL, return_path};
use mail_proto::{Mailbox, ReversePath, smtp::Recipient};
use std::collections::BTreeMap;

/// What is known of a recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum Room {
    /// There is such a mailbox here, and the message fits in. It is counted already.
    Found,
    /// There is such a mailbox here, and its quota is used up.
    Full,
    /// There is no such mailbox here.
    Elsewhere,
}

/// Which recipients get a message here, and which wait for it in the queue. Each is named once.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::store) struct Placement<'a> {
    /// Their maildrops get it.
    pub(in crate::store) here: Vec<&'a Mailbox>,
    /// They are queued; with what the queue says of them.
    pub(in crate::store) queued: Vec<(&'a Recipient, &'static str)>,
}

/// Places the recipients of a submission, in the order of their addresses, each once however often it was named: the
/// first stands.
///
/// # Errors
/// Those of `room`.
pub(in crate::store) fn place<'a, E>(
    recipients: impl IntoIterator<Item = &'a Recipient>,
    mut room: impl FnMut(&'a Mailbox) -> Result<Room, E>,
) -> Result<Placement<'a>, E> {
    let mut placement = Placement::default();
    let mut once: BTreeMap<&Mailbox, &Recipient> = BTreeMap::new();
    for recipient in recipients {
        once.entry(&recipient.mailbox).or_insert(recipient);
    }
    for (mailbox, recipient) in once {
        match room(mailbox)? {
            Room::Found => placement.here.push(mailbox),
            Room::Full => placement.queued.push((recipient, MAILBOX_FULL)),
            Room::Elsewhere => placement.queued.push((recipient, "")),
        }
    }
    Ok(placement)
}

/// How long a message of this many octets is in a maildrop.
pub(in crate::store) fn delivered_octets(octets: u64, adds_return_path: bool, reverse_path: &ReversePath) -> u64 {
    if adds_return_path { octets + return_path(reverse_path).len() as u64 } else { octets }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_recipient_has_one_place() {
        let mailboxes = ["x@far.test", "b@local.test", "a@local.test", "x@far.test", "b@LOCAL.test"];
        let mut recipients = mailboxes.map(|address| Recipient::from(address.parse::<Mailbox>().unwrap()));
        recipients[0].notify = Some("NEVER".parse().unwrap());
        let mut asked = Vec::new();
        let placed = place(&recipients, |recipient| {
            asked.push(recipient.to_string());
            Ok::<_, ()>(match recipient.to_string().as_str() {
                "a@local.test" => Room::Found,
                "b@local.test" => Room::Full,
                _ => Room::Elsewhere,
            })
        });
        let (a, b, x) = (&recipients[2].mailbox, &recipients[1], &recipients[0]);
        assert_eq!(placed, Ok(Placement { here: vec![a], queued: vec![(b, MAILBOX_FULL), (x, "")] }));
        assert_eq!(asked, ["a@local.test", "b@local.test", "x@far.test"]);
        assert_eq!(place(&recipients, |_| Err("away")), Err("away"));
    }

    #[test]
    fn a_return_path_counts_against_the_quota() {
        let sender: ReversePath = "<a@b>".parse().unwrap();
        assert_eq!(delivered_octets(10, false, &sender), 10);
        assert_eq!(delivered_octets(10, true, &sender), 10 + "Return-Path: <a@b>\r\n".len() as u64);
    }
}
