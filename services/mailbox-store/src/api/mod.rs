//! The HTTP API: `internal_api` over a store. Each module uses the part of the store that it needs.

mod accounts;
mod addresses;
mod batches;
mod events;
mod extract;
mod faulted;
mod frames;
mod holds;
mod listing;
mod logins;
mod mailboxes;
mod messages;
mod openapi;
mod queue;
mod queued;
mod raw;
mod sessions;
mod snapshots;
mod transactions;

pub(crate) use events::EVENT_STREAMS;
pub(crate) use faulted::go_wrong;

use crate::{
    admission::Admission,
    logins::Logins,
    metrics::Metrics,
    store::{Accounts, Events, Maildrops, MessageStream, Messages, Queue, Snapshots, StoreError, Submitted},
    throttle::LoginDelays,
};
use axum::{Router, extract::DefaultBodyLimit};
use internal_api::{Problem, ProblemKind, Submission};
use mail_net::Clock;
use mail_proto::Mailbox;
use service_kit::shutdown::CancellationToken;
use std::{ops::RangeInclusive, sync::Arc, time::Duration};
use tokio::sync::Semaphore;
use town_config::{Auth, LEASE_SECONDS, LiveStack};
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;

/// The largest body, except of routes that say otherwise.
const JSON_OCTETS: usize = 64 * 1024;

/// The most that gateways add to a message.
const TRACE_OCTETS: u64 = 64 * 1024;

/// What the handlers share.
pub(crate) struct Api {
    pub(crate) accounts: Arc<dyn Accounts>,
    pub(crate) messages: Arc<dyn Messages>,
    pub(crate) events: Arc<dyn Events>,
    pub(crate) maildrops: Arc<dyn Maildrops>,
    pub(crate) queue: Arc<dyn Queue>,
    pub(crate) snapshots: Arc<dyn Snapshots>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) logins: Logins,
    pub(crate) login_delays: LoginDelays,
    pub(crate) metrics: Metrics,
    /// As many callers may stream events at once.
    pub(crate) event_streams: Arc<Semaphore>,
    pub(crate) stack: LiveStack,
    pub(crate) clock: Clock,
    /// Ends those who wait.
    pub(crate) shutdown: CancellationToken,
}

impl Api {
    /// The largest message that is taken in. The trace headers that gateways add do not count against the limit (RFC 5321 §4.4).
    fn message_octets(&self) -> u64 {
        self.stack.current().limits.message_octets.saturating_add(TRACE_OCTETS)
    }

    /// Whether no password is asked for.
    fn takes_every_login(&self) -> bool {
        self.stack.current().auth == Auth::Any
    }

    /// Stores a message. With `accept = "any"`, whoever is named in its envelope has a mailbox before.
    async fn submit(&self, submission: Submission, message: MessageStream) -> Result<Submitted, StoreError> {
        let recipients = submission.recipients.iter().map(|recipient| &recipient.mailbox);
        self.admission.admit(recipients.chain(submission.reverse_path.mailbox())).await?;
        self.messages.submit(submission, message).await
    }

    /// The mailbox of a path, as its account is spelled. What is no address is nobody's mailbox.
    async fn mailbox(&self, address: &str) -> Result<Mailbox, Problem> {
        Ok(self.spelled(address_of_path(address)?).await?)
    }

    /// As [`Api::mailbox`], for an account that is changed: an address with a detail does not mean the one without it.
    async fn very_account(&self, address: &str) -> Result<Mailbox, Problem> {
        let address = address_of_path(address)?;
        let account = self.spelled(address.clone()).await?;
        Ok(if self.stack.current().address_rules.are_same(&account, &address) { account } else { address })
    }

    /// The same address as the account that it means is spelled; itself, if there is no such account.
    async fn spelled(&self, address: Mailbox) -> Result<Mailbox, StoreError> {
        if self.stack.current().address_rules.are_exact() {
            return Ok(address);
        }
        Ok(self.accounts.account(&address).await?.unwrap_or(address))
    }

    /// The mailbox that a user means who logs in by this name, as its account is spelled.
    async fn mailbox_of_user(&self, name: &str) -> Result<Option<Mailbox>, StoreError> {
        match self.stack.current().mailbox_of_user(name) {
            Some(address) => self.spelled(address).await.map(Some),
            None => Ok(None),
        }
    }

    /// What a caller is told. One who asked the store of another server learns which mail domains this one has.
    fn problem(&self, error: StoreError) -> Problem {
        if error != StoreError::MailboxUnknown {
            return error.into();
        }
        let domains = self.stack.current().local_domains();
        Problem::new(error.kind(), format!("this store has the mail domains: {domains}"))
    }
}

/// All routes, and their description for machines. Each module has the routes of one noun; a handler's attribute has its
/// method and path, so that no route is without a description.
pub(crate) fn routes(api: Arc<Api>) -> (Router, OpenApi) {
    let routes = OpenApiRouter::with_openapi(openapi::frame())
        .merge(accounts::routes())
        .merge(addresses::routes())
        .merge(mailboxes::routes())
        .merge(sessions::routes())
        .merge(logins::routes())
        .merge(messages::routes())
        .merge(batches::routes())
        .merge(events::routes())
        .merge(transactions::routes())
        .merge(queue::routes())
        .merge(queued::routes())
        .merge(holds::routes())
        .merge(snapshots::routes())
        .layer(DefaultBodyLimit::max(JSON_OCTETS))
        .with_state(api);
    let (router, description) = routes.split_for_parts();
    (router, openapi::complete(description))
}

fn lease(seconds: u32) -> Result<Duration, Problem> {
    within("lease_seconds", seconds, LEASE_SECONDS).map(|seconds| Duration::from_secs(u64::from(seconds)))
}

fn within(name: &str, value: u32, range: RangeInclusive<u32>) -> Result<u32, Problem> {
    if range.contains(&value) {
        return Ok(value);
    }
    let (least, most) = range.into_inner();
    Err(Problem::new(ProblemKind::InvalidRequest, format!("{name} is {value}; give {least} to {most}")))
}

fn address_of_path(address: &str) -> Result<Mailbox, Problem> {
    address.parse().map_err(|error| Problem::new(ProblemKind::MailboxUnknown, format!("{error}")))
}
