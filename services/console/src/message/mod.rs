//! A message taken apart: headers, text, HTML, parts, links and numeric codes.

mod found;

use jiff::Timestamp;
use mail_parser::{Address as ParsedAddress, Message, MessageParser, MessagePart, MimeHeaders, PartType};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

/// How many characters of the text a snippet has at most.
const SNIPPET: usize = 250;
/// How many octets of a text or of HTML are kept, and searched.
const TEXT_OCTETS: usize = 256 * 1024;
/// How many octets of a subject and of a message id are kept.
const LINE_OCTETS: usize = 8 * 1024;
/// How many octets of the header fields, of the people of one field, and of the descriptions of parts are kept; each item
/// counts for some more.
const LIST_OCTETS: usize = 64 * 1024;
const ITEM_OCTETS: usize = 64;

/// Someone who stands in a header.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Person {
    /// The display name; empty when there is none.
    pub name: String,
    /// The address as it is written, without angle brackets.
    pub address: String,
}

/// A header field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HeaderField {
    /// Its name as it is written.
    pub name: String,
    /// Its value, unfolded. What is encoded in it stays so (RFC 2047).
    pub value: String,
}

/// A part that is no multipart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Part {
    /// Its number in the message, for `/parts/{number}`.
    pub number: usize,
    /// Its media type, such as `image/png`.
    pub media_type: String,
    /// The file name that it suggests; empty without.
    pub name: String,
    /// The Content-ID without angle brackets; empty without.
    pub content_id: String,
    /// Whether it is a file that is attached, and not shown in the text.
    pub attachment: bool,
    /// Whether it belongs into the HTML or the text, as an image does.
    pub inline: bool,
    /// Its octets, decoded.
    pub octets: usize,
    /// Their SHA-256 in hexadecimal digits.
    pub sha256: String,
}

/// What is in a message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) message_id: String,
    pub(crate) subject: String,
    pub(crate) date: Option<Timestamp>,
    pub(crate) from: Option<Person>,
    pub(crate) to: Vec<Person>,
    pub(crate) cc: Vec<Person>,
    pub(crate) bcc: Vec<Person>,
    pub(crate) reply_to: Vec<Person>,
    pub(crate) headers: Vec<HeaderField>,
    pub(crate) text: String,
    pub(crate) html: String,
    pub(crate) parts: Vec<Part>,
    pub(crate) links: Vec<String>,
    pub(crate) codes: Vec<String>,
    pub(crate) snippet: String,
    /// Whether something was left out, because it is too long.
    pub(crate) truncated: bool,
}

impl Content {
    /// Takes a message apart. What is no message has no headers, and is text.
    pub(crate) fn of(raw: &[u8]) -> Self {
        let Some(message) = MessageParser::default().parse(raw) else {
            let text = String::from_utf8_lossy(&raw[..raw.len().min(TEXT_OCTETS)]).into_owned();
            return Self { snippet: snippet(&text), text, truncated: raw.len() > TEXT_OCTETS, ..Self::default() };
        };
        let mut limits = Limits::default();
        let text = limits.text(text(&message), TEXT_OCTETS);
        let html = limits.text(html(&message), TEXT_OCTETS);
        let mut links = found::links_of_html(&html);
        found::links_of_text(&text, &mut links);
        Self {
            message_id: limits.text(message.message_id().unwrap_or_default().to_owned(), LINE_OCTETS),
            subject: limits.text(message.subject().unwrap_or_default().to_owned(), LINE_OCTETS),
            date: message.date().and_then(|date| Timestamp::from_second(date.to_timestamp()).ok()),
            from: limits.list(people(message.from()), Person::octets).into_iter().next(),
            to: limits.list(people(message.to()), Person::octets),
            cc: limits.list(people(message.cc()), Person::octets),
            bcc: limits.list(people(message.bcc()), Person::octets),
            reply_to: limits.list(people(message.reply_to()), Person::octets),
            headers: limits.list(headers(&message), |field| field.name.len() + field.value.len()),
            parts: limits.list(parts(&message), |part| {
                part.name.len() + part.media_type.len() + part.content_id.len() + part.sha256.len()
            }),
            codes: found::codes(&text),
            snippet: snippet(&text),
            links,
            text,
            html,
            truncated: limits.exceeded,
        }
    }

    /// How many parts are attached, and how many belong into the text.
    pub(crate) fn attached(&self) -> (usize, usize) {
        let count = |is: fn(&Part) -> bool| self.parts.iter().filter(|part| is(part)).count();
        (count(|part| part.attachment), count(|part| part.inline))
    }
}

/// Text and HTML of a message, whole.
pub(crate) fn texts(raw: &[u8]) -> (String, String) {
    match MessageParser::default().parse(raw) {
        Some(message) => (text(&message), html(&message)),
        None => (String::from_utf8_lossy(raw).into_owned(), String::new()),
    }
}

/// Limits what is kept of a message.
#[derive(Debug, Default)]
struct Limits {
    /// Whether something was left out.
    exceeded: bool,
}

impl Limits {
    /// The beginning of a text that is too long.
    fn text(&mut self, mut text: String, most: usize) -> String {
        self.exceeded |= text.len() > most;
        text.truncate(text.floor_char_boundary(most));
        text
    }

    /// The first items of a list that is too long.
    fn list<T>(&mut self, mut items: Vec<T>, octets: impl Fn(&T) -> usize) -> Vec<T> {
        let mut left = LIST_OCTETS;
        let fits = |item: &T| {
            let rest = left.checked_sub(octets(item) + ITEM_OCTETS);
            left = rest.unwrap_or(left);
            rest.is_some()
        };
        let kept = items.iter().map(fits).take_while(|fits| *fits).count();
        self.exceeded |= kept < items.len();
        items.truncate(kept);
        items
    }
}

impl Person {
    fn octets(&self) -> usize {
        self.name.len() + self.address.len()
    }
}

/// A part's octets, decoded, with its media type and name.
pub(crate) fn part(raw: &[u8], number: usize) -> Option<(Part, Vec<u8>)> {
    let message = MessageParser::default().parse(raw)?;
    let described = parts(&message).into_iter().find(|part| part.number == number)?;
    Some((described, message.parts.get(number)?.contents().to_vec()))
}

fn people(address: Option<&ParsedAddress<'_>>) -> Vec<Person> {
    let listed = address.into_iter().flat_map(ParsedAddress::iter);
    listed
        .map(|person| Person {
            name: person.name().unwrap_or_default().to_owned(),
            address: person.address().unwrap_or_default().to_owned(),
        })
        .collect()
}

fn headers(message: &Message<'_>) -> Vec<HeaderField> {
    let raw = message.headers_raw();
    raw.map(|(name, value)| HeaderField { name: name.to_owned(), value: unfolded(value) }).collect()
}

/// A value without its line ends (RFC 5322 §2.2.3).
fn unfolded(value: &str) -> String {
    value.split(['\r', '\n']).collect::<String>().trim().to_owned()
}

/// The text, or else what the HTML says.
fn text(message: &Message<'_>) -> String {
    let bodies = (0..message.text_body_count()).filter_map(|position| message.body_text(position));
    bodies.map(|body| body.replace("\r\n", "\n")).collect::<Vec<_>>().join("\n")
}

fn html(message: &Message<'_>) -> String {
    let bodies = message.html_bodies().filter(|part| part.is_text_html());
    bodies.filter_map(MessagePart::text_contents).collect::<Vec<_>>().join("\n")
}

fn parts(message: &Message<'_>) -> Vec<Part> {
    let single = message.parts.iter().enumerate().filter(|(_, part)| !part.is_multipart());
    single.map(|(number, part)| described(message, number, part)).collect()
}

fn described(message: &Message<'_>, number: usize, part: &MessagePart<'_>) -> Part {
    let listed = u32::try_from(number).is_ok_and(|number| message.attachments.contains(&number));
    let disposition = part.content_disposition().map(|disposition| disposition.ctype().to_ascii_lowercase());
    let inline = match &part.body {
        PartType::InlineBinary(_) => true,
        PartType::Binary(_) => listed && part.content_id().is_some() && disposition.as_deref() != Some("attachment"),
        _ => false,
    };
    let contents = part.contents();
    Part {
        number,
        media_type: media_type(part),
        name: part.attachment_name().unwrap_or_default().to_owned(),
        content_id: part.content_id().unwrap_or_default().trim_matches(['<', '>']).to_owned(),
        attachment: listed && !inline,
        inline,
        octets: contents.len(),
        sha256: hexadecimal(&Sha256::digest(contents)),
    }
}

fn media_type(part: &MessagePart<'_>) -> String {
    match (part.content_type(), &part.body) {
        (Some(of), _) => match of.subtype() {
            Some(subtype) => format!("{}/{subtype}", of.ctype()).to_ascii_lowercase(),
            None => of.ctype().to_ascii_lowercase(),
        },
        (None, PartType::Text(_)) => "text/plain".to_owned(),
        (None, PartType::Html(_)) => "text/html".to_owned(),
        (None, PartType::Message(_)) => "message/rfc822".to_owned(),
        (None, _) => "application/octet-stream".to_owned(),
    }
}

/// Octets as hexadecimal digits.
pub(crate) fn hexadecimal(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// The beginning of a text on one line.
fn snippet(text: &str) -> String {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match words.char_indices().nth(SNIPPET) {
        Some((end, _)) => format!("{}...", &words[..end]),
        None => words,
    }
}

#[cfg(test)]
mod tests;
