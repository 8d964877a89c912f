//! What is in the database of a store, or in a snapshot of it.

use super::load::Sent;
use rusqlite::{Connection, OpenFlags, types::Value};
use std::{collections::BTreeSet, fs, path::Path};

/// A database.
pub(super) struct StoreFile {
    database: Connection,
    /// Where large bodies are.
    bodies: std::path::PathBuf,
}

impl StoreFile {
    pub(super) fn snapshot(state: &Path, server: &str, name: &str) -> Self {
        Self::open(state, server, &format!("snapshots/{name}.db"))
    }

    /// The database of the store that is running.
    pub(super) fn live(state: &Path, server: &str) -> Self {
        Self::open(state, server, "store.db")
    }

    fn open(state: &Path, server: &str, file: &str) -> Self {
        let directory = state.join(server);
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
        let database = Connection::open_with_flags(directory.join(file), flags).unwrap();
        // All that is read is of one moment.
        database.execute_batch("BEGIN; SELECT COUNT(*) FROM probe").unwrap();
        Self { database, bodies: directory.join("bodies") }
    }

    /// Each subject with each recipient, and where that message is.
    pub(super) fn places(&self) -> Vec<(Sent, String)> {
        let select = "SELECT body, body_file, address, 'maildrop' FROM messages JOIN maildrops ON message_id = id
             UNION ALL SELECT body, body_file, recipient, 'queue' FROM messages JOIN queue ON message_id = id";
        let mut select = self.database.prepare(select).unwrap();
        let rows = select.query_map([], |row| {
            let (body, file): (Option<Vec<u8>>, Option<String>) = (row.get(0)?, row.get(1)?);
            let body = body.unwrap_or_else(|| fs::read(self.bodies.join(file.unwrap())).unwrap());
            Ok(((subject(&body), row.get(2)?), row.get(3)?))
        });
        rows.unwrap().map(Result::unwrap).collect()
    }

    /// The messages that something has happened to since the last restore.
    pub(super) fn touched_since_restore(&self) -> BTreeSet<i64> {
        let select = "SELECT message_id FROM events WHERE seq > (SELECT MAX(seq) FROM events WHERE message_id = 0)";
        let mut select = self.database.prepare(select).unwrap();
        select.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    }

    /// All rows about other messages than these, and those of accounts and aliases, without what counts or names files.
    pub(super) fn untouched(&self, touched: &BTreeSet<i64>) -> BTreeSet<String> {
        let tables = [
            ("messages", "id", "id, reverse_path, octets, received_at_ms, checksum, identity, body_type, submitter"),
            ("deliveries", "message_id", "message_id, address, octets, quarantined_at_ms"),
            (
                "queue",
                "message_id",
                "message_id, recipient, domain, attempts, next_attempt_at_ms, last_reply, held_at_ms, via",
            ),
            ("submissions", "message_id", "message_id, transaction_id"),
            ("events", "message_id", "message_id, seq, at_ms, detail"),
        ];
        let mut rows = BTreeSet::new();
        for (table, key, columns) in tables {
            let select = format!("SELECT {columns} FROM {table} WHERE {key} <> 0 ORDER BY {columns}");
            let mut select = self.database.prepare(&select).unwrap();
            let count = select.column_count();
            let found = select.query_map([], |row| {
                let values: Vec<Value> = (0..count).map(|column| row.get(column)).collect::<Result<_, _>>()?;
                Ok((row.get::<_, i64>(0)?, format!("{table}: {values:?}")))
            });
            let found = found.unwrap().map(Result::unwrap);
            rows.extend(found.filter(|(message, _)| !touched.contains(message)).map(|(_, row)| row));
        }
        for (table, columns) in
            [("accounts", "address, password_hash, source, quota_messages"), ("aliases", "address, targets, source")]
        {
            let select = format!("SELECT {columns} FROM {table} ORDER BY address");
            let mut select = self.database.prepare(&select).unwrap();
            let found = select.query_map([], |row| Ok(format!("{table}: {:?} {:?}", row.get_ref(0)?, row.get_ref(1)?)));
            rows.extend(found.unwrap().map(Result::unwrap));
        }
        rows
    }
}

fn subject(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(4096)]).into_owned();
    let line = text.lines().find_map(|line| line.strip_prefix("Subject: "));
    line.unwrap_or_else(|| panic!("no subject: {text}")).to_owned()
}
