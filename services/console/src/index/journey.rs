//! Gathers what a journey is made of.

use super::{Index, IndexError, Tables, mail::message_id};
use crate::journey::{Known, is_other_end};
use internal_api::{EventKind, MessageId, RecordedSession, Role, SessionId, SessionRecords};
use jiff::{SignedDuration, Timestamp};
use rusqlite::{OptionalExtension, params};
use std::collections::{BTreeMap, BTreeSet};

/// How many messages and sessions a journey has at most. What comes later is left out.
const MESSAGES: usize = 200;
const SESSIONS: usize = 400;
/// How many copies and reports back the first message is looked for.
const MOST_HOPS: usize = 32;
/// How far the clocks of two services may be apart.
const CLOCKS: SignedDuration = SignedDuration::from_secs(2);

impl Index {
    /// All that is known of a message's journey; `None` when the message is not known.
    ///
    /// # Errors
    /// [`IndexError`].
    pub(crate) async fn journey(&self, id: MessageId) -> Result<Option<Known>, IndexError> {
        self.call(move |tables| tables.journey(id)).await
    }

    /// The other end of this session's connection, if it is known.
    ///
    /// # Errors
    /// [`IndexError`].
    pub(crate) async fn other_end(&self, id: SessionId) -> Result<Option<SessionRecords>, IndexError> {
        self.call(move |tables| {
            let Some(session) = tables.session(&id.to_string())? else { return Ok(None) };
            let Some(other) = tables.other_end(&session.session)? else { return Ok(None) };
            tables.session(&other.to_string())
        })
        .await
    }
}

impl Tables {
    fn journey(&self, asked_for: MessageId) -> Result<Option<Known>, IndexError> {
        if self.mail(asked_for)?.is_none() {
            return Ok(None);
        }
        let first = self.first(asked_for)?;
        let mut known = Known { asked_for, first, mail: BTreeMap::new(), sessions: BTreeMap::new() };
        let (mut waiting, mut wanted) = (vec![first], BTreeSet::new());
        while let Some(id) = waiting.pop() {
            if known.mail.len() == MESSAGES || known.mail.contains_key(&id) {
                continue;
            }
            let Some(mail) = self.mail(id)? else { continue };
            for event in &mail.events {
                match &event.kind {
                    EventKind::Relayed { peer_id, .. } => waiting.extend(peer_id),
                    EventKind::Bounced { as_message } | EventKind::Reported { as_message } => waiting.push(*as_message),
                    EventKind::Claimed { recipients, .. } => {
                        if let Some(recipient) = recipients.first() {
                            let domain = recipient.mailbox.domain().to_string();
                            wanted.extend(self.tries(&mail.summary.stack, &domain, event.at)?);
                        }
                    }
                    _ => {}
                }
            }
            wanted.extend(self.sessions_of(id)?);
            known.mail.insert(id, mail.into());
        }
        for session in wanted {
            self.add_session(&session, &mut known)?;
        }
        Ok(Some(known))
    }

    /// Adds a session and the other end of its connection.
    fn add_session(&self, id: &str, known: &mut Known) -> Result<(), IndexError> {
        if known.sessions.len() >= SESSIONS {
            return Ok(());
        }
        let Some(session) = self.session(id)? else { return Ok(()) };
        if session.session.role == Role::Client
            && let Some(other) = self.other_end(&session.session)?
            && let Some(other) = self.session(&other.to_string())?
        {
            known.sessions.insert(other.session.id, other);
        }
        known.sessions.insert(session.session.id, session);
        Ok(())
    }

    /// The message of which this one is a copy, or about which it is a report; itself, if it is neither.
    fn first(&self, mut id: MessageId) -> Result<MessageId, IndexError> {
        let select = "SELECT id FROM mail JOIN recipient ON mail = seq WHERE peer_id = ?1 \
                      UNION SELECT id FROM mail JOIN event ON mail = seq WHERE report = ?1 LIMIT 1";
        for _ in 0..MOST_HOPS {
            let mut select = self.db.prepare_cached(select)?;
            let before: Option<String> = select.query_row([id.to_string()], |row| row.get(0)).optional()?;
            match before.map(|before| message_id(&before)).filter(|before| *before != id) {
                Some(before) => id = before,
                None => break,
            }
        }
        Ok(id)
    }

    fn sessions_of(&self, message: MessageId) -> Result<Vec<String>, IndexError> {
        let select = "SELECT session FROM session_message WHERE message = ? ORDER BY session";
        let mut select = self.db.prepare_cached(select)?;
        let rows = select.query_map([message.to_string()], |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The sessions in which a stack has tried to reach a domain after this time, without any message: the first few.
    fn tries(&self, stack: &str, domain: &str, after: Timestamp) -> Result<Vec<String>, IndexError> {
        let select = "SELECT id FROM session WHERE stack = ? AND domain = ? AND opened_at >= ? \
                      AND NOT EXISTS (SELECT 1 FROM session_message WHERE session = id) ORDER BY opened_at LIMIT 8";
        let mut select = self.db.prepare_cached(select)?;
        let after = after.saturating_sub(CLOCKS).unwrap_or(after).as_microsecond();
        let rows = select.query_map(params![stack, domain, after], |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn other_end(&self, session: &RecordedSession) -> Result<Option<SessionId>, IndexError> {
        let (Some(local), Some(remote)) = (session.local, session.remote) else { return Ok(None) };
        let select = "SELECT state FROM session WHERE local = ? AND remote = ?";
        let mut select = self.db.prepare_cached(select)?;
        let rows = select.query_map([remote.to_string(), local.to_string()], |row| row.get::<_, String>(0))?;
        for state in rows {
            let other: RecordedSession = serde_json::from_str(&state?)?;
            if is_other_end(session, &other) {
                return Ok(Some(other.id));
            }
        }
        Ok(None)
    }
}
