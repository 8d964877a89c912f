//! A fault that is set, and how often it has happened.

use crate::{Count, Fault, Minute, When, recipients::Recipients};
use jiff::{SignedDuration, Timestamp};
use std::collections::VecDeque;

/// How many of the sessions in which it has happened are named.
const SESSIONS: usize = 20;
const MINUTE: SignedDuration = SignedDuration::from_secs(60);

/// A fault that is set.
#[derive(Debug)]
pub(crate) struct Armed {
    pub(crate) fault: Fault,
    /// How often `where` was so.
    matched: u64,
    /// How often it has happened.
    pub(crate) fired: u64,
    recipients: Recipients,
    /// When the minute began, and how often `where` was so in it.
    minute: Option<(Timestamp, u32)>,
    /// The last sessions in which it has happened.
    pub(crate) sessions: VecDeque<String>,
}

impl Armed {
    pub(crate) fn new(fault: Fault) -> Self {
        let (recipients, sessions) = (Recipients::default(), VecDeque::new());
        Self { fault, matched: 0, fired: 0, recipients, minute: None, sessions }
    }

    /// What was counted.
    pub(crate) fn count(&self) -> Count {
        Count {
            matched: self.matched,
            fired: self.fired,
            recipients: self.recipients.counts(),
            minute: self.minute.map(|(began, count)| Minute { began, count }),
            sessions: self.sessions.iter().cloned().collect(),
        }
    }

    /// Goes on from what was counted before.
    pub(crate) fn go_on_from(&mut self, count: Count) {
        let Count { matched, fired, recipients, minute, sessions } = count;
        (self.matched, self.fired) = (matched, fired);
        self.minute = minute.map(|Minute { began, count }| (began, count));
        (self.recipients, self.sessions) = (Recipients::of(recipients), sessions.into_iter().take(SESSIONS).collect());
    }

    /// Whether it happens now that `where` is so; counted either way.
    pub(crate) fn happens(&mut self, recipient: Option<&str>, now: Timestamp) -> bool {
        let When { times, after, every, first_per_recipient, above_per_minute, probability, seed, until } =
            self.fault.when.clone();
        if until.is_some_and(|until| now >= until) || times.is_some_and(|times| self.fired >= times.get()) {
            return false;
        }
        let ordinal = self.matched;
        self.matched += 1;
        let turn = ordinal.checked_sub(after.unwrap_or(0));
        let Some(turn) = turn else { return false };
        if every.is_some_and(|every| !(turn + 1).is_multiple_of(every.get())) {
            return false;
        }
        if first_per_recipient
            .is_some_and(|first| !self.recipients.is_among_first(recipient.unwrap_or_default(), first.get()))
            || above_per_minute.is_some_and(|most| !self.is_above(most.get(), now))
            || probability.is_some_and(|probability| chance(seed.unwrap_or(0), ordinal) >= probability)
        {
            return false;
        }
        self.fired += 1;
        true
    }

    pub(crate) fn happened_in(&mut self, session: String) {
        if self.sessions.back() == Some(&session) {
            return;
        }
        if self.sessions.len() == SESSIONS {
            self.sessions.pop_front();
        }
        self.sessions.push_back(session);
    }

    fn is_above(&mut self, most: u32, now: Timestamp) -> bool {
        let (began, count) = match self.minute {
            Some((began, count)) if now >= began && now.duration_since(began) < MINUTE => (began, count),
            _ => (now, 0),
        };
        self.minute = Some((began, count.saturating_add(1)));
        count >= most
    }
}

/// A number from 0 to less than 1 that only the seed and the ordinal decide: one step of SplitMix64.
fn chance(seed: u64, ordinal: u64) -> f64 {
    let mut mixed = seed.wrapping_add(ordinal.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^= mixed >> 31;
    // The 53 bits that a number of this type holds exactly.
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
    let number = (mixed >> 11) as f64;
    number / 9_007_199_254_740_992.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn armed(when: &str) -> Armed {
        Armed::new(serde_json::from_str(&format!(r#"{{"what":{{"status":503}},"when":{when}}}"#)).unwrap())
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn run(armed: &mut Armed, times: usize) -> String {
        (0..times).map(|_| if armed.happens(None, at(0)) { 'X' } else { '.' }).collect()
    }

    #[test]
    fn counts() {
        for (when, expected) in [
            ("{}", "XXXXXX"),
            (r#"{"times":2}"#, "XX...."),
            (r#"{"after":2,"times":1}"#, "..X..."),
            (r#"{"every":3}"#, "..X..X"),
            (r#"{"every":2,"after":1,"times":2}"#, "..X.X."),
            (r#"{"above_per_minute":4}"#, "....XX"),
            (r#"{"probability":0}"#, "......"),
            (r#"{"probability":1}"#, "XXXXXX"),
        ] {
            assert_eq!(run(&mut armed(when), 6), expected, "{when}");
        }
    }

    #[test]
    fn each_recipient_has_its_own_count() {
        let mut grey = armed(r#"{"first_per_recipient":1}"#);
        let tried: Vec<_> = ["a@x", "b@x", "A@x", "b@x", "c@x"].map(|to| grey.happens(Some(to), at(0))).into();
        assert_eq!(tried, [true, true, false, false, true]);
    }

    #[test]
    fn time_ends_it_and_gives_a_new_minute() {
        let mut fault = armed(r#"{"above_per_minute":1,"until":"2027-01-15T08:02:30Z"}"#);
        let until: Timestamp = "2027-01-15T08:02:30Z".parse().unwrap();
        let begin = until - SignedDuration::from_secs(150);
        let tried =
            [0, 59, 60, 61, 149, 150].map(|second| fault.happens(None, begin + SignedDuration::from_secs(second)));
        assert_eq!(tried, [false, true, false, true, false, false]);
    }

    #[test]
    fn a_seed_decides_what_is_probable() {
        let of = |seed: u64| run(&mut armed(&format!(r#"{{"probability":0.5,"seed":{seed}}}"#)), 64);
        assert_eq!(of(7), of(7));
        assert_ne!(of(7), of(8));
        let happened = run(&mut armed(r#"{"probability":0.3,"seed":1}"#), 10_000).matches('X').count();
        assert!((2_800..3_200).contains(&happened), "{happened}");
    }
}
