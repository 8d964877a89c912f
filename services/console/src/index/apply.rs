//! What a store tells of messages, put into the tables.

use super::{Index, IndexError, Tables};
use crate::message::{Content, Person};
use internal_api::{Event, EventKind, Message, MessageId};
use jiff::Timestamp;
use mail_proto::{Mailbox, ReversePath};
use rusqlite::{OptionalExtension, params};
use serde::{Deserialize, Serialize};

/// How many events of a message are kept.
const EVENTS: usize = 500;

/// What a store has told, in its order.
#[derive(Debug)]
pub(crate) struct StoreBatch {
    /// The server name of the stack.
    pub(crate) stack: String,
    /// What has happened.
    pub(crate) arrivals: Vec<Arrival>,
}

/// Something that has happened to a message, with the message where it is new.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) event: Event,
    pub(crate) content: Option<Content>,
}

impl Arrival {
    /// Whether it tells of a message that has just come.
    pub(crate) fn is_new(&self) -> bool {
        matches!(self.event.kind, EventKind::Accepted { .. })
    }
}

/// A message that a store has and whose events are not kept any more.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) message: Message,
    pub(crate) content: Option<Content>,
}

/// What a list shows of a message's content.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Head {
    pub(super) message_id: String,
    pub(super) subject: String,
    pub(super) from: Option<Person>,
    pub(super) to: Vec<Person>,
    pub(super) cc: Vec<Person>,
    pub(super) bcc: Vec<Person>,
    pub(super) reply_to: Vec<Person>,
    pub(super) snippet: String,
    pub(super) identity: Option<String>,
}

/// The rest of it.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Body {
    pub(super) date: Option<Timestamp>,
    pub(super) headers: Vec<crate::message::HeaderField>,
    pub(super) text: String,
    pub(super) html: String,
    pub(super) parts: Vec<crate::message::Part>,
    pub(super) links: Vec<String>,
    pub(super) codes: Vec<String>,
    #[serde(default)]
    pub(super) truncated: bool,
}

/// A message that was not known before.
struct New<'a> {
    stack: &'a str,
    id: MessageId,
    accepted_at: Timestamp,
    octets: u64,
    reverse_path: &'a ReversePath,
    content: Option<Content>,
    identity: Option<String>,
    is_earlier: bool,
}

/// What has become of a message for some recipients.
#[derive(Default)]
struct Change<'a> {
    state: &'static str,
    reply: Option<&'a str>,
    next_attempt_at: Option<Timestamp>,
    exchange: Option<&'a str>,
    peer_id: Option<MessageId>,
}

impl Index {
    /// Takes in what a store has told.
    ///
    /// # Errors
    /// [`IndexError`].
    pub(crate) async fn apply(&self, batch: StoreBatch) -> Result<(), IndexError> {
        self.take_in(batch, false, true).await
    }

    /// As [`Index::apply`], while not all that the store had before was read. What was read before, too, is no happening.
    ///
    /// # Errors
    /// [`IndexError`].
    pub(crate) async fn apply_earlier(&self, batch: StoreBatch, is_news: bool) -> Result<(), IndexError> {
        self.take_in(batch, true, is_news).await
    }

    async fn take_in(&self, batch: StoreBatch, is_earlier: bool, is_news: bool) -> Result<(), IndexError> {
        let events = batch.arrivals.iter().map(|arrival| arrival.event.clone()).collect();
        let stack = batch.stack.clone();
        self.change(move |tables| {
            for arrival in batch.arrivals {
                tables.arrival(&batch.stack, arrival, is_earlier)?;
            }
            tables.prune_mail()
        })
        .await?;
        if is_news {
            self.happenings.add_events(&stack, events);
        }
        Ok(())
    }

    /// Which of these messages of a stack it does not know.
    ///
    /// # Errors
    /// [`IndexError`].
    pub(crate) async fn unknown(&self, stack: &str, ids: Vec<MessageId>) -> Result<Vec<MessageId>, IndexError> {
        let stack = stack.to_owned();
        self.call(move |tables| {
            let mut unknown = Vec::new();
            for id in ids {
                if tables.seq(&stack, id)?.is_none() {
                    unknown.push(id);
                }
            }
            Ok(unknown)
        })
        .await
    }

    /// Takes in messages of which no event is kept.
    ///
    /// # Errors
    /// [`IndexError`].
    pub(crate) async fn add_found(&self, stack: &str, found: Vec<Found>) -> Result<(), IndexError> {
        let stack = stack.to_owned();
        self.change(move |tables| {
            for Found { message, content } in found {
                let new = New {
                    stack: &stack,
                    id: message.id,
                    accepted_at: message.received_at,
                    octets: message.octets,
                    reverse_path: &message.reverse_path,
                    content,
                    identity: message.identity.as_ref().map(ToString::to_string),
                    is_earlier: true,
                };
                let Some(seq) = tables.insert(new)? else { continue };
                tables.set(seq, &message.mailboxes, &Change { state: "delivered", ..Change::default() })?;
                tables.set(seq, &message.queued_for, &Change { state: "queued", ..Change::default() })?;
                tables.count_places(seq)?;
            }
            tables.prune_mail()
        })
        .await
    }
}

impl Tables {
    pub(super) fn seq(&self, stack: &str, id: MessageId) -> Result<Option<i64>, IndexError> {
        let mut select = self.db.prepare_cached("SELECT seq FROM mail WHERE stack = ? AND id = ?")?;
        Ok(select.query_row(params![stack, id.to_string()], |row| row.get(0)).optional()?)
    }

    fn arrival(&mut self, stack: &str, arrival: Arrival, is_earlier: bool) -> Result<(), IndexError> {
        let Arrival { event, content } = arrival;
        if let EventKind::Accepted { reverse_path, octets } = &event.kind {
            let (id, accepted_at, octets) = (event.message, event.at, *octets);
            self.insert(New { stack, id, accepted_at, octets, reverse_path, content, identity: None, is_earlier })?;
        }
        // What is not known any more was dropped, or is older than the store's events.
        let Some(seq) = self.seq(stack, event.message)? else { return Ok(()) };
        self.change_of(seq, &event)?;
        self.remember(seq, &event)
    }

    /// `None` when it is known already.
    fn insert(&mut self, new: New<'_>) -> Result<Option<i64>, IndexError> {
        let New { stack, id, accepted_at, octets, reverse_path, content, identity, is_earlier } = new;
        let mail_from = reverse_path.mailbox().map(ToString::to_string).unwrap_or_default();
        let insert = "INSERT INTO mail (stack, id, accepted_at, octets, reverse_path, is_earlier, reverse_path_lower) \
                      VALUES (?, ?, ?, ?, ?, ?, ?) \
                      ON CONFLICT DO NOTHING";
        let values = params![
            stack,
            id.to_string(),
            accepted_at.as_microsecond(),
            i64::try_from(octets).unwrap_or(i64::MAX),
            mail_from,
            is_earlier,
            mail_from.to_lowercase(),
        ];
        if self.db.prepare_cached(insert)?.execute(values)? == 0 {
            return Ok(None);
        }
        let seq = self.db.last_insert_rowid();
        self.mails += 1;
        self.fill(seq, content.unwrap_or_default(), identity, &mail_from)?;
        Ok(Some(seq))
    }

    fn fill(
        &mut self,
        seq: i64,
        content: Content,
        identity: Option<String>,
        mail_from: &str,
    ) -> Result<(), IndexError> {
        let (attachments, inlines) = content.attached();
        let lists = [&content.to, &content.cc, &content.bcc, &content.reply_to].map(|people| lower(people));
        let [to, cc, bcc, reply_to] = &lists;
        let from = lower(content.from.as_slice());
        let Content { text, html, .. } = &content;
        let mut search = content.subject.to_lowercase();
        let names = content.parts.iter().map(|part| part.name.to_lowercase());
        let more = [from.clone(), to.clone(), cc.clone(), bcc.clone(), reply_to.clone(), mail_from.to_lowercase()];
        for piece in more.into_iter().chain(names).chain([text.to_lowercase(), visible(html)]) {
            search.push('\n');
            search.push_str(&piece);
        }
        let counts = [attachments, inlines, content.links.len(), content.codes.len()].map(|count| count as i64);
        let [attachments, inlines, links, codes] = counts;
        let (subject, message_id) = (content.subject.to_lowercase(), content.message_id.to_lowercase());
        let weight = self.keep_content(seq, content, identity, search)?;
        let update = "UPDATE mail SET attachments = ?2, inlines = ?3, links = ?4, codes = ?5, subject_lower = ?6, \
                      message_id_lower = ?7, from_lower = ?8, to_lower = ?9, cc_lower = ?10, bcc_lower = ?11, \
                      reply_to_lower = ?12, weight = ?13 WHERE seq = ?1";
        let values = params![
            seq,
            attachments,
            inlines,
            links,
            codes,
            subject,
            message_id,
            from,
            to,
            cc,
            bcc,
            reply_to,
            weight as i64
        ];
        self.db.prepare_cached(update)?.execute(values)?;
        self.mail_octets += weight;
        Ok(())
    }

    /// Keeps what is long of a message, and what is searched. Returns how many octets that has.
    fn keep_content(
        &mut self,
        seq: i64,
        content: Content,
        identity: Option<String>,
        mut search: String,
    ) -> Result<usize, IndexError> {
        let head = Head {
            message_id: content.message_id,
            subject: content.subject,
            from: content.from,
            to: content.to,
            cc: content.cc,
            bcc: content.bcc,
            reply_to: content.reply_to,
            snippet: content.snippet,
            identity,
        };
        let body = Body {
            date: content.date,
            headers: content.headers,
            text: content.text,
            html: content.html,
            parts: content.parts,
            links: content.links,
            codes: content.codes,
            truncated: content.truncated,
        };
        let (head, mut body) = (serde_json::to_string(&head)?, serde_json::to_string(&body)?);
        if head.len() + body.len() + search.len() > self.bounds.message_octets / 4 {
            // It would leave no room for others.
            body = serde_json::to_string(&Body { date: content.date, truncated: true, ..Body::default() })?;
            search.truncate(search.floor_char_boundary(self.bounds.message_octets / 16));
        }
        self.db
            .prepare_cached("INSERT INTO content (seq, head, search, body) VALUES (?, ?, ?, ?)")?
            .execute(params![seq, head, search, body])?;
        self.db.prepare_cached("INSERT INTO mail_text (rowid, search) VALUES (?, ?)")?.execute(params![seq, search])?;
        Ok(head.len() + body.len() + search.len())
    }

    fn change_of(&mut self, seq: i64, event: &Event) -> Result<(), IndexError> {
        let to = |state| Change { state, ..Change::default() };
        match &event.kind {
            EventKind::Accepted { .. } => return Ok(()),
            EventKind::Delivered { recipients } => self.set(seq, recipients, &to("delivered"))?,
            EventKind::Queued { recipients } | EventKind::Released { recipients } => {
                self.set(seq, recipients, &to("queued"))?;
            }
            EventKind::Held { recipients } => self.set(seq, recipients, &to("held"))?,
            EventKind::Claimed { recipients, .. } => {
                let update = "UPDATE recipient SET attempts = ?3 WHERE mail = ?1 AND address = ?2";
                for recipient in recipients {
                    let values = params![seq, recipient.mailbox.to_string(), recipient.attempts];
                    self.db.prepare_cached(update)?.execute(values)?;
                }
            }
            EventKind::Deferred { recipients, reply, next_attempt_at, .. } => {
                let next_attempt_at = Some(*next_attempt_at);
                let change = Change { reply: Some(reply), next_attempt_at, ..to("deferred") };
                self.set(seq, recipients, &change)?;
            }
            EventKind::Relayed { recipients, exchange, reply, peer_id } => {
                let change =
                    Change { reply: Some(reply), exchange: Some(exchange), peer_id: *peer_id, ..to("relayed") };
                self.set(seq, recipients, &change)?;
            }
            EventKind::Failed { recipients, said_by, reply } => {
                let change = Change { reply: Some(reply), exchange: said_by.as_deref(), ..to("failed") };
                self.set(seq, recipients, &change)?;
            }
            EventKind::Expired { recipients, .. } => self.set(seq, recipients, &to("failed"))?,
            EventKind::Finished { recipients } => self.set(seq, recipients, &to("finished"))?,
            EventKind::Deleted { recipients, .. } => self.set(seq, recipients, &to("deleted"))?,
            EventKind::Bounced { as_message } => {
                let update = "UPDATE mail SET bounce = ? WHERE seq = ?";
                self.db.prepare_cached(update)?.execute(params![as_message.to_string(), seq])?;
            }
            EventKind::Reported { .. } | EventKind::Restored { .. } => return Ok(()),
        }
        self.count_places(seq)
    }

    fn set(&mut self, seq: i64, recipients: &[Mailbox], change: &Change<'_>) -> Result<(), IndexError> {
        // What was said stays when nothing new is said.
        let upsert = "INSERT INTO recipient \
                      (mail, address, state, reply, next_attempt_at, exchange, peer_id, address_lower, reply_lower) \
                      VALUES (?1, ?2, ?3, coalesce(?4, ''), ?5, ?6, ?7, ?8, coalesce(?9, '')) \
                      ON CONFLICT DO UPDATE SET state = ?3, reply = coalesce(?4, reply), next_attempt_at = ?5, \
                      reply_lower = coalesce(?9, reply_lower), exchange = coalesce(?6, exchange), peer_id = coalesce(?7, peer_id)";
        let mut upsert = self.db.prepare_cached(upsert)?;
        for recipient in recipients {
            upsert.execute(params![
                seq,
                recipient.to_string(),
                change.state,
                change.reply,
                change.next_attempt_at.map(Timestamp::as_microsecond),
                change.exchange,
                change.peer_id.map(|id| id.to_string()),
                recipient.to_string().to_lowercase(),
                change.reply.map(str::to_lowercase),
            ])?;
        }
        Ok(())
    }

    fn count_places(&self, seq: i64) -> Result<(), IndexError> {
        let update = "UPDATE mail SET places = (SELECT count(*) FROM recipient WHERE mail = ?1 AND \
                      state IN ('queued', 'deferred', 'held', 'delivered')) WHERE seq = ?1";
        self.db.prepare_cached(update)?.execute([seq])?;
        Ok(())
    }

    fn remember(&mut self, seq: i64, event: &Event) -> Result<(), IndexError> {
        let body = serde_json::to_string(event)?;
        let insert = "INSERT INTO event (mail, cursor, body) SELECT ?1, ?2, ?3 \
                      WHERE (SELECT count(*) FROM event WHERE mail = ?1) < ?4 ON CONFLICT DO NOTHING";
        let values = params![seq, event.cursor, body, EVENTS as i64];
        if self.db.prepare_cached(insert)?.execute(values)? > 0 {
            let update = "UPDATE mail SET weight = weight + ? WHERE seq = ?";
            self.db.prepare_cached(update)?.execute(params![body.len() as i64, seq])?;
            self.mail_octets += body.len();
        }
        Ok(())
    }
}

/// Names and addresses in lower case, each on its line.
fn lower(people: &[Person]) -> String {
    let lines = people.iter().map(|person| format!("{} <{}>", person.name, person.address).to_lowercase());
    lines.collect::<Vec<_>>().join("\n")
}

/// What HTML shows, in lower case.
fn visible(html: &str) -> String {
    if html.is_empty() {
        return String::new();
    }
    mail_parser::decoders::html::html_to_text(html).to_lowercase()
}
