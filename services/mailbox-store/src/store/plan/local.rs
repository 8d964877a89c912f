//! Queued mail for mailboxes here: what is to become of it, for both backends.

use super::expansion::Entry;
use crate::store::{Account, StoredPassword};
use internal_api::{
    ClaimedMessage, ClaimedRecipient, MailboxSummary, Outcome, RecipientOutcome,
    reports::is_success,
    room::{mailbox_full, no_mailbox_now, no_room, no_such_mailbox},
};
use mail_proto::{AddressRules, Domain, Mailbox};
use std::{sync::Arc, time::Duration};
use town_config::{Accept, Next, Relay, Stack};

/// Nobody else is met by a store that tries again.
const NO_JITTER: f64 = 0.5;

/// How many messages [`Lifecycle::maintain`](crate::store::Lifecycle::maintain) looks at in one change.
pub(in crate::store) const WAITING_MESSAGES: u32 = 100;

/// The mail domains of a stack, who has a mailbox there, and when mail for them is tried again.
#[derive(Debug, Clone, Default)]
pub struct LocalMail {
    /// The domains that have a name in the configuration.
    pub domains: Vec<Domain>,
    /// The schedule.
    pub relay: Relay,
    /// How addresses are compared.
    pub rules: AddressRules,
    /// Who gets a mailbox with the first mail; nobody unless `accept = "any"`.
    pub newcomers: Option<Newcomers>,
}

/// The addresses that get a mailbox with their first mail, and how their users log in.
#[derive(Debug, Clone)]
pub struct Newcomers {
    /// Says which addresses, and how much a mailbox may hold.
    pub stack: Arc<Stack>,
    /// The password of each.
    pub password: StoredPassword,
}

/// Which mailbox a local address means.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::store) enum Home {
    /// This one.
    Known(Mailbox),
    /// One that is to be made.
    New(Account),
    /// None.
    Nobody,
}

/// Whether an address gets a mailbox with its first mail, if it has none.
pub(crate) fn admits(stack: &Stack, address: &Mailbox) -> bool {
    stack.accept == Accept::Any && stack.is_local(address.domain())
}

/// The mailbox that such an address gets: the one without its detail.
pub(crate) fn new_mailbox(stack: &Stack, address: &Mailbox) -> Account {
    let address = stack.address_rules.candidates(address).pop().unwrap_or_else(|| address.clone());
    Account { address, password_hash: None, quota: stack.default_quota() }
}

/// A message that is queued for a mailbox here, at an attempt.
pub(in crate::store) struct Waiting<'a> {
    pub(in crate::store) mailbox: &'a Mailbox,
    /// The mailbox, if there is one.
    pub(in crate::store) summary: Option<&'a MailboxSummary>,
    /// How long the message would be in the maildrop.
    pub(in crate::store) octets: u64,
    /// This one included.
    pub(in crate::store) attempts: u32,
    pub(in crate::store) age_seconds: u64,
    /// What was said of it last; empty before the first attempt.
    pub(in crate::store) said: &'a str,
    /// The sender does not want to be told of a delay, or was told already.
    pub(in crate::store) delay_is_told: bool,
}

/// What is to become of it.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::store) enum Plan {
    /// The store settles it by itself.
    Settle(Outcome),
    /// Its sender is told that it failed, in these words.
    Report(String),
}

/// What becomes of a recipient that only a gateway can report, when no gateway asked: it is due again after a second.
pub(in crate::store) fn left_to_gateway() -> Outcome {
    Outcome::Deferred { retry_after_seconds: 1, reply: String::new(), untried: true, delay_told: false }
}

/// The outcome of a recipient that a gateway takes for a local one, and that has no mailbox here.
pub(in crate::store) fn without_mailbox(settled: &RecipientOutcome) -> Option<RecipientOutcome> {
    let Outcome::DeliverHere { retry_after_seconds, .. } = settled.outcome else { return None };
    let (recipient, reply) = (settled.recipient.clone(), no_mailbox_now(&settled.recipient).on_one_line());
    let outcome = Outcome::Deferred { retry_after_seconds, reply, untried: false, delay_told: false };
    Some(RecipientOutcome { recipient, outcome })
}

impl<'a> Waiting<'a> {
    /// A recipient that was claimed just now.
    pub(in crate::store) fn new(
        claimed: &ClaimedMessage,
        recipient: &'a ClaimedRecipient,
        summary: Option<&'a MailboxSummary>,
        octets: u64,
        said: &'a str,
    ) -> Self {
        let ClaimedRecipient { mailbox, attempts, .. } = recipient;
        let age_seconds = claimed.age_seconds.unwrap_or_default();
        let delay_is_told = recipient.delay_told != Some(false) || !recipient.recipient().wants_to_know_of_delay();
        Self { mailbox, summary, octets, attempts: *attempts, age_seconds, said, delay_is_told }
    }
}

impl LocalMail {
    /// What a stack says.
    pub fn of(stack: &Stack, newcomers: Option<Newcomers>) -> Self {
        let domains = stack.domains.iter().cloned().collect();
        Self { domains, relay: stack.relay.clone(), rules: stack.address_rules, newcomers }
    }

    /// Whether mail for this domain stays here.
    pub(in crate::store) fn is_local(&self, domain: &Domain) -> bool {
        self.domains.contains(domain) || self.newcomers.as_ref().is_some_and(|new| new.stack.is_local(domain))
    }

    /// Whether domains that it does not name are local, too.
    pub(in crate::store) fn takes_every_domain(&self) -> bool {
        self.newcomers.as_ref().is_some_and(|new| new.stack.takes_every_domain())
    }

    /// Which mailbox an address means of which the store knows this.
    pub(in crate::store) fn home(&self, address: &Mailbox, entry: &Entry) -> Home {
        if let Some(mailbox) = &entry.mailbox {
            return Home::Known(mailbox.clone());
        }
        match &self.newcomers {
            Some(new) if entry.targets().is_none() && admits(&new.stack, address) => {
                Home::New(new_mailbox(&new.stack, address))
            }
            _ => Home::Nobody,
        }
    }

    /// Decides about a message. What goes into the maildrop waits a second if there is no room by then.
    pub(in crate::store) fn plan(&self, waiting: &Waiting<'_>) -> Plan {
        let Waiting { mailbox, summary, octets, attempts, age_seconds, said, delay_is_told } = waiting;
        if said.starts_with('5') || is_success(said) {
            // An alias that failed when the message came, or somebody who has got the message.
            return Plan::Report((*said).to_owned());
        }
        let refusal = match summary {
            None => no_such_mailbox(mailbox),
            Some(summary) => match no_room(summary, *octets) {
                None => {
                    let reply = mailbox_full(mailbox).on_one_line();
                    return Plan::Settle(Outcome::DeliverHere { retry_after_seconds: 1, reply });
                }
                Some(refusal) => refusal,
            },
        };
        let reply = refusal.on_one_line();
        let age = Duration::from_secs(*age_seconds);
        match self.relay.after_attempt(*attempts, age, NO_JITTER) {
            // A gateway tells of the delay, and puts the message off.
            Next::RetryAfter(_) if !delay_is_told && self.relay.tells_of_delay(age) => Plan::Report(reply),
            Next::RetryAfter(pause) if !refusal.is_permanent() => {
                let retry_after_seconds = pause.as_secs();
                Plan::Settle(Outcome::Deferred { retry_after_seconds, reply, untried: false, delay_told: false })
            }
            _ => Plan::Report(reply),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use internal_api::reports::DELIVERED;

    #[test]
    fn a_message_is_delivered_or_waits_or_fails() {
        let mailbox: Mailbox = "u@a.test".parse().unwrap();
        let local = LocalMail { domains: vec![mailbox.domain().clone()], ..LocalMail::default() };
        assert!(local.is_local(mailbox.domain()) && !local.is_local(&"b.test".parse().unwrap()));
        let full = "452 4.2.2 <u@a.test>: mailbox full, try again later".to_owned();
        let never = "552 5.2.2 <u@a.test>: a message of 10 octets is more than this mailbox may hold".to_owned();
        let missing = "550 5.1.1 <u@a.test>: no such mailbox here".to_owned();
        let deliver = || Plan::Settle(Outcome::DeliverHere { retry_after_seconds: 1, reply: full.clone() });
        let wait = |retry_after_seconds| {
            Plan::Settle(Outcome::Deferred {
                retry_after_seconds,
                reply: full.clone(),
                untried: false,
                delay_told: false,
            })
        };
        let day = 24 * 60 * 60;
        // Octets of a mailbox that may hold 20, attempts, age, and the plan.
        let table = [
            (Some(10), 1, 0, deliver()),
            (Some(10), 99, day, deliver()),
            (Some(11), 1, 0, wait(5)),
            (Some(11), 2, 0, wait(15)),
            (Some(11), 99, day - 7, wait(7)),
            (Some(11), 1, day, Plan::Report(full.clone())),
            (None, 1, 0, Plan::Report(missing)),
        ];
        for (octets, attempts, age_seconds, expected) in table {
            let summary = octets.map(|octets| MailboxSummary {
                address: mailbox.clone(),
                messages: 1,
                octets,
                quota_messages: None,
                quota_octets: Some(20),
            });
            let summary = summary.as_ref();
            let waiting = Waiting {
                mailbox: &mailbox,
                summary,
                octets: 10,
                attempts,
                age_seconds,
                said: "",
                delay_is_told: true,
            };
            assert_eq!(local.plan(&waiting), expected, "{octets:?} {attempts} {age_seconds}");
        }
        let is_full = MailboxSummary {
            address: mailbox.clone(),
            messages: 1,
            octets: 20,
            quota_messages: None,
            quota_octets: Some(20),
        };
        for (age_seconds, delay_is_told, expected) in
            [(4 * 3600 - 1, false, wait(5)), (4 * 3600, false, Plan::Report(full.clone())), (4 * 3600, true, wait(5))]
        {
            let summary = Some(&is_full);
            let waiting =
                Waiting { mailbox: &mailbox, summary, octets: 10, attempts: 1, age_seconds, said: "", delay_is_told };
            assert_eq!(local.plan(&waiting), expected, "{age_seconds} {delay_is_told}");
        }
        let small = MailboxSummary {
            address: mailbox.clone(),
            messages: 0,
            octets: 0,
            quota_messages: None,
            quota_octets: Some(9),
        };
        let summary = Some(&small);
        let waiting = Waiting {
            mailbox: &mailbox,
            summary,
            octets: 10,
            attempts: 1,
            age_seconds: 0,
            said: "",
            delay_is_told: true,
        };
        assert_eq!(local.plan(&waiting), Plan::Report(never));
        let said = "554 5.4.6 <u@a.test>: this alias leads to nobody but itself";
        let failed = Waiting { said, ..waiting };
        assert_eq!(local.plan(&failed), Plan::Report(said.to_owned()));
        let delivered = Waiting { said: DELIVERED, ..failed };
        assert_eq!(local.plan(&delivered), Plan::Report(DELIVERED.to_owned()));
    }
}
