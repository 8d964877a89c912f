//! What is in each maildrop.

use super::{Index, IndexError};

/// A maildrop, and how many messages are in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MailboxCount {
    /// The server name of its stack.
    pub(crate) stack: String,
    /// Whose it is.
    pub(crate) address: String,
    /// How many messages are in it.
    pub(crate) messages: u64,
    /// How many of them nobody has read in the console.
    pub(crate) unread: u64,
}

impl Index {
    /// All maildrops that have a message, by stack and address.
    ///
    /// # Errors
    /// [`IndexError`].
    pub(crate) async fn mailboxes(&self) -> Result<Vec<MailboxCount>, IndexError> {
        self.call(|tables| {
            let select = "SELECT stack, address, count(*), count(*) FILTER (WHERE is_read = 0) \
                          FROM recipient JOIN mail ON mail = seq WHERE state = 'delivered' \
                          GROUP BY stack, address ORDER BY stack, address";
            let mut select = tables.db.prepare_cached(select)?;
            let rows = select.query_map((), |row| {
                let [messages, unread] = [row.get::<_, i64>(2)?, row.get::<_, i64>(3)?].map(i64::unsigned_abs);
                Ok(MailboxCount { stack: row.get(0)?, address: row.get(1)?, messages, unread })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }
}
