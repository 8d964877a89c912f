//! The bounds of the index.

use super::{IndexError, Tables};
use rusqlite::{OptionalExtension, params};

/// How many are dropped at once.
const AT_ONCE: i64 = 100;

impl Tables {
    /// Drops the oldest messages while there are too many, or too many octets.
    pub(super) fn prune_mail(&mut self) -> Result<(), IndexError> {
        while self.mails > self.bounds.messages || self.mail_octets > self.bounds.message_octets {
            let excess = self.mails.saturating_sub(self.bounds.messages).clamp(1, AT_ONCE as usize);
            let oldest: Vec<(i64, i64)> = self
                .db
                .prepare_cached("SELECT seq, weight FROM mail ORDER BY id LIMIT ?")?
                .query_map([excess as i64], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect::<Result<_, _>>()?;
            if oldest.is_empty() {
                break;
            }
            for (seq, weight) in oldest {
                self.db.prepare_cached("DELETE FROM mail_text WHERE rowid = ?")?.execute([seq])?;
                self.db.prepare_cached("DELETE FROM mail WHERE seq = ?")?.execute([seq])?;
                self.mails -= 1;
                self.mail_octets = self.mail_octets.saturating_sub(usize::try_from(weight).unwrap_or(0));
            }
        }
        Ok(())
    }

    /// Drops the messages that no store has, the sessions that are closed, and the records of all sessions. A session that is
    /// open goes on.
    pub(super) fn forget_gone(&mut self) -> Result<(), IndexError> {
        self.db.execute("DELETE FROM mail_text WHERE rowid IN (SELECT seq FROM mail WHERE places = 0)", ())?;
        self.db.execute("DELETE FROM mail WHERE places = 0", ())?;
        self.db.execute_batch(
            "DELETE FROM session WHERE NOT is_open; DELETE FROM record; DELETE FROM refusal; DELETE FROM session_message; \
             UPDATE session SET octets = 0, refusals = 0;",
        )?;
        self.recount()
    }

    /// Drops all messages of a stack.
    pub(super) fn forget_stack(&mut self, stack: &str) -> Result<(), IndexError> {
        self.db.execute("DELETE FROM mail_text WHERE rowid IN (SELECT seq FROM mail WHERE stack = ?)", [stack])?;
        self.db.execute("DELETE FROM mail WHERE stack = ?", [stack])?;
        self.recount()
    }

    /// Takes back what a change that failed had begun.
    pub(super) fn recover(&mut self) {
        let rolled_back = if self.db.is_autocommit() { Ok(()) } else { self.db.execute_batch("ROLLBACK") };
        if let Err(error) = rolled_back.map_err(IndexError::from).and_then(|()| self.recount()) {
            tracing::error!(%error, "a change of the index that failed cannot be taken back");
        }
    }

    /// Counts anew what the bounds limit.
    fn recount(&mut self) -> Result<(), IndexError> {
        let sums = |select: &str| -> rusqlite::Result<(i64, i64)> {
            self.db.query_row(select, (), |row| Ok((row.get(0)?, row.get(1)?)))
        };
        let (mails, mail_octets) = sums("SELECT count(*), coalesce(sum(weight), 0) FROM mail")?;
        let (sessions, record_octets) = sums("SELECT count(*), coalesce(sum(octets), 0) FROM session")?;
        (self.mails, self.mail_octets) = (mails as usize, mail_octets as usize);
        (self.session_count, self.record_octets) = (sessions as usize, record_octets as usize);
        Ok(())
    }

    /// Drops the oldest sessions that are closed while there are too many, or too many octets of records; then open ones.
    pub(super) fn prune_sessions(&mut self) -> Result<(), IndexError> {
        while self.session_count > self.bounds.sessions || self.record_octets > self.bounds.session_octets {
            let oldest = "SELECT id, octets FROM session ORDER BY is_open, id LIMIT 1";
            let oldest: Option<(String, i64)> =
                self.db.prepare_cached(oldest)?.query_row((), |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
            let Some((id, octets)) = oldest else { break };
            self.db.prepare_cached("DELETE FROM session WHERE id = ?")?.execute(params![id])?;
            self.dialogues.remove(&id);
            self.session_count -= 1;
            self.record_octets = self.record_octets.saturating_sub(usize::try_from(octets).unwrap_or(0));
        }
        Ok(())
    }
}
