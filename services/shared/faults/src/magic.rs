//! Recipients whose names ask for a fault.

use crate::{Cut, Pause, What, recipients::Recipients};
use std::collections::BTreeMap;

/// What recipients ask for, and how often each was deferred.
#[derive(Debug, Default)]
pub(crate) struct Magic {
    deferred: Recipients,
}

impl Magic {
    /// How often each recipient was deferred.
    pub(crate) fn counts(&self) -> BTreeMap<String, u32> {
        self.deferred.counts()
    }

    /// As it was counted before.
    pub(crate) fn of(deferred: BTreeMap<String, u32>) -> Self {
        Self { deferred: Recipients::of(deferred) }
    }

    /// What this recipient asks for, and its local part.
    pub(crate) fn wish(&mut self, address: &str) -> Option<(What, String)> {
        let (local, _) = address.rsplit_once('@')?;
        let wish = local.to_ascii_lowercase();
        let (word, argument) = wish.split_once('+').unwrap_or((&wish, ""));
        let what = match (word, argument) {
            ("drop", "") => What::Cut(Cut::BeforeReply),
            ("slow", pause) => What::Delay(pause.parse::<Pause>().ok()?),
            ("bounce", reply) => What::Reply(refusal(reply, '5')?),
            ("defer", reply) => {
                let (reply, times) = match reply.split_once('x') {
                    Some((reply, times)) => (reply, times.parse().ok()?),
                    None => (reply, 1),
                };
                let text = refusal(reply, '4')?;
                if !self.deferred.is_among_first(address, times) {
                    return None;
                }
                What::Reply(text)
            }
            _ => return None,
        };
        Some((what, wish))
    }
}

/// `550-5.1.1` or `550` as a reply that begins with this digit.
fn refusal(text: &str, class: char) -> Option<String> {
    let (code, status) = match text.split_once('-') {
        Some((code, status)) => (code, Some(status)),
        None => (text, None),
    };
    let is_code = code.len() == 3 && code.starts_with(class) && code.bytes().all(|octet| octet.is_ascii_digit());
    let is_status = |status: &str| {
        let parts: Vec<_> = status.split('.').collect();
        let is_number = |part: &&str| (1..=3).contains(&part.len()) && part.bytes().all(|octet| octet.is_ascii_digit());
        parts.len() == 3 && status.starts_with(class) && parts.iter().all(is_number)
    };
    if !is_code || !status.is_none_or(is_status) {
        return None;
    }
    let status = status.map_or_else(|| format!("{class}.0.0"), ToOwned::to_owned);
    Some(format!("{code} {status} as the recipient's name asks for"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn names_ask_for_faults() {
        let mut magic = Magic::default();
        let reply = |text: &str| What::Reply(format!("{text} as the recipient's name asks for"));
        for (address, what) in [
            ("bounce+550-5.1.1@gmail.com", reply("550 5.1.1")),
            ("Bounce+552@gmail.com", reply("552 5.0.0")),
            ("slow+5s@gmail.com", What::Delay(Pause(Duration::from_secs(5)))),
            ("drop@gmail.com", What::Cut(Cut::BeforeReply)),
        ] {
            assert_eq!(magic.wish(address).map(|(what, _)| what), Some(what), "{address}");
        }
        for address in [
            "usr@x",
            "bounce@x",
            "bounce+450@x",
            "bounce+550-4.1.1@x",
            "bounce+550-5.1@x",
            "drop+x@x",
            "slow@x",
            "slow+2h@x",
            "defer+550@x",
            "defer+451xx@x",
            "drop",
        ] {
            assert_eq!(magic.wish(address), None, "{address}");
        }
    }

    #[test]
    fn each_recipient_is_deferred_so_often() {
        let mut magic = Magic::default();
        let mut tries = |address: &str| (0..4).map(|_| magic.wish(address).is_some()).collect::<Vec<_>>();
        assert_eq!(tries("defer+451x2@a"), [true, true, false, false]);
        assert_eq!(tries("defer+451-4.7.1@a"), [true, false, false, false]);
        assert_eq!(tries("defer+451x2@b"), [true, true, false, false]);
    }
}
