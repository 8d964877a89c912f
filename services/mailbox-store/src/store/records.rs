//! What the backends' records have in common.

use super::{Result, StoreError};
use crate::{metrics::Metrics, passwords::is_locked};
use internal_api::{AccountPage, AccountSource, AccountSummary, MessageId, Submission};
use mail_proto::{Mailbox, ReversePath, smtp::MailParameters};

/// The id as a key. Ids of this store fit; one that a caller made up and that does not names no message.
pub(super) fn key(id: MessageId) -> i64 {
    i64::try_from(id.number()).unwrap_or(i64::MAX)
}

/// The id behind a key.
pub(crate) fn id(key: i64) -> MessageId {
    MessageId::from_number(key.unsigned_abs())
}

/// Octets as a column holds them.
pub(super) fn column(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The parameters of an envelope as the columns of a message hold them. NULL stands for what was not given.
#[derive(Default)]
pub(super) struct ParameterColumns {
    pub(super) identity: Option<String>,
    pub(super) body_type: Option<String>,
    pub(super) smtputf8: Option<bool>,
    pub(super) ret: Option<String>,
    pub(super) envid: Option<String>,
    pub(super) requiretls: Option<bool>,
    pub(super) submitter: Option<String>,
}

impl From<&Submission> for ParameterColumns {
    fn from(Submission { identity, parameters, .. }: &Submission) -> Self {
        let MailParameters { size_octets: _, body, smtputf8, ret, envid, requiretls, submitter } = parameters;
        Self {
            identity: identity.as_ref().map(ToString::to_string),
            body_type: body.map(|body| body.to_string()),
            smtputf8: smtputf8.then_some(true),
            ret: ret.map(|ret| ret.to_string()),
            envid: envid.as_ref().map(ToString::to_string),
            requiretls: requiretls.then_some(true),
            submitter: submitter.as_ref().map(ToString::to_string),
        }
    }
}

/// An account as a listing has it.
pub(super) struct AccountRow {
    /// Whether the API has added it.
    pub(super) is_added: bool,
    /// Its hash, if it has a password.
    pub(super) hash: Option<String>,
    pub(super) messages: u64,
    pub(super) octets: u64,
}

/// A page of accounts, of which one too many was read. What has no address is logged and left out.
pub(super) fn account_page(mut rows: Vec<(String, AccountRow)>, limit: u32) -> AccountPage {
    let more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    let next_after = rows.last().filter(|_| more).map(|(address, _)| address.clone());
    let mut accounts = Vec::with_capacity(rows.len());
    for (address, AccountRow { is_added, hash, messages, octets }) in rows {
        let source = if is_added { AccountSource::Api } else { AccountSource::Left };
        let enabled = hash.is_some_and(|hash| !is_locked(&hash));
        match address.parse() {
            Ok(address) => accounts.push(AccountSummary { address, source, enabled, messages, octets }),
            Err(error) => tracing::error!(%error, address, "an account cannot be decoded"),
        }
    }
    AccountPage { accounts, next_after }
}

/// How many entries of one message are read at once.
pub(super) const QUEUED_PAGE: u32 = 1000;

/// How many entries of the queue become due in one change of a flush, so that nobody waits long for it.
pub(super) const FLUSHED: usize = 1000;

/// What the queue says of a recipient whose mailbox was full when the message came (RFC 3463 §3.3).
pub(super) const MAILBOX_FULL: &str = "452 4.2.2 mailbox full";

/// The line that final delivery puts before a message (RFC 5321 §4.4).
pub(crate) fn return_path(reverse_path: &ReversePath) -> String {
    format!("Return-Path: {reverse_path}\r\n")
}

/// Refuses a submission that makes no sense.
pub(super) fn check(submission: &Submission) -> Result<()> {
    if !Submission::is_transaction(&submission.transaction) {
        return Err(StoreError::Invalid(Submission::TRANSACTION_RULE.to_owned()));
    }
    if submission.recipients.is_empty() {
        return Err(StoreError::Invalid("a submission has at least one recipient".to_owned()));
    }
    Ok(())
}

/// A record, or the key of one that cannot be decoded.
pub(super) type Decoded<T> = std::result::Result<T, Undecodable>;

/// A record that cannot be decoded.
#[derive(Debug, Clone)]
pub(super) struct Undecodable {
    pub(super) message: i64,
    pub(super) reason: String,
}

/// Tells of those who have got a mailbox with their first mail.
pub(super) fn log_admitted(admitted: &[Mailbox]) {
    for address in admitted {
        facts::StoreAccountChanged { address, change: "added" }.log();
    }
}

/// Records of a message that a change quarantines. Logged and counted once the change is durable.
pub(super) struct Quarantined {
    pub(super) message: i64,
    pub(super) records: u64,
    pub(super) reason: String,
}

impl Quarantined {
    /// Tells people and `metrics`.
    pub(super) fn publish(&self, metrics: &Metrics) {
        let Self { message, records, reason } = self;
        metrics.quarantined.inc_by(*records);
        facts::StoreQuarantined { message_id: id(*message), records: *records, reason }.log();
    }
}

/// Parts what could be decoded from what could not.
pub(super) fn partition<T>(records: impl IntoIterator<Item = Decoded<T>>) -> (Vec<T>, Vec<Undecodable>) {
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for record in records {
        match record {
            Ok(record) => good.push(record),
            Err(undecodable) => bad.push(undecodable),
        }
    }
    (good, bad)
}

/// Cuts a page that was read with one record too many; returns where to go on if there is more.
pub(super) fn next_after<T>(
    rows: &mut Vec<Decoded<T>>,
    limit: u32,
    id_of: impl Fn(&T) -> MessageId,
) -> Option<MessageId> {
    let more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    rows.last().filter(|_| more).map(|record| match record {
        Ok(record) => id_of(record),
        Err(undecodable) => id(undecodable.message),
    })
}
