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
    /// The stack at the other end, where its end is known.
    pub(crate) peer: Option<String>,
    /// The domain whose mail the other end was to take, as far as there is one.
    pub(crate) domain: Option<String>,
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
            let select = "SELECT stack, service, role, peer, domain, count(*), sum(is_open), sum(has_failed), sum(messages) \
                          FROM session GROUP BY stack, service, role, peer, domain";
            let mut select = tables.db.prepare_cached(select)?;
            let number = |number: i64| u64::try_from(number).unwrap_or(0);
            let rows = select.query_map((), |row| {
                Ok(Traffic {
                    stack: row.get(0)?,
                    service: row.get(1)?,
                    role: row.get(2)?,
                    peer: row.get(3)?,
                    domain: row.get(4)?,
                    sessions: number(row.get(5)?),
                    open: number(row.get(6)?),
                    failed: number(row.get(7)?),
                    messages: number(row.get(8)?),
                })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }
}
