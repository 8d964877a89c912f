//! The query language of mail: Mailpit's filters and those of a town.
//!
//! A query is words that must all be there. `-` or `!` before a word negates it, and quotes make one word of several. What
//! begins with a known name and a colon is a filter:
//!
//! | filter | finds |
//! |---|---|
//! | `word`, `"a phrase"` | subject, addresses, text, HTML and names of files with it |
//! | `to:` `from:` `cc:` `bcc:` `reply-to:` | this header field with it |
//! | `addressed:` | any of these five with it |
//! | `subject:` `message-id:` | this header field with it |
//! | `before:` `after:` | accepted until, or from, a date or a time |
//! | `larger:` `smaller:` | size in octets, `5kb` or `2mb` |
//! | `is:read` `is:unread` `is:gone` | state in the console; gone: no store has it any more |
//! | `has:attachment` `has:inline` `has:link` `has:code` | what is in it |
//! | `mailbox:` | a maildrop that has it now |
//! | `rcpt:` `mail-from:` | a recipient, or the sender, of the envelope with it |
//! | `domain:` | a recipient's domain |
//! | `stack:` `id:` | the server's name, the message's id |
//! | `state:` | a recipient in this state |
//! | `reply:` | a recipient of whom another server said this |

mod parse;
mod sql;

use jiff::Timestamp;
use parse::NoFilter;

/// How many words a query has at most.
const MOST_TERMS: usize = 50;

/// A query, understood.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Query {
    terms: Vec<Term>,
    /// Also messages that no store has any more.
    with_gone: bool,
}

/// One condition of a query.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Term {
    negated: bool,
    criterion: Criterion,
}

/// What a message must have. Texts are in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Criterion {
    Text(String),
    Field(Field, String),
    Before(Timestamp),
    After(Timestamp),
    Larger(u64),
    Smaller(u64),
    Read(bool),
    Gone,
    Has(Has),
    /// Nothing has one here.
    Tag,
    Mailbox(String),
    Recipient(String),
    Domain(String),
    Sender(String),
    Stack(String),
    Id(String),
    State(State),
    Reply(String),
}

/// A header field that is searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    To,
    From,
    Cc,
    Bcc,
    ReplyTo,
    Addressed,
    Subject,
    MessageId,
}

/// What may be in a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Has {
    Attachment,
    Inline,
    Link,
    Code,
}

/// What has become of a message for a recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It waits, whatever for.
    Queued,
    /// It waits after an attempt.
    Deferred,
    Held,
    Delivered,
    Relayed,
    Failed,
    Bounced,
    Deleted,
}

/// Why a text is no query.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct InvalidQuery(String);

impl Query {
    /// Reads a query. Each of its words counts: only a blank text matches all.
    ///
    /// # Errors
    /// Says which word means nothing, or which filter has a value that it cannot have.
    pub(crate) fn parse(text: &str) -> Result<Self, InvalidQuery> {
        let terms: Vec<_> =
            parse::words(text).map(|word| parse::term(&word, NoFilter::Error)).take(MOST_TERMS + 1).collect();
        if terms.len() > MOST_TERMS {
            return Err(InvalidQuery(format!("the query has too many words; give at most {MOST_TERMS}")));
        }
        Ok(Self { terms: terms.into_iter().collect::<Result<_, _>>()?, with_gone: false })
    }

    /// Reads a query as Mailpit does, which ignores a filter with a wrong value, and takes one that does not exist for a text. It
    /// may match more than is meant: what changes or
    /// deletes messages uses [`Query::parse`].
    pub(crate) fn lenient(text: &str) -> Self {
        let terms = parse::words(text).filter_map(|word| parse::term(&word, NoFilter::Text).ok()).take(MOST_TERMS);
        Self { terms: terms.collect(), with_gone: false }
    }

    /// Whether every message matches.
    pub(crate) fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// The addresses that the query names as recipients, as they are written in lower case.
    pub(crate) fn recipients(&self) -> impl Iterator<Item = &str> {
        self.terms.iter().filter(|term| !term.negated).filter_map(|term| match &term.criterion {
            Criterion::Field(Field::To | Field::Addressed | Field::Cc | Field::Bcc, text)
            | Criterion::Mailbox(text)
            | Criterion::Recipient(text) => Some(text.as_str()),
            _ => None,
        })
    }

    /// The same query, for messages too that no store has any more.
    pub(crate) fn including_gone(&self) -> Self {
        Self { terms: self.terms.clone(), with_gone: true }
    }

    /// The same query without its term of this number; `None` when it has fewer.
    pub(crate) fn without(&self, number: usize) -> Option<(Self, String)> {
        let mut terms = self.terms.clone();
        (number < terms.len()).then(|| {
            let left_out = terms.remove(number);
            (Self { terms, with_gone: self.with_gone }, left_out.to_string())
        })
    }

    /// Whether it asks for messages that no store may have any more.
    fn names_what_is_gone(&self) -> bool {
        let names = |term: &Term| {
            !term.negated && matches!(term.criterion, Criterion::Gone | Criterion::Id(_) | Criterion::State(_))
        };
        self.with_gone || self.terms.iter().any(names)
    }
}

#[cfg(test)]
mod tests;
