//! What has become of a message for each recipient of its envelope.

use super::state;
use crate::{
    model::{MailRecipient, MailSummary},
    pages::format::time,
};
use jiff::Timestamp;
use maud::{Markup, html};

/// The recipients, one a line.
pub(super) fn table(mail: &MailSummary, now: Timestamp) -> Markup {
    let tried = mail.recipients.iter().any(|recipient| recipient.attempts > 0);
    let waiting = mail.recipients.iter().any(|recipient| recipient.next_attempt_at.is_some());
    let said = mail.recipients.iter().any(|recipient| !recipient.reply.is_empty() || recipient.exchange.is_some());
    html! {
        table {
            thead {
                tr {
                    th scope="col" { "Recipient" }
                    th scope="col" { "State" }
                    @if tried { th.number scope="col" { "Attempts" } }
                    @if waiting { th scope="col" { "Next" } }
                    @if said { th scope="col" { "Last said" } }
                }
            }
            tbody {
                @for recipient in &mail.recipients {
                    @let (colour, word) = state(&recipient.state);
                    tr {
                        td.address { (recipient.address) }
                        td { span class={ "state " (colour) } { (word) } }
                        @if tried { td.number data-label="Attempts" { @if recipient.attempts > 0 { (recipient.attempts) } } }
                        @if waiting { td data-label="Next" { @if let Some(next) = recipient.next_attempt_at { (time(next, now)) } } }
                        @if said { (last_said(recipient)) }
                    }
                }
                @if mail.recipients.is_empty() { tr { td.quiet colspan="5" { "No recipient is known any more." } } }
            }
        }
    }
}

fn last_said(recipient: &MailRecipient) -> Markup {
    html! {
        td.reply {
            @if !recipient.reply.is_empty() { code { (recipient.reply) } }
            @if let Some(exchange) = &recipient.exchange { " " span.quiet { (exchange) } }
            @if let Some(peer) = recipient.peer_id { " as " a href={ "/mail/" (peer) } { code { (peer) } } }
        }
    }
}
