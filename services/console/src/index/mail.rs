//! Messages: searching, reading, marking.

use super::{
    Cursor, Index, IndexError, Tables,
    apply::{Body, Head},
};
use crate::{
    model::{Mail, MailPage, MailRecipient, MailSummary},
    query::Query,
};
use internal_api::{Event, MessageId};
use jiff::Timestamp;
use rusqlite::{OptionalExtension, Row, params, params_from_iter, types::Value};
use std::{fmt, str::FromStr};

/// Which part of the messages that match.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SearchPage {
    /// Only what has come after this.
    pub(crate) since: Option<Cursor>,
    /// Only what is older than this: the last page's `next`.
    pub(crate) before: Option<MailPosition>,
    /// How many of the newest are left out.
    pub(crate) offset: usize,
    /// How many at most.
    pub(crate) limit: usize,
}

impl SearchPage {
    /// The first page of n messages.
    pub(crate) fn first(limit: usize) -> Self {
        Self { since: None, before: None, offset: 0, limit }
    }
}

/// Where a message stands in the order of lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MailPosition {
    id: MessageId,
    seq: i64,
}

impl fmt::Display for MailPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:x}", self.id, self.seq)
    }
}

impl FromStr for MailPosition {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let read = |text: &str| {
            let (id, seq) = text.split_once('-')?;
            Some(Self { id: id.parse().ok()?, seq: i64::from_str_radix(seq, 16).ok()? })
        };
        read(text).ok_or("no place in a list; give a page's next")
    }
}

/// How many of the newest messages are looked at before the others are.
const WINDOW: usize = 2000;
const COLUMNS: &str =
    "mail.seq AS seq, stack, id, accepted_at, octets, reverse_path, is_read, bounce, attachments, places, head";

impl Index {
    /// A page of the messages that match, the newest first.
    ///
    /// # Errors
    /// [`IndexError`].
    pub(crate) async fn search(&self, query: &Query, page: SearchPage) -> Result<MailPage, IndexError> {
        let query = query.clone();
        self.call(move |tables| tables.search(&query, page)).await
    }

    /// How many messages match after `since`, and how many of them are unread.
    ///
    /// # Errors
    /// [`IndexError`].
    pub(crate) async fn count(&self, query: &Query, since: Option<Cursor>) -> Result<(u64, u64), IndexError> {
        let query = query.clone();
        self.call(move |tables| {
            let (condition, values) = tables.condition(&query, since);
            let select = format!("SELECT count(*), count(*) FILTER (WHERE is_read = 0) FROM mail WHERE {condition}");
            let mut select = tables.db.prepare_cached(&select)?;
            let counts = select.query_row(params_from_iter(values), |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok((from_sql(counts.0), from_sql(counts.1)))
        })
        .await
    }

    /// The first n messages that match and have come after `after`, in the order in which they came.
    ///
    /// # Errors
    /// [`IndexError`].
    pub(crate) async fn news(
        &self,
        query: &Query,
        after: Cursor,
        limit: usize,
    ) -> Result<Vec<MailSummary>, IndexError> {
        let query = query.clone();
        self.call(move |tables| {
            let (condition, mut values) = tables.condition(&query, Some(after));
            values.push(Value::from(limit as i64));
            let select = format!("SELECT seq FROM mail WHERE {condition} ORDER BY seq LIMIT ?");
            let seqs = tables.seqs(&select, values)?;
            seqs.into_iter().map(|seq| tables.summary(seq)).collect()
        })
        .await
    }

    /// Where the messages are that match: in maildrops and queues.
    ///
    /// # Errors
    /// [`IndexError`].
    pub(crate) async fn places(&self, query: &Query) -> Result<Vec<Place>, IndexError> {
        let query = query.clone();
        self.call(move |tables| {
            let (condition, values) = tables.condition(&query, None);
            tables.places(&condition, values)
        })
        .await
    }

    /// Where these messages are.
    ///
    /// # Errors
    /// [`IndexError`].
    pub(crate) async fn places_of(&self, ids: Vec<MessageId>) -> Result<Vec<Place>, IndexError> {
        self.call(move |tables| {
            let mut places = Vec::new();
            for id in ids {
                places.extend(tables.places("id = ?", vec![Value::from(id.to_string())])?);
            }
            Ok(places)
        })
        .await
    }

    /// Forgets the messages that no store has any more, the sessions that are closed, and what was said in all.
    ///
    /// # Errors
    /// [`IndexError`].
    pub(crate) async fn forget_gone(&self) -> Result<(), IndexError> {
        self.change(|tables| tables.forget_gone()).await?;
        self.happenings.forget();
        Ok(())
    }

    /// Forgets all messages of a stack.
    ///
    /// # Errors
    /// [`IndexError`].
    pub(crate) async fn forget_stack(&self, stack: &str) -> Result<(), IndexError> {
        let stack = stack.to_owned();
        self.change(move |tables| tables.forget_stack(&stack)).await
    }

    /// A message with all that is in it. Where two stacks have one of this id, which does not happen, one of them.
    ///
    /// # Errors
    /// [`IndexError`].
    pub(crate) async fn mail(&self, id: MessageId) -> Result<Option<Mail>, IndexError> {
        self.call(move |tables| tables.mail(id)).await
    }

    /// The newest message that matches.
    ///
    /// # Errors
    /// [`IndexError`].
    pub(crate) async fn latest(&self, query: &Query) -> Result<Option<MailSummary>, IndexError> {
        Ok(self.search(query, SearchPage::first(1)).await?.mail.pop())
    }

    /// Marks messages as read or unread; returns how many it has changed.
    ///
    /// # Errors
    /// [`IndexError`].
    pub(crate) async fn set_read(&self, ids: Vec<MessageId>, read: bool) -> Result<usize, IndexError> {
        self.change(move |tables| {
            let mut update =
                tables.db.prepare_cached("UPDATE mail SET is_read = ?2 WHERE id = ?1 AND is_read <> ?2")?;
            let mut changed = 0;
            for id in ids {
                changed += update.execute(params![id.to_string(), read])?;
            }
            Ok(changed)
        })
        .await
    }

    /// Marks all messages that match as read or unread.
    ///
    /// # Errors
    /// [`IndexError`].
    pub(crate) async fn set_all_read(&self, query: &Query, read: bool) -> Result<(), IndexError> {
        let query = query.clone();
        self.change(move |tables| {
            let (condition, mut values) = tables.condition(&query, None);
            values.insert(0, Value::from(i64::from(read)));
            let update = format!("UPDATE mail SET is_read = ? WHERE {condition}");
            tables.db.execute(&update, params_from_iter(values))?;
            Ok(())
        })
        .await
    }
}

/// A message in a maildrop or in a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// The server name of the stack.
    pub(crate) stack: String,
    /// The message.
    pub(crate) id: MessageId,
    /// Whose maildrop it is, or for whom it waits.
    pub(crate) address: String,
    /// Whether it is in a maildrop; otherwise it is in the queue.
    pub(crate) in_maildrop: bool,
}

impl Tables {
    fn places(&self, condition: &str, values: Vec<Value>) -> Result<Vec<Place>, IndexError> {
        let select = format!(
            "SELECT stack, id, address, state FROM recipient JOIN mail ON mail = seq \
             WHERE state IN ('queued', 'deferred', 'held', 'delivered') AND seq IN (SELECT seq FROM mail WHERE {condition})"
        );
        let mut select = self.db.prepare_cached(&select)?;
        let rows = select.query_map(params_from_iter(values), |row| {
            let (id, state): (String, String) = (row.get(1)?, row.get(3)?);
            let in_maildrop = state == "delivered";
            Ok(Place { stack: row.get(0)?, id: message_id(&id), address: row.get(2)?, in_maildrop })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn condition(&self, query: &Query, since: Option<Cursor>) -> (String, Vec<Value>) {
        let sql = query.sql();
        let (mut condition, mut values) = (sql.condition, sql.values);
        if let Some(since) = since {
            let (later, more) = since.later(self);
            condition.push_str(" AND ");
            condition.push_str(later);
            values.extend(more);
        }
        (condition, values)
    }

    fn search(&self, query: &Query, page: SearchPage) -> Result<MailPage, IndexError> {
        // One more tells whether there is a next page.
        let wanted = page.offset.saturating_add(page.limit).saturating_add(1).min(i64::MAX as usize);
        let mut seqs = self.among_newest(query, &page, wanted)?;
        if seqs.len() < wanted && self.mails > WINDOW {
            seqs = self.among_all(query, &page, wanted)?;
        }
        let has_more = seqs.len() == wanted;
        let seqs: Vec<_> = seqs.into_iter().skip(page.offset).take(page.limit).collect();
        let last = seqs.last().copied();
        let mail = seqs.into_iter().map(|seq| self.summary(seq)).collect::<Result<Vec<_>, _>>()?;
        let position = mail.last().zip(last).map(|(mail, seq)| MailPosition { id: mail.id, seq }.to_string());
        Ok(MailPage { mail, next: position.filter(|_| has_more) })
    }

    /// The first matches among the newest messages, without the text index: enough for what many messages have.
    fn among_newest(&self, query: &Query, page: &SearchPage, wanted: usize) -> Result<Vec<i64>, IndexError> {
        let sql = query.sql_without_index();
        let (before, mut values) = before(page);
        values.push(Value::from(WINDOW as i64));
        let base = query.base();
        let window = format!("SELECT seq FROM mail WHERE {base} AND {before} ORDER BY id DESC, seq DESC LIMIT ?");
        values.extend(sql.values);
        let mut condition = sql.condition;
        if let Some(since) = page.since {
            let (later, more) = since.later(self);
            condition = format!("{condition} AND {later}");
            values.extend(more);
        }
        values.push(Value::from(wanted as i64));
        let select =
            format!("SELECT seq FROM mail WHERE seq IN ({window}) AND {condition} ORDER BY id DESC, seq DESC LIMIT ?");
        self.seqs(&select, values)
    }

    /// The first matches among all messages. They are sorted at the end, so that the text index is looked at first, or else the
    /// table from its beginning to its end.
    fn among_all(&self, query: &Query, page: &SearchPage, wanted: usize) -> Result<Vec<i64>, IndexError> {
        let (condition, mut values) = self.condition(query, page.since);
        let (before, more) = before(page);
        values.extend(more);
        values.push(Value::from(wanted as i64));
        let select =
            format!("SELECT seq FROM mail WHERE {condition} AND {before} ORDER BY +id DESC, +seq DESC LIMIT ?");
        self.seqs(&select, values)
    }

    fn seqs(&self, select: &str, values: Vec<Value>) -> Result<Vec<i64>, IndexError> {
        let mut select = self.db.prepare_cached(select)?;
        let rows = select.query_map(params_from_iter(values), |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn summary(&self, seq: i64) -> Result<MailSummary, IndexError> {
        let select = format!("SELECT {COLUMNS} FROM mail JOIN content ON content.seq = mail.seq WHERE mail.seq = ?");
        let mut select = self.db.prepare_cached(&select)?;
        select.query_row([seq], |row| Ok(self.row(row)))?
    }

    fn row(&self, row: &Row<'_>) -> Result<MailSummary, IndexError> {
        let (seq, accepted_at): (i64, i64) = (row.get("seq")?, row.get("accepted_at")?);
        let head: Head = serde_json::from_str(row.get_ref("head")?.as_str().unwrap_or("{}")).unwrap_or_default();
        Ok(MailSummary {
            id: message_id(row.get_ref("id")?.as_str().unwrap_or_default()),
            stack: row.get("stack")?,
            cursor: Cursor::new(self.birth, seq, accepted_at).to_string(),
            accepted_at: time(accepted_at),
            octets: from_sql(row.get("octets")?),
            mail_from: row.get("reverse_path")?,
            recipients: self.recipients(seq)?,
            message_id: head.message_id,
            subject: head.subject,
            from: head.from,
            to: head.to,
            cc: head.cc,
            bcc: head.bcc,
            reply_to: head.reply_to,
            snippet: head.snippet,
            attachments: from_sql(row.get("attachments")?),
            read: row.get("is_read")?,
            identity: head.identity,
            bounced_as: row.get::<_, Option<String>>("bounce")?.map(|id| message_id(&id)),
            held_by_store: row.get::<_, i64>("places")? > 0,
        })
    }

    fn recipients(&self, seq: i64) -> Result<Vec<MailRecipient>, IndexError> {
        let select = "SELECT address, state, attempts, reply, next_attempt_at, exchange, peer_id FROM recipient \
                      WHERE mail = ? ORDER BY address";
        let mut select = self.db.prepare_cached(select)?;
        let rows = select.query_map([seq], |row| {
            Ok(MailRecipient {
                address: row.get(0)?,
                state: row.get(1)?,
                attempts: row.get(2)?,
                reply: row.get(3)?,
                next_attempt_at: row.get::<_, Option<i64>>(4)?.map(time),
                exchange: row.get(5)?,
                peer_id: row.get::<_, Option<String>>(6)?.map(|id| message_id(&id)),
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    pub(super) fn mail(&self, id: MessageId) -> Result<Option<Mail>, IndexError> {
        let select = "SELECT mail.seq, body FROM mail JOIN content ON content.seq = mail.seq WHERE id = ? \
                      ORDER BY mail.seq LIMIT 1";
        let mut select = self.db.prepare_cached(select)?;
        let found = select.query_row([id.to_string()], |row| Ok((row.get(0)?, row.get::<_, String>(1)?))).optional()?;
        let Some((seq, body)) = found else { return Ok(None) };
        let summary = self.summary(seq)?;
        let Body { date, headers, text, html, parts, links, codes, truncated } = serde_json::from_str(&body)?;
        let events = self.events(seq)?;
        Ok(Some(Mail { summary, date, headers, text, html, parts, links, codes, truncated, events }))
    }

    fn events(&self, seq: i64) -> Result<Vec<Event>, IndexError> {
        let mut select = self.db.prepare_cached("SELECT body FROM event WHERE mail = ? ORDER BY rowid")?;
        let rows = select.query_map([seq], |row| row.get::<_, String>(0))?;
        rows.map(|body| Ok(serde_json::from_str(&body?)?)).collect()
    }
}

/// The condition that messages before a page's beginning meet, with its parameters.
fn before(page: &SearchPage) -> (&'static str, Vec<Value>) {
    match page.before {
        Some(MailPosition { id, seq }) => ("(id, seq) < (?, ?)", vec![Value::from(id.to_string()), Value::from(seq)]),
        None => ("true", Vec::new()),
    }
}

/// An id as a table has it.
pub(super) fn message_id(text: &str) -> MessageId {
    text.parse().unwrap_or(MessageId::from_number(0))
}

/// A time as a table has it.
pub(super) fn time(microseconds: i64) -> Timestamp {
    Timestamp::from_microsecond(microseconds).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn from_sql(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
