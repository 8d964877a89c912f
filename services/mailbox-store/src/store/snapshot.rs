//! A store as it stands at one moment: what backup, restore, check, export and move-backend are made of.
//!
//! Records are given as they are stored, decodable or not: who only copies them judges nothing but bodies.

use super::{
    checksum::{Checksum, Checksummer, OTHER_CHECKSUM, OTHER_LENGTH},
    postgres, sqlite,
};
use jiff::Timestamp;
use std::io::{self, Read};

/// What every step ends in.
pub(crate) type Result<T, E = SnapshotError> = std::result::Result<T, E>;

/// Why a store cannot be read or written as a whole: one line that names what to change.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SnapshotError {
    /// The one in a directory, or a backup.
    #[error(transparent)]
    Sqlite(#[from] sqlite::OpenError),
    /// The one in a database.
    #[error(transparent)]
    Postgres(#[from] postgres::OpenError),
}

/// How many records there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) accounts: u64,
    pub(crate) messages: u64,
    pub(crate) submissions: u64,
    pub(crate) deliveries: u64,
    pub(crate) queue: u64,
    pub(crate) aliases: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct AccountRecord {
    pub(crate) address: String,
    pub(crate) password_hash: Option<String>,
    pub(crate) scram_verifier: Option<String>,
    /// The sums over its deliveries that are not quarantined.
    pub(crate) messages: i64,
    pub(crate) octets: i64,
    pub(crate) quota_messages: Option<i64>,
    pub(crate) quota_octets: Option<i64>,
    pub(crate) source: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct MessageRecord {
    pub(crate) key: i64,
    pub(crate) reverse_path: String,
    pub(crate) octets: i64,
    pub(crate) received_at_ms: i64,
    pub(crate) adds_return_path: bool,
    /// Absent on messages from before there were checksums.
    pub(crate) checksum: Option<Vec<u8>>,
    /// How many deliveries and queue entries refer to it, as the store knows it.
    pub(crate) holders: i64,
    pub(crate) parameters: ParameterRecord,
}

/// The columns of a message that hold the parameters of its envelope. What was not given is absent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct ParameterRecord {
    pub(crate) identity: Option<String>,
    pub(crate) body_type: Option<String>,
    pub(crate) smtputf8: Option<bool>,
    pub(crate) ret: Option<String>,
    pub(crate) envid: Option<String>,
    pub(crate) requiretls: Option<bool>,
    pub(crate) submitter: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct SubmissionRecord {
    pub(crate) transaction: String,
    pub(crate) message: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct DeliveryRecord {
    pub(crate) address: String,
    pub(crate) message: i64,
    pub(crate) octets: i64,
    pub(crate) quarantined_at_ms: Option<i64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct QueueRecord {
    pub(crate) message: i64,
    pub(crate) recipient: String,
    pub(crate) domain: String,
    pub(crate) attempts: i64,
    pub(crate) next_attempt_at_ms: i64,
    pub(crate) lease: Option<String>,
    pub(crate) last_reply: String,
    pub(crate) quarantined_at_ms: Option<i64>,
    pub(crate) original_recipient: Option<String>,
    pub(crate) notify: Option<String>,
    pub(crate) via: Option<String>,
    pub(crate) delay_told: Option<bool>,
    pub(crate) held_at_ms: Option<i64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct AliasRecord {
    /// Of a catch-all, `@` and the domain.
    pub(crate) address: String,
    pub(crate) targets: String,
    pub(crate) source: Option<String>,
}

/// Reads a store, running or not, as of one moment, and changes nothing. Records come in batches, in the order of
/// their keys; the batch after the last one is empty. All calls block.
pub(crate) trait Snapshot {
    /// How many records there are.
    fn counts(&mut self) -> Result<Counts>;

    /// By address.
    fn accounts(&mut self, after: Option<&AccountRecord>) -> Result<Vec<AccountRecord>>;

    /// By address.
    fn aliases(&mut self, after: Option<&AliasRecord>) -> Result<Vec<AliasRecord>>;

    /// The messages' keys, in their order.
    fn message_keys(&mut self, after: Option<&i64>) -> Result<Vec<i64>>;

    /// Those of these messages that there are, in the order of their keys. As many as one batch of keys at most.
    fn messages(&mut self, keys: &[i64]) -> Result<Vec<MessageRecord>>;

    /// The body of one of the messages that were read last.
    fn body(&mut self, message: i64) -> Result<Body<'_>>;

    /// By transaction.
    fn submissions(&mut self, after: Option<&SubmissionRecord>) -> Result<Vec<SubmissionRecord>>;

    /// By address and message.
    fn deliveries(&mut self, after: Option<&DeliveryRecord>) -> Result<Vec<DeliveryRecord>>;

    /// By message and recipient.
    fn queue(&mut self, after: Option<&QueueRecord>) -> Result<Vec<QueueRecord>>;

    /// Looks for what can only be wrong with this backend. Files that were changed shortly before `now` may be in use.
    fn inspect(&mut self, now: Timestamp) -> Result<Inspection>;
}

/// What only one backend knows of.
#[derive(Debug, Default)]
pub(crate) struct Inspection {
    pub(crate) counts: Vec<(&'static str, u64)>,
    pub(crate) findings: Vec<String>,
    pub(crate) notes: Vec<String>,
}

/// How many messages are read at once: a body of up to 256 KiB may come with each.
pub(super) const MESSAGES: i64 = 64;
/// How many of the other records are.
pub(super) const RECORDS: i64 = 1000;

/// Gives all records of a kind to `take`, batch by batch.
pub(crate) fn each_batch<T>(
    mut next: impl FnMut(Option<&T>) -> Result<Vec<T>>,
    mut take: impl FnMut(Vec<T>) -> Result<Option<T>>,
) -> Result<()> {
    let mut batch = next(None)?;
    while !batch.is_empty() {
        let Some(last) = take(batch)? else { break };
        batch = next(Some(&last))?;
    }
    Ok(())
}

/// Gives all records of a kind to `take`, one by one.
pub(crate) fn each_record<T>(next: impl FnMut(Option<&T>) -> Result<Vec<T>>, mut take: impl FnMut(&T)) -> Result<()> {
    each_batch(next, |mut batch| {
        batch.iter().for_each(&mut take);
        Ok(batch.pop())
    })
}

/// A message's body, as far as there is one.
pub(crate) enum Body<'a> {
    /// It is there, and has `octets` octets.
    Found {
        content: Box<dyn Read + 'a>,
        octets: u64,
        /// Where, if that is worth telling.
        file: Option<String>,
    },
    /// It should be there, and is not; why.
    Missing(String),
    /// The store has let go of the message since the moment of the snapshot.
    Gone,
}

/// A body that is judged while it is read. A failing disk ends it early, and is a fault like others.
pub(crate) struct VerifiedBody<'a> {
    content: Box<dyn Read + 'a>,
    announced_octets: u64,
    file: Option<String>,
    octets: u64,
    checksummer: Checksummer,
    failure: Option<String>,
}

impl<'a> VerifiedBody<'a> {
    /// `None` when the message itself is gone.
    pub(crate) fn new(body: Body<'a>) -> Option<Self> {
        let (content, announced_octets, file, failure): (Box<dyn Read + 'a>, _, _, _) = match body {
            Body::Found { content, octets, file } => (content, octets, file, None),
            Body::Missing(reason) => (Box::new(io::empty()), 0, None, Some(reason)),
            Body::Gone => return None,
        };
        Some(Self { content, announced_octets, file, octets: 0, checksummer: Checksummer::default(), failure })
    }

    /// How many octets it will give, unless its disk fails.
    pub(crate) fn announced_octets(&self) -> u64 {
        self.announced_octets
    }

    /// How many octets it has given.
    pub(crate) fn octets(&self) -> u64 {
        self.octets
    }

    /// The checksum of what it has given.
    pub(super) fn checksum(&self) -> Checksum {
        self.checksummer.checksum()
    }

    /// What is wrong with it, if anything, now that it has been read to its end.
    pub(crate) fn fault(&self, message: &MessageRecord) -> Option<String> {
        if let Some(failure) = &self.failure {
            return Some(failure.clone());
        }
        let other_checksum = |checksum: &Vec<u8>| **checksum != self.checksum().to_bytes();
        let fault = if i64::try_from(self.octets) != Ok(message.octets) {
            OTHER_LENGTH
        } else if message.checksum.as_ref().is_some_and(other_checksum) {
            OTHER_CHECKSUM
        } else {
            return None;
        };
        Some(self.file.as_ref().map_or_else(|| fault.to_owned(), |file| format!("{fault} ({file})")))
    }
}

impl Read for VerifiedBody<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.content.read(buffer) {
            Ok(read) => {
                self.octets += read as u64;
                self.checksummer.update(&buffer[..read]);
                Ok(read)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => {
                let file = self.file.as_ref().map_or_else(String::new, |file| format!(" {file}"));
                self.failure = Some(format!("its body{file} cannot be read: {error}"));
                self.content = Box::new(io::empty());
                Ok(0)
            }
        }
    }
}
