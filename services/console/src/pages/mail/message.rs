//! One message.

use super::{
    View, recipients, sender, side, subject,
    tabs::{self, Shown, Tab, Width},
};
use crate::{
    api::{App, extract},
    model::Mail,
    pages::{
        Failure,
        format::{full_time, octets},
        hostile::{self, RemoteImages},
        icons::{Icon, icon},
        layout::{Page, Section, fragment},
        stream,
    },
};
use axum::{
    extract::{Path, Query as UrlQuery, State},
    response::Response,
};
use maud::{Markup, html};
use serde::Deserialize;
use std::sync::Arc;

/// The keys of a message.
const KEYS: &[(&str, &str)] = &[
    ("u Esc", "Back to the list"),
    ("j k", "To the next older, newer message"),
    ("#", "Delete it"),
    ("o", "Mark as unread"),
    ("/", "Search"),
    ("c", "Compose"),
    ("?", "These keys"),
];

/// How a message is shown.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Look {
    query: String,
    mailbox: String,
    before: String,
    tab: String,
    width: String,
    images: String,
}

impl Look {
    fn view(&self) -> View {
        View { query: self.query.clone(), mailbox: self.mailbox.clone(), before: self.before.clone() }
    }

    fn images(&self) -> RemoteImages {
        if self.images == "remote" { RemoteImages::On } else { RemoteImages::Off }
    }
}

/// `GET /mail/{id}`: it counts as read from then on.
pub(super) async fn page(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    UrlQuery(look): UrlQuery<Look>,
) -> Result<Response, Failure> {
    let id = extract::message(&id)?;
    let mut mail = app.mail(id).await?;
    if !mail.summary.read {
        app.index.set_read(vec![id], true).await?;
        mail.summary.read = true;
    }
    let place = stream::place(&app).await?;
    let view = look.view();
    let side = side::render(&app, &view).await?;
    let tab = Tab::named(&look.tab).filter(|tab| *tab != Tab::Html || !mail.html.is_empty());
    let tab = tab.unwrap_or(if mail.html.trim().is_empty() { Tab::Text } else { Tab::Html });
    let shown = Shown { mail: &mail, view: &view, tab, width: Width::named(&look.width), images: look.images() };
    let body = tabs::body(&app, &shown).await?;
    let now = app.clock.wall.now();
    let path = format!("/mail/{id}");
    let page = Page {
        title: mail.summary.subject.clone(),
        section: Section::Mail,
        stream: format!("/events?since={place}"),
        scripts: &["message.js", "journey.js"],
        keys: KEYS,
        content: html! {
            div.with-side {
                aside.side data-fragment=(view.url("/mail/side")) data-on="changed" { (side) }
                main #main.mail data-message=(id) {
                    (tools(&mail, &view))
                    div.message-head {
                        h1 { (subject(&mail.summary)) }
                        (fields(&mail))
                        div.recipients data-fragment={ (path) "/recipients" } data-on="changed" {
                            (recipients::table(&mail.summary, now))
                        }
                    }
                    (tabs::bar(&shown))
                    div.body { (body) }
                }
            }
        },
    };
    Ok(page.with_status(axum::http::StatusCode::OK))
}

/// `GET /mail/{id}/recipients`: what changes of a message.
pub(super) async fn part(State(app): State<Arc<App>>, Path(id): Path<String>) -> Result<Response, Failure> {
    let mail = app.mail(extract::message(&id)?).await?;
    Ok(fragment(&recipients::table(&mail.summary, app.clock.wall.now())))
}

/// `GET /mail/{id}/view`: what the frame shows.
pub(super) async fn view(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    UrlQuery(look): UrlQuery<Look>,
) -> Result<Response, Failure> {
    let mail = app.whole_text(app.mail(extract::message(&id)?).await?).await?;
    Ok(hostile::view(&mail, look.images()))
}

fn tools(mail: &Mail, view: &View) -> Markup {
    let id = mail.summary.id;
    let action = |name: &str, picture: Icon, words: &str, key: &str| {
        html! {
            button.plain id=(name) type="submit" name="action" value=(name) title={ (words) ": " (key) } {
                (icon(picture)) span.words { (words) }
            }
        }
    };
    html! {
        div.message-tools role="toolbar" aria-label="With this message" {
            a #back.button.plain href=(view.url("/mail")) title="Back: u" { (icon(Icon::Back)) span.words { "Back" } }
            form method="post" action="/mail/actions" {
                input type="hidden" name="id" value=(id);
                input type="hidden" name="back" value=(view.url("/mail"));
                (action("unread", Icon::Unread, "Mark unread", "o"))
                (action("delete", Icon::Delete, "Delete", "#"))
            }
            a.button.plain href={ "/compose?again=" (id) } title="Send it again" { (icon(Icon::Again)) span.words { "Send again" } }
            a.button.plain href={ "/v1/mail/" (id) "/raw" } title="Download as .eml" { (icon(Icon::Download)) span.words { "Download" } }
            a.button.plain href={ "/view/" (id) ".html" } target="_blank" rel="noopener" title="Only the message, in a window of its own" {
                (icon(Icon::Open)) span.words { "Alone" }
            }
            span.gap {}
            a #newer.button.plain.square href="/mail" title="Newer: k" hidden { (icon(Icon::Back)) span.visually-hidden { "Newer" } }
            a #older.button.plain.square href="/mail" title="Older: j" hidden { (icon(Icon::Next)) span.visually-hidden { "Older" } }
        }
    }
}

fn fields(mail: &Mail) -> Markup {
    let summary = &mail.summary;
    let people = |people: &[crate::message::Person]| {
        html! {
            @for (number, person) in people.iter().enumerate() {
                @if number > 0 { ", " }
                @if person.name.trim().is_empty() { (person.address) } @else {
                    (person.name) " " span.address { "<" (person.address) ">" }
                }
            }
        }
    };
    let from = summary.from.clone().into_iter().collect::<Vec<_>>();
    html! {
        dl.fields {
            dt { "From" }
            dd { @if from.is_empty() { (sender(summary)) } @else { (people(&from)) } }
            @for (name, listed) in [("To", &summary.to), ("Cc", &summary.cc), ("Bcc", &summary.bcc), ("Reply-To", &summary.reply_to)] {
                @if !listed.is_empty() { dt { (name) } dd { (people(listed)) } }
            }
            @if let Some(date) = mail.date { dt { "Date" } dd { (full_time(date)) } }
            dt { "Accepted" }
            dd {
                (full_time(summary.accepted_at)) " by " (summary.stack) ", " (octets(summary.octets)) ", from "
                code { "<" (summary.mail_from) ">" }
                @if let Some(identity) = &summary.identity { " (logged in as " (identity) ")" }
            }
            @if let Some(bounce) = summary.bounced_as { dt { "Bounced as" } dd { a href={ "/mail/" (bounce) } { code { (bounce) } } } }
            @if !summary.held_by_store { dt { "Gone" } dd { "No store has it any more; what is shown here was kept by the console." } }
        }
    }
}
