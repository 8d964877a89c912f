//! Mailpit's JSON.

use crate::{
    message::{Part, Person},
    model::{Mail, MailSummary},
};
use jiff::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;

/// The answer to a list or a search.
#[derive(Debug, Serialize)]
pub(super) struct Messages {
    pub(super) total: u64,
    pub(super) unread: u64,
    pub(super) count: u64,
    pub(super) messages_count: u64,
    pub(super) messages_unread: u64,
    pub(super) start: u64,
    pub(super) tags: Vec<String>,
    pub(super) messages: Vec<Summary>,
}

/// Someone in a header.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Address {
    name: String,
    address: String,
}

/// A message in a list.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Summary {
    #[serde(rename = "ID")]
    id: String,
    #[serde(rename = "MessageID")]
    message_id: String,
    read: bool,
    from: Option<Address>,
    to: Vec<Address>,
    cc: Vec<Address>,
    bcc: Vec<Address>,
    reply_to: Vec<Address>,
    subject: String,
    created: Timestamp,
    username: String,
    tags: Vec<String>,
    size: u64,
    attachments: u64,
    snippet: String,
}

/// A message.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Message {
    #[serde(rename = "ID")]
    id: String,
    #[serde(rename = "MessageID")]
    message_id: String,
    from: Option<Address>,
    to: Vec<Address>,
    cc: Vec<Address>,
    bcc: Vec<Address>,
    reply_to: Vec<Address>,
    return_path: String,
    subject: String,
    list_unsubscribe: ListUnsubscribe,
    date: Timestamp,
    tags: Vec<String>,
    username: String,
    text: String,
    #[serde(rename = "HTML")]
    html: String,
    size: u64,
    inline: Vec<Attachment>,
    attachments: Vec<Attachment>,
}

/// `List-Unsubscribe` (RFC 2369 §3.2, RFC 8058).
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListUnsubscribe {
    header: String,
    links: Vec<String>,
    errors: String,
    header_post: String,
}

/// A part of a message.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Attachment {
    #[serde(rename = "PartID")]
    part_id: String,
    file_name: String,
    content_type: String,
    #[serde(rename = "ContentID")]
    content_id: String,
    size: usize,
    checksums: Checksums,
}

/// The checksum of a part. Mailpit has those of MD5 and SHA-1, too.
#[derive(Debug, Serialize)]
pub(super) struct Checksums {
    #[serde(rename = "SHA256")]
    sha256: String,
}

/// The answer to `info`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Info {
    pub(super) version: String,
    pub(super) latest_version: String,
    pub(super) database: String,
    pub(super) database_size: u64,
    pub(super) messages: u64,
    pub(super) unread: u64,
    pub(super) tags: BTreeMap<String, u64>,
    pub(super) runtime_stats: Runtime,
}

/// What Mailpit has counted since its start. The console counts the time only.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Runtime {
    pub(super) uptime: u64,
    pub(super) memory: u64,
    pub(super) messages_deleted: u64,
    #[serde(rename = "SMTPAccepted")]
    pub(super) smtp_accepted: u64,
    #[serde(rename = "SMTPAcceptedSize")]
    pub(super) smtp_accepted_size: u64,
    #[serde(rename = "SMTPRejected")]
    pub(super) smtp_rejected: u64,
    #[serde(rename = "SMTPIgnored")]
    pub(super) smtp_ignored: u64,
}

impl From<Person> for Address {
    fn from(Person { name, address }: Person) -> Self {
        Self { name, address }
    }
}

fn addresses(people: Vec<Person>) -> Vec<Address> {
    people.into_iter().map(Address::from).collect()
}

/// The recipients of the envelope that no header names, as Mailpit has them.
fn bcc(summary: &MailSummary) -> Vec<Address> {
    let named = || summary.to.iter().chain(&summary.cc).chain(&summary.bcc);
    let hidden = summary
        .recipients
        .iter()
        .filter(|recipient| !named().any(|person| person.address.eq_ignore_ascii_case(&recipient.address)));
    let hidden = hidden.map(|recipient| Address { name: String::new(), address: recipient.address.clone() });
    summary.bcc.clone().into_iter().map(Address::from).chain(hidden).collect()
}

impl From<MailSummary> for Summary {
    fn from(mail: MailSummary) -> Self {
        Self {
            bcc: bcc(&mail),
            id: mail.id.to_string(),
            message_id: mail.message_id,
            read: mail.read,
            from: mail.from.map(Address::from),
            to: addresses(mail.to),
            cc: addresses(mail.cc),
            reply_to: addresses(mail.reply_to),
            subject: mail.subject,
            created: mail.accepted_at,
            username: mail.identity.unwrap_or_default(),
            tags: Vec::new(),
            size: mail.octets,
            attachments: mail.attachments,
            snippet: mail.snippet,
        }
    }
}

impl From<Mail> for Message {
    fn from(mail: Mail) -> Self {
        let Mail { summary, date, headers, text, html, parts, .. } = mail;
        let header = |name: &str| {
            let field = headers.iter().find(|field| field.name.eq_ignore_ascii_case(name));
            field.map(|field| field.value.clone()).unwrap_or_default()
        };
        let (unsubscribe, header_post) = (header("List-Unsubscribe"), header("List-Unsubscribe-Post"));
        let (inline, attached): (Vec<_>, Vec<_>) =
            parts.into_iter().filter(|part| part.inline || part.attachment).partition(|part| part.inline);
        Self {
            bcc: bcc(&summary),
            id: summary.id.to_string(),
            message_id: summary.message_id,
            from: summary.from.map(Address::from),
            to: addresses(summary.to),
            cc: addresses(summary.cc),
            reply_to: addresses(summary.reply_to),
            return_path: summary.mail_from,
            subject: summary.subject,
            list_unsubscribe: ListUnsubscribe {
                links: links(&unsubscribe),
                header: unsubscribe,
                errors: String::new(),
                header_post,
            },
            date: date.unwrap_or(summary.accepted_at),
            tags: Vec::new(),
            username: summary.identity.unwrap_or_default(),
            text,
            html,
            size: summary.octets,
            inline: inline.into_iter().map(Attachment::from).collect(),
            attachments: attached.into_iter().map(Attachment::from).collect(),
        }
    }
}

impl From<Part> for Attachment {
    fn from(part: Part) -> Self {
        let file_name = match part.name {
            name if name.is_empty() => part.content_id.clone(),
            name => name,
        };
        Self {
            part_id: part.number.to_string(),
            file_name,
            content_type: part.media_type,
            content_id: part.content_id,
            size: part.octets,
            checksums: Checksums { sha256: part.sha256 },
        }
    }
}

/// The URLs in angle brackets.
fn links(header: &str) -> Vec<String> {
    let pieces = header.split('<').skip(1).filter_map(|piece| piece.split_once('>'));
    pieces.map(|(url, _)| url.trim().to_owned()).filter(|url| !url.is_empty()).collect()
}

/// The name of a header field as Go writes it: `message-id` is `Message-Id`.
pub(super) fn canonical_name(name: &str) -> String {
    let capital = |word: &str| {
        let lower = word.to_ascii_lowercase();
        let mut letters = lower.chars();
        letters.next().map(|first| first.to_ascii_uppercase().to_string() + letters.as_str()).unwrap_or_default()
    };
    name.split('-').map(capital).collect::<Vec<_>>().join("-")
}
