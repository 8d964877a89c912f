//! The schema as a script for `psql`, also for a database whose tables are distributed over several machines.

use super::open::{PROPERTIES, SCHEMA_VERSION, schema};
use std::fmt::Write;

/// The engine that distributes the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Engine {
    /// Citus, an extension of PostgreSQL
    Citus,
}

/// Where the rows of a table are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Placement {
    /// Each row on the node of the value of `column`. Rows of equal values in this table and in `with` are on one node.
    Distributed { column: &'static str, with: Option<&'static str> },
    /// All rows on every node, because statements join the table with distributed ones.
    Reference,
}

/// The tables that are not local to the coordinator. A table comes after the one that it is colocated with.
const PLACEMENTS: [(&str, Placement); 9] = [
    ("accounts", Placement::Distributed { column: "address", with: None }),
    ("aliases", Placement::Distributed { column: "address", with: Some("accounts") }),
    ("deliveries", Placement::Distributed { column: "address", with: Some("accounts") }),
    ("maildrop_locks", Placement::Distributed { column: "address", with: Some("accounts") }),
    ("messages", Placement::Distributed { column: "id", with: None }),
    ("bodies", Placement::Distributed { column: "message_id", with: Some("messages") }),
    ("submissions", Placement::Distributed { column: "transaction_id", with: None }),
    ("queue", Placement::Distributed { column: "domain", with: None }),
    ("deletions", Placement::Reference),
];

/// The script that makes the schema of this version in an empty database. A store that is opened there afterwards finds
/// nothing left to do.
pub(crate) fn script(engine: Option<Engine>) -> String {
    let mut script =
        format!("-- The schema of mailbox-store, version {SCHEMA_VERSION}. Apply it to an empty database:\n");
    script += "--     psql --set=ON_ERROR_STOP=1 --file=FILE DATABASE\n";
    if engine.is_some() {
        script += "\nCREATE EXTENSION IF NOT EXISTS citus;\n";
    }
    for statement in [PROPERTIES].into_iter().chain(schema()) {
        let statement = statement.trim_end_matches(';');
        let _ = write!(script, "\n{statement};\n");
        // Before anything refers to the table, and while it is empty.
        let placement = engine.and(created_table(statement)).and_then(placed);
        if let Some(placed) = placement {
            let _ = writeln!(script, "{placed};");
        }
    }
    let _ = write!(
        script,
        "\n-- Stores read here that nothing is left to do.\n\
         INSERT INTO properties (name, value) VALUES ('schema_version', '{SCHEMA_VERSION}')\n    \
         ON CONFLICT (name) DO NOTHING;\n"
    );
    script
}

/// The table that a statement creates.
fn created_table(statement: &str) -> Option<&str> {
    let (_, after) = statement.split_once("CREATE TABLE IF NOT EXISTS ")?;
    after.split([' ', '(']).next()
}

/// The statement that places a table, unless it stays local.
fn placed(table: &str) -> Option<String> {
    let (_, placement) = PLACEMENTS.iter().find(|(name, _)| *name == table)?;
    Some(match placement {
        Placement::Distributed { column, with } => {
            let with = with.unwrap_or("none");
            format!("SELECT create_distributed_table('{table}', '{column}', colocate_with => '{with}')")
        }
        Placement::Reference => format!("SELECT create_reference_table('{table}')"),
    })
}

#[cfg(test)]
mod tests {
    use super::{super::tests::server::Server, *};
    use crate::store::contract::statements;
    use std::collections::BTreeSet;

    fn placing_statements(engine: Option<Engine>) -> Vec<String> {
        let script = script(engine);
        script.lines().filter(|line| line.contains("create_")).map(str::to_owned).collect()
    }

    #[test]
    fn tables_are_placed_in_their_order() {
        let expected = [
            "SELECT create_distributed_table('accounts', 'address', colocate_with => 'none');",
            "SELECT create_distributed_table('messages', 'id', colocate_with => 'none');",
            "SELECT create_distributed_table('bodies', 'message_id', colocate_with => 'messages');",
            "SELECT create_distributed_table('submissions', 'transaction_id', colocate_with => 'none');",
            "SELECT create_distributed_table('deliveries', 'address', colocate_with => 'accounts');",
            "SELECT create_distributed_table('maildrop_locks', 'address', colocate_with => 'accounts');",
            "SELECT create_distributed_table('queue', 'domain', colocate_with => 'none');",
            "SELECT create_reference_table('deletions');",
            "SELECT create_distributed_table('aliases', 'address', colocate_with => 'accounts');",
        ];
        assert_eq!(placing_statements(Some(Engine::Citus)), expected);
        assert_eq!(placing_statements(None), Vec::<String>::new());
        assert!(script(Some(Engine::Citus)).contains("\nCREATE EXTENSION IF NOT EXISTS citus;\n"));
    }

    /// Else the script would say other things than a store does.
    #[test]
    fn without_the_placing_the_scripts_are_equal() {
        let distributed = script(Some(Engine::Citus));
        let is_plain = |line: &&str| !line.contains("create_") && !line.contains("EXTENSION");
        let rest: Vec<_> = distributed.lines().filter(is_plain).filter(|line| !line.is_empty()).collect();
        let plain = script(None);
        assert_eq!(rest, plain.lines().filter(|line| !line.is_empty()).collect::<Vec<_>>());
    }

    /// The tables that a statement names, views resolved.
    fn tables(sql: &str) -> BTreeSet<&str> {
        let words: Vec<_> =
            sql.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty()).collect();
        let follows = |pair: &&[&str]| ["FROM", "JOIN", "INTO", "UPDATE", "USING"].contains(&pair[0]);
        let named = words.windows(2).filter(follows).map(|pair| pair[1]);
        // The view joins two tables, one of which is on every machine.
        named.map(|table| if table == "maildrops" { "deliveries" } else { table }).collect()
    }

    /// Where the rows of a table are found together: `None` on every machine.
    fn group(table: &str) -> Option<&str> {
        match PLACEMENTS.iter().find(|(name, _)| *name == table) {
            Some((_, Placement::Reference)) => None,
            Some((name, Placement::Distributed { with, .. })) => Some(with.unwrap_or(name)),
            None => Some("coordinator"),
        }
    }

    /// A statement that joined tables of two groups would need rows of all machines on each machine.
    #[test]
    fn each_statement_is_about_tables_that_are_together() {
        let known = ["events", "properties", "probes"];
        let is_table = |name: &&str| known.contains(name) || PLACEMENTS.iter().any(|(table, _)| table == name);
        let mut seen = BTreeSet::new();
        for (file, sql) in statements("postgres") {
            let tables: BTreeSet<_> = tables(&sql).into_iter().filter(is_table).collect();
            let groups: BTreeSet<_> = tables.iter().filter_map(|table| group(table)).collect();
            assert!(groups.len() <= 1, "{file}: tables of {groups:?}: {sql}");
            seen.extend(tables.iter().map(|table| (*table).to_owned()));
            if sql.contains("FOR UPDATE") {
                for (table, placement) in PLACEMENTS.iter().filter(|(table, _)| tables.contains(table)) {
                    if let Placement::Distributed { column, .. } = placement {
                        assert!(sql.contains(&format!("{column} = $")), "{file}: locks {table} on all machines: {sql}");
                    }
                }
            }
        }
        let all = PLACEMENTS.iter().map(|(table, _)| *table).chain(known);
        assert_eq!(seen, all.map(str::to_owned).collect(), "every table is named by a statement");
        let view = "SELECT 1 FROM messages WHERE EXISTS (SELECT 1 FROM maildrops)";
        assert_eq!(tables(view).into_iter().filter_map(group).count(), 2, "a wrong one is refused");
    }

    /// Citus may refuse a recursion over a distributed table. Whoever runs a store there is told of the one that there is.
    #[test]
    fn one_statement_is_a_recursion() {
        let recursions: Vec<_> =
            statements("postgres").into_iter().filter(|(_, sql)| sql.contains("RECURSIVE")).collect();
        let [(file, sql)] = &recursions[..] else { panic!("{recursions:?}") };
        assert_eq!((file.as_str(), sql.as_str()), ("claims.rs", super::super::claims::FIRST_DUE_EXCEPT));
    }

    /// Citus can only ensure uniqueness and references within one node. This reads the catalogs of the plain schema.
    #[tokio::test]
    async fn what_must_be_unique_is_on_one_node() {
        let Some(server) = Server::shared() else { return };
        let (client, connection) =
            tokio_postgres::connect(&server.new_database().await, tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        client.batch_execute(&script(None)).await.unwrap();
        let foreign = "SELECT conname::text FROM pg_constraint WHERE contype = 'f'";
        assert_eq!(client.query(foreign, &[]).await.unwrap().len(), 0, "no table refers to another");

        let unique = "SELECT table_.relname::text, index_.relname::text, ARRAY(
                SELECT attname::text FROM pg_attribute WHERE attrelid = indrelid AND attnum = ANY (indkey)
            ) FROM pg_index JOIN pg_class AS table_ ON table_.oid = indrelid
            JOIN pg_class AS index_ ON index_.oid = indexrelid
            WHERE indisunique AND table_.relnamespace = 'public'::regnamespace";
        let mut seen = BTreeSet::new();
        for row in client.query(unique, &[]).await.unwrap() {
            let (table, index, columns): (String, String, Vec<String>) = (row.get(0), row.get(1), row.get(2));
            if let Some((_, Placement::Distributed { column, .. })) = PLACEMENTS.iter().find(|(name, _)| *name == table)
            {
                assert!(columns.iter().any(|name| name == column), "{index} lacks {column}: {columns:?}");
                seen.insert(table);
            }
        }
        let distributed = PLACEMENTS.iter().filter(|(_, placement)| matches!(placement, Placement::Distributed { .. }));
        assert_eq!(seen, distributed.map(|(name, _)| (*name).to_owned()).collect(), "each has a primary key");
    }
}
