//! Where a submission goes.

use super::expansion::Expanded;
use crate::store::records::{MAILBOX_FULL, return_path};
use mail_proto::{Mailbox, ReversePath};

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
    pub(in crate::store) queued: Vec<(&'a Expanded, &'a str)>,
}

/// Places the recipients of a submission. An alias that failed is queued: its sender is told like that of other mail for
/// which there is no mailbox here.
///
/// # Errors
/// Those of `room`.
pub(in crate::store) fn place<'a, E>(
    recipients: &'a [Expanded],
    mut room: impl FnMut(&'a Mailbox) -> Result<Room, E>,
) -> Result<Placement<'a>, E> {
    let mut placement = Placement::default();
    for expanded in recipients {
        if let Some(failure) = &expanded.failure {
            placement.queued.push((expanded, failure));
            continue;
        }
        match room(&expanded.recipient.mailbox)? {
            Room::Found => placement.here.push(&expanded.recipient.mailbox),
            Room::Full => placement.queued.push((expanded, MAILBOX_FULL)),
            Room::Elsewhere => placement.queued.push((expanded, "")),
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
        let failure = "554 5.4.6 <l@local.test>: this alias leads to nobody but itself";
        let recipients = ["a@local.test", "b@local.test", "l@local.test", "x@far.test"].map(|address| Expanded {
            recipient: address.parse::<Mailbox>().unwrap().into(),
            via: None,
            failure: (address == "l@local.test").then(|| failure.to_owned()),
        });
        let mut asked = Vec::new();
        let placed = place(&recipients, |recipient| {
            asked.push(recipient.to_string());
            Ok::<_, ()>(match recipient.to_string().as_str() {
                "a@local.test" => Room::Found,
                "b@local.test" => Room::Full,
                _ => Room::Elsewhere,
            })
        });
        let [a, b, l, x] = &recipients;
        let queued = vec![(b, MAILBOX_FULL), (l, failure), (x, "")];
        assert_eq!(placed, Ok(Placement { here: vec![&a.recipient.mailbox], queued }));
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
