//! Mailboxes, for people and for the gateways' checks.

use super::{
    Api,
    extract::{PageQuery, Path, Query, invalid, message},
};
use crate::store::StoredMessage;
use axum::{
    Json,
    extract::State,
    http::{HeaderName, header},
};
use bytes::{Bytes, BytesMut};
use internal_api::{
    DELIVERED_AT_ONCE, DELIVERED_MEDIA_TYPE, DeliveredHead, MailboxPage, MailboxSummary, MaildropPage, MessageId,
    Problem, frame, text,
};
use serde::Deserialize;
use std::sync::Arc;
use utoipa_axum::{router::OpenApiRouter, routes};

/// More than a [`DeliveredHead`] as a line of JSON needs.
const DELIVERED_HEAD_OCTETS: usize = 64;

/// The routes of this module.
pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(show))
        .routes(routes!(messages))
        .routes(routes!(raw))
        .routes(routes!(several))
}

/// The mailboxes here, by address.
#[utoipa::path(
    get, path = "/v1/mailboxes", operation_id = "list_mailboxes", tag = "mailboxes",
    params(
        ("after" = Option<String>, Query, description = "The last page's next_after"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "1000 unless given"),
    ),
    responses((status = 200, description = "A page of mailboxes", body = MailboxPage, links(
        ("mailbox" = (operation_id = "show_mailbox", parameters(("address" = "$response.body#/mailboxes/0/address")))),
        ("maildrop" = (operation_id = "list_maildrop", parameters(("address" = "$response.body#/mailboxes/0/address")))),
    ))),
)]
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    Query(page): Query<PageQuery>,
) -> Result<Json<MailboxPage>, Problem> {
    Ok(Json(api.accounts.mailboxes(page.after().unwrap_or_default(), page.limit()?).await?))
}

/// Whether there is such a mailbox, and how full it is.
#[utoipa::path(
    get, path = "/v1/mailboxes/{address}", operation_id = "show_mailbox", tag = "mailboxes",
    params(("address" = text::Mailbox, Path)),
    responses(
        (status = 200, description = "There is", body = MailboxSummary),
        (status = 404, description = "There is not"),
    ),
)]
pub(super) async fn show(
    State(api): State<Arc<Api>>,
    Path(address): Path<String>,
) -> Result<Json<MailboxSummary>, Problem> {
    Ok(Json(api.accounts.mailbox(&api.mailbox(&address).await?).await.map_err(|error| api.problem(error))?))
}

/// The messages in a maildrop, in order of arrival: what POP3 lists.
#[utoipa::path(
    get, path = "/v1/mailboxes/{address}/messages", operation_id = "list_maildrop", tag = "mailboxes",
    params(
        ("address" = text::Mailbox, Path),
        ("after" = Option<MessageId>, Query, description = "The last page's next_after"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "1000 unless given"),
    ),
    responses(
        (status = 200, description = "A page of messages", body = MaildropPage, links(("raw" = (
            operation_id = "read_delivered",
            parameters(("address" = "$request.path.address"), ("id" = "$response.body#/messages/0/id")),
        )))),
        (status = 404, description = "No such mailbox"),
    ),
)]
pub(super) async fn messages(
    State(api): State<Arc<Api>>,
    Path(address): Path<String>,
    Query(page): Query<PageQuery>,
) -> Result<Json<MaildropPage>, Problem> {
    let address = api.mailbox(&address).await?;
    let page = api.maildrops.maildrop(&address, page.after_message()?, page.limit()?).await;
    Ok(Json(page.map_err(|error| api.problem(error))?))
}

/// A message as the reader of this maildrop gets it.
#[utoipa::path(
    get, path = "/v1/mailboxes/{address}/messages/{id}/raw", operation_id = "read_delivered", tag = "mailboxes",
    params(("address" = text::Mailbox, Path), ("id" = MessageId, Path)),
    responses(
        (status = 200, description = "The message", body = text::Octets, content_type = "message/rfc822"),
        (status = 404, description = "No such mailbox, or no such message in it"),
        (status = 500, description = "The message is damaged"),
    ),
)]
pub(super) async fn raw(
    State(api): State<Arc<Api>>,
    Path((address, id)): Path<(String, String)>,
) -> Result<StoredMessage, Problem> {
    let raw = api.maildrops.delivered_raw(&api.mailbox(&address).await?, message(&id)?).await;
    raw.map_err(|error| api.problem(error))
}

/// Several messages as the reader of this maildrop gets them, in the order asked for, up to the first that is long or
/// cannot be read: ask for that one alone.
#[utoipa::path(
    get, path = "/v1/mailboxes/{address}/raw", operation_id = "read_several", tag = "mailboxes",
    params(
        ("address" = text::Mailbox, Path),
        ("ids" = Option<String>, Query, description = "The messages' ids, commas between them, 64 at most"),
    ),
    responses(
        (status = 200, description = "The messages, each after a DeliveredHead as one line of JSON",
            body = text::Octets, content_type = "application/vnd.mailtown.delivered"),
        (status = 404, description = "No such mailbox"),
    ),
)]
pub(super) async fn several(
    State(api): State<Arc<Api>>,
    Path(address): Path<String>,
    Query(wanted): Query<Several>,
) -> Result<([(HeaderName, &'static str); 1], Bytes), Problem> {
    let ids = wanted.ids.split(',').filter(|id| !id.is_empty()).map(message).collect::<Result<Vec<_>, _>>()?;
    if ids.len() > DELIVERED_AT_ONCE {
        return Err(invalid(format!("ids names {} messages; name {DELIVERED_AT_ONCE} at most", ids.len())));
    }
    let address = api.mailbox(&address).await?;
    let found = api.maildrops.delivered_inline(&address, ids).await.map_err(|error| api.problem(error))?;
    let octets = found.iter().map(|(_, octets)| octets.len() + DELIVERED_HEAD_OCTETS).sum();
    let mut body = BytesMut::with_capacity(octets);
    for (id, octets) in found {
        body.extend_from_slice(&frame(&DeliveredHead { id, octets: octets.len() as u64 }));
        body.extend_from_slice(&octets);
    }
    Ok(([(header::CONTENT_TYPE, DELIVERED_MEDIA_TYPE)], body.freeze()))
}

/// Which messages are asked for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Several {
    #[serde(default)]
    ids: String,
}
