//! Mailpit's API (1.x), as far as its clients use it. Field names are Mailpit's.

mod body;
mod chaos;
mod model;
mod read;

use crate::{
    api::{App, content},
    index::SearchPage,
    model::{Mail, MailSummary},
    pages::hostile::{self, RemoteImages},
    query::Query,
};
use axum::{
    Json, Router,
    extract::{Path, Query as UrlQuery, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use internal_api::{MessageId, Problem};
use model::{Info, Message, Messages, Runtime, Summary};
use serde::Deserialize;
use std::{collections::BTreeMap, sync::Arc};

/// How many messages a page has unless asked otherwise.
const PAGE: usize = 50;
/// How many it has at most, however many are asked for.
const MOST: usize = 100_000;
/// The id that means the newest message.
const LATEST: &str = "latest";
/// The largest body of a request, in octets: the ids of a hundred thousand messages.
const BODY_OCTETS: usize = 4 * 1024 * 1024;

/// The routes under `/api/v1` and `/view`.
pub(crate) fn routes(app: Arc<App>) -> Router {
    Router::new()
        .route("/api/v1/info", get(info))
        .route("/api/v1/messages", get(messages).put(read::set_read).delete(read::delete))
        .route("/api/v1/search", get(search).delete(read::delete_search))
        .route("/api/v1/message/{id}", get(message))
        .route("/api/v1/message/{id}/headers", get(headers))
        .route("/api/v1/message/{id}/raw", get(raw))
        .route("/api/v1/message/{id}/part/{part}", get(part))
        .route("/api/v1/chaos", get(chaos::read).put(chaos::set))
        .route("/view/{file}", get(view))
        .layer(axum::extract::DefaultBodyLimit::max(BODY_OCTETS))
        .with_state(app)
}

/// What went wrong, as text: Mailpit has no other form for it.
pub(super) enum Failure {
    /// The request cannot be meant.
    Bad(String),
    /// There is no such message.
    NotFound,
    /// The console or a store failed.
    Problem(Problem),
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        if problem.status == StatusCode::NOT_FOUND.as_u16() { Self::NotFound } else { Self::Problem(problem) }
    }
}

impl From<crate::index::IndexError> for Failure {
    fn from(error: crate::index::IndexError) -> Self {
        Self::Problem(error.into())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (status, text) = match self {
            Self::Bad(text) => (StatusCode::BAD_REQUEST, text),
            Self::NotFound => (StatusCode::NOT_FOUND, "Message not found".to_owned()),
            Self::Problem(problem) => {
                let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                (status, problem.to_string())
            }
        };
        (status, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response()
    }
}

/// The part of a list that is wanted. Numbers that are none are ignored.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ListQuery {
    query: String,
    start: Option<String>,
    limit: Option<String>,
}

impl ListQuery {
    fn page(&self) -> SearchPage {
        let number = |text: &Option<String>| text.as_deref().and_then(|text| text.trim().parse::<usize>().ok());
        let limit = number(&self.limit).unwrap_or(PAGE).min(MOST);
        SearchPage { offset: number(&self.start).unwrap_or(0), ..SearchPage::first(limit) }
    }
}

/// The query of a search; an empty one is an error.
fn search_query(text: &str) -> Result<Query, Failure> {
    match text.trim() {
        "" => Err(Failure::Bad("Error: no search query".to_owned())),
        text => Ok(Query::lenient(text)),
    }
}

/// The query of a change. It is read word by word: Mailpit's way, to ignore what is wrong, would change more than is meant.
pub(super) fn strict_query(text: &str) -> Result<Query, Failure> {
    match Query::parse(text) {
        Ok(query) if !query.is_empty() => Ok(query),
        Ok(_) => Err(Failure::Bad("Error: no search query".to_owned())),
        Err(error) => Err(Failure::Bad(format!("query: {error}"))),
    }
}

async fn messages(State(app): State<Arc<App>>, UrlQuery(list): UrlQuery<ListQuery>) -> Result<Json<Messages>, Failure> {
    listed(&app, &Query::default(), &list).await
}

async fn search(State(app): State<Arc<App>>, UrlQuery(list): UrlQuery<ListQuery>) -> Result<Json<Messages>, Failure> {
    listed(&app, &search_query(&list.query)?, &list).await
}

async fn listed(app: &App, query: &Query, list: &ListQuery) -> Result<Json<Messages>, Failure> {
    app.caught_up().await;
    let page = list.page();
    let found = app.index.search(query, page).await?.mail;
    let (total, unread) = app.index.count(&Query::default(), None).await?;
    let (matching, matching_unread) =
        if query.is_empty() { (total, unread) } else { app.index.count(query, None).await? };
    Ok(Json(Messages {
        total,
        unread,
        count: found.len() as u64,
        messages_count: matching,
        messages_unread: matching_unread,
        start: page.offset as u64,
        tags: Vec::new(),
        messages: found.into_iter().map(Summary::from).collect(),
    }))
}

/// The message of a path. `latest` is the newest one, with `?query=` the newest that matches.
async fn found(app: &App, id: &str, list: &ListQuery) -> Result<Mail, Failure> {
    if id == LATEST {
        app.caught_up().await;
        let newest: Option<MailSummary> = app.index.latest(&Query::lenient(&list.query)).await?;
        return Ok(app.mail(newest.ok_or(Failure::NotFound)?.id).await?);
    }
    let id: MessageId = id.parse().map_err(|_| Failure::NotFound)?;
    Ok(app.mail(id).await?)
}

/// Reading a message marks it as read, as Mailpit does. The page of another site cannot read it, and marks nothing.
async fn message(
    State(app): State<Arc<App>>,
    asked: HeaderMap,
    Path(id): Path<String>,
    UrlQuery(list): UrlQuery<ListQuery>,
) -> Result<Json<Message>, Failure> {
    let mail = found(&app, &id, &list).await?;
    if !mail.summary.read && is_from_here(&asked) {
        app.index.set_read(vec![mail.summary.id], true).await?;
    }
    Ok(Json(Message::from(app.whole_text(mail).await?)))
}

/// Whether no page of another site or origin has made a request.
fn is_from_here(headers: &HeaderMap) -> bool {
    let mut sites = headers.get_all("sec-fetch-site").iter();
    sites.all(|site| site == "same-origin" || site == "none")
}

async fn headers(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    UrlQuery(list): UrlQuery<ListQuery>,
) -> Result<Json<BTreeMap<String, Vec<String>>>, Failure> {
    let mail = found(&app, &id, &list).await?;
    let mut fields = BTreeMap::<_, Vec<_>>::new();
    for field in mail.headers {
        fields.entry(model::canonical_name(&field.name)).or_default().push(field.value);
    }
    Ok(Json(fields))
}

async fn raw(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    UrlQuery(list): UrlQuery<ListQuery>,
) -> Result<Response, Failure> {
    let id = found(&app, &id, &list).await?.summary.id;
    let source = app.source(id).await?;
    Ok(content::safe("text/plain; charset=utf-8", format!("inline; filename=\"{id}.eml\""), source))
}

async fn part(
    State(app): State<Arc<App>>,
    Path((id, part)): Path<(String, String)>,
    UrlQuery(list): UrlQuery<ListQuery>,
) -> Result<Response, Failure> {
    let id = found(&app, &id, &list).await?.summary.id;
    Ok(app.part(&id.to_string(), &part).await?)
}

/// `/view/latest.html`, `/view/{id}.html` and `.txt`: only the message, for a browser under test.
async fn view(
    State(app): State<Arc<App>>,
    Path(file): Path<String>,
    UrlQuery(list): UrlQuery<ListQuery>,
) -> Result<Response, Failure> {
    let (id, kind) = file.rsplit_once('.').unwrap_or((&file, ""));
    let mail = app.whole_text(found(&app, id, &list).await?).await?;
    match kind {
        "html" if mail.html.is_empty() => Err(Failure::Bad("This message does not contain a HTML part".to_owned())),
        "html" | "" => Ok(hostile::view(&mail, RemoteImages::Off)),
        "txt" => Ok(content::safe("text/plain; charset=utf-8", "inline".to_owned(), mail.text.into_bytes())),
        _ => Err(Failure::NotFound),
    }
}

async fn info(State(app): State<Arc<App>>) -> Result<Json<Info>, Failure> {
    app.caught_up().await;
    let (messages, unread) = app.index.count(&Query::default(), None).await?;
    let version = format!("mailtown {}", env!("CARGO_PKG_VERSION"));
    Ok(Json(Info {
        version: version.clone(),
        latest_version: version,
        database: "memory".to_owned(),
        database_size: 0,
        messages,
        unread,
        tags: BTreeMap::new(),
        runtime_stats: Runtime { uptime: app.uptime().as_secs(), ..Runtime::default() },
    }))
}

/// What Mailpit says when all went well.
pub(super) fn ok() -> Response {
    ([(header::CONTENT_TYPE, "text/plain")], "ok").into_response()
}

#[cfg(test)]
mod tests;
