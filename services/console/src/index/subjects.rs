//! The subjects of messages.

use super::{Index, IndexError};
use internal_api::MessageId;
use std::collections::{BTreeMap, BTreeSet};

impl Index {
    /// The subjects of those of these messages that are known. One that is too long to be kept has none.
    ///
    /// # Errors
    /// [`IndexError`].
    pub(crate) async fn subjects(&self, ids: BTreeSet<MessageId>) -> Result<BTreeMap<MessageId, String>, IndexError> {
        self.call(move |tables| {
            let select =
                "SELECT coalesce(head ->> 'subject', '') FROM mail JOIN content USING (seq) WHERE id = ? LIMIT 1";
            let mut select = tables.db.prepare_cached(select)?;
            let mut subjects = BTreeMap::new();
            for id in ids {
                let mut rows = select.query([id.to_string()])?;
                if let Some(row) = rows.next()? {
                    subjects.insert(id, row.get(0)?);
                }
            }
            Ok(subjects)
        })
        .await
    }
}
