//! A store in a database as it stands at one moment: in one transaction that only reads, beside running stores.

use super::{
    admin_connection::AdminConnection,
    deletions::{DELIVERED_OF, QUEUED_OF},
    open::{INCOMING, OpenError, SCHEMA_VERSION},
    url::DatabaseUrl,
};
use crate::store::{
    records::id,
    snapshot::{
        AccountRecord, AliasRecord, Body, Counts, DeliveryRecord, Inspection, MESSAGES, MessageRecord, ParameterRecord,
        QueueRecord, RECORDS, Result, Snapshot, SubmissionRecord,
    },
};
use jiff::Timestamp;
use mail_net::IoClock;
use std::{
    collections::{HashMap, HashSet},
    io::{self, Cursor, Read},
};

/// How many of a kind are named at most.
const NAMED: i64 = 1000;

/// A read-only view.
pub(crate) struct PostgresSnapshot {
    admin_connection: AdminConnection,
    /// Of the messages that were read last.
    bodies: HashMap<i64, Beginning>,
}

/// What is known of a body before all of it is read.
#[derive(Default)]
struct Beginning {
    octets: i64,
    first_piece: Option<Vec<u8>>,
}

impl PostgresSnapshot {
    /// Opens the store of this stack.
    ///
    /// # Errors
    /// [`OpenError`], also when the database has not the schema that this program writes.
    pub(crate) fn open(url: &DatabaseUrl, stack: &str, io: IoClock) -> Result<Self, OpenError> {
        let admin_connection = AdminConnection::open(url, io)?;
        let url = admin_connection.url();
        let Some(properties) = admin_connection.properties()? else { return Err(OpenError::Missing { url }) };
        let version = properties.version;
        match version.parse::<i64>() {
            _ if version.starts_with(INCOMING) => return Err(OpenError::Incomplete { url }),
            Ok(0) => return Err(OpenError::Missing { url }),
            Ok(known) if known < SCHEMA_VERSION => return Err(OpenError::Older { url, version }),
            Ok(SCHEMA_VERSION) => {}
            _ => return Err(OpenError::Newer { url, version }),
        }
        if let Some(stack) = properties.stack.filter(|other| other != stack) {
            return Err(OpenError::Foreign { url, stack });
        }
        admin_connection.command("BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")?;
        Ok(Self { admin_connection, bodies: HashMap::new() })
    }

    /// Opens it when no store is connected to it, as far as the database tells.
    ///
    /// # Errors
    /// As [`PostgresSnapshot::open`], and [`OpenError::InUse`].
    pub(crate) fn open_unused(url: &DatabaseUrl, stack: &str, io: IoClock) -> Result<Self, OpenError> {
        AdminConnection::open(url, io)?.refuse_running()?;
        Self::open(url, stack, io)
    }

    /// The parameters of those of these messages that there are.
    fn parameters(&self, keys: &[i64]) -> Result<HashMap<i64, ParameterRecord>, OpenError> {
        let select = "SELECT id, identity, body_type, smtputf8, ret, envid, requiretls, submitter FROM messages
             WHERE id = ANY($1)";
        let found = self.admin_connection.records(select, &[&keys], |row| {
            let parameters = ParameterRecord {
                identity: row.try_get(1)?,
                body_type: row.try_get(2)?,
                smtputf8: row.try_get(3)?,
                ret: row.try_get(4)?,
                envid: row.try_get(5)?,
                requiretls: row.try_get(6)?,
                submitter: row.try_get(7)?,
            };
            Ok((row.try_get(0)?, parameters))
        })?;
        Ok(found.into_iter().collect())
    }

    /// Those of these messages that are queued or in a maildrop, in the same order.
    fn held(&self, mut keys: Vec<i64>) -> Result<Vec<i64>, OpenError> {
        let pending = "SELECT 1 FROM deletions LIMIT 1";
        if !self.admin_connection.query(pending, &[])?.is_empty() {
            let mut held: HashSet<i64> = HashSet::new();
            for select in [QUEUED_OF, DELIVERED_OF] {
                held.extend(self.admin_connection.records(select, &[&keys], |row| row.try_get::<_, i64>(0))?);
            }
            keys.retain(|key| held.contains(key));
        }
        Ok(keys)
    }

    /// How many maildrop entries of each of these messages are hidden, where any is.
    fn hidden(&self, keys: &[i64]) -> Result<HashMap<i64, i64>, OpenError> {
        let select = "SELECT message_id, COUNT(*) FROM deliveries JOIN deletions
             ON deletions.address = deliveries.address AND message_id BETWEEN first_id AND last_id
             WHERE message_id = ANY($1) GROUP BY message_id";
        let hidden = self.admin_connection.records(select, &[&keys], |row| Ok((row.try_get(0)?, row.try_get(1)?)))?;
        Ok(hidden.into_iter().collect())
    }

    /// How many messages are hidden everywhere.
    fn count_unheld(&self) -> Result<u64, OpenError> {
        let select = "SELECT DISTINCT message_id FROM deliveries JOIN deletions
             ON deletions.address = deliveries.address AND message_id BETWEEN first_id AND last_id
             WHERE message_id > $1 ORDER BY message_id LIMIT $2";
        let (mut unheld, mut last) = (0, i64::MIN);
        loop {
            let keys = self.admin_connection.records(select, &[&last, &RECORDS], |row| row.try_get(0))?;
            let Some(greatest) = keys.last().copied() else { return Ok(unheld) };
            let hidden = keys.len();
            unheld += (hidden - self.held(keys)?.len()) as u64;
            last = greatest;
        }
    }

    fn count(&self, select: &'static str) -> Result<u64, OpenError> {
        let counts = self.admin_connection.records(select, &[], |row| row.try_get::<_, i64>(0))?;
        Ok(counts.iter().sum::<i64>().unsigned_abs())
    }
}

impl Snapshot for PostgresSnapshot {
    fn counts(&mut self) -> Result<Counts> {
        Ok(Counts {
            accounts: self.count("SELECT COUNT(*) FROM accounts")?,
            messages: self.count("SELECT COUNT(*) FROM messages")?.saturating_sub(self.count_unheld()?),
            submissions: self.count("SELECT COUNT(*) FROM submissions")?,
            deliveries: self.count("SELECT COUNT(*) FROM maildrops")?,
            queue: self.count("SELECT COUNT(*) FROM queue")?,
            aliases: self.count("SELECT COUNT(*) FROM aliases")?,
        })
    }

    fn accounts(&mut self, after: Option<&AccountRecord>) -> Result<Vec<AccountRecord>> {
        let select = "SELECT address, password_hash, messages, octets, quota_messages, quota_octets, source,
                 scram_verifier FROM accounts
             WHERE address > $1 ORDER BY address LIMIT $2";
        let after = after.map_or("", |account| &account.address);
        Ok(self.admin_connection.records(select, &[&after, &RECORDS], |row| {
            Ok(AccountRecord {
                address: row.try_get(0)?,
                password_hash: row.try_get(1)?,
                messages: row.try_get(2)?,
                octets: row.try_get(3)?,
                quota_messages: row.try_get(4)?,
                quota_octets: row.try_get(5)?,
                source: row.try_get(6)?,
                scram_verifier: row.try_get(7)?,
            })
        })?)
    }

    fn aliases(&mut self, after: Option<&AliasRecord>) -> Result<Vec<AliasRecord>> {
        let select = "SELECT address, targets, source FROM aliases WHERE address > $1 ORDER BY address LIMIT $2";
        let after = after.map_or("", |alias| &alias.address);
        Ok(self.admin_connection.records(select, &[&after, &RECORDS], |row| {
            Ok(AliasRecord { address: row.try_get(0)?, targets: row.try_get(1)?, source: row.try_get(2)? })
        })?)
    }

    fn message_keys(&mut self, after: Option<&i64>) -> Result<Vec<i64>> {
        let select = "SELECT id FROM messages WHERE id > $1 ORDER BY id LIMIT $2";
        let mut last = after.copied().unwrap_or(i64::MIN);
        loop {
            let keys = self.admin_connection.records(select, &[&last, &MESSAGES], |row| row.try_get(0))?;
            let Some(greatest) = keys.last().copied() else { return Ok(keys) };
            let held = self.held(keys)?;
            if !held.is_empty() {
                return Ok(held);
            }
            last = greatest;
        }
    }

    fn messages(&mut self, keys: &[i64]) -> Result<Vec<MessageRecord>> {
        self.bodies.clear();
        let select = "SELECT message_id, SUM(octet_length(octets))::bigint FROM bodies
             WHERE message_id = ANY($1) GROUP BY message_id";
        for (message, octets) in
            self.admin_connection.records(select, &[&keys], |row| Ok((row.try_get(0)?, row.try_get(1)?)))?
        {
            self.bodies.insert(message, Beginning { octets, first_piece: None });
        }
        let select = "SELECT message_id, octets FROM bodies WHERE message_id = ANY($1) AND piece = 0";
        for (message, piece) in
            self.admin_connection.records(select, &[&keys], |row| Ok((row.try_get(0)?, row.try_get(1)?)))?
        {
            self.bodies.entry(message).or_default().first_piece = Some(piece);
        }
        let parameters = self.parameters(keys)?;
        let hidden = self.hidden(keys)?;
        let keys = self.held(keys.to_vec())?;
        let select = "SELECT id, reverse_path, octets, received_at_ms, adds_return_path, checksum, holders
             FROM messages WHERE id = ANY($1) ORDER BY id";
        Ok(self.admin_connection.records(select, &[&keys], |row| {
            let key = row.try_get(0)?;
            let holders: i64 = row.try_get(6)?;
            Ok(MessageRecord {
                key,
                reverse_path: row.try_get(1)?,
                octets: row.try_get(2)?,
                received_at_ms: row.try_get(3)?,
                adds_return_path: row.try_get(4)?,
                checksum: Some(row.try_get(5)?),
                holders: holders - hidden.get(&key).copied().unwrap_or_default(),
                parameters: parameters.get(&key).cloned().unwrap_or_default(),
            })
        })?)
    }

    fn body(&mut self, message: i64) -> Result<Body<'_>> {
        let Some(Beginning { octets, first_piece }) = self.bodies.remove(&message) else {
            return Ok(Body::Missing("it has no body".to_owned()));
        };
        let octets = octets.unsigned_abs();
        let number = if first_piece.is_some() { 0 } else { -1 };
        let piece = Cursor::new(first_piece.unwrap_or_default());
        let missing_octets = octets.saturating_sub(piece.get_ref().len() as u64);
        let content =
            Box::new(Pieces { admin_connection: &self.admin_connection, message, number, piece, missing_octets });
        Ok(Body::Found { content, octets, file: None })
    }

    fn submissions(&mut self, after: Option<&SubmissionRecord>) -> Result<Vec<SubmissionRecord>> {
        let select = "SELECT transaction_id, message_id FROM submissions
             WHERE transaction_id > $1 ORDER BY transaction_id LIMIT $2";
        let after = after.map_or("", |submission| &submission.transaction);
        Ok(self.admin_connection.records(select, &[&after, &RECORDS], |row| {
            Ok(SubmissionRecord { transaction: row.try_get(0)?, message: row.try_get(1)? })
        })?)
    }

    fn deliveries(&mut self, after: Option<&DeliveryRecord>) -> Result<Vec<DeliveryRecord>> {
        let select = "SELECT address, message_id, octets, quarantined_at_ms FROM maildrops
             WHERE (address, message_id) > ($1, $2) ORDER BY address, message_id LIMIT $3";
        let (address, message) = after.map_or(("", i64::MIN), |delivery| (&delivery.address, delivery.message));
        Ok(self.admin_connection.records(select, &[&address, &message, &RECORDS], |row| {
            Ok(DeliveryRecord {
                address: row.try_get(0)?,
                message: row.try_get(1)?,
                octets: row.try_get(2)?,
                quarantined_at_ms: row.try_get(3)?,
            })
        })?)
    }

    fn queue(&mut self, after: Option<&QueueRecord>) -> Result<Vec<QueueRecord>> {
        let select = "SELECT message_id, recipient, domain, attempts, next_attempt_at_ms, lease, last_reply,
                 quarantined_at_ms, original_recipient, notify, via, delay_told, held_at_ms
             FROM queue WHERE (message_id, recipient) > ($1, $2) ORDER BY message_id, recipient LIMIT $3";
        let (message, recipient) = after.map_or((i64::MIN, ""), |entry| (entry.message, &entry.recipient));
        Ok(self.admin_connection.records(select, &[&message, &recipient, &RECORDS], |row| {
            Ok(QueueRecord {
                message: row.try_get(0)?,
                recipient: row.try_get(1)?,
                domain: row.try_get(2)?,
                attempts: row.try_get(3)?,
                next_attempt_at_ms: row.try_get(4)?,
                lease: row.try_get(5)?,
                last_reply: row.try_get(6)?,
                quarantined_at_ms: row.try_get(7)?,
                original_recipient: row.try_get(8)?,
                notify: row.try_get(9)?,
                via: row.try_get(10)?,
                delay_told: row.try_get(11)?,
                held_at_ms: row.try_get(12)?,
            })
        })?)
    }

    fn inspect(&mut self, _now: Timestamp) -> Result<Inspection> {
        let pieces = self.count("SELECT COUNT(*) FROM bodies")?;
        let select = "SELECT DISTINCT message_id FROM bodies
             WHERE NOT EXISTS (SELECT 1 FROM messages WHERE id = message_id) ORDER BY message_id LIMIT $1";
        let strays = self.admin_connection.records(select, &[&NAMED], |row| row.try_get(0))?;
        let findings = strays.into_iter().map(|message| format!("{}: a body without its message", id(message)));
        Ok(Inspection { counts: vec![("body pieces", pieces)], findings: findings.collect(), notes: Vec::new() })
    }
}

/// The pieces of a body, one after the other, as many as there are.
struct Pieces<'a> {
    admin_connection: &'a AdminConnection,
    message: i64,
    /// Of the piece that is being read.
    number: i64,
    piece: Cursor<Vec<u8>>,
    /// In the pieces after it.
    missing_octets: u64,
}

impl Pieces<'_> {
    fn next(&mut self) -> io::Result<()> {
        let select = "SELECT piece, octets FROM bodies WHERE message_id = $1 AND piece > $2 ORDER BY piece LIMIT 1";
        let next = self.admin_connection.records(select, &[&self.message, &self.number], |row| {
            Ok((row.try_get::<_, i64>(0)?, row.try_get::<_, Vec<u8>>(1)?))
        });
        // Whoever reads on finds out whether it was the body or the database.
        match next.map_err(io::Error::other)?.pop() {
            Some((number, octets)) => {
                self.missing_octets = self.missing_octets.saturating_sub(octets.len() as u64);
                (self.number, self.piece) = (number, Cursor::new(octets));
            }
            None => self.missing_octets = 0,
        }
        Ok(())
    }
}

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.piece.read(buffer)?;
            if read > 0 || self.missing_octets == 0 || buffer.is_empty() {
                return Ok(read);
            }
            self.next()?;
        }
    }
}
