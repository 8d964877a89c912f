//! A store in a database that is being filled with a copy of another.
//!
//! While it is, its schema version names who fills it instead of a number, so that stores refuse it. Every transaction
//! looks whether that name is still there; the last one puts the number in its place.

use super::{
    admin_connection::AdminConnection,
    bodies::PIECE_OCTETS,
    open::{INCOMING, OpenError, PROPERTIES, SCHEMA_VERSION, schema},
    pool::Parameters,
    url::DatabaseUrl,
};
use crate::store::{
    copy::Destination,
    snapshot::{
        AccountRecord, AliasRecord, DeliveryRecord, MessageRecord, QueueRecord, Result, SubmissionRecord, VerifiedBody,
    },
};
use mail_net::IoClock;
use std::{borrow::Cow, io::Read};

/// How many octets of bodies, and how many messages, are written at once.
const BATCH_OCTETS: usize = 4 * 1024 * 1024;
const BATCH_MESSAGES: usize = 500;

/// What becomes a store when it is finished.
pub(crate) struct PostgresDestination {
    admin_connection: AdminConnection,
    /// What stands in place of the version.
    mark: String,
    messages: Vec<(MessageRecord, Vec<u8>)>,
    pieces: Vec<Piece>,
    piece_octets: usize,
}

struct Piece {
    message: i64,
    number: i64,
    octets: Vec<u8>,
}

impl PostgresDestination {
    /// A store of this stack in a database that is empty, or that an interrupted copy has left.
    ///
    /// # Errors
    /// [`OpenError`], also when there is a store.
    pub(crate) fn open(url: &DatabaseUrl, stack: &str, io: IoClock) -> Result<Self, OpenError> {
        let admin_connection = AdminConnection::open(url, io)?;
        let url = || admin_connection.url();
        let properties = match admin_connection.properties()? {
            Some(properties) => properties,
            None => {
                admin_connection.command(PROPERTIES)?;
                admin_connection.properties()?.unwrap_or_default()
            }
        };
        if let Some(stack) = properties.stack.filter(|other| other != stack) {
            return Err(OpenError::Foreign { url: url(), stack });
        }
        let version = properties.version;
        let is_ours = version.starts_with(INCOMING);
        if !is_ours && !version.parse().is_ok_and(|version| (0..=SCHEMA_VERSION).contains(&version)) {
            return Err(OpenError::Newer { url: url(), version });
        }
        schema().try_for_each(|statement| admin_connection.command(statement))?;
        if !is_ours && !is_empty(&admin_connection)? {
            return Err(OpenError::Occupied { url: url() });
        }
        admin_connection.refuse_running()?;
        let mark = format!("{INCOMING}{}", uuid::Uuid::new_v4().simple());
        let upsert = "INSERT INTO properties (name, value) VALUES ('schema_version', $1), ('stack', $2)
             ON CONFLICT (name) DO UPDATE SET value = EXCLUDED.value";
        admin_connection.execute(upsert, &[&mark, &stack])?;
        if is_ours {
            admin_connection.command(
                "TRUNCATE TABLE accounts, aliases, messages, bodies, submissions, deliveries, deletions, queue",
            )?;
        }
        Ok(Self { admin_connection, mark, messages: Vec::new(), pieces: Vec::new(), piece_octets: 0 })
    }

    /// Carries out one transaction, if the database is still ours.
    fn write(&self, statements: &[(&'static str, Parameters<'_>)]) -> Result<(), OpenError> {
        self.admin_connection.command("BEGIN")?;
        // Whoever takes the database waits until this has ended.
        let select = "UPDATE properties SET value = value WHERE name = 'schema_version' AND value = $1";
        if self.admin_connection.execute(select, &[&self.mark])? != 1 {
            return Err(OpenError::Taken { url: self.admin_connection.url() });
        }
        for (sql, parameters) in statements {
            self.admin_connection.execute(sql, parameters)?;
        }
        self.admin_connection.command("COMMIT")
    }

    /// Writes the messages and pieces that are held.
    fn flush(&mut self) -> Result<(), OpenError> {
        if self.messages.is_empty() && self.pieces.is_empty() {
            return Ok(());
        }
        let records = || self.messages.iter().map(|(message, _)| message);
        let keys: Vec<i64> = records().map(|message| message.key).collect();
        let reverse_paths: Vec<_> = records().map(|message| storable(&message.reverse_path)).collect();
        let octets: Vec<i64> = records().map(|message| message.octets).collect();
        let received: Vec<i64> = records().map(|message| message.received_at_ms).collect();
        let adds: Vec<bool> = records().map(|message| message.adds_return_path).collect();
        let holders: Vec<i64> = records().map(|message| message.holders).collect();
        let parameters = || records().map(|message| &message.parameters);
        let identities: Vec<_> = parameters().map(|given| given.identity.as_deref().map(storable)).collect();
        let body_types: Vec<_> = parameters().map(|given| given.body_type.as_deref().map(storable)).collect();
        let smtputf8: Vec<Option<bool>> = parameters().map(|given| given.smtputf8).collect();
        let rets: Vec<_> = parameters().map(|given| given.ret.as_deref().map(storable)).collect();
        let envids: Vec<_> = parameters().map(|given| given.envid.as_deref().map(storable)).collect();
        let requiretls: Vec<Option<bool>> = parameters().map(|given| given.requiretls).collect();
        let submitters: Vec<_> = parameters().map(|given| given.submitter.as_deref().map(storable)).collect();
        let checksums: Vec<&[u8]> = self.messages.iter().map(|(_, checksum)| &checksum[..]).collect();
        let messages =
            "INSERT INTO messages (id, reverse_path, octets, received_at_ms, adds_return_path, checksum, holders,
                 identity, body_type, smtputf8, ret, envid, requiretls, submitter)
             SELECT * FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::bigint[], $5::boolean[], $6::bytea[],
                 $7::bigint[], $8::text[], $9::text[], $10::boolean[], $11::text[], $12::text[], $13::boolean[], $14::text[])";
        let records: Parameters<'_> = &[
            &keys,
            &reverse_paths,
            &octets,
            &received,
            &adds,
            &checksums,
            &holders,
            &identities,
            &body_types,
            &smtputf8,
            &rets,
            &envids,
            &requiretls,
            &submitters,
        ];
        let of: Vec<i64> = self.pieces.iter().map(|piece| piece.message).collect();
        let numbers: Vec<i64> = self.pieces.iter().map(|piece| piece.number).collect();
        let contents: Vec<&[u8]> = self.pieces.iter().map(|piece| &piece.octets[..]).collect();
        let pieces = "INSERT INTO bodies (message_id, piece, octets)
             SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bytea[])";
        self.write(&[(messages, records), (pieces, &[&of, &numbers, &contents])])?;
        self.messages.clear();
        self.pieces.clear();
        self.piece_octets = 0;
        Ok(())
    }

    /// Reads the body a piece at a time. There is always a piece 0.
    fn body(&mut self, message: i64, body: &mut VerifiedBody<'_>) -> Result<(), OpenError> {
        for number in 0.. {
            let mut octets = Vec::new();
            // Failures of its source are faults of the body, and come as its end.
            let _ = body.by_ref().take(PIECE_OCTETS as u64).read_to_end(&mut octets);
            if number > 0 && octets.is_empty() {
                break;
            }
            let is_last = octets.len() < PIECE_OCTETS;
            self.piece_octets += octets.len();
            self.pieces.push(Piece { message, number, octets });
            if self.piece_octets >= BATCH_OCTETS {
                self.flush()?;
            }
            if is_last {
                break;
            }
        }
        Ok(())
    }
}

impl Destination for PostgresDestination {
    fn message(&mut self, message: &MessageRecord, body: &mut VerifiedBody<'_>) -> Result<()> {
        self.body(message.key, body)?;
        // A message from before there were checksums has one from now on.
        let checksum = message.checksum.clone().unwrap_or_else(|| body.checksum().to_bytes().to_vec());
        self.messages.push((message.clone(), checksum));
        if self.messages.len() >= BATCH_MESSAGES {
            self.flush()?;
        }
        Ok(())
    }

    fn submissions(&mut self, submissions: &[SubmissionRecord]) -> Result<()> {
        self.flush()?;
        let transactions: Vec<_> = submissions.iter().map(|submission| storable(&submission.transaction)).collect();
        let messages: Vec<i64> = submissions.iter().map(|submission| submission.message).collect();
        let insert = "INSERT INTO submissions (transaction_id, message_id)
             SELECT * FROM unnest($1::text[], $2::bigint[])";
        Ok(self.write(&[(insert, &[&transactions, &messages])])?)
    }

    fn deliveries(&mut self, deliveries: &[DeliveryRecord]) -> Result<()> {
        let addresses: Vec<_> = deliveries.iter().map(|delivery| storable(&delivery.address)).collect();
        let messages: Vec<i64> = deliveries.iter().map(|delivery| delivery.message).collect();
        let octets: Vec<i64> = deliveries.iter().map(|delivery| delivery.octets).collect();
        let quarantined: Vec<Option<i64>> = deliveries.iter().map(|delivery| delivery.quarantined_at_ms).collect();
        let insert = "INSERT INTO deliveries (address, message_id, octets, quarantined_at_ms)
             SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[])";
        Ok(self.write(&[(insert, &[&addresses, &messages, &octets, &quarantined])])?)
    }

    fn queue(&mut self, entries: &[QueueRecord]) -> Result<()> {
        let domains: Vec<_> = entries.iter().map(|entry| storable(&entry.domain)).collect();
        let messages: Vec<i64> = entries.iter().map(|entry| entry.message).collect();
        let recipients: Vec<_> = entries.iter().map(|entry| storable(&entry.recipient)).collect();
        let attempts: Vec<i64> = entries.iter().map(|entry| entry.attempts).collect();
        let due: Vec<i64> = entries.iter().map(|entry| entry.next_attempt_at_ms).collect();
        let leases: Vec<_> = entries.iter().map(|entry| entry.lease.as_deref().map(storable)).collect();
        let replies: Vec<_> = entries.iter().map(|entry| storable(&entry.last_reply)).collect();
        let quarantined: Vec<Option<i64>> = entries.iter().map(|entry| entry.quarantined_at_ms).collect();
        let originals: Vec<_> = entries.iter().map(|entry| entry.original_recipient.as_deref().map(storable)).collect();
        let notify: Vec<_> = entries.iter().map(|entry| entry.notify.as_deref().map(storable)).collect();
        let vias: Vec<_> = entries.iter().map(|entry| entry.via.as_deref().map(storable)).collect();
        let delays_told: Vec<Option<bool>> = entries.iter().map(|entry| entry.delay_told).collect();
        let held: Vec<Option<i64>> = entries.iter().map(|entry| entry.held_at_ms).collect();
        let insert =
            "INSERT INTO queue (domain, message_id, recipient, attempts, next_attempt_at_ms, lease, last_reply,
                 quarantined_at_ms, original_recipient, notify, via, delay_told, held_at_ms)
             SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[], $4::bigint[], $5::bigint[], $6::text[],
                 $7::text[], $8::bigint[], $9::text[], $10::text[], $11::text[], $12::boolean[],
                 $13::bigint[])";
        let columns: Parameters<'_> = &[
            &domains,
            &messages,
            &recipients,
            &attempts,
            &due,
            &leases,
            &replies,
            &quarantined,
            &originals,
            &notify,
            &vias,
            &delays_told,
            &held,
        ];
        Ok(self.write(&[(insert, columns)])?)
    }

    fn accounts(&mut self, accounts: &[AccountRecord]) -> Result<()> {
        let addresses: Vec<_> = accounts.iter().map(|account| storable(&account.address)).collect();
        let hashes: Vec<_> = accounts.iter().map(|account| account.password_hash.as_deref().map(storable)).collect();
        let messages: Vec<i64> = accounts.iter().map(|account| account.messages).collect();
        let octets: Vec<i64> = accounts.iter().map(|account| account.octets).collect();
        let quota_messages: Vec<Option<i64>> = accounts.iter().map(|account| account.quota_messages).collect();
        let quota_octets: Vec<Option<i64>> = accounts.iter().map(|account| account.quota_octets).collect();
        let sources: Vec<_> = accounts.iter().map(|account| account.source.as_deref().map(storable)).collect();
        let verifiers: Vec<_> =
            accounts.iter().map(|account| account.scram_verifier.as_deref().map(storable)).collect();
        let insert =
            "INSERT INTO accounts (address, password_hash, messages, octets, quota_messages, quota_octets, source,
                 scram_verifier)
             SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[],
                 $7::text[], $8::text[])";
        let columns: Parameters<'_> =
            &[&addresses, &hashes, &messages, &octets, &quota_messages, &quota_octets, &sources, &verifiers];
        Ok(self.write(&[(insert, columns)])?)
    }

    fn aliases(&mut self, aliases: &[AliasRecord]) -> Result<()> {
        let addresses: Vec<_> = aliases.iter().map(|alias| storable(&alias.address)).collect();
        let targets: Vec<_> = aliases.iter().map(|alias| storable(&alias.targets)).collect();
        let sources: Vec<_> = aliases.iter().map(|alias| alias.source.as_deref().map(storable)).collect();
        let insert = "INSERT INTO aliases (address, targets, source)
             SELECT * FROM unnest($1::text[], $2::text[], $3::text[])";
        Ok(self.write(&[(insert, &[&addresses, &targets, &sources])])?)
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        self.flush()?;
        let update = "UPDATE properties SET value = $1 WHERE name = 'schema_version'";
        Ok(self.write(&[(update, &[&SCHEMA_VERSION.to_string()])])?)
    }
}

fn is_empty(admin_connection: &AdminConnection) -> Result<bool, OpenError> {
    for select in [
        "SELECT 1 FROM accounts LIMIT 1",
        "SELECT 1 FROM aliases LIMIT 1",
        "SELECT 1 FROM messages LIMIT 1",
        "SELECT 1 FROM submissions LIMIT 1",
        "SELECT 1 FROM deliveries LIMIT 1",
        "SELECT 1 FROM queue LIMIT 1",
    ] {
        if !admin_connection.query(select, &[])?.is_empty() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A text as PostgreSQL takes it: without NUL, which only damage can have put there.
fn storable(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { text.replace('\0', "\u{fffd}").into() } else { text.into() }
}
