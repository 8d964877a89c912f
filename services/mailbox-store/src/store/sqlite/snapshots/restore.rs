//! A store becomes what it was.

use crate::store::{
    Result, events,
    sqlite::{
        bodies::{IN_DATABASE_OCTETS, SpooledFile},
        queue,
        writer::{WriteTransaction, last_id},
    },
};
use internal_api::StoreSnapshot;
use jiff::Timestamp;
use rusqlite::{
    Connection, params,
    types::{ToSqlOutput, ValueRef},
};

/// What a snapshot has of each table, and what it stands for where that is not the column itself. `probe` and `properties`
/// are the store's own.
const TABLES: [(&str, Option<(&str, &str)>); 8] = [
    ("accounts", None),
    ("aliases", None),
    ("messages", Some(("body", IN_MEMORY))),
    ("submissions", None),
    ("deliveries", None),
    ("deletions", None),
    // All claims end.
    ("queue", Some(("lease", "NULL"))),
    ("events", None),
];
/// A large body has become a file before.
const IN_MEMORY: &str = "CASE WHEN length(body) > 262144 THEN NULL ELSE body END";
const _: () = assert!(IN_DATABASE_OCTETS == 262_144, "see above");

/// The property with the greatest id that was given.
pub(super) const LAST_ID: &str = "last_id";

/// A snapshot that is about to become the store.
pub(in crate::store::sqlite) struct Prepared {
    pub(super) snapshot: StoreSnapshot,
    pub(super) connection: Connection,
    /// The large bodies by message.
    pub(super) files: Vec<(i64, SpooledFile)>,
}

/// Replaces all that the store has.
pub(in crate::store::sqlite) fn restore(
    tx: &mut WriteTransaction<'_>,
    prepared: Prepared,
    now: Option<Timestamp>,
) -> Result<StoreSnapshot> {
    let Prepared { snapshot, connection: source, files } = prepared;
    let store = tx.connection;
    let last_event = |connection: &Connection| {
        let select = "SELECT COALESCE(MAX(seq), 0) FROM events";
        connection.query_row(select, [], |row| row.get::<_, i64>(0))
    };
    let event = last_event(store)?.max(last_event(&source)?) + 1;
    let queued_before = queue::length(store)?;
    let mut select = store.prepare("SELECT body_file FROM messages WHERE body_file IS NOT NULL")?;
    let removed: Vec<String> = select.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    drop(select);
    for (table, instead) in TABLES {
        store.execute(&statement(&["DELETE", "FROM", table]), [])?;
        copy(&source, store, table, instead)?;
    }
    for (message, file) in &files {
        store.execute("UPDATE messages SET body_file = ?2 WHERE id = ?1", params![message, file.name])?;
    }
    let last_id = tx.reserve_ids(last_id(&source)?);
    let property = "INSERT OR REPLACE INTO properties (name, value) VALUES (?1, ?2)";
    store.execute(property, [LAST_ID, &last_id.to_string()])?;
    let at_ms = now.unwrap_or_else(|| tx.now()).as_millisecond();
    let told = "INSERT INTO events (seq, message_id, at_ms, detail) VALUES (?1, 0, ?2, ?3)";
    store.execute(told, params![event, at_ms, events::restored(&snapshot.name)?])?;
    let effects = &mut tx.effects;
    effects.kept_files.extend(files.into_iter().map(|(_, file)| file));
    effects.removed_files.extend(removed);
    effects.queued += queue::length(store)? - queued_before;
    (effects.queue_changed, effects.deleted, effects.told, effects.accounts_changed) = (true, true, true, true);
    effects.restored = true;
    Ok(snapshot)
}

/// Copies the rows of a table. Texts that are no UTF-8 stay as they are.
fn copy(from: &Connection, to: &Connection, table: &str, instead: Option<(&str, &str)>) -> Result<()> {
    let mut select = from.prepare("SELECT name FROM pragma_table_info(?1)")?;
    let columns: Vec<String> = select.query_map([table], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    let values = columns.iter().map(|column| match instead {
        Some((other, value)) if other == column => value,
        _ => column.as_str(),
    });
    let values = values.collect::<Vec<_>>().join(", ");
    let mut select = from.prepare(&statement(&["SELECT", &values, "FROM", table]))?;
    let (places, columns_of_row) = (vec!["?"; columns.len()].join(", "), columns.join(", "));
    let insert = ["INSERT", "INTO", table, "(", &columns_of_row, ") VALUES (", &places, ")"];
    let mut insert = to.prepare(&statement(&insert))?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        for column in 0..columns.len() {
            let value: ValueRef<'_> = row.get_ref(column)?;
            insert.raw_bind_parameter(column + 1, ToSqlOutput::Borrowed(value))?;
        }
        insert.raw_execute()?;
    }
    Ok(())
}

/// A statement about what is known only now.
fn statement(parts: &[&str]) -> String {
    parts.join(" ")
}
