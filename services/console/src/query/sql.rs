//! From terms to a condition on the table `mail`.

use super::{Criterion, Field, Has, Query, State};
use rusqlite::types::Value;

/// How many characters the text index knows as one token.
const TRIGRAM: usize = 3;

/// A condition, and the values of its parameters in order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sql {
    pub(crate) condition: String,
    pub(crate) values: Vec<Value>,
}

impl Query {
    /// The condition that a row of `mail` meets when it matches. Without a term that says otherwise, only messages match that
    /// a store has.
    pub(crate) fn sql(&self) -> Sql {
        self.sql_with(true)
    }

    /// The same without the text index, for a few rows.
    pub(crate) fn sql_without_index(&self) -> Sql {
        self.sql_with(false)
    }

    /// What each match meets whatever its terms.
    pub(crate) fn base(&self) -> &'static str {
        if self.names_what_is_gone() { "true" } else { "places > 0" }
    }

    fn sql_with(&self, uses_index: bool) -> Sql {
        let mut sql = Sql { condition: self.base().to_owned(), values: Vec::new() };
        for term in &self.terms {
            sql.condition.push_str(if term.negated { " AND NOT (" } else { " AND (" });
            sql.add(&term.criterion, uses_index && !term.negated);
            sql.condition.push(')');
        }
        sql
    }
}

impl Sql {
    fn add(&mut self, criterion: &Criterion, uses_index: bool) {
        match criterion {
            Criterion::Text(text) => self.text(text, uses_index),
            Criterion::Field(Field::Addressed, text) => {
                let columns = ["to_lower", "from_lower", "cc_lower", "bcc_lower", "reply_to_lower"];
                let conditions = columns.map(|column| format!("instr({column}, ?) > 0"));
                self.condition.push_str(&conditions.join(" OR "));
                self.values.extend(columns.map(|_| Value::from(text.clone())));
            }
            Criterion::Field(field, text) => self.value(&format!("instr({}, ?) > 0", column(*field)), text.clone()),
            Criterion::Before(moment) => self.value("accepted_at <= ?", moment.as_microsecond()),
            Criterion::After(moment) => self.value("accepted_at >= ?", moment.as_microsecond()),
            Criterion::Larger(octets) => self.value("octets > ?", i64::try_from(*octets).unwrap_or(i64::MAX)),
            Criterion::Smaller(octets) => self.value("octets < ?", i64::try_from(*octets).unwrap_or(i64::MAX)),
            Criterion::Read(read) => self.value("is_read = ?", i64::from(*read)),
            Criterion::Gone => self.condition.push_str("places = 0"),
            Criterion::Has(has) => self.condition.push_str(match has {
                Has::Attachment => "attachments > 0",
                Has::Inline => "inlines > 0",
                Has::Link => "links > 0",
                Has::Code => "codes > 0",
            }),
            Criterion::Tag => self.condition.push_str("false"),
            Criterion::Mailbox(text) => {
                let named = if text.contains('@') { "address_lower = ?" } else { "instr(address_lower, ?) > 0" };
                self.recipient(&format!("state = 'delivered' AND {named}"), text);
            }
            Criterion::Recipient(text) => self.recipient("instr(address_lower, ?) > 0", text),
            Criterion::Domain(text) => {
                self.recipient("substr(address_lower, instr(address_lower, '@') + 1) = ?", text);
            }
            Criterion::Sender(text) => self.value("instr(reverse_path_lower, ?) > 0", text.clone()),
            Criterion::Stack(text) => self.value("stack = ?", text.clone()),
            Criterion::Id(text) => self.value("id = ?", text.clone()),
            Criterion::State(state) => self.state(*state),
            Criterion::Reply(text) => self.recipient("instr(reply_lower, ?) > 0", text),
        }
    }

    fn value(&mut self, condition: &str, value: impl Into<Value>) {
        self.condition.push_str(condition);
        self.values.push(value.into());
    }

    fn recipient(&mut self, condition: &str, text: &str) {
        self.condition.push_str("EXISTS (SELECT 1 FROM recipient WHERE mail = seq AND ");
        self.value(condition, text.to_owned());
        self.condition.push(')');
    }

    fn state(&mut self, state: State) {
        let states = match state {
            State::Queued => "'queued', 'deferred', 'held'",
            State::Deferred => "'deferred'",
            State::Held => "'held'",
            State::Delivered => "'delivered'",
            State::Relayed => "'relayed'",
            State::Failed => "'failed'",
            State::Deleted => "'deleted'",
            State::Bounced => return self.condition.push_str("bounce IS NOT NULL"),
        };
        let condition = format!("EXISTS (SELECT 1 FROM recipient WHERE mail = seq AND state IN ({states}))");
        self.condition.push_str(&condition);
    }

    /// The text index leaves few messages to look at. A word of symbols is compared with each text.
    fn text(&mut self, text: &str, uses_index: bool) {
        let letters: Vec<char> = text.chars().collect();
        if letters.len() >= TRIGRAM && uses_index && text.contains(char::is_alphanumeric) {
            let tokens = letters.windows(TRIGRAM).map(|token| token.iter().collect::<String>());
            let tokens: Vec<_> = tokens.map(|token| format!("\"{}\"", token.replace('"', "\"\""))).collect();
            self.value("seq IN (SELECT rowid FROM mail_text WHERE mail_text MATCH ?) AND ", tokens.join(" AND "));
        }
        let text_of = "(SELECT search FROM content WHERE content.seq = mail.seq)";
        self.value(&format!("instr({text_of}, ?) > 0"), text.to_owned());
    }
}

fn column(field: Field) -> &'static str {
    match field {
        Field::To => "to_lower",
        Field::From => "from_lower",
        Field::Cc => "cc_lower",
        Field::Bcc => "bcc_lower",
        Field::ReplyTo => "reply_to_lower",
        Field::Subject => "subject_lower",
        Field::MessageId => "message_id_lower",
        // It is several columns.
        Field::Addressed => "to_lower",
    }
}
