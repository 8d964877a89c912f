//! The full check: every reference both ways, every sum, every body.

use super::{
    records::{id, return_path},
    snapshot::{
        AccountRecord, AliasRecord, Body, DeliveryRecord, MessageRecord, QueueRecord, Result, Snapshot, VerifiedBody,
        each_record,
    },
};
use indicatif::ProgressBar;
use jiff::Timestamp;
use mail_proto::{Mailbox, ReversePath};
use std::{
    collections::{BTreeMap, HashMap},
    io,
};

/// What a check has found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    /// How many there are of what.
    pub(crate) counts: Vec<(&'static str, u64)>,
    /// What is wrong.
    pub(crate) findings: Vec<String>,
    /// What is worth knowing but not wrong.
    pub(crate) notes: Vec<String>,
}

/// Checks a store as it stood at the moment of this snapshot. Remembers some dozen octets of each message.
///
/// # Errors
/// When it cannot be read to the end.
pub(crate) fn check(snapshot: &mut dyn Snapshot, progress: &ProgressBar, now: Timestamp) -> Result<Report> {
    let counts = snapshot.counts()?;
    progress.set_length(counts.messages);
    let mut check = Check::default();
    check.messages(snapshot, progress)?;
    each_record(|after| snapshot.deliveries(after), |delivery| check.delivery(delivery))?;
    each_record(|after| snapshot.queue(after), |entry| check.queue_entry(entry))?;
    each_record(|after| snapshot.accounts(after), |account| check.account(account))?;
    each_record(|after| snapshot.aliases(after), |alias| check.alias(alias))?;
    check.holders();
    let inspection = snapshot.inspect(now)?;
    let mut report = check.report;
    report.counts = vec![
        ("accounts", counts.accounts),
        ("aliases", counts.aliases),
        ("messages", counts.messages),
        ("maildrop entries", counts.deliveries),
        ("queue entries", counts.queue),
        ("checksums right", check.right),
        ("without checksum", check.unverified),
    ];
    report.counts.extend(inspection.counts);
    report.findings.extend(inspection.findings);
    for (what, records) in [("maildrop entries", check.quarantined.0), ("queue entries", check.quarantined.1)] {
        if records > 0 {
            report.notes.push(format!("{records} {what} were quarantined because they could not be read"));
        }
    }
    report.notes.extend(inspection.notes);
    Ok(report)
}

#[derive(Default)]
struct Check {
    report: Report,
    messages: BTreeMap<i64, Held>,
    /// How many messages and octets are in which maildrop.
    sums: HashMap<String, (i64, i64)>,
    right: u64,
    unverified: u64,
    /// Maildrop entries and queue entries that are quarantined.
    quarantined: (u64, u64),
}

/// What is remembered of a message.
struct Held {
    /// How long it is in a maildrop; `None` when that cannot be told.
    delivered_octets: Option<i64>,
    /// How many refer to it, as the store knows it.
    holders: i64,
    /// How many do.
    counted: i64,
}

impl Check {
    fn messages(&mut self, snapshot: &mut dyn Snapshot, progress: &ProgressBar) -> Result<()> {
        let mut last = None;
        loop {
            let keys = snapshot.message_keys(last.as_ref())?;
            last = keys.last().copied();
            if last.is_none() {
                return Ok(());
            }
            for message in snapshot.messages(&keys)? {
                progress.inc(1);
                self.envelope(&message);
                self.body(&message, snapshot.body(message.key)?);
            }
        }
    }

    fn envelope(&mut self, message: &MessageRecord) {
        let reverse_path = message.reverse_path.parse::<ReversePath>();
        if reverse_path.is_err() {
            self.find(message.key, format_args!("{:?} is no reverse-path", message.reverse_path));
        }
        if Timestamp::from_millisecond(message.received_at_ms).is_err() {
            self.find(message.key, format_args!("{} is no time", message.received_at_ms));
        }
        let prefix = |path: ReversePath| if message.adds_return_path { return_path(&path).len() as i64 } else { 0 };
        let delivered_octets = reverse_path.ok().map(|path| message.octets.saturating_add(prefix(path)));
        self.messages.insert(message.key, Held { delivered_octets, holders: message.holders, counted: 0 });
    }

    fn body(&mut self, message: &MessageRecord, body: Body<'_>) {
        let Some(mut body) = VerifiedBody::new(body) else { return };
        let read = io::copy(&mut body, &mut io::sink());
        match (body.fault(message), read) {
            (Some(fault), _) => self.find(message.key, format_args!("{fault}")),
            (None, Err(error)) => self.find(message.key, format_args!("its body cannot be read: {error}")),
            (None, Ok(_)) if message.checksum.is_some() => self.right += 1,
            (None, Ok(_)) => self.unverified += 1,
        }
    }

    fn delivery(&mut self, delivery: &DeliveryRecord) {
        let DeliveryRecord { address, message, octets, quarantined_at_ms } = delivery;
        let delivered_octets = match self.messages.get_mut(message) {
            Some(held) => {
                held.counted += 1;
                held.delivered_octets
            }
            None => {
                self.find(*message, format_args!("in the maildrop of {address}, but not among the messages"));
                None
            }
        };
        if quarantined_at_ms.is_some() {
            self.quarantined.0 += 1;
            return;
        }
        let sum = self.sums.entry(address.clone()).or_default();
        *sum = (sum.0 + 1, sum.1.saturating_add(*octets));
        if address.parse::<Mailbox>().is_err() {
            self.find(*message, format_args!("{address:?} is no address"));
        }
        if delivered_octets.is_some_and(|expected| expected != *octets) {
            self.find(*message, format_args!("listed with {octets} octets in the maildrop of {address}"));
        }
    }

    fn queue_entry(&mut self, entry: &QueueRecord) {
        let QueueRecord { message, recipient, domain, .. } = entry;
        match self.messages.get_mut(message) {
            Some(held) => held.counted += 1,
            None => self.find(*message, format_args!("queued for {recipient}, but not among the messages")),
        }
        if entry.quarantined_at_ms.is_some() {
            self.quarantined.1 += 1;
        } else if !recipient.parse::<Mailbox>().is_ok_and(|mailbox| mailbox.domain().as_str() == domain) {
            self.find(*message, format_args!("queued for {recipient:?} in {domain:?}"));
        }
    }

    fn account(&mut self, account: &AccountRecord) {
        let AccountRecord { address, messages, octets, .. } = account;
        let (counted, added) = self.sums.get(address).copied().unwrap_or_default();
        if (*messages, *octets) != (counted, added) {
            let counts = format!("{address}: counts {messages} messages of {octets} octets");
            self.report.findings.push(format!("{counts}, has {counted} of {added}"));
        }
    }

    fn alias(&mut self, AliasRecord { address, targets, .. }: &AliasRecord) {
        if !serde_json::from_str::<Vec<Mailbox>>(targets).is_ok_and(|targets| !targets.is_empty()) {
            self.report.findings.push(format!("{address}: {targets:?} is no list of addresses"));
        }
    }

    fn holders(&mut self) {
        for (message, Held { holders, counted, .. }) in &self.messages {
            let finding = match counted {
                0 => "neither in a maildrop nor queued".to_owned(),
                _ if counted != holders => format!("said to be in {holders} places, is in {counted}"),
                _ => continue,
            };
            self.report.findings.push(format!("{}: {finding}", id(*message)));
        }
    }

    fn find(&mut self, message: i64, what: std::fmt::Arguments<'_>) {
        self.report.findings.push(format!("{}: {what}", id(message)));
    }
}
