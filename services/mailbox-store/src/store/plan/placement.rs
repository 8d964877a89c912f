//! Where a submission goes.

use super::expansion::Expanded;
use crate::store::records::{MAILBOX_FULL, return_path};
use internal_api::reports::{DELIVERED, is_success};
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
    /// They have got the message, or are lists that were expanded. They wait in the queue for a gateway that tells the
    /// sender, with these words.
    pub(in crate::store) reported: Vec<(&'a Expanded, &'a str)>,
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
        match &expanded.decided {
            Some(success) if is_success(success) => {
                placement.reported.push((expanded, success));
                continue;
            }
            Some(failure) => {
                placement.queued.push((expanded, failure));
                continue;
            }
            None => {}
        }
        match room(&expanded.recipient.mailbox)? {
            Room::Found => {
                placement.here.push(&expanded.recipient.mailbox);
                if expanded.recipient.wants_to_know_of_success() {
                    placement.reported.push((expanded, DELIVERED));
                }
            }
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
    use mail_proto::smtp::Recipient;

    #[test]
    fn each_recipient_has_one_place() {
        let failure = "554 5.4.6 <l@local.test>: this alias leads to nobody but itself";
        let expanded = "251 2.1.5 <e@local.test>: expanded";
        let table = [
            ("a@local.test", None, None),
            ("b@local.test", Some("SUCCESS"), None),
            ("e@local.test", Some("SUCCESS"), Some(expanded)),
            ("k@local.test", Some("SUCCESS"), None),
            ("l@local.test", None, Some(failure)),
            ("x@far.test", Some("SUCCESS"), None),
        ];
        let recipients = table.map(|(address, notify, decided)| Expanded {
            recipient: Recipient {
                mailbox: address.parse().unwrap(),
                original: None,
                notify: notify.map(|notify| notify.parse().unwrap()),
            },
            via: None,
            decided: decided.map(str::to_owned),
        });
        let mut asked = Vec::new();
        let placed = place(&recipients, |recipient| {
            asked.push(recipient.to_string());
            Ok::<_, ()>(match recipient.to_string().as_str() {
                "a@local.test" | "k@local.test" => Room::Found,
                "b@local.test" => Room::Full,
                _ => Room::Elsewhere,
            })
        });
        let [a, b, e, k, l, x] = &recipients;
        let here = vec![&a.recipient.mailbox, &k.recipient.mailbox];
        let queued = vec![(b, MAILBOX_FULL), (l, failure), (x, "")];
        let reported = vec![(e, expanded), (k, DELIVERED)];
        assert_eq!(placed, Ok(Placement { here, queued, reported }));
        assert_eq!(asked, ["a@local.test", "b@local.test", "k@local.test", "x@far.test"]);
        assert_eq!(place(&recipients, |_| Err("away")), Err("away"));
    }

    #[test]
    fn a_return_path_counts_against_the_quota() {
        let sender: ReversePath = "<a@b>".parse().unwrap();
        assert_eq!(delivered_octets(10, false, &sender), 10);
        assert_eq!(delivered_octets(10, true, &sender), 10 + "Return-Path: <a@b>\r\n".len() as u64);
    }
}
