//! Reports of failures and successes: delivery status notifications (RFC 3464) in a multipart/report (RFC 6522).
//!
//! A report is in ASCII as it travels, except for the sender's own address and for a message that is returned as a whole.

use super::{
    returned::{Returned, quoted_printable},
    route::Exchange,
    verdict::Verdict,
};
use crate::received::rfc2822;
use internal_api::{ClaimedMessage, ClaimedRecipient};
use jiff::Timestamp;
use mail_builder::{
    MessageBuilder,
    headers::raw::Raw,
    mime::{BodyPart, MimePart},
};
use mail_proto::{
    Domain, Mailbox,
    smtp::{OriginalRecipient, Reply},
};
use std::{fmt::Write, sync::Arc};

/// The longest reply that is quoted: with the name of an exchange it makes a line of at most 998 octets (RFC 5322 §2.1.1).
const QUOTED_OCTETS: usize = 700;

/// What has happened to the message for a recipient (RFC 3464 §2.3.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// It will not be delivered.
    Failed,
    /// It is not delivered yet, and will be tried again.
    Delayed,
    /// It is in the maildrop.
    Delivered,
    /// A server has it that does not report.
    Relayed,
    /// It goes on to the members of a list.
    Expanded,
}

impl Action {
    /// The value of the field.
    fn name(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Delayed => "delayed",
            Self::Delivered => "delivered",
            Self::Relayed => "relayed",
            Self::Expanded => "expanded",
        }
    }

    /// What the human reader is told before the recipients.
    fn explanation(self) -> &'static str {
        match self {
            Self::Failed => "could not be delivered to:",
            Self::Delayed => "is delayed, and will be tried again. It could not be delivered yet to:",
            Self::Delivered => "was delivered to:",
            Self::Relayed => "was passed on to a server that does not report what becomes of it, for:",
            Self::Expanded => "was sent on to the members of:",
        }
    }
}

/// A recipient of whom the sender is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Told {
    /// What.
    pub(crate) action: Action,
    /// Who.
    recipient: Mailbox,
    /// Whom the sender has named at first, if they have said so.
    original: Option<OriginalRecipient>,
    /// What decided it.
    reply: Reply,
    /// Whose words these are, if not ours.
    said_by: Option<Arc<Exchange>>,
    /// It was only ever postponed, until its time was up.
    expired: bool,
}

impl Told {
    /// What happened to a recipient by this verdict.
    pub(super) fn new(recipient: &ClaimedRecipient, action: Action, verdict: &Verdict) -> Self {
        let reply = verdict.reply().cloned().unwrap_or_else(|| Reply::new(451, (3, 2), "this server stops"));
        Self {
            action,
            recipient: recipient.mailbox.clone(),
            original: recipient.original.clone(),
            expired: action == Action::Failed && !reply.is_permanent(),
            reply,
            said_by: verdict.said_by().map(Arc::clone),
        }
    }
}

/// What a report says beside the recipients.
#[derive(Debug)]
pub(crate) struct Report<'a> {
    /// The server that reports.
    pub(crate) server_name: &'a Domain,
    /// The domain whose postmaster signs.
    pub(crate) own_domain: &'a Domain,
    /// Who wrote the message, and is told.
    pub(crate) sender: &'a Mailbox,
    /// The message that is reported on.
    pub(crate) message: &'a ClaimedMessage,
    /// What of it is returned.
    pub(crate) returned: &'a Returned,
    /// When the last attempt ended.
    pub(crate) now: Timestamp,
    /// When a message that is delayed will have been tried for long enough.
    pub(crate) tried_until: Timestamp,
}

/// The octets of the report.
pub(crate) fn compose(report: &Report<'_>, told: &[Told]) -> Vec<u8> {
    let Report { server_name, own_domain, sender, message, returned, now, .. } = report;
    let smtputf8 = message.parameters.smtputf8;
    let parts = vec![
        text(["text/plain; charset=us-ascii", "text/plain; charset=utf-8"], explanation(report, told)),
        text(["message/delivery-status", "message/global-delivery-status"], delivery_status(report, told)),
        MimePart::new(returned.content_type(smtputf8), BodyPart::Binary(returned.octets()))
            .transfer_encoding(returned.transfer_encoding()),
    ];
    let content_type = mail_builder::headers::content_type::ContentType::new("multipart/report")
        .attribute("report-type", "delivery-status");
    let mut body = MimePart::new(content_type, parts);
    if returned.transfer_encoding() == "8bit" {
        // RFC 2045 §6.4: the whole is no less than its parts.
        body = body.transfer_encoding("8bit");
    }
    let message = MessageBuilder::new()
        .header("From", Raw::new(format!("Mail Delivery System <{}>", Mailbox::postmaster((*own_domain).clone()))))
        .header("To", Raw::new(format!("<{sender}>")))
        .subject(subject(told))
        .header("Date", Raw::new(rfc2822(*now)))
        .header("Message-ID", Raw::new(format!("<{}.{}@{server_name}>", message.id, now.as_millisecond())))
        .header("Auto-Submitted", Raw::new("auto-replied"))
        .body(body);
    let mut octets = Vec::new();
    message.serialize(&mut octets);
    octets
}

/// A part that is read by people or programs. It has the first media type if it is in ASCII, and is not encoded then: the
/// peer's words are there to be found. Otherwise it has the second.
fn text([ascii, utf8]: [&'static str; 2], text: String) -> MimePart<'static> {
    if text.is_ascii() {
        return MimePart::new(ascii, text.into_bytes()).transfer_encoding("7bit");
    }
    MimePart::new(utf8, quoted_printable(text.as_bytes()).into_bytes()).transfer_encoding("quoted-printable")
}

fn subject(told: &[Told]) -> &'static str {
    if told.iter().any(|told| told.action == Action::Failed) {
        "Undelivered Mail Returned to Sender"
    } else if told.iter().any(|told| told.action == Action::Delayed) {
        "Delayed Mail (still being tried)"
    } else {
        "Successful Mail Delivery Report"
    }
}

fn explanation(report: &Report<'_>, told: &[Told]) -> String {
    let mut text = format!("This is the mail server {}.\r\n", report.server_name);
    for action in [Action::Failed, Action::Delayed, Action::Delivered, Action::Relayed, Action::Expanded] {
        let mut told = told.iter().filter(|told| told.action == action).peekable();
        if told.peek().is_some() {
            let date = rfc2822(report.message.queued_at);
            let _ = write!(text, "\r\nYour message of {date} {}\r\n", action.explanation());
            told.for_each(|told| explain(&mut text, told, report.message.parameters.smtputf8));
        }
    }
    let _ = write!(text, "\r\n{} attached.", report.returned.description());
    if told.iter().any(|told| told.action == Action::Failed) {
        text.push_str(" It will not be tried again.");
    }
    text + "\r\n"
}

fn explain(text: &mut String, told: &Told, smtputf8: bool) {
    let _ = write!(text, "\r\n<{}>:\r\n", told.recipient);
    if told.expired {
        text.push_str("    it was tried for as long as this server tries; the last answer was\r\n");
    }
    if let Some(exchange) = &told.said_by {
        let _ = write!(text, "    {} said: ", exchange.name);
    } else {
        text.push_str("    ");
    }
    let _ = write!(text, "{}\r\n", quoted(&told.reply, smtputf8));
}

/// RFC 3464 §2.2 and §2.3: one group of fields for the message, one for each recipient.
fn delivery_status(report: &Report<'_>, told: &[Told]) -> String {
    let Report { server_name, message, .. } = report;
    let mut fields = String::new();
    if let Some(envid) = &message.parameters.envid {
        let _ = write!(fields, "Original-Envelope-Id: {}\r\n", envid.as_str());
    }
    let date = rfc2822(message.queued_at);
    let _ = write!(
        fields,
        "Reporting-MTA: dns; {server_name}\r\nX-Mailtown-Message: {}\r\nArrival-Date: {date}\r\n",
        message.id
    );
    for told in told {
        fields.push_str("\r\n");
        if let Some(original) = &told.original {
            let _ = write!(fields, "Original-Recipient: {}\r\n", original.to_field());
        }
        let (action, status) = (told.action.name(), status(told));
        let recipient = final_recipient(&told.recipient, message.parameters.smtputf8);
        let _ = write!(fields, "Final-Recipient: {recipient}\r\nAction: {action}\r\n");
        let _ = write!(fields, "Status: {status}\r\n");
        // RFC 3464 §2.3.6: "smtp" is for what another server has replied.
        let source = match &told.said_by {
            Some(exchange) => {
                let _ = write!(fields, "Remote-MTA: dns; {}\r\n", exchange.name);
                "smtp"
            }
            None => "X-Mailtown",
        };
        let _ = write!(fields, "Diagnostic-Code: {source}; {}\r\n", quoted(&told.reply, message.parameters.smtputf8));
        let _ = write!(fields, "Last-Attempt-Date: {}\r\n", rfc2822(report.now));
        if told.action == Action::Delayed {
            let _ = write!(fields, "Will-Retry-Until: {}\r\n", rfc2822(report.tried_until));
        }
    }
    fields
}

/// RFC 3464 §2.3.2. An address beyond ASCII is written as it is for those who take that, and in ASCII otherwise (RFC 6533 §3).
fn final_recipient(recipient: &Mailbox, smtputf8: bool) -> String {
    match OriginalRecipient::of(recipient).filter(|_| !smtputf8) {
        _ if recipient.is_ascii() => format!("rfc822; {recipient}"),
        Some(in_ascii) => in_ascii.to_field(),
        None => format!("utf-8; {recipient}"),
    }
}

/// RFC 3463: 5.4.7 when the time was up, else what the reply says.
fn status(told: &Told) -> String {
    if told.expired {
        return "5.4.7".to_owned();
    }
    let class = match told.action {
        Action::Failed => '5',
        Action::Delayed => '4',
        Action::Delivered | Action::Relayed | Action::Expanded => '2',
    };
    told.reply.enhanced().filter(|status| status.starts_with(class)).unwrap_or_else(|| format!("{class}.0.0"))
}

/// Printable characters on one line, whatever the peer sent; in ASCII for those who take no more.
fn quoted(reply: &Reply, smtputf8: bool) -> String {
    let is_printable = |c: char| if c.is_ascii() { (' '..='~').contains(&c) } else { smtputf8 && !c.is_control() };
    let printable = |c: char| if is_printable(c) { c } else { '?' };
    let mut quoted: String = reply.on_one_line().chars().map(printable).collect();
    quoted.truncate(quoted.floor_char_boundary(QUOTED_OCTETS));
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use internal_api::MessageId;
    use mail_parser::{MessageParser, MimeHeaders};
    use mail_proto::smtp::{MailParameters, ReplyReader};

    fn message() -> ClaimedMessage {
        let mailbox: Mailbox = "nobody@gmail.com".parse().unwrap();
        ClaimedMessage {
            id: MessageId::from_number(7),
            reverse_path: "<usr1@mail.sustech.edu.cn>".parse().unwrap(),
            octets: 100,
            queued_at: Timestamp::UNIX_EPOCH,
            age_seconds: Some(0),
            parameters: MailParameters::default(),
            recipients: vec![ClaimedRecipient::new(mailbox.into(), 1)],
            inline: false,
        }
    }

    fn exchange() -> Arc<Exchange> {
        Arc::new(Exchange {
            preference: 0,
            name: "gmail-smtp-in.l.google.com".to_owned(),
            address: "127.0.0.1:2025".to_owned(),
            is_proven: true,
        })
    }

    fn report_on(message: &ClaimedMessage, action: Action, verdict: &Verdict, returned: &Returned) -> String {
        let report = Report {
            server_name: &"exmail.qq.com".parse().unwrap(),
            own_domain: &"mail.sustech.edu.cn".parse().unwrap(),
            sender: message.reverse_path.mailbox().unwrap(),
            message,
            returned,
            now: Timestamp::UNIX_EPOCH,
            tried_until: Timestamp::UNIX_EPOCH,
        };
        let told = Told::new(&message.recipients[0], action, verdict);
        String::from_utf8(compose(&report, &[told])).unwrap()
    }

    fn composed(reply: Reply, headers: &[u8]) -> String {
        let verdict = Verdict::Said(reply, exchange());
        report_on(&message(), Action::Failed, &verdict, &Returned::headers(headers.to_vec()))
    }

    /// The parts of a report, and their media types.
    fn parts(report: &str) -> Vec<(String, String)> {
        let parsed = MessageParser::default().parse(report.as_bytes()).unwrap();
        let kind = parsed.content_type().unwrap();
        assert_eq!((kind.ctype(), kind.subtype()), ("multipart", Some("report")));
        assert_eq!(kind.attribute("report-type"), Some("delivery-status"));
        let part = |part: &mail_parser::MessagePart<'_>| {
            let kind = part.content_type().unwrap();
            let media_type = format!("{}/{}", kind.ctype(), kind.subtype().unwrap());
            let octets = &report.as_bytes()[part.raw_body_offset() as usize..part.raw_end_offset() as usize];
            (media_type, String::from_utf8(octets.to_vec()).unwrap())
        };
        parsed.parts[1..].iter().map(part).collect()
    }

    #[test]
    fn a_parser_finds_the_three_parts() {
        let text = composed(Reply::new(550, (1, 1), "no such mailbox here"), b"Subject: Test\r\nFrom: a@b\r\n");
        let [(_, explanation), (_, status), (kind, headers)] = &parts(&text)[..] else { panic!("{text}") };
        let said = "gmail-smtp-in.l.google.com said: 550 5.1.1 no such mailbox here";
        assert!(explanation.contains(said), "{explanation}");
        assert_eq!(
            status.trim_end(),
            "Reporting-MTA: dns; exmail.qq.com\r\nX-Mailtown-Message: 0000000000007\r\n\
             Arrival-Date: Thu, 01 Jan 1970 00:00:00 +0000\r\n\r\n\
             Final-Recipient: rfc822; nobody@gmail.com\r\nAction: failed\r\nStatus: 5.1.1\r\n\
             Remote-MTA: dns; gmail-smtp-in.l.google.com\r\nDiagnostic-Code: smtp; 550 5.1.1 no such mailbox here\r\n\
             Last-Attempt-Date: Thu, 01 Jan 1970 00:00:00 +0000"
        );
        assert_eq!((kind.as_str(), headers.trim_end()), ("text/rfc822-headers", "Subject: Test\r\nFrom: a@b"));
    }

    /// RFC 3461 §6.3: what the sender has said to recognise the report by.
    #[test]
    fn successes_name_the_envelope_and_the_original_recipient() {
        let arrived = |reply: &str| Verdict::Arrived(ReplyReader::default().line(reply.as_bytes()).unwrap().unwrap());
        let relayed = Verdict::Taken { reply: Reply::plain(250, "thanks"), exchange: exchange(), reports: false };
        let table = [
            (Action::Delivered, arrived("250 2.1.5 delivered"), "delivered", "2.1.5"),
            (Action::Expanded, arrived("251 2.1.5 <l@x>: expanded"), "expanded", "2.1.5"),
            (Action::Relayed, relayed, "relayed", "2.0.0"),
        ];
        for (action, verdict, name, status) in table {
            let mut message = message();
            message.parameters.envid = Some("QQ 314+159".parse().unwrap());
            message.recipients[0].original = Some("rfc822;First+One@x.test".parse().unwrap());
            let text = report_on(&message, action, &verdict, &Returned::headers(b"Subject: x\r\n".to_vec()));
            assert!(text.contains("\r\nSubject: Successful Mail Delivery Report\r\n"), "{text}");
            let fields = &parts(&text)[1].1;
            assert!(fields.starts_with("Original-Envelope-Id: QQ 314+159\r\nReporting-MTA: "), "{fields}");
            let group = format!(
                "\r\n\r\nOriginal-Recipient: rfc822; First+One@x.test\r\nFinal-Recipient: rfc822; nobody@gmail.com\r\n\
                 Action: {name}\r\nStatus: {status}\r\n"
            );
            assert!(fields.contains(&group), "{fields}");
            assert!(!text.contains("It will not be tried again"), "{text}");
        }
    }

    /// RFC 6533 §3: those who have said SMTPUTF8 get the address as it is, others get it in ASCII.
    #[test]
    fn addresses_beyond_ascii_are_named_as_the_sender_takes_them() {
        let mut message = message();
        message.recipients[0].mailbox = "用户@gmail.com".parse().unwrap();
        let verdict = Verdict::Said(Reply::new(550, (1, 1), "<用户@gmail.com>: no such mailbox"), exchange());
        let returned = Returned::headers("Subject: é\r\n".as_bytes().to_vec());
        let table = [
            (true, "message/global-delivery-status", "utf-8; =E7=94=A8=E6=88=B7@gmail.com", "message/global-headers"),
            (false, "message/delivery-status", "utf-8; \\x{7528}\\x{6237}@gmail.com", "text/rfc822-headers"),
        ];
        for (smtputf8, media_type, address, headers) in table {
            message.parameters.smtputf8 = smtputf8;
            let text = report_on(&message, Action::Failed, &verdict, &returned);
            assert!(text.is_ascii(), "{text}");
            let parts = parts(&text);
            assert_eq!((parts[1].0.as_str(), parts[2].0.as_str()), (media_type, headers));
            assert!(parts[1].1.contains(&format!("Final-Recipient: {address}\r\n")), "{text}");
            assert_eq!(parts[1].1.contains("550 5.1.1 <??@gmail.com>"), !smtputf8, "{text}");
        }
    }

    /// RFC 3461 §4.3.
    #[test]
    fn the_whole_message_is_returned_octet_for_octet() {
        for (body, encoding) in [("a\r\n.\r\n", "7bit"), ("\u{e4}\r\n", "8bit")] {
            let original = format!("Subject: x\r\n\r\n{body}");
            let returned = Returned::whole(original.clone().into_bytes(), true);
            let refused = Verdict::Said(Reply::plain(550, "no"), exchange());
            let text = report_on(&message(), Action::Failed, &refused, &returned);
            let (kind, octets) = &parts(&text)[2];
            assert_eq!(kind, "message/rfc822");
            assert_eq!(octets.trim_end(), original.trim_end());
            let encodings = text.matches(&format!("Content-Transfer-Encoding: {encoding}\r\n")).count();
            assert_eq!(encodings, if encoding == "8bit" { 2 } else { 3 }, "{text}");
        }
    }

    #[test]
    fn an_expired_message_has_failed_for_good() {
        let text = composed(Reply::new(451, (4, 1), "connection refused"), b"");
        assert!(text.contains("\r\nStatus: 5.4.7\r\n"), "{text}");
        assert!(text.contains("Diagnostic-Code: smtp; 451 4.4.1 connection refused\r\n"), "{text}");
    }

    #[test]
    fn whatever_the_peer_says_the_lines_stay_clean() {
        let text = composed(Reply::plain(550, "ü".repeat(5000)), "Subject: ü\r\n".as_bytes());
        assert!(text.split("\r\n").all(|line| line.len() <= 998 && !line.contains(['\r', '\n'])), "{text}");
    }
}
