//! Writing a message, and sending one again: over SMTP to the sender's own server, as an agent does.

mod draft;
mod smtp;

use super::{
    Failure,
    icons::{Icon, icon},
    layout::{Page, Section},
    servers::PATIENCE,
};
use crate::{
    api::{App, extract},
    mail_servers::MailServer,
    model::Mail,
};
use axum::{
    Form, Router,
    extract::{Query as UrlQuery, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use draft::Draft;
use mail_proto::Mailbox;
use maud::{Markup, html};
use serde::Deserialize;
use smtp::{Line, Sent};
use std::sync::Arc;

/// How many accounts can be chosen from a list; where there are more, the address is written.
const CHOSEN: usize = 60;
/// The largest form, in octets.
const FORM_OCTETS: usize = 4 * 1024 * 1024;

/// The routes of this module.
pub(super) fn routes() -> Router<Arc<App>> {
    let limit = axum::extract::DefaultBodyLimit::max(FORM_OCTETS);
    Router::new().route("/compose", get(form).post(send)).layer(limit)
}

/// What somebody has written.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Written {
    from: String,
    to: String,
    subject: String,
    text: String,
    /// The message that is sent again; empty for a new one.
    again: String,
}

/// How it went.
enum Outcome {
    /// The server was asked.
    Sent(Sent),
    /// It was not: why.
    Refused(String),
}

/// `GET /compose`
async fn form(State(app): State<Arc<App>>, UrlQuery(mut written): UrlQuery<Written>) -> Result<Response, Failure> {
    let again = original(&app, &written).await?;
    if let Some(mail) = &again {
        if written.from.is_empty() {
            written.from.clone_from(&mail.summary.mail_from);
        }
        if written.to.is_empty() {
            let recipients: Vec<_> = mail.summary.recipients.iter().map(|one| one.address.as_str()).collect();
            written.to = recipients.join(", ");
        }
    }
    Ok(page(&app, &written, again.as_ref(), None).await.into_response())
}

/// `POST /compose`
async fn send(State(app): State<Arc<App>>, Form(written): Form<Written>) -> Result<Response, Failure> {
    let again = original(&app, &written).await?;
    let outcome = match attempt(&app, &written, again.as_ref()).await {
        Ok(sent) => Outcome::Sent(sent),
        Err(reason) => Outcome::Refused(reason),
    };
    let status = match &outcome {
        Outcome::Sent(_) => StatusCode::OK,
        Outcome::Refused(_) => StatusCode::UNPROCESSABLE_ENTITY,
    };
    Ok(page(&app, &written, again.as_ref(), Some(outcome)).await.with_status(status))
}

async fn original(app: &App, written: &Written) -> Result<Option<Mail>, Failure> {
    if written.again.is_empty() {
        return Ok(None);
    }
    Ok(Some(app.mail(extract::message(&written.again)?).await?))
}

/// Sends it, or says why it is not sent.
async fn attempt(app: &App, written: &Written, again: Option<&Mail>) -> Result<Sent, String> {
    let from: Mailbox = written.from.trim().parse().map_err(|_| format!("\"{}\" is no address", written.from))?;
    let recipients = addresses(&written.to)?;
    let server = app.server_of(&from).await?;
    let message = match again {
        Some(mail) => {
            let raw = app.raw(mail.summary.id).await;
            raw.map_err(|problem| format!("the message cannot be sent again: {problem}"))?
        }
        None => {
            let draft = Draft { from: &from, to: &recipients, subject: &written.subject, text: &written.text };
            draft.composed(app.clock.wall.now())?
        }
    };
    smtp::send(&server, &from, &recipients, &message, &app.clock).await
}

/// Addresses with commas, semicolons or spaces in between.
fn addresses(text: &str) -> Result<Vec<Mailbox>, String> {
    let each = text.split([',', ';', ' ', '\r', '\n', '\t']).filter(|one| !one.is_empty());
    let addresses: Vec<_> = each
        .map(|one| one.trim_matches(['<', '>']).parse().map_err(|_| format!("\"{one}\" is no address")))
        .collect::<Result<_, _>>()?;
    if addresses.is_empty() { Err("there is no recipient".to_owned()) } else { Ok(addresses) }
}

impl App {
    /// The server at which this sender has an account.
    async fn server_of(&self, sender: &Mailbox) -> Result<MailServer, String> {
        for store in self.town.stores() {
            let known =
                store.client.mailbox(sender).await.map_err(|error| format!("the store of {}: {error}", store.stack))?;
            if known.is_some() {
                let server = self.mail_servers.iter().find(|server| server.stack == store.stack);
                return server.cloned().ok_or_else(|| format!("where {} takes mail is not known", store.stack));
            }
        }
        Err(format!("{sender} is no account of this town; a message is sent by somebody who has one"))
    }
}

async fn page(app: &App, written: &Written, again: Option<&Mail>, outcome: Option<Outcome>) -> Page {
    let accounts: Vec<_> = app.accounts(PATIENCE).await.into_iter().map(|(_, address)| address).collect();
    let title = if again.is_some() { "Send again" } else { "Compose" };
    Page {
        title: title.to_owned(),
        section: Section::Mail,
        stream: String::new(),
        scripts: &[],
        keys: &[],
        content: html! {
            main #main.page {
                div {
                    h1 { (title) }
                    p.quiet { "It goes over SMTP to the sender's own server, as from an agent." }
                }
                @if let Some(outcome) = &outcome { (outcome_shown(outcome)) }
                form.panel.compose-form method="post" action="/compose" {
                    div.pair {
                        div.field { label for="from" { "From" } (sender_field(&written.from, &accounts)) span.hint { "An account of this town" } }
                        div.field {
                            label for="to" { "To" }
                            input #to type="text" name="to" value=(written.to) required autocomplete="off" spellcheck="false" list="accounts";
                            span.hint { "With commas in between" }
                        }
                    }
                    datalist #accounts { @for account in &accounts { option value=(account) {} } }
                    @match again {
                        Some(mail) => {
                            input type="hidden" name="again" value=(mail.summary.id);
                            div.notice {
                                p { "The message as it was received is sent: " strong { (mail.summary.subject) } }
                                p.quiet.small { "Its header fields stay as they are; the addresses above are those of the envelope." }
                            }
                        }
                        None => {
                            div.field { label for="subject" { "Subject" } input #subject type="text" name="subject" value=(written.subject) autocomplete="off"; }
                            div.field { label for="text" { "Text" } textarea #text name="text" rows="10" { (written.text) } }
                        }
                    }
                    div.end {
                        button.primary type="submit" { "Send" }
                        a.button.plain href="/mail" { "Cancel" }
                    }
                }
            }
        },
    }
}

fn sender_field(from: &str, accounts: &[String]) -> Markup {
    if accounts.is_empty() || accounts.len() > CHOSEN {
        return html! { input #from type="text" name="from" value=(from) required autocomplete="off" spellcheck="false" list="accounts"; };
    }
    html! {
        select #from name="from" required {
            @for account in accounts { option value=(account) selected[account == from] { (account) } }
        }
    }
}

fn outcome_shown(outcome: &Outcome) -> Markup {
    let sent = match outcome {
        Outcome::Refused(reason) => {
            return html! { div.notice.refused role="alert" { p { strong { "Not sent: " } (reason) } } };
        }
        Outcome::Sent(sent) => sent,
    };
    let taken = sent.verdicts.iter().filter(|(_, reply)| reply.is_positive()).count();
    let colour = match taken {
        0 => "refused",
        some if some < sent.verdicts.len() => "waiting",
        _ => "ok",
    };
    html! {
        div class={ "notice " (colour) } role="status" {
            p {
                strong { @if taken == 0 { "Refused" } @else if colour == "ok" { "Taken" } @else { "Taken for some" } }
                " by " (sent.server)
                @if let Some(id) = sent.queued_as() { " as " a href={ "/mail/" (id) } { (icon(Icon::Mail)) " " code { (id) } } }
            }
            @if let Some(refusal) = &sent.refusal { pre { (refusal.to_string().trim_end()) } }
            @for (recipient, reply) in &sent.verdicts {
                div.verdict { strong { (recipient) } pre { (reply.to_string().trim_end()) } }
            }
        }
        details.panel.pad-details {
            summary { "The dialogue" }
            pre.dialogue tabindex="0" {
                @for line in &sent.dialogue {
                    @match line {
                        Line::Sent(text) => span.sent { "C: " (text) "\n" },
                        Line::Received(text, true) => span { "S: " (text) "\n" },
                        Line::Received(text, false) => span.no { "S: " (text) "\n" },
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recipients_may_be_written_in_many_ways() {
        let read = |text: &str| addresses(text).map(|all| all.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(read("a@b.test, <c@d.test>;e@f.test\n").unwrap(), ["a@b.test", "c@d.test", "e@f.test"]);
        assert_eq!(read(" , ").unwrap_err(), "there is no recipient");
        assert_eq!(read("a@b.test,x").unwrap_err(), "\"x\" is no address");
    }
}
