//! Marking and deleting messages.

use super::{Failure, ListQuery, body::Wanted, ok, strict_query};
use crate::{api::App, query::Query};
use axum::{
    body::Bytes,
    extract::{Query as UrlQuery, State},
    http::HeaderMap,
    response::Response,
};
use std::sync::Arc;

/// Marks these messages as read or unread; without ids or a search, all.
pub(super) async fn set_read(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Failure> {
    let wanted = Wanted::read(&headers, &body).map_err(Failure::Bad)?;
    let (named, search) = (wanted.names_messages(), wanted.search.as_deref().unwrap_or_default().trim());
    let read = wanted.read.unwrap_or(false);
    if named && !search.is_empty() {
        return Err(Failure::Bad("You may specify either IDs or a search query, not both".to_owned()));
    }
    if named {
        app.index.set_read(wanted.messages(), read).await?;
        return Ok(ok());
    }
    let query = if search.is_empty() { Query::default() } else { strict_query(search)? };
    app.caught_up().await;
    app.index.set_all_read(&query, read).await?;
    Ok(ok())
}

/// Deletes these messages; without ids, all.
pub(super) async fn delete(State(app): State<Arc<App>>, headers: HeaderMap, body: Bytes) -> Result<Response, Failure> {
    let wanted = Wanted::read(&headers, &body).map_err(Failure::Bad)?;
    if wanted.ids.is_none() && wanted != Wanted::default() {
        return Err(Failure::Bad("the body names no IDs; send no body to delete all messages".to_owned()));
    }
    if !wanted.names_messages() {
        return deleted(&app, &Query::default()).await;
    }
    let places = app.index.places_of(wanted.messages()).await?;
    done(app.delete(places).await?)
}

/// Deletes the messages that match.
pub(super) async fn delete_search(
    State(app): State<Arc<App>>,
    UrlQuery(list): UrlQuery<ListQuery>,
) -> Result<Response, Failure> {
    deleted(&app, &strict_query(&list.query)?).await
}

async fn deleted(app: &App, query: &Query) -> Result<Response, Failure> {
    app.caught_up().await;
    done(app.delete(app.places(query).await?).await?)
}

fn done(deletion: crate::deletion::Deletion) -> Result<Response, Failure> {
    match deletion.not_deleted.first() {
        None => Ok(ok()),
        Some(failed) => Err(Failure::Bad(format!("{}: {}", failed.id, failed.reason))),
    }
}
