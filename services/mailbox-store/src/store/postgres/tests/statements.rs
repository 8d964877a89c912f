//! Every statement of this backend fits the schema.

use super::*;
use crate::store::contract::statements;

#[tokio::test]
async fn every_statement_can_be_prepared() {
    let Some(town) = Town::new().await else { return };
    let _store = town.store().await;
    let stranger = town.stranger().await;
    let mut statements = statements("postgres");
    // The functions of Citus, which is not here.
    statements.retain(|(_, sql)| !sql.starts_with("SELECT create_"));
    assert!(statements.len() > 50, "{} are found", statements.len());
    let mut refused = Vec::new();
    for (file, sql) in &statements {
        if let Err(error) = stranger.prepare(sql).await {
            let reason = error.as_db_error().map_or_else(|| error.to_string(), ToString::to_string);
            refused.push(format!("{file}: {reason}: {sql}"));
        }
    }
    assert!(refused.is_empty(), "{}", refused.join("\n"));
    assert!(stranger.prepare("SELECT strange FROM messages").await.is_err(), "a wrong one is refused");
}
