//! Waiting for mail on the server, and why none came.

use super::{
    App,
    extract::{Query, from_one, mail_query, since, within},
    queue::WaitingMail,
};
use crate::{
    follow::{FollowState, FollowedStore},
    index::{Cursor, Refusal, SearchPage},
    model::{Mail, MailSummary},
    query,
};
use axum::{Json, extract::State};
use internal_api::{Problem, QueueEntry};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

/// How long a call waits unless told otherwise, and at most, in seconds.
const TIMEOUT: u32 = 10;
const LONGEST: u32 = 60;
/// How long the stores have at least to tell what has come, and to tell what waits in a queue, even when the time is up.
const SHORTEST: Duration = Duration::from_secs(1);
/// How many messages can be waited for.
const MOST: u32 = 100;
/// How many near misses of each kind, queue entries and refusals are told.
const NEAR: usize = 3;
const TOLD: usize = 20;
/// How far back refusals are looked for without `since`.
const RECENT: SignedDuration = SignedDuration::from_mins(10);

/// What is waited for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WaitQuery {
    query: Option<String>,
    since: Option<String>,
    count: Option<u32>,
    timeout: Option<u32>,
}

/// What has come, and else why it has not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Waited {
    /// The newest messages that match, as many as were waited for at most.
    pub mail: Vec<Mail>,
    /// Whether fewer have come in time.
    pub timed_out: bool,
    /// Why, as far as is known; present when the time was up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<Why>,
}

/// Why mail may not have come.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Why {
    /// In one sentence each.
    pub summary: Vec<String>,
    /// Messages that nearly match.
    pub near_misses: Vec<NearMiss>,
    /// What waits in a queue for a recipient of the query; without one in it, all.
    pub queue: Vec<WaitingMail>,
    /// Commands that were refused and name a recipient of the query; without one in it, all.
    pub refusals: Vec<Refusal>,
    /// Services that do not answer now.
    pub unreachable: Vec<String>,
    /// The time at which a virtual clock stands: until it is moved, nothing that waits is tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub clock_stands_at: Option<Timestamp>,
}

/// A message that nearly matches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NearMiss {
    /// What it does not match: a part of the query, or `since`.
    pub differs_in: String,
    /// The message.
    pub mail: MailSummary,
}

/// The routes of this module.
pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(wait))
}

/// Waits until there are as many messages as wanted. When the time is up, the answer says why they may not have come.
#[utoipa::path(
    get, path = "/v1/mail/wait", operation_id = "wait_for_mail", tag = "mail",
    params(
        ("query" = Option<String>, Query, description = "Which messages, in Mailpit's language and a town's"),
        ("since" = Option<String>, Query, description = "Only what has come after this checkpoint or message"),
        ("count" = Option<u32>, Query, minimum = 1, maximum = 100, description = "How many; 1 unless given"),
        ("timeout" = Option<u32>, Query, minimum = 0, maximum = 60, description = "How many seconds; 10 unless given"),
    ),
    responses((status = 200, description = "They are there, or the time is up", body = Waited)),
)]
pub(super) async fn wait(
    State(app): State<Arc<App>>,
    Query(wanted): Query<WaitQuery>,
) -> Result<Json<Waited>, Problem> {
    let query = mail_query(wanted.query.as_deref())?;
    let since = since(wanted.since.as_deref())?;
    let count = from_one("count", wanted.count, 1, MOST)? as usize;
    let timeout = Duration::from_secs(within("timeout", wanted.timeout, TIMEOUT, LONGEST)?.into());
    let deadline = app.clock.io.instant() + timeout;
    let page = SearchPage { since, limit: count, ..SearchPage::first(count) };
    let mut changes = app.index.mail_changes();
    // What has come in time is found in time, whether or not all stores answer.
    let _ = app.clock.io.timeout_at(deadline.max(app.clock.io.instant() + SHORTEST), app.caught_up()).await;
    loop {
        changes.mark_unchanged();
        let found = app.index.search(&query, page).await?.mail;
        if found.len() >= count {
            return Ok(Json(Waited { mail: app.whole(found).await?, timed_out: false, why: None }));
        }
        tokio::select! {
            _ = changes.changed() => {}
            () = app.clock.io.sleep_until(deadline) => break,
            () = app.shutdown.cancelled() => break,
        }
    }
    let found = app.index.search(&query, page).await?.mail;
    let timed_out = found.len() < count;
    let why = if timed_out { Some(app.why(&query, since, &found).await?) } else { None };
    Ok(Json(Waited { mail: app.whole(found).await?, timed_out, why }))
}

impl App {
    async fn whole(&self, found: Vec<MailSummary>) -> Result<Vec<Mail>, Problem> {
        let mut whole = Vec::new();
        for summary in found {
            whole.extend(self.index.mail(summary.id).await?);
        }
        Ok(whole)
    }

    async fn why(&self, query: &query::Query, since: Option<Cursor>, found: &[MailSummary]) -> Result<Why, Problem> {
        let near_misses = self.near_misses(query, since, found).await?;
        let recipients: Vec<_> = query.recipients().map(str::to_owned).collect();
        let queue = self.waiting_for(&recipients).await;
        let refusals = self.refusals_of(&recipients, since).await?;
        let services = self.town.services();
        let unreachable = services.iter().filter(|service| service.state == FollowState::Unreachable);
        let unreachable: Vec<_> =
            unreachable.map(|service| format!("{} of {}", service.service, service.stack)).collect();
        let mut summary = Vec::new();
        let mut say = |number: usize, what: &str| {
            if number > 0 {
                summary.push(format!("{number} {what}"));
            }
        };
        say(found.len(), "messages match, which are fewer than were waited for");
        say(near_misses.len(), "messages nearly match, see near_misses");
        say(queue.len(), "recipients wait in a queue, see queue for the last reply and the next attempt");
        say(refusals.len(), "commands were refused, see refusals for the words");
        say(unreachable.len(), "services do not answer, see unreachable");
        if services.iter().any(|service| service.state == FollowState::RecordsNothing) {
            summary.push("some services keep no records of their sessions: what they refuse is not known".to_owned());
        }
        if summary.is_empty() {
            summary.push("no server of the town has seen such a message, nor an attempt to send one".to_owned());
        }
        let clock_stands_at = self.town_clock.is_virtual().then(|| self.town_clock.now());
        Ok(Why { summary, near_misses, queue, refusals, unreachable, clock_stands_at })
    }

    async fn near_misses(
        &self,
        query: &query::Query,
        since: Option<Cursor>,
        found: &[MailSummary],
    ) -> Result<Vec<NearMiss>, Problem> {
        let mut known: BTreeSet<_> = found.iter().map(|mail| (mail.stack.clone(), mail.id)).collect();
        let mut misses = Vec::new();
        let mut number = 0;
        let mut candidates =
            vec![(query.including_gone(), since, "it is in no maildrop and no queue any more".to_owned())];
        // Without its only word, a query matches all.
        while let Some((rest, left_out)) = query.without(number).filter(|(rest, _)| !rest.is_empty()) {
            candidates.push((rest, since, left_out));
            number += 1;
        }
        if since.is_some() {
            candidates.push((query.clone(), None, "since".to_owned()));
        }
        for (query, since, differs_in) in candidates {
            let page = SearchPage { since, ..SearchPage::first(NEAR) };
            for mail in self.index.search(&query, page).await?.mail {
                if known.insert((mail.stack.clone(), mail.id)) && misses.len() < TOLD {
                    misses.push(NearMiss { differs_in: differs_in.clone(), mail });
                }
            }
        }
        Ok(misses)
    }

    async fn waiting_for(&self, recipients: &[String]) -> Vec<WaitingMail> {
        let mut waiting = Vec::new();
        for store in self.town.stores() {
            // A store that does not answer is told of elsewhere.
            let reading = self.waiting_in(store, recipients, TOLD - waiting.len());
            waiting.extend(self.clock.io.timeout(SHORTEST, reading).await.unwrap_or_default());
        }
        waiting
    }

    /// Up to `most` entries of a store's queue.
    async fn waiting_in(&self, store: &FollowedStore, recipients: &[String], most: usize) -> Vec<WaitingMail> {
        let (mut waiting, mut after) = (Vec::new(), None::<String>);
        while waiting.len() < most
            && let Ok(page) = store.client.queue(after.as_deref()).await
        {
            let wanted = |entry: &QueueEntry| is_one_of(recipients, &entry.recipient.to_string());
            let entries = page.entries.into_iter().filter(wanted);
            waiting.extend(entries.map(|entry| WaitingMail { stack: store.stack.clone(), entry }));
            after = page.next_after;
            if after.is_none() {
                break;
            }
        }
        waiting.truncate(most);
        waiting
    }

    async fn refusals_of(&self, recipients: &[String], since: Option<Cursor>) -> Result<Vec<Refusal>, Problem> {
        let recent = self.clock.wall.now().saturating_sub(RECENT).unwrap_or(Timestamp::MIN);
        let since = since.map_or(recent, |since| since.at());
        let mut refusals = Vec::new();
        let everybody = [String::new()];
        for recipient in if recipients.is_empty() { &everybody } else { recipients } {
            refusals.extend(self.index.refusals(recipient, since, TOLD).await?);
        }
        refusals.truncate(TOLD);
        Ok(refusals)
    }
}

fn is_one_of(recipients: &[String], address: &str) -> bool {
    let address = address.to_lowercase();
    recipients.is_empty() || recipients.iter().any(|recipient| address.contains(recipient.as_str()))
}
