//! Accounts: each call goes to the store that has the mail domain.

use super::{
    App,
    extract::{Json, Path, Query},
    invalid,
    queue::problem,
};
use crate::follow::FollowedStore;
use axum::{Json as Answer, extract::State, http::StatusCode};
use internal_api::{AccountSummary, ApiError, NewAccount, Problem, ProblemKind, text};
use mail_proto::Mailbox;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

/// An account, and where it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(super) struct TownAccount {
    /// The server name of the stack.
    stack: String,
    /// The account.
    #[serde(flatten)]
    account: AccountSummary,
}

/// The answer to `GET /v1/accounts`: all accounts of the town, stack by stack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(super) struct TownAccounts {
    /// The accounts.
    items: Vec<TownAccount>,
    /// The stacks whose store does not answer: their accounts are not known.
    unreachable: Vec<String>,
}

/// Which accounts.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AccountsQuery {
    stack: Option<String>,
}

/// The routes of this module.
pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(list, add)).routes(routes!(remove))
}

/// The accounts of all stacks, by address.
#[utoipa::path(
    get, path = "/v1/accounts", operation_id = "list_accounts", tag = "accounts",
    params(("stack" = Option<String>, Query, description = "Only those of this server")),
    responses((status = 200, description = "The accounts", body = TownAccounts)),
)]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    Query(AccountsQuery { stack }): Query<AccountsQuery>,
) -> Answer<TownAccounts> {
    let mut all = TownAccounts { items: Vec::new(), unreachable: Vec::new() };
    for store in app.town.stores().iter().filter(|store| stack.as_ref().is_none_or(|it| *it == store.stack)) {
        match accounts(store).await {
            Ok(accounts) => all.items.extend(accounts),
            Err(_) => all.unreachable.push(store.stack.clone()),
        }
    }
    Answer(all)
}

async fn accounts(store: &FollowedStore) -> Result<Vec<TownAccount>, ApiError> {
    let (mut accounts, mut after) = (Vec::new(), Some(String::new()));
    while let Some(from) = after {
        let page = store.client.accounts(&from).await?;
        let of_stack = |account| TownAccount { stack: store.stack.clone(), account };
        accounts.extend(page.accounts.into_iter().map(of_stack));
        after = page.next_after;
    }
    Ok(accounts)
}

/// Adds an account, in effect at once.
#[utoipa::path(
    post, path = "/v1/accounts", operation_id = "add_account", tag = "accounts",
    request_body = NewAccount,
    responses(
        (status = 201, description = "Added"),
        (status = 404, description = "No server of the town has the mail domain of the address"),
        (status = 409, description = "There is such an account, in a store or in config.toml"),
    ),
)]
pub(super) async fn add(State(app): State<Arc<App>>, Json(account): Json<NewAccount>) -> Result<StatusCode, Problem> {
    let mut search = Search::default();
    for store in app.stores_for(&account.address) {
        if let Some(answer) = search.ended(store.client.add_account(&account).await) {
            return answer.map(|()| StatusCode::CREATED);
        }
    }
    Err(search.failed())
}

/// Removes an account and the messages in its maildrop.
#[utoipa::path(
    delete, path = "/v1/accounts/{address}", operation_id = "remove_account", tag = "accounts",
    params(("address" = text::Mailbox, Path)),
    responses(
        (status = 204, description = "Removed"),
        (status = 404, description = "No such account"),
        (status = 409, description = "The account stands in config.toml, or a session holds its maildrop"),
    ),
)]
pub(super) async fn remove(State(app): State<Arc<App>>, Path(address): Path<String>) -> Result<StatusCode, Problem> {
    let address: Mailbox = address.parse().map_err(|error| invalid(format!("address: {error}")))?;
    let mut search = Search::default();
    for store in app.stores_for(&address) {
        if let Some(answer) = search.ended(store.client.remove_account(&address).await) {
            return answer.map(|()| StatusCode::NO_CONTENT);
        }
    }
    Err(search.failed())
}

impl App {
    /// All stores, those first that had the mail domain of the address when the console was started.
    fn stores_for(&self, address: &Mailbox) -> Vec<&FollowedStore> {
        let domain = address.domain().to_string();
        let has_domain = |store: &FollowedStore| {
            let mut servers = self.mail_servers.iter().filter(|server| server.stack == store.stack);
            servers.any(|server| server.domains.iter().any(|own| own.eq_ignore_ascii_case(&domain)))
        };
        let mut stores: Vec<_> = self.town.stores().iter().collect();
        stores.sort_by_key(|store| !has_domain(store));
        stores
    }
}

/// What the stores have answered that do not have the address. Each store knows its own mail domains, also those that it has
/// got since the console was started.
#[derive(Default)]
struct Search {
    unknown: Option<ApiError>,
    silent: Option<ApiError>,
}

impl Search {
    /// Takes the answer of a store; returns it if it is the one that counts.
    fn ended(&mut self, answer: Result<(), ApiError>) -> Option<Result<(), Problem>> {
        match answer {
            Ok(()) => return Some(Ok(())),
            Err(error) => match error.kind() {
                Some(ProblemKind::DomainElsewhere) => {}
                Some(ProblemKind::MailboxUnknown) => self.unknown = self.unknown.take().or(Some(error)),
                Some(_) => return Some(Err(problem(error))),
                None => self.silent = self.silent.take().or(Some(error)),
            },
        }
        None
    }

    /// Why no answer counts.
    fn failed(self) -> Problem {
        let nowhere =
            || Problem::new(ProblemKind::DomainElsewhere, "no server of the town has the mail domain of the address");
        self.silent.or(self.unknown).map_or_else(nowhere, problem)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_has_the_address_decides() {
        let mut search = Search::default();
        let refused = |kind: ProblemKind| Err(ApiError::Problem(kind.into()));
        assert!(search.ended(refused(ProblemKind::DomainElsewhere)).is_none());
        assert!(search.ended(Ok(())).unwrap().is_ok());
        let exists = search.ended(refused(ProblemKind::AccountExists)).unwrap().unwrap_err();
        assert_eq!(exists.kind, ProblemKind::AccountExists);
        assert_eq!(search.failed().kind, ProblemKind::DomainElsewhere);
        let mut search = Search::default();
        for kind in [ProblemKind::MailboxUnknown, ProblemKind::DomainElsewhere] {
            assert!(search.ended(refused(kind)).is_none());
        }
        assert_eq!(search.failed().kind, ProblemKind::MailboxUnknown);
    }
}
