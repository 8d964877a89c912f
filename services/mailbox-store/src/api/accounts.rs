//! Accounts, for `mailtown accounts` and for people.

use super::{
    Api,
    extract::{Json, PageQuery, Path, Query},
};
use crate::account_changes::is_configured;
use axum::{extract::State, http::StatusCode};
use internal_api::{AccountChange, AccountPage, AccountSource, NewAccount, Problem, text};
use std::sync::Arc;
use utoipa_axum::{router::OpenApiRouter, routes};

/// The routes of this module.
pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(list, add)).routes(routes!(change, remove))
}

/// The accounts here, by address.
#[utoipa::path(
    get, path = "/v1/accounts", operation_id = "list_accounts", tag = "accounts",
    params(
        ("after" = Option<String>, Query, description = "The last page's next_after"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "1000 unless given"),
    ),
    responses((status = 200, description = "A page of accounts", body = AccountPage)),
)]
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    Query(page): Query<PageQuery>,
) -> Result<axum::Json<AccountPage>, Problem> {
    let mut page = api.accounts.accounts(page.after().unwrap_or_default(), page.limit()?).await?;
    let stack = api.stack.current();
    for account in &mut page.accounts {
        if is_configured(&stack, &account.address) {
            account.source = AccountSource::Config;
        }
    }
    Ok(axum::Json(page))
}

/// Adds an account, in effect at once on every gateway.
#[utoipa::path(
    post, path = "/v1/accounts", operation_id = "add_account", tag = "accounts",
    request_body = NewAccount,
    responses(
        (status = 201, description = "Added", links(
            ("change" = (operation_id = "change_account", parameters(("address" = "$request.body#/address")))),
            ("remove" = (operation_id = "remove_account", parameters(("address" = "$request.body#/address")))),
        )),
        (status = 404, description = "The mail domain of the address is not here"),
        (status = 409, description = "There is such an account, here or in config.toml"),
    ),
)]
pub(super) async fn add(
    State(api): State<Arc<Api>>,
    Json(NewAccount { address, password }): Json<NewAccount>,
) -> Result<StatusCode, Problem> {
    api.logins.accounts().add(&api.stack.current(), address, password).await?;
    Ok(StatusCode::CREATED)
}

/// Replaces the password of an account, disables it, or enables it again. The next login is checked by it.
#[utoipa::path(
    patch, path = "/v1/accounts/{address}", operation_id = "change_account", tag = "accounts",
    params(("address" = text::Mailbox, Path)),
    request_body = AccountChange,
    responses(
        (status = 204, description = "Changed"),
        (status = 404, description = "No such account"),
        (status = 409, description = "The account stands in config.toml; change it there"),
    ),
)]
pub(super) async fn change(
    State(api): State<Arc<Api>>,
    Path(address): Path<String>,
    Json(AccountChange { password, enabled }): Json<AccountChange>,
) -> Result<StatusCode, Problem> {
    let (address, stack) = (api.very_account(&address).await?, api.stack.current());
    if let Some(password) = password {
        api.logins.accounts().change_password(&stack, &address, password).await.map_err(|error| api.problem(error))?;
    }
    if let Some(enabled) = enabled {
        api.logins.accounts().enable(&stack, &address, enabled).await.map_err(|error| api.problem(error))?;
    }
    Ok(StatusCode::NO_CONTENT)
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
pub(super) async fn remove(State(api): State<Arc<Api>>, Path(address): Path<String>) -> Result<StatusCode, Problem> {
    let address = api.very_account(&address).await?;
    let removed = api.logins.accounts().remove(&api.stack.current(), &address).await;
    removed.map_err(|error| api.problem(error))?;
    Ok(StatusCode::NO_CONTENT)
}
