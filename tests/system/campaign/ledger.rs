//! What was sent, and whether it arrived as it should have.

use super::{MOST_IN_FLIGHT, RELAY_LEASE, reader::Maildrop};
use internal_api::MessageId;
use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use town_tests::{Service, USR};

/// What ids begin with: milliseconds since 2020, above this many random bits.
const ID_EPOCH: Duration = Duration::from_secs(1_577_836_800);
const ID_RANDOM_BITS: u32 = 22;
/// In copies, about.
const MOST_UNREAD: usize = 5_000;

/// A service's end.
pub(crate) struct Kill {
    pub(crate) at: SystemTime,
    pub(crate) service: Service,
}

impl Kill {
    /// Whether this cuts relays off behind the final dot, or keeps them from recording what they did.
    pub(super) fn may_repeat_mail(&self) -> bool {
        ["smtp-gateway", "mailbox-store"].contains(&self.service.binary)
    }
}

/// All messages that were begun, by their numbers.
#[derive(Default)]
pub(crate) struct Ledger {
    messages: Mutex<Vec<Message>>,
    /// Copies that were acknowledged, and copies that were read.
    owed: AtomicUsize,
    read: AtomicUsize,
}

struct Message {
    sender: &'static str,
    recipients: &'static [&'static str],
    acknowledged: bool,
}

/// The numbers of a campaign, and what should not have been.
#[derive(Default)]
pub(crate) struct Verdict {
    kills: BTreeMap<&'static str, usize>,
    /// Kills after which relayed mail may come again.
    culprits: usize,
    pub(crate) acknowledged: usize,
    /// Neither refused nor acknowledged, as far as its client knows; and those that arrived nevertheless.
    unacknowledged: [usize; 2],
    copies: usize,
    /// Copies of relayed mail beyond the first, and whose kill explains how many of them.
    repeated: usize,
    explained: BTreeMap<&'static str, usize>,
    deleted: usize,
    uncertain: usize,
    left: usize,
    /// POP3 sessions that came to their end, and others.
    sessions: [usize; 2],
    pub(crate) faults: Vec<String>,
}

impl Ledger {
    /// The number of a new message.
    pub(super) fn begin(&self, recipients: &'static [&'static str], sender: &'static str) -> usize {
        let mut messages = self.messages.lock().unwrap();
        messages.push(Message { sender, recipients, acknowledged: false });
        messages.len() - 1
    }

    /// It was answered with 250.
    pub(super) fn acknowledge(&self, number: usize) {
        let message = &mut self.messages.lock().unwrap()[number];
        message.acknowledged = true;
        self.owed.fetch_add(message.recipients.len(), Ordering::Relaxed);
    }

    /// A copy was read.
    pub(super) fn read(&self) {
        self.read.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether there is so much to read that more would make the maildrops grow for ever.
    pub(super) fn is_enough(&self) -> bool {
        self.owed.load(Ordering::Relaxed) > self.read.load(Ordering::Relaxed) + MOST_UNREAD
    }

    /// How many were begun.
    pub(crate) fn len(&self) -> usize {
        self.messages.lock().unwrap().len()
    }

    /// Compares what was sent with what was read and what is left.
    pub(super) fn judge(&self, maildrops: &[Maildrop], kills: &[Kill]) -> Verdict {
        let culprits = kills.iter().filter(|kill| kill.may_repeat_mail()).count();
        let mut verdict = Verdict { culprits, ..Verdict::default() };
        for kill in kills {
            *verdict.kills.entry(kill.service.binary).or_default() += 1;
        }
        let messages = self.messages.lock().unwrap();
        let mut arrived: Vec<BTreeMap<&str, Vec<MessageId>>> = vec![BTreeMap::new(); messages.len()];
        for maildrop in maildrops {
            verdict.take(maildrop);
            for (id, number) in &maildrop.seen {
                arrived[*number].entry(maildrop.address).or_default().push(*id);
            }
        }
        for ((number, message), arrived) in messages.iter().enumerate().zip(&arrived) {
            verdict.message(number, message, arrived);
            for (recipient, copies) in arrived {
                verdict.copies(&format!("message {number} for {recipient}"), copies, kills);
            }
        }
        verdict
    }
}

impl Verdict {
    /// Panics when there was a fault, or when more relayed mail came again than can have been in flight.
    pub(crate) fn assert_faultless(&self) {
        // From all over them: all may be too many to read.
        let some: Vec<_> = self.faults.iter().step_by(self.faults.len() / 20 + 1).collect();
        assert!(some.is_empty(), "{} faults, such as {some:#?}", self.faults.len());
        let most = MOST_IN_FLIGHT * self.culprits;
        assert!(self.repeated <= most, "{} copies too many, but at most {most} were in flight", self.repeated);
    }

    fn take(&mut self, maildrop: &Maildrop) {
        let Maildrop { address, seen, deleted, uncertain, left, sessions, faults, .. } = maildrop;
        self.faults.extend_from_slice(faults);
        let lost = seen.iter().filter(|(id, _)| ![deleted, uncertain, left].iter().any(|set| set.contains(id)));
        self.faults.extend(lost.map(|(_, number)| format!("{address} had message {number}; nobody deleted it")));
        self.deleted += deleted.len();
        self.uncertain += uncertain.difference(deleted).count();
        self.left += left.len();
        self.sessions[0] += sessions[0];
        self.sessions[1] += sessions[1];
    }

    /// Where a message should be, whether its client was told that it was taken or not.
    fn message(&mut self, number: usize, message: &Message, arrived: &BTreeMap<&str, Vec<MessageId>>) {
        let Message { sender, recipients, acknowledged } = message;
        let missing = recipients.iter().filter(|recipient| !arrived.contains_key(*recipient));
        let missing: Vec<_> = missing.collect();
        if *acknowledged {
            self.acknowledged += 1;
            let lost = missing.iter().map(|recipient| format!("message {number} for {recipient} is lost"));
            self.faults.extend(lost);
        } else {
            self.unacknowledged[usize::from(!arrived.is_empty())] += 1;
            // The commit is one for all recipients, and what was committed is relayed.
            if !arrived.is_empty() && !missing.is_empty() {
                self.faults.push(format!("message {number} came to some, but not to {missing:?}"));
            }
        }
        for (recipient, copies) in arrived {
            if !recipients.contains(recipient) {
                self.faults.push(format!("message {number} is not for {recipient}"));
            }
            if copies.len() > 1 && (*recipient == USR) == (*sender == USR) {
                self.faults.push(format!("message {number} was delivered {} times to {recipient}", copies.len()));
            }
        }
    }

    /// Looks for the kill behind each copy but the first (the ids are in the order of arrival): before the copy
    /// came, but after its relay can have had the message in hand.
    fn copies(&mut self, what: &str, copies: &[MessageId], kills: &[Kill]) {
        self.copies += copies.len();
        for pair in copies.windows(2) {
            let [first, second] = [arrival(pair[0]), arrival(pair[1])];
            let culprits = kills.iter().filter(|kill| kill.may_repeat_mail());
            let culprits = culprits.filter(|kill| kill.at + 2 * RELAY_LEASE >= first && kill.at <= second);
            // The nearest to the first copy's arrival has most likely kept it from being settled.
            let culprit = culprits.min_by_key(|kill| distance(kill.at, first));
            self.repeated += 1;
            match culprit {
                Some(kill) => *self.explained.entry(kill.service.binary).or_default() += 1,
                None => self.faults.push(format!("{what} came again without a kill that explains it")),
            }
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ([gone, arrived], [ended, broken]) = (self.unacknowledged, self.sessions);
        write!(
            f,
            "killed {:?}; {} messages acknowledged, {gone} not and gone, {arrived} not but arrived; {} copies, of \
             which {} came again {:?}; {} deleted, {} deleted or not, {} left; {ended} POP3 sessions ended, {broken} \
             did not; {} faults",
            self.kills,
            self.acknowledged,
            self.copies,
            self.repeated,
            self.explained,
            self.deleted,
            self.uncertain,
            self.left,
            self.faults.len()
        )
    }
}

/// The message of this number: mostly small, some so large that they are streamed, a few kept as files.
pub(super) fn message(number: usize) -> Vec<u8> {
    let lines = match number {
        number if number.is_multiple_of(50) => 6_000,
        number if number.is_multiple_of(10) => 800,
        _ => 1,
    };
    let line = format!(".a line of message {number}, which begins with a dot\r\n");
    format!("Subject: {number}\r\n\r\n{}", line.repeat(lines)).into_bytes()
}

/// The number in the subject.
pub(super) fn number_of(message: &[u8]) -> Option<usize> {
    let line = message.strip_prefix(b"Subject: ")?.split(|&octet| octet == b'\r').next()?;
    str::from_utf8(line).ok()?.parse().ok()
}

/// When a message was taken by the store that gave it this id.
fn arrival(id: MessageId) -> SystemTime {
    UNIX_EPOCH + ID_EPOCH + Duration::from_millis(id.number() >> ID_RANDOM_BITS)
}

fn distance(one: SystemTime, other: SystemTime) -> Duration {
    one.duration_since(other).unwrap_or_else(|error| error.duration())
}
