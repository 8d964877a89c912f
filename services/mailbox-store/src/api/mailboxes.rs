//! Mailboxes, for people and for the gateways' checks.

use super::{
    Api,
    extract::{PageQuery, Path, Query, mailbox, message},
};
use crate::store::StoredMessage;
use axum::{Json, extract::State};
use mail_api::{MailboxPage, MailboxSummary, MaildropPage, Problem};
use std::sync::Arc;

/// The mailboxes here, by address.
#[utoipa::path(
    get, path = "/v1/mailboxes", tag = "mailboxes",
    params(
        ("after" = Option<String>, Query, description = "The last page's next_after"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "1000 unless given"),
    ),
    responses((status = 200, body = MailboxPage)),
)]
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    Query(page): Query<PageQuery>,
) -> Result<Json<MailboxPage>, Problem> {
    Ok(Json(api.store.mailboxes(page.after().unwrap_or_default(), page.limit()?).await?))
}

/// Whether there is such a mailbox, and how full it is.
#[utoipa::path(
    get, path = "/v1/mailboxes/{address}", tag = "mailboxes",
    params(("address" = String, Path, example = "usr1@mail.sustech.edu.cn")),
    responses((status = 200, body = MailboxSummary)),
)]
pub(super) async fn show(
    State(api): State<Arc<Api>>,
    Path(address): Path<String>,
) -> Result<Json<MailboxSummary>, Problem> {
    Ok(Json(api.store.mailbox(&mailbox(&address)?).await?))
}

/// The messages in a maildrop, in order of arrival: what POP3 lists.
#[utoipa::path(
    get, path = "/v1/mailboxes/{address}/messages", tag = "mailboxes",
    params(
        ("address" = String, Path, example = "usr1@mail.sustech.edu.cn"),
        ("after" = Option<String>, Query, description = "The last page's next_after", pattern = "^[0-9a-f][0-9a-hjkmnp-tv-z]{12}$"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "1000 unless given"),
    ),
    responses((status = 200, body = MaildropPage)),
)]
pub(super) async fn messages(
    State(api): State<Arc<Api>>,
    Path(address): Path<String>,
    Query(page): Query<PageQuery>,
) -> Result<Json<MaildropPage>, Problem> {
    let address = mailbox(&address)?;
    Ok(Json(api.store.maildrop(&address, page.after_message()?, page.limit()?).await?))
}

/// A message as the reader of this maildrop gets it.
#[utoipa::path(
    get, path = "/v1/mailboxes/{address}/messages/{id}/raw", tag = "mailboxes",
    params(("address" = String, Path), ("id" = String, Path, example = "06gk2w1s8n4qz")),
    responses((status = 200, body = Vec<u8>, content_type = "message/rfc822")),
)]
pub(super) async fn raw(
    State(api): State<Arc<Api>>,
    Path((address, id)): Path<(String, String)>,
) -> Result<StoredMessage, Problem> {
    Ok(api.store.delivered_raw(&mailbox(&address)?, message(&id)?).await?)
}
