//! Failure messages: delivery status notifications (RFC 3464) in a multipart/report (RFC 6522).

use super::{returned::ReturnedHeaders, route::Exchange, verdict::Verdict};
use crate::received::rfc2822;
use internal_api::ClaimedMessage;
use jiff::Timestamp;
use mail_builder::{MessageBuilder, headers::raw::Raw, mime::MimePart};
use mail_proto::{Domain, Mailbox, smtp::Reply};
use std::{fmt::Write, sync::Arc};

/// The longest reply that is quoted: with the name of an exchange it makes a line of at most 998 octets (RFC 5322 §2.1.1).
const QUOTED_OCTETS: usize = 700;

/// A recipient who will not get the message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// Who.
    pub(crate) recipient: Mailbox,
    /// What decided it.
    pub(crate) reply: Reply,
    /// Whose words these are, if not ours.
    pub(crate) said_by: Option<Arc<Exchange>>,
    /// It was only ever postponed, until its time was up.
    pub(crate) expired: bool,
}

impl Failure {
    /// A recipient who fails by this verdict.
    pub(super) fn new(recipient: Mailbox, verdict: &Verdict) -> Self {
        let (reply, said_by) = match verdict {
            Verdict::Said(reply, exchange) => (reply.clone(), Some(Arc::clone(exchange))),
            Verdict::Ours(reply) | Verdict::Here(reply) | Verdict::Untried(reply) => (reply.clone(), None),
            Verdict::Released => (Reply::new(451, (3, 2), "this server stops"), None),
        };
        Self { recipient, expired: !reply.is_permanent(), reply, said_by }
    }
}

/// What a failure message says beside the failures.
#[derive(Debug)]
pub(crate) struct Report<'a> {
    /// The server that gives up.
    pub(crate) server_name: &'a Domain,
    /// The domain whose postmaster signs.
    pub(crate) own_domain: &'a Domain,
    /// Who wrote the message, and is told.
    pub(crate) sender: &'a Mailbox,
    /// The message that failed.
    pub(crate) message: &'a ClaimedMessage,
    /// Its header section.
    pub(crate) headers: &'a ReturnedHeaders,
    /// When the last attempt ended.
    pub(crate) now: Timestamp,
}

/// The octets of the failure message.
pub(crate) fn compose(report: &Report<'_>, failures: &[Failure]) -> Vec<u8> {
    let ascii = |text: String| MimePart::new("message/delivery-status", text.into_bytes()).transfer_encoding("7bit");
    let parts = vec![
        // Never re-encoded: the peer's words are there to be found.
        MimePart::new("text/plain; charset=us-ascii", explanation(report, failures).into_bytes())
            .transfer_encoding("7bit"),
        ascii(delivery_status(report, failures)),
        MimePart::new("text/rfc822-headers", report.headers.quoted_printable()).transfer_encoding("quoted-printable"),
    ];
    let content_type = mail_builder::headers::content_type::ContentType::new("multipart/report")
        .attribute("report-type", "delivery-status");
    let Report { server_name, own_domain, sender, message, now, .. } = report;
    let message = MessageBuilder::new()
        .header("From", Raw::new(format!("Mail Delivery System <{}>", Mailbox::postmaster((*own_domain).clone()))))
        .header("To", Raw::new(format!("<{sender}>")))
        .subject("Undelivered Mail Returned to Sender")
        .header("Date", Raw::new(rfc2822(*now)))
        .header("Message-ID", Raw::new(format!("<{}.{}@{server_name}>", message.id, now.as_millisecond())))
        .header("Auto-Submitted", Raw::new("auto-replied"))
        .body(MimePart::new(content_type, parts));
    let mut octets = Vec::new();
    message.serialize(&mut octets);
    octets
}

fn explanation(report: &Report<'_>, failures: &[Failure]) -> String {
    let mut text = format!(
        "This is the mail server {}.\r\n\r\n\
         Your message of {} could not be delivered to:\r\n",
        report.server_name,
        rfc2822(report.message.queued_at)
    );
    for failure in failures {
        let _ = write!(text, "\r\n<{}>:\r\n", failure.recipient);
        if failure.expired {
            text.push_str("    it was tried for as long as this server tries; the last answer was\r\n");
        }
        if let Some(exchange) = &failure.said_by {
            let _ = write!(text, "    {} said: ", exchange.name);
        } else {
            text.push_str("    ");
        }
        let _ = write!(text, "{}\r\n", quoted(&failure.reply));
    }
    let attached = if report.headers.is_cut() {
        "The beginning of the message's headers is"
    } else {
        "The message's own headers are"
    };
    let _ = write!(text, "\r\n{attached} attached. It will not be tried again.\r\n");
    text
}

/// RFC 3464 §2.2 and §2.3: one group of fields for the message, one for each recipient.
fn delivery_status(report: &Report<'_>, failures: &[Failure]) -> String {
    let mut fields = format!(
        "Reporting-MTA: dns; {}\r\nX-Mailtown-Message: {}\r\nArrival-Date: {}\r\n",
        report.server_name,
        report.message.id,
        rfc2822(report.message.queued_at)
    );
    for failure in failures {
        let _ = write!(
            fields,
            "\r\nFinal-Recipient: rfc822; {}\r\nAction: failed\r\nStatus: {}\r\n",
            failure.recipient,
            status(failure)
        );
        // RFC 3464 §2.3.6: "smtp" is for what another server has replied.
        let source = match &failure.said_by {
            Some(exchange) => {
                let _ = write!(fields, "Remote-MTA: dns; {}\r\n", exchange.name);
                "smtp"
            }
            None => "X-Mailtown",
        };
        let _ = write!(fields, "Diagnostic-Code: {source}; {}\r\n", quoted(&failure.reply));
        let _ = write!(fields, "Last-Attempt-Date: {}\r\n", rfc2822(report.now));
    }
    fields
}

/// RFC 3463: 5.4.7 when the time was up, else what the reply says.
fn status(failure: &Failure) -> String {
    if failure.expired {
        return "5.4.7".to_owned();
    }
    failure.reply.enhanced().filter(|status| status.starts_with('5')).unwrap_or_else(|| "5.0.0".to_owned())
}

/// Printable ASCII on one line, whatever the peer sent.
fn quoted(reply: &Reply) -> String {
    let printable = |c: char| if (' '..='~').contains(&c) { c } else { '?' };
    reply.on_one_line().chars().map(printable).take(QUOTED_OCTETS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use internal_api::{ClaimedRecipient, MessageId};
    use mail_parser::{MessageParser, MimeHeaders};
    use mail_proto::smtp::MailParameters;

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

    fn composed(reply: Reply, expired: bool, headers: &[u8]) -> String {
        let message = message();
        let exchange = Exchange {
            preference: 0,
            name: "gmail-smtp-in.l.google.com".to_owned(),
            address: "127.0.0.1:2025".to_owned(),
        };
        let report = Report {
            server_name: &"exmail.qq.com".parse().unwrap(),
            own_domain: &"mail.sustech.edu.cn".parse().unwrap(),
            sender: message.reverse_path.mailbox().unwrap(),
            message: &message,
            headers: &ReturnedHeaders::of(headers.to_vec()),
            now: Timestamp::UNIX_EPOCH,
        };
        let failure = Failure::new(message.recipients[0].mailbox.clone(), &Verdict::Said(reply, Arc::new(exchange)));
        assert_eq!(failure.expired, expired);
        String::from_utf8(compose(&report, &[failure])).unwrap()
    }

    #[test]
    fn a_parser_finds_the_three_parts() {
        let text = composed(Reply::new(550, (1, 1), "no such mailbox here"), false, b"Subject: Test\r\nFrom: a@b\r\n");
        let parsed = MessageParser::default().parse(text.as_bytes()).unwrap();
        let kind = parsed.content_type().unwrap();
        assert_eq!((kind.ctype(), kind.subtype()), ("multipart", Some("report")));
        assert_eq!(kind.attribute("report-type"), Some("delivery-status"));
        let parts: Vec<_> = parsed.parts[1..].iter().map(|part| part.contents().to_vec()).collect();
        let part = |index: usize| String::from_utf8(parts[index].clone()).unwrap();
        assert!(part(0).contains("gmail-smtp-in.l.google.com said: 550 5.1.1 no such mailbox here"), "{}", part(0));
        assert_eq!(
            part(1).trim_end(),
            "Reporting-MTA: dns; exmail.qq.com\r\nX-Mailtown-Message: 0000000000007\r\n\
             Arrival-Date: Thu, 01 Jan 1970 00:00:00 +0000\r\n\r\n\
             Final-Recipient: rfc822; nobody@gmail.com\r\nAction: failed\r\nStatus: 5.1.1\r\n\
             Remote-MTA: dns; gmail-smtp-in.l.google.com\r\nDiagnostic-Code: smtp; 550 5.1.1 no such mailbox here\r\n\
             Last-Attempt-Date: Thu, 01 Jan 1970 00:00:00 +0000"
        );
        assert_eq!(part(2).trim_end(), "Subject: Test\r\nFrom: a@b");
    }

    #[test]
    fn an_expired_message_has_failed_for_good() {
        let text = composed(Reply::new(451, (4, 1), "connection refused"), true, b"");
        assert!(text.contains("\r\nStatus: 5.4.7\r\n"), "{text}");
        assert!(text.contains("Diagnostic-Code: smtp; 451 4.4.1 connection refused\r\n"), "{text}");
    }

    #[test]
    fn whatever_the_peer_says_the_lines_stay_clean() {
        let text = composed(Reply::plain(550, "ü".repeat(5000)), false, "Subject: ü\r\n".as_bytes());
        assert!(text.split("\r\n").all(|line| line.len() <= 998 && !line.contains(['\r', '\n'])), "{text}");
    }
}
