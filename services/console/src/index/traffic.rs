//! How much has gone over each way of the town.

use super::{Index, IndexError};
use serde::Serialize;

/// What has gone from one to another, as far as it is remembered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Traffic {
    /// The stack whose service has seen it.
    pub(crate) stack: String,
    /// The service.
    pub(crate) service: String,
    /// `server` or `client`.
    pub(crate) role: String,
    /// The stack at the other end; absent where it is outside of the town.
    pub(crate) peer: Option<String>,
    /// How many sessions there were.
    pub(crate) sessions: u64,
    /// How many of them last.
    pub(crate) open: u64,
    /// How many of them have failed.
    pub(crate) failed: u64,
    /// How often a message has gone over them.
    pub(crate) messages: u64,
}

impl Index {
    /// The sessions by service and by the stack at their other end.
    ///
    /// # Errors
    /// [`IndexError`].
    pub(crate) async fn traffic(&self) -> Result<Vec<Traffic>, IndexError> {
        self.call(|tables| {
            let select = "SELECT one.stack, one.service, one.role, other.stack AS peer, count(*), \
                          sum(one.is_open), sum(one.refusals > 0 OR (one.role = 'client' AND one.local IS NULL AND NOT one.is_open)), \
                          sum((SELECT count(*) FROM session_message WHERE session = one.id)) \
                          FROM session AS one LEFT JOIN session AS other \
                          ON other.local = one.remote AND other.remote = one.local AND other.role <> one.role \
                          GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4";
            let mut select = tables.db.prepare_cached(select)?;
            let number = |number: i64| u64::try_from(number).unwrap_or(0);
            let rows = select.query_map((), |row| {
                Ok(Traffic {
                    stack: row.get(0)?,
                    service: row.get(1)?,
                    role: row.get(2)?,
                    peer: row.get(3)?,
                    sessions: number(row.get(4)?),
                    open: number(row.get(5)?),
                    failed: number(row.get(6)?),
                    messages: number(row.get(7)?),
                })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }
}
