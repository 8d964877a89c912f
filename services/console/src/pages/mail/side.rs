//! The side of the list: all mail, what waits, what has failed, and each maildrop.

use super::View;
use crate::{
    api::App,
    index::MailboxCount,
    pages::{
        Failure,
        icons::{Icon, icon},
        layout::fragment,
        servers::{PATIENCE, is_postmaster},
    },
    query::Query,
};
use axum::{
    extract::{Query as UrlQuery, State},
    response::Response,
};
use internal_api::Problem;
use maud::{Markup, html};
use std::{collections::BTreeMap, sync::Arc};

/// How many maildrops are listed. More can be searched for.
const LISTED: usize = 200;

/// `GET /mail/side`
pub(super) async fn part(State(app): State<Arc<App>>, UrlQuery(view): UrlQuery<View>) -> Result<Response, Failure> {
    Ok(fragment(&render(&app, &view).await?))
}

/// The maildrops by stack, those of accounts that have no mail included.
async fn maildrops(app: &App) -> Result<BTreeMap<String, Vec<MailboxCount>>, Problem> {
    let mut stacks = BTreeMap::<String, BTreeMap<String, MailboxCount>>::new();
    for counted in app.index.mailboxes().await? {
        stacks.entry(counted.stack.clone()).or_default().insert(counted.address.clone(), counted);
    }
    for (stack, address) in app.accounts(PATIENCE).await {
        // Every domain has one; it is worth a line only when somebody has written to it.
        if is_postmaster(&address) {
            continue;
        }
        let counted = MailboxCount { stack: stack.clone(), address: address.clone(), messages: 0, unread: 0 };
        stacks.entry(stack).or_default().entry(address).or_insert(counted);
    }
    Ok(stacks.into_iter().map(|(stack, drops)| (stack, drops.into_values().collect())).collect())
}

/// The side. What is looked at is marked.
pub(super) async fn render(app: &App, view: &View) -> Result<Markup, Problem> {
    let (all, unread) = app.index.count(&Query::default(), None).await?;
    let (waiting, _) = app.index.count(&Query::lenient("state:queued"), None).await?;
    let (failed, _) = app.index.count(&Query::lenient("state:failed"), None).await?;
    let stacks = maildrops(app).await?;
    let total: usize = stacks.values().map(Vec::len).sum();
    let query = |text: &str| View { query: text.to_owned(), ..View::default() };
    let now = if view.mailbox.is_empty() { "All mail" } else { &view.mailbox };
    Ok(html! {
        button.side-toggle type="button" aria-expanded="false" aria-controls="side" {
            (icon(Icon::Tray)) span.now { (now) } span.change { "Mailboxes" }
        }
        nav #side.side-inner aria-label="Mailboxes" {
            a.button.primary.compose href="/compose" title="c" { (icon(Icon::Compose)) "Compose" }
            div.side-group {
                (entry(&View::default(), view, Icon::Tray, "All mail", all, unread))
                (entry(&query("is:unread"), view, Icon::Unread, "Unread", unread, 0))
                (entry(&query("state:queued"), view, Icon::Waiting, "Waiting", waiting, 0))
                (entry(&query("state:failed"), view, Icon::Refused, "Failed", failed, 0))
                (entry(&query("has:attachment"), view, Icon::Clip, "With attachments", 0, 0))
            }
            @for (stack, drops) in &stacks {
                div.side-group {
                    h3 { (stack) }
                    @for drop in drops.iter().take(LISTED) {
                        @let of_drop = View { mailbox: drop.address.clone(), ..View::default() };
                        (entry(&of_drop, view, Icon::Mailbox, &drop.address, drop.messages, drop.unread))
                    }
                }
            }
            @if total > LISTED { p.quiet.small { "Others: search for " code { "mailbox:" } } }
        }
    })
}

fn entry(of: &View, shown: &View, picture: Icon, name: &str, messages: u64, unread: u64) -> Markup {
    let is_current = of.query == shown.query.trim() && of.mailbox == shown.mailbox;
    html! {
        a.entry href=(of.url("/mail")) aria-current=[is_current.then_some("page")] title=(name) {
            (icon(picture))
            span.name {
                @match name.split_once('@') {
                    Some((local, domain)) => { (local) span.domain { "@" (domain) } }
                    None => (name),
                }
            }
            span.number {
                @if unread > 0 { b title={ (unread) " unread" } { (unread) } @if messages > 0 { " / " } }
                @if messages > 0 { (messages) }
            }
        }
    }
}
