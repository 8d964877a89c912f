//! Every statement of this backend fits the schema.

use super::*;
use crate::store::contract::statements;

#[test]
fn every_statement_can_be_prepared() {
    let directory = TempDir::new().unwrap();
    let connection = super::super::database::open(&directory.path().join("store.db")).unwrap();
    let statements = statements("sqlite");
    assert!(statements.len() > 50, "{} are found", statements.len());
    let refused: Vec<_> = statements
        .iter()
        .filter_map(|(file, sql)| Some(format!("{file}: {}: {sql}", connection.prepare(sql).err()?)))
        .collect();
    assert!(refused.is_empty(), "{}", refused.join("\n"));
    assert!(connection.prepare("SELECT strange FROM messages").is_err(), "a wrong one is refused");
}
