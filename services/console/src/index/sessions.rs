//! Sessions: listing and reading.

use super::{Index, IndexError, Tables, mail::time};
use internal_api::{MessageId, Record, RecordedSession, SessionId, SessionPage, SessionRecords};
use jiff::Timestamp;
use rusqlite::{OptionalExtension, params_from_iter, types::Value};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Who is at the other end of a session. Where that end is not known, it is who takes mail of the session's domain.
#[derive(Debug, Clone)]
pub(crate) enum OtherEnd {
    /// A stack of the town, with its mail domains.
    Stack(String, Vec<String>),
    /// None of the stacks, which have these mail domains.
    Outside(Vec<String>),
}

/// Which sessions.
#[derive(Debug, Clone, Default)]
pub(crate) struct SessionFilter {
    /// Only those of this stack.
    pub(crate) stack: Option<String>,
    /// Only those that this service has seen.
    pub(crate) service: Option<String>,
    /// Only those that have failed, as [`internal_api::RecordedSession::has_failed`] says.
    pub(crate) failed: bool,
    /// Only those that last, or only those that have ended.
    pub(crate) open: Option<bool>,
    /// Only those at this end: `server` or `client`.
    pub(crate) role: Option<String>,
    /// Only those in this protocol, as it travels: `smtp`, `pop3` and so on.
    pub(crate) protocol: Option<String>,
    /// Only those with a peer whose address begins so.
    pub(crate) peer: Option<String>,
    /// Only those of a user whose name has this text.
    pub(crate) user: Option<String>,
    /// Only those that have handled this message.
    pub(crate) message: Option<MessageId>,
    /// Only those in which this recipient or sender was refused.
    pub(crate) refused: Option<String>,
    /// Only those with this other end.
    pub(crate) with: Option<OtherEnd>,
    /// Only those that were opened before this one.
    pub(crate) before: Option<SessionId>,
}

/// A command that was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Refusal {
    /// In which session.
    pub session: SessionId,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// The verb of the command.
    pub verb: String,
    /// The address that it names, in lower case; empty without.
    pub address: String,
    /// The reply.
    pub reply: String,
}

impl Index {
    /// A page of n sessions, the newest first.
    ///
    /// # Errors
    /// [`IndexError`].
    pub(crate) async fn sessions(&self, filter: SessionFilter, limit: usize) -> Result<SessionPage, IndexError> {
        self.sessions_of(filter, None, limit).await
    }

    /// Those of these sessions that match, the newest first.
    ///
    /// # Errors
    /// [`IndexError`].
    pub(crate) async fn sessions_among(
        &self,
        filter: SessionFilter,
        ids: &[SessionId],
    ) -> Result<Vec<RecordedSession>, IndexError> {
        let text = serde_json::to_string(ids)?;
        Ok(self.sessions_of(filter, Some(text), ids.len()).await?.sessions)
    }

    /// What is known of these sessions.
    ///
    /// # Errors
    /// [`IndexError`].
    pub(crate) async fn states(&self, ids: Vec<SessionId>) -> Result<Vec<RecordedSession>, IndexError> {
        self.call(move |tables| {
            let mut select = tables.db.prepare_cached("SELECT state FROM session WHERE id = ?")?;
            let mut states = Vec::new();
            for id in ids {
                let state = select.query_row([id.to_string()], |row| row.get::<_, String>(0)).optional()?;
                states.extend(state.map(|state| serde_json::from_str(&state)).transpose()?);
            }
            Ok(states)
        })
        .await
    }

    /// As [`Index::sessions`]; `among` are the ids of some sessions, as a list in JSON.
    async fn sessions_of(
        &self,
        filter: SessionFilter,
        among: Option<String>,
        limit: usize,
    ) -> Result<SessionPage, IndexError> {
        self.call(move |tables| {
            let (mut condition, mut values) = ("true".to_owned(), Vec::new());
            let mut and = |text: &str, value: Option<String>| {
                if let Some(value) = value {
                    condition.push_str(" AND ");
                    condition.push_str(text);
                    values.push(Value::from(value));
                }
            };
            and("id IN (SELECT value FROM json_each(?))", among);
            // The sign keeps SQLite from sorting all of a stack: the newest few are wanted.
            and("+stack = ?", filter.stack);
            and("service = ?", filter.service);
            and("id < ?", filter.before.map(|id| id.to_string()));
            let with_message = "id IN (SELECT session FROM session_message WHERE message = ?)";
            and(with_message, filter.message.map(|id| id.to_string()));
            let with_refusal = "id IN (SELECT session FROM refusal WHERE recipient = ?)";
            and(with_refusal, filter.refused.map(|address| address.to_lowercase()));
            and("role = ?", filter.role);
            and("protocol = ?", filter.protocol);
            and("instr(remote, ?) = 1", filter.peer);
            and("instr(lower(user), ?) > 0", filter.user.map(|user| user.to_lowercase()));
            match &filter.with {
                Some(OtherEnd::Stack(stack, domains)) => {
                    condition.push_str(&format!(" AND coalesce(peer = ?, domain IN ({LISTED}), false)"));
                    values.extend([stack.clone(), serde_json::to_string(domains)?].map(Value::from));
                }
                Some(OtherEnd::Outside(domains)) => {
                    condition.push_str(&format!(" AND peer IS NULL AND coalesce(domain NOT IN ({LISTED}), true)"));
                    values.push(Value::from(serde_json::to_string(domains)?));
                }
                None => {}
            }
            if filter.failed {
                condition.push_str(" AND has_failed");
            }
            match filter.open {
                Some(true) => condition.push_str(" AND is_open = 1"),
                Some(false) => condition.push_str(" AND is_open = 0"),
                None => {}
            }
            page(tables, &condition, values, limit)
        })
        .await
    }

    /// A session with what was seen of it.
    ///
    /// # Errors
    /// [`IndexError`].
    pub(crate) async fn session(&self, id: SessionId) -> Result<Option<SessionRecords>, IndexError> {
        self.call(move |tables| tables.session(&id.to_string())).await
    }

    /// The newest refusals of commands that name an address with this text, since a time; n at most.
    ///
    /// # Errors
    /// [`IndexError`].
    pub(crate) async fn refusals(
        &self,
        address: &str,
        since: Timestamp,
        limit: usize,
    ) -> Result<Vec<Refusal>, IndexError> {
        let address = address.to_lowercase();
        self.call(move |tables| {
            let select = "SELECT session, at, verb, recipient, reply FROM refusal \
                          WHERE instr(recipient, ?) > 0 AND at >= ? ORDER BY number DESC LIMIT ?";
            let mut select = tables.db.prepare_cached(select)?;
            let values = (address, since.as_microsecond(), limit as i64);
            let rows = select.query_map(values, |row| {
                let session: String = row.get(0)?;
                let refusal = (time(row.get(1)?), row.get(2)?, row.get(3)?, row.get(4)?);
                Ok((session, refusal))
            })?;
            let mut refusals = Vec::new();
            for row in rows {
                let (session, (at, verb, address, reply)) = row?;
                let Ok(session) = session.parse() else { continue };
                refusals.push(Refusal { session, at, verb, address, reply });
            }
            Ok(refusals)
        })
        .await
    }
}

/// The values of a list.
const LISTED: &str = "SELECT value FROM json_each(?)";

/// The newest n sessions that meet a condition.
fn page(tables: &Tables, condition: &str, mut values: Vec<Value>, limit: usize) -> Result<SessionPage, IndexError> {
    values.push(Value::from(limit as i64 + 1));
    let select = format!("SELECT state FROM session WHERE {condition} ORDER BY id DESC LIMIT ?");
    let mut select = tables.db.prepare_cached(&select)?;
    let rows = select.query_map(params_from_iter(values), |row| row.get::<_, String>(0))?;
    let mut sessions = rows
        .map(|state| Ok(serde_json::from_str::<RecordedSession>(&state?)?))
        .collect::<Result<Vec<_>, IndexError>>()?;
    let has_more = sessions.len() > limit;
    sessions.truncate(limit);
    let next_before = sessions.last().map(|last| last.id).filter(|_| has_more);
    Ok(SessionPage { sessions, next_before })
}

impl Tables {
    /// A session with what was seen of it.
    pub(super) fn session(&self, id: &str) -> Result<Option<SessionRecords>, IndexError> {
        let mut select = self.db.prepare_cached("SELECT state FROM session WHERE id = ?")?;
        let Some(state) = select.query_row([id], |row| row.get::<_, String>(0)).optional()? else {
            return Ok(None);
        };
        let session: RecordedSession = serde_json::from_str(&state)?;
        let mut select = self.db.prepare_cached("SELECT body FROM record WHERE session = ? ORDER BY sequence")?;
        let rows = select.query_map([id], |row| row.get::<_, String>(0))?;
        let records =
            rows.map(|body| Ok(serde_json::from_str::<Record>(&body?)?)).collect::<Result<_, IndexError>>()?;
        Ok(Some(SessionRecords { session, records }))
    }
}
