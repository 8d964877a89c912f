//! What is in a message: source, text, HTML and parts.

use super::{
    App,
    extract::{Path, message},
};
use crate::{follow, message as parsed};
use axum::{
    body::Body,
    extract::State,
    http::{HeaderName, HeaderValue, header},
    response::{IntoResponse, Response},
};
use futures_util::stream;
use internal_api::{ApiError, MessageId, Problem, ProblemKind};
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use utoipa_axum::{router::OpenApiRouter, routes};

/// The longest message that is taken apart, in octets.
const MOST_OCTETS: usize = 64 * 1024 * 1024;
/// How much memory there is for messages that are taken apart, in KiB.
const ROOM_KIB: u32 = 64 * 1024 + 1;
/// HTML of a message is hostile: it runs nothing, and fetches nothing.
pub(crate) const HOSTILE: &str =
    "sandbox; default-src 'none'; img-src 'self' data:; style-src 'unsafe-inline'; form-action 'none'; base-uri 'none'";
/// What a browser may show by itself. All else is downloaded.
const SHOWN: [&str; 5] = ["image/png", "image/jpeg", "image/gif", "image/webp", "text/plain"];

/// The routes of this module.
pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(raw)).routes(routes!(text)).routes(routes!(html)).routes(routes!(part))
}

/// A message as its store has received it.
#[utoipa::path(
    get, path = "/v1/mail/{id}/raw", operation_id = "read_mail", tag = "mail",
    params(("id" = MessageId, Path)),
    responses(
        (status = 200, description = "The message", body = String, content_type = "message/rfc822"),
        (status = 404, description = "The console knows no such message, or its store has it no more"),
    ),
)]
pub(super) async fn raw(State(app): State<Arc<App>>, Path(id): Path<String>) -> Result<Response, Problem> {
    let source = app.source(message(&id)?).await?;
    Ok(safe("message/rfc822", format!("attachment; filename=\"{id}.eml\""), source))
}

/// The text of a message; without a text, what the HTML says.
#[utoipa::path(
    get, path = "/v1/mail/{id}/text", operation_id = "read_mail_text", tag = "mail",
    params(("id" = MessageId, Path)),
    responses(
        (status = 200, description = "The text", body = String, content_type = "text/plain"),
        (status = 404, description = "The console knows no such message"),
    ),
)]
pub(super) async fn text(State(app): State<Arc<App>>, Path(id): Path<String>) -> Result<Response, Problem> {
    let mail = app.whole_text(app.mail(message(&id)?).await?).await?;
    Ok(safe("text/plain; charset=utf-8", "inline".to_owned(), mail.text.into_bytes()))
}

/// The HTML of a message, with headers that let a browser run nothing of it.
#[utoipa::path(
    get, path = "/v1/mail/{id}/html", operation_id = "read_mail_html", tag = "mail",
    params(("id" = MessageId, Path)),
    responses(
        (status = 200, description = "The HTML", body = String, content_type = "text/html"),
        (status = 404, description = "The console knows no such message, or it has no HTML"),
    ),
)]
pub(super) async fn html(State(app): State<Arc<App>>, Path(id): Path<String>) -> Result<Response, Problem> {
    let mail = app.whole_text(app.mail(message(&id)?).await?).await?;
    if mail.html.is_empty() {
        return Err(Problem::new(ProblemKind::NotFound, "the message has no HTML"));
    }
    Ok(safe("text/html; charset=utf-8", "inline".to_owned(), mail.html.into_bytes()))
}

/// A part of a message, decoded.
#[utoipa::path(
    get, path = "/v1/mail/{id}/parts/{number}", operation_id = "read_mail_part", tag = "mail",
    params(("id" = MessageId, Path), ("number" = usize, Path)),
    responses(
        (status = 200, description = "Its octets", body = String, content_type = "application/octet-stream"),
        (status = 404, description = "No such message or part, or its store has the message no more"),
        (status = 413, description = "The message is too long to be taken apart; read its source"),
    ),
)]
pub(super) async fn part(
    State(app): State<Arc<App>>,
    Path((id, number)): Path<(String, String)>,
) -> Result<Response, Problem> {
    app.part(&id, &number).await
}

/// The memory for messages that are taken apart.
pub(crate) fn room() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(ROOM_KIB as usize))
}

impl App {
    /// A message with all that is in it.
    pub(crate) async fn mail(&self, id: MessageId) -> Result<crate::model::Mail, Problem> {
        match self.index.mail(id).await? {
            Some(mail) => Ok(mail),
            None => {
                // It may have come a moment ago.
                self.caught_up().await;
                self.index.mail(id).await?.ok_or_else(|| ProblemKind::MessageUnknown.into())
            }
        }
    }

    /// A message as its store has received it.
    pub(crate) async fn raw(&self, id: MessageId) -> Result<Vec<u8>, Problem> {
        self.in_memory(id).await.map(|(raw, _)| raw)
    }

    /// A message as its store has received it, octet by octet: it may be longer than what there is memory for.
    pub(crate) async fn source(&self, id: MessageId) -> Result<Body, Problem> {
        let stack = self.mail(id).await?.summary.stack;
        let unknown = || Problem::from(ProblemKind::MessageUnknown);
        let store = self.town.store(&stack).ok_or_else(unknown)?;
        let arriving = store.client.message(id).await.map_err(problem)?;
        let octets = stream::try_unfold(arriving, async |mut arriving| {
            Ok::<_, ApiError>(arriving.chunk().await?.map(|chunk| (chunk, arriving)))
        });
        Ok(Body::from_stream(octets))
    }

    /// A message, and the room in memory that it has until the permit is dropped.
    async fn in_memory(&self, id: MessageId) -> Result<(Vec<u8>, OwnedSemaphorePermit), Problem> {
        let mail = self.mail(id).await?.summary;
        let octets = usize::try_from(mail.octets).unwrap_or(usize::MAX);
        if octets > MOST_OCTETS {
            let detail = format!("it has {octets} octets; read its source with /v1/mail/{id}/raw");
            return Err(Problem::new(ProblemKind::MessageTooLarge, detail));
        }
        let unknown = || Problem::from(ProblemKind::MessageUnknown);
        let store = self.town.store(&mail.stack).ok_or_else(unknown)?;
        let kib = u32::try_from(octets / 1024 + 1).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room).acquire_many_owned(kib.min(ROOM_KIB)).await;
        let room = room.map_err(|_| Problem::from(ProblemKind::Internal))?;
        Ok((follow::raw(&store.client, id, MOST_OCTETS).await.map_err(problem)?, room))
    }

    /// The message with its whole text and HTML, where the index has only their beginning.
    pub(crate) async fn whole_text(&self, mut mail: crate::model::Mail) -> Result<crate::model::Mail, Problem> {
        if !mail.truncated {
            return Ok(mail);
        }
        let (raw, room) = self.in_memory(mail.summary.id).await?;
        let texts = tokio::task::spawn_blocking(move || (parsed::texts(&raw), room).0).await;
        (mail.text, mail.html) = texts.map_err(|_| Problem::from(ProblemKind::Internal))?;
        Ok(mail)
    }

    /// A part of a message, as a response.
    pub(crate) async fn part(&self, id: &str, number: &str) -> Result<Response, Problem> {
        let unknown = || Problem::new(ProblemKind::NotFound, "the message has no such part");
        let number: usize = number.parse().map_err(|_| unknown())?;
        let (raw, room) = self.in_memory(message(id)?).await?;
        let found = tokio::task::spawn_blocking(move || (parsed::part(&raw, number), room).0).await;
        let (part, octets) = found.ok().flatten().ok_or_else(unknown)?;
        let is_shown = SHOWN.contains(&part.media_type.as_str());
        let kind = if is_shown { "inline" } else { "attachment" };
        let name = if part.name.is_empty() { format!("part-{number}") } else { part.name };
        let disposition = format!("{kind}; filename*=UTF-8''{}", percent_encoded(&name));
        Ok(safe(&part.media_type, disposition, octets))
    }
}

/// What a store has said, as the console's own problem. The store is not named: its token is nobody's business.
pub(crate) fn problem(error: internal_api::ApiError) -> Problem {
    match error {
        internal_api::ApiError::Problem(problem) if problem.kind != ProblemKind::Unauthorized => problem,
        other => {
            Problem::new(ProblemKind::DatabaseUnavailable, format!("a store does not answer as it should: {other}"))
        }
    }
}

/// A response with content that a stranger has made.
pub(crate) fn safe(media_type: &str, disposition: String, octets: impl Into<Body>) -> Response {
    let value = |text: &str| HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("attachment"));
    let media_type = HeaderValue::from_str(media_type).unwrap_or(HeaderValue::from_static("application/octet-stream"));
    let headers: [(HeaderName, HeaderValue); 4] = [
        (header::CONTENT_TYPE, media_type),
        (header::CONTENT_DISPOSITION, value(&disposition)),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(HOSTILE)),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    let mut response = (headers, octets.into()).into_response();
    if SHOWN.iter().any(|shown| shown.starts_with("image/") && media_type_is(&response, shown)) {
        // The HTML of a message, which is of no origin in its sandbox, shows its images.
        let policy = HeaderName::from_static("cross-origin-resource-policy");
        response.headers_mut().insert(policy, HeaderValue::from_static("cross-origin"));
    }
    response
}

fn media_type_is(response: &Response, media_type: &str) -> bool {
    response.headers().get(header::CONTENT_TYPE).is_some_and(|value| value == media_type)
}

/// RFC 8187 §3.2.1
fn percent_encoded(text: &str) -> String {
    let encode = |octet: u8| match octet {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' => char::from(octet).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(encode).collect()
}
