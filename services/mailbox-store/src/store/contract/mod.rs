//! The battery: what [`Store`] promises, as tests that every backend runs.
//!
//! A backend's tests expand [`contract_tests!`] with a function that makes a [`Fixture`].

mod actions;
mod aliases;
mod events;
mod lifecycle;
mod maildrops;
mod queue;
mod reports;
mod statements;
mod submissions;
mod whole;

pub(crate) use actions::*;
pub(crate) use aliases::*;
pub(crate) use events::*;
pub(crate) use lifecycle::*;
pub(crate) use maildrops::*;
pub(crate) use queue::*;
pub(crate) use reports::*;
pub(crate) use statements::*;
pub(crate) use submissions::*;
pub(crate) use whole::*;

use super::{
    Abilities, Account, ClaimOutcome, INLINE_OCTETS, Listing, LocalMail, MessageStream, QueuePosition, Result, Store,
    StoreError, StoredPassword, Submitted,
};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use internal_api::{
    AccountSummary, Claim, MaildropSession, MessageId, Outcome, RecipientOutcome, Settlement, Submission,
};
use jiff::Timestamp;
use mail_net::ManualClock;
use mail_proto::{AddressRules, Mailbox, sasl::ScramVerifier};
use std::{sync::Arc, time::Duration};
use town_config::Quota;

/// A store with the accounts `a@local.test` and `b@local.test`, and its time.
pub(crate) struct Fixture {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: ManualClock,
    /// What must outlive the store.
    pub(crate) _holds: Box<dyn std::any::Any + Send + Sync>,
}

/// It stands at 2026-01-01T00:00:00Z until it is moved.
pub(crate) fn manual_clock() -> ManualClock {
    ManualClock::starting_at(Timestamp::from_second(1_767_225_600).unwrap())
}

pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const MINUTE: Duration = Duration::from_secs(60);
pub(crate) const HOUR: Duration = Duration::from_secs(3600);
const LIMIT_OCTETS: u64 = 2 * 1024 * 1024;
/// How many messages the pages of a listing have.
const LISTED: u32 = 100;

pub(crate) fn mailbox(address: &str) -> Mailbox {
    address.parse().unwrap()
}

/// Nothing is local: whatever is queued is claimed.
pub(crate) fn nowhere() -> LocalMail {
    LocalMail::default()
}

pub(crate) fn submission(transaction: &str, recipients: &[&str]) -> Submission {
    Submission::new(
        transaction,
        "<sender@local.test>".parse().unwrap(),
        recipients.iter().map(|address| mailbox(address)),
    )
}

pub(crate) fn body(octets: &[u8]) -> MessageStream {
    // In pieces, as from a socket.
    let chunks: Vec<_> = octets.chunks(50_000).map(|chunk| Ok::<_, String>(Bytes::copy_from_slice(chunk))).collect();
    MessageStream::new(stream::iter(chunks), LIMIT_OCTETS)
}

/// Valid mail of this length. Messages of different lengths differ.
pub(crate) fn octets(length: usize) -> Vec<u8> {
    let text = format!("Subject: {length}\r\n\r\n").into_bytes();
    let mut octets: Vec<u8> = text.iter().copied().chain((0..).map(|n| b'a' + (n % 23) as u8)).take(length).collect();
    octets.truncate(length.saturating_sub(2));
    octets.extend_from_slice(b"\r\n");
    octets
}

impl Fixture {
    pub(crate) async fn new(
        store: Arc<dyn Store>,
        clock: ManualClock,
        holds: Box<dyn std::any::Any + Send + Sync>,
    ) -> Self {
        store.put_accounts(vec![account("a@local.test"), account("b@local.test")]).await.unwrap();
        Self { store, clock, _holds: holds }
    }

    pub(crate) async fn submit(&self, transaction: &str, recipients: &[&str], octets: &[u8]) -> Result<Submitted> {
        self.store.submit(submission(transaction, recipients), body(octets)).await
    }

    /// Submits something new that must succeed.
    pub(crate) async fn send(&self, transaction: &str, recipients: &[&str]) -> MessageId {
        let submitted = self.submit(transaction, recipients, b"Subject: x\r\n\r\nx\r\n").await.unwrap();
        assert!(!submitted.repeated);
        submitted.id
    }

    pub(crate) async fn open(&self, address: &str) -> Result<MaildropSession> {
        self.open_named(address, &uuid::Uuid::new_v4().to_string()).await
    }

    /// Opens a maildrop and lists it, in small pages.
    pub(crate) async fn open_named(&self, address: &str, session: &str) -> Result<MaildropSession> {
        let mailbox = mailbox(address);
        let Listing { entries: mut messages, mut next_after } =
            self.store.open_maildrop(&mailbox, session, MINUTE, LISTED).await?;
        while let Some(after) = next_after {
            assert_eq!(messages.len() % LISTED as usize, 0);
            let page = self.store.listing(&mailbox, after, LISTED).await?;
            messages.extend(page.entries);
            next_after = page.next_after;
        }
        Ok(MaildropSession { session: session.to_owned(), messages })
    }

    /// What a session on this maildrop lists.
    pub(crate) async fn listed(&self, address: &str) -> Vec<MessageId> {
        let session = self.open(address).await.unwrap();
        self.store.close_maildrop(&mailbox(address), &session.session).await.unwrap();
        session.messages.iter().map(|entry| entry.id).collect()
    }

    pub(crate) async fn delete(&self, address: &str, messages: &[MessageId]) {
        let session = self.open(address).await.unwrap();
        self.store.update_maildrop(&mailbox(address), &session.session, messages.to_vec()).await.unwrap();
    }

    pub(crate) async fn claim(&self) -> Option<Claim> {
        match self.store.claim(MINUTE, 100, Vec::new(), nowhere(), Abilities::ALL).await.unwrap() {
            ClaimOutcome::Claimed(claim) => Some(claim),
            ClaimOutcome::NothingDue { .. } => None,
        }
    }

    /// The queue as `recipient attempts leased`.
    pub(crate) async fn queued(&self) -> Vec<String> {
        let page = self.store.queue(None, 100).await.unwrap();
        let line =
            |entry: &internal_api::QueueEntry| format!("{} {} {}", entry.recipient, entry.attempts, entry.leased);
        page.entries.iter().map(line).collect()
    }

    pub(crate) async fn raw(&self, id: MessageId) -> Result<Vec<u8>> {
        read(self.store.raw(id).await?).await
    }

    pub(crate) async fn delivered(&self, address: &str, id: MessageId) -> Result<Vec<u8>> {
        let octets = read(self.store.delivered_raw(&mailbox(address), id).await?).await;
        let inline = self.store.delivered_inline(&mailbox(address), vec![id]).await?;
        assert!(inline.iter().all(|(found, inline)| (*found, octets.as_deref()) == (id, Ok(inline))), "{id}");
        octets
    }
}

pub(crate) fn account(address: &str) -> Account {
    Account { address: mailbox(address), password_hash: Some(format!("hash of {address}")), quota: Quota::default() }
}

async fn read(message: super::StoredMessage) -> Result<Vec<u8>> {
    let mut chunks = message.chunks;
    let mut octets = Vec::new();
    while let Some(chunk) = chunks.next().await {
        octets.extend_from_slice(&chunk?);
    }
    assert_eq!(octets.len() as u64, message.octets, "as announced");
    Ok(octets)
}

pub(crate) fn finished(message: MessageId, recipients: &[&str]) -> Settlement {
    let outcomes = recipients
        .iter()
        .map(|recipient| RecipientOutcome { recipient: mailbox(recipient), outcome: Outcome::Finished { how: None } })
        .collect();
    Settlement { message, outcomes, failure_message: None }
}

fn deferred(message: MessageId, recipient: &str, retry_after_seconds: u64, reply: &str) -> Settlement {
    let outcome = Outcome::Deferred { retry_after_seconds, reply: reply.to_owned(), untried: false, delay_told: false };
    let outcomes = vec![RecipientOutcome { recipient: mailbox(recipient), outcome }];
    Settlement { message, outcomes, failure_message: None }
}

fn untried(message: MessageId, recipient: &str, reply: &str) -> Settlement {
    let outcome =
        Outcome::Deferred { retry_after_seconds: 0, reply: reply.to_owned(), untried: true, delay_told: false };
    let outcomes = vec![RecipientOutcome { recipient: mailbox(recipient), outcome }];
    Settlement { message, outcomes, failure_message: None }
}

/// Runs the battery: `contract_tests!(fixture)`, where `async fn fixture() -> Fixture`, or `Option<Fixture>`.
macro_rules! contract_tests {
    ($fixture:path) => {
        contract_tests!($fixture:
            submission_delivers_and_queues, parameters_stay_with_a_message, bodies_come_back_as_they_went, small_messages_come_together, a_repeated_submission_stores_nothing,
            ids_grow_and_are_never_reused, a_bad_message_is_not_stored, accounts_are_added_and_updated,
            a_verifier_goes_with_its_hash, accounts_come_and_go, newcomers_are_admitted_at_once, spellings_of_one_address_are_found, a_secret_is_made_once,
            a_maildrop_has_one_session, a_session_opens_twice_under_its_name, a_transaction_is_known_by_its_name, an_update_can_be_repeated, small_messages_are_read_together, an_update_is_all_or_nothing, many_are_deleted_in_one_small_change,
            what_comes_late_is_not_deleted, a_flush_goes_through_the_whole_queue, a_claim_takes_what_is_due, what_a_gateway_cannot_relay_is_withheld,
            a_claim_ends_with_its_lease, a_settlement_defers_and_a_flush_hurries,
            a_settlement_takes_the_attempt_back,
            a_settlement_carries_its_failure_message, the_queue_tells_of_changes, listings_come_in_pages,
            many_submit_at_once, a_full_mailbox_keeps_its_mail_waiting, local_mail_is_delivered_once_there_is_room, maintenance_delivers_local_mail, mail_that_waits_makes_mailboxes, an_account_is_known_as_soon_as_it_is_there, mail_for_nobody_is_not_for_a_full_mailbox, what_a_gateway_delivers_here_finds_the_account_by_the_rules, old_mail_expires,
            an_address_is_resolved, an_address_has_many_spellings, mail_for_aliases_is_sent_on, what_came_with_an_alias_stays,
            an_alias_that_leads_to_nobody_is_reported, failure_messages_and_full_mailboxes_behind_aliases,
            many_write_to_a_list_at_once, mail_loops_end,
            a_delivery_waits_for_its_report, a_delivery_cannot_be_given_up, a_late_delivery_waits_for_its_report, a_delay_is_told_once,
            each_change_tells_of_itself, every_end_has_its_event, what_changes_nothing_tells_nothing,
            a_held_message_is_not_claimed, a_hold_lets_an_attempt_end, a_retry_is_about_one_message,
            an_action_wakes_those_who_wait, a_given_up_message_is_left_to_a_gateway, a_removed_message_is_gone, an_action_is_about_all_recipients,
            local_mail_waits_on_hold, what_is_on_hold_is_counted_by_itself, claims_and_removals_exclude_each_other,
            many_deletions_are_told_each, events_come_in_the_order_of_commits, old_events_are_pruned,
            what_is_ahead_is_known,
            a_closed_store_says_so
        );
    };
    ($fixture:path: $($test:ident),*) => {$(
        #[tokio::test]
        async fn $test() {
            // A backend that needs what this machine lacks has no fixture.
            let fixture: Option<$crate::store::contract::Fixture> = $fixture().await.into();
            if let Some(fixture) = fixture {
                $crate::store::contract::$test(fixture).await;
            }
        }
    )*};
}
pub(crate) use contract_tests;
