//! From text to terms, and back.

use super::{Criterion, Field, Has, InvalidQuery, State, Term};
use jiff::{Timestamp, civil, tz::TimeZone};
use std::fmt;

/// A word of a query, without its quotes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Word {
    text: String,
    negated: bool,
    /// It begins with a quote: it is no filter.
    literal: bool,
}

/// The words of a query. A quote that is not closed reaches to the end.
pub(super) fn words(text: &str) -> impl Iterator<Item = Word> {
    let mut rest = text;
    std::iter::from_fn(move || {
        rest = rest.trim_start();
        let mut word = Word { text: String::new(), negated: false, literal: false };
        let mut chars = rest.char_indices().peekable();
        if let Some((_, '-' | '!')) = chars.peek()
            && rest[1..].chars().next().is_some_and(|next| !next.is_whitespace())
        {
            word.negated = true;
            chars.next();
        }
        word.literal = matches!(chars.peek(), Some((_, '"')));
        let (mut quoted, mut end) = (false, rest.len());
        for (at, next) in chars {
            match next {
                '"' => quoted = !quoted,
                space if space.is_whitespace() && !quoted => {
                    end = at;
                    break;
                }
                other => word.text.push(other),
            }
        }
        let is_end = rest.is_empty();
        rest = &rest[end..];
        (!is_end).then_some(word)
    })
}

/// What a word means that looks like a filter, and is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoFilter {
    /// A mistake: a query that was mistyped would match something else.
    Error,
    /// A text, as for Mailpit.
    Text,
}

/// What a word means.
///
/// # Errors
/// Says why it means nothing.
pub(super) fn term(word: &Word, no_filter: NoFilter) -> Result<Term, InvalidQuery> {
    let text = word.text.trim().to_lowercase();
    if text.is_empty() {
        return Err(InvalidQuery("quotes without a text match nothing; leave them out".to_owned()));
    }
    if text.contains(char::is_control) {
        return Err(InvalidQuery(format!("{text:?} has a control character; leave it out")));
    }
    let filter = text.split_once(':').filter(|_| !word.literal);
    let criterion = match filter {
        Some((name, value)) => filtered(name, value.trim())?,
        None => Some(Criterion::Text(text.clone())),
    };
    match (criterion, filter) {
        (Some(criterion), _) => Ok(Term { negated: word.negated, criterion }),
        (None, Some((name, value))) if no_filter == NoFilter::Error && looks_like_filter(name, value) => {
            Err(InvalidQuery(format!("{name}: is no filter; to look for the text, write \"{text}\" in quotes")))
        }
        (None, _) => Ok(Term { negated: word.negated, criterion: Criterion::Text(text) }),
    }
}

/// A URL and a time have a colon, too.
fn looks_like_filter(name: &str, value: &str) -> bool {
    let is_name = |octet: u8| octet.is_ascii_lowercase() || octet == b'-';
    !name.is_empty() && name.bytes().all(is_name) && !value.starts_with("//")
}

/// The criterion of a filter; `None` when there is no such filter.
fn filtered(name: &str, value: &str) -> Result<Option<Criterion>, InvalidQuery> {
    let criterion = match textual(name, value.to_owned()) {
        Some(criterion) => Some(criterion),
        None => chosen(name, value).map_err(|cure| InvalidQuery(format!("{name}:{value} cannot be; give {cure}")))?,
    };
    match criterion.as_ref().and_then(Criterion::text) {
        // An empty text is in every other.
        Some("") => Err(InvalidQuery(format!("{name}: has no value; give one, or leave it out"))),
        _ => Ok(criterion),
    }
}

/// A filter that looks for a text.
fn textual(name: &str, text: String) -> Option<Criterion> {
    let without_brackets = |text: String| text.trim_matches(['<', '>']).to_owned();
    let criterion = match name {
        "to" => Criterion::Field(Field::To, text),
        "from" => Criterion::Field(Field::From, text),
        "cc" => Criterion::Field(Field::Cc, text),
        "bcc" => Criterion::Field(Field::Bcc, text),
        "reply-to" => Criterion::Field(Field::ReplyTo, text),
        "addressed" => Criterion::Field(Field::Addressed, text),
        "subject" => Criterion::Field(Field::Subject, text),
        "message-id" => Criterion::Field(Field::MessageId, without_brackets(text)),
        "mailbox" => Criterion::Mailbox(text),
        "rcpt" => Criterion::Recipient(text),
        "domain" => Criterion::Domain(text.trim_start_matches('@').to_owned()),
        "mail-from" => Criterion::Sender(without_brackets(text)),
        "stack" => Criterion::Stack(text),
        "id" => Criterion::Id(text),
        "reply" => Criterion::Reply(text),
        _ => return None,
    };
    Some(criterion)
}

/// A filter with a time, a size, or one of a few values.
///
/// # Errors
/// Says what the value may be.
fn chosen(name: &str, value: &str) -> Result<Option<Criterion>, String> {
    let criterion = match name {
        "before" | "after" => match (moment(value), name) {
            (Some(moment), "before") => Criterion::Before(moment),
            (Some(moment), _) => Criterion::After(moment),
            (None, _) => return Err("a date such as 2026-11-28, or a time such as 2026-11-28T10:00:00Z".to_owned()),
        },
        "larger" | "smaller" => match (octets(value), name) {
            (Some(octets), "larger") => Criterion::Larger(octets),
            (Some(octets), _) => Criterion::Smaller(octets),
            (None, _) => return Err("a size such as 5000, 5kb or 1.5mb".to_owned()),
        },
        "is" => match value {
            "read" => Criterion::Read(true),
            "unread" => Criterion::Read(false),
            "gone" => Criterion::Gone,
            "tagged" => Criterion::Tag,
            _ => return Err("read, unread or gone".to_owned()),
        },
        "has" => Criterion::Has(match value {
            "attachment" | "attachments" => Has::Attachment,
            "inline" | "inlines" => Has::Inline,
            "link" | "links" => Has::Link,
            "code" | "codes" => Has::Code,
            _ => return Err("attachment, inline, link or code".to_owned()),
        }),
        "tag" => Criterion::Tag,
        "state" => match State::ALL.into_iter().find(|state| state.name() == value) {
            Some(state) => Criterion::State(state),
            None => return Err(State::ALL.map(State::name).join(", ")),
        },
        _ => return Ok(None),
    };
    Ok(Some(criterion))
}

impl Criterion {
    /// The text that is looked for.
    fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text)
            | Self::Field(_, text)
            | Self::Mailbox(text)
            | Self::Recipient(text)
            | Self::Domain(text)
            | Self::Sender(text)
            | Self::Stack(text)
            | Self::Id(text)
            | Self::Reply(text) => Some(text),
            Self::Before(_)
            | Self::After(_)
            | Self::Larger(_)
            | Self::Smaller(_)
            | Self::Read(_)
            | Self::Gone
            | Self::Has(_)
            | Self::Tag
            | Self::State(_) => None,
        }
    }
}

impl State {
    const ALL: [Self; 8] = [
        Self::Queued,
        Self::Deferred,
        Self::Held,
        Self::Delivered,
        Self::Relayed,
        Self::Failed,
        Self::Bounced,
        Self::Deleted,
    ];

    /// As it stands in a query.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Deferred => "deferred",
            Self::Held => "held",
            Self::Delivered => "delivered",
            Self::Relayed => "relayed",
            Self::Failed => "failed",
            Self::Bounced => "bounced",
            Self::Deleted => "deleted",
        }
    }
}

/// A time, or the beginning of a day. A time without an offset is in UTC.
fn moment(text: &str) -> Option<Timestamp> {
    let upper = text.to_uppercase();
    if let Ok(moment) = upper.parse::<Timestamp>() {
        return Some(moment);
    }
    let date_time = upper.replace('/', "-").parse::<civil::DateTime>().ok()?;
    TimeZone::UTC.to_timestamp(date_time).ok()
}

/// A size such as `5kb`, above 0.
fn octets(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|unit: char| unit.is_ascii_alphabetic());
    let factor = match text[digits.len()..].trim() {
        "" | "b" => 1.0,
        "k" | "kb" => 1024.0,
        "m" | "mb" => 1024.0 * 1024.0,
        "g" | "gb" => 1024.0 * 1024.0 * 1024.0,
        _ => return None,
    };
    let digits = digits.trim_end();
    if digits.is_empty() || !digits.bytes().all(|octet| octet.is_ascii_digit() || octet == b'.') {
        return None;
    }
    let number: f64 = digits.parse().ok()?;
    // A size of this many octets is exact.
    Some((number * factor) as u64).filter(|octets| *octets > 0)
}

/// As it can be read again.
impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quoted = |text: &str| match text.contains(char::is_whitespace) {
            true => format!("\"{text}\""),
            false => text.to_owned(),
        };
        f.write_str(if self.negated { "-" } else { "" })?;
        let (name, value) = match &self.criterion {
            Criterion::Text(text) => return f.write_str(&quoted(text)),
            Criterion::Field(field, text) => (field.name(), quoted(text)),
            Criterion::Before(moment) => ("before", moment.to_string()),
            Criterion::After(moment) => ("after", moment.to_string()),
            Criterion::Larger(octets) => ("larger", octets.to_string()),
            Criterion::Smaller(octets) => ("smaller", octets.to_string()),
            Criterion::Read(read) => ("is", if *read { "read" } else { "unread" }.to_owned()),
            Criterion::Gone => ("is", "gone".to_owned()),
            Criterion::Has(has) => ("has", has.name().to_owned()),
            Criterion::Tag => ("is", "tagged".to_owned()),
            Criterion::Mailbox(text) => ("mailbox", quoted(text)),
            Criterion::Recipient(text) => ("rcpt", quoted(text)),
            Criterion::Domain(text) => ("domain", quoted(text)),
            Criterion::Sender(text) => ("mail-from", quoted(text)),
            Criterion::Stack(text) => ("stack", quoted(text)),
            Criterion::Id(text) => ("id", quoted(text)),
            Criterion::State(state) => ("state", state.name().to_owned()),
            Criterion::Reply(text) => ("reply", quoted(text)),
        };
        write!(f, "{name}:{value}")
    }
}

impl Field {
    fn name(self) -> &'static str {
        match self {
            Self::To => "to",
            Self::From => "from",
            Self::Cc => "cc",
            Self::Bcc => "bcc",
            Self::ReplyTo => "reply-to",
            Self::Addressed => "addressed",
            Self::Subject => "subject",
            Self::MessageId => "message-id",
        }
    }
}

impl Has {
    fn name(self) -> &'static str {
        match self {
            Self::Attachment => "attachment",
            Self::Inline => "inline",
            Self::Link => "link",
            Self::Code => "code",
        }
    }
}
