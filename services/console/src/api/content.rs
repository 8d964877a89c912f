//! What is in a message: source, text, HTML and parts.

use super::{
    App,
    extract::{Path, message},
};
use crate::{follow, message as parsed};
use axum::{
    extract::State,
    http::{HeaderName, HeaderValue, header},
    response::{IntoResponse, Response},
};
use internal_api::{MessageId, Problem, ProblemKind};
use std::sync::Arc;
use utoipa_axum::{router::OpenApiRouter, routes};

/// The longest message that is shown whole, in octets.
const MOST_OCTETS: usize = 64 * 1024 * 1024;
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
    let octets = app.raw(message(&id)?).await?;
    Ok(safe("message/rfc822", format!("attachment; filename=\"{id}.eml\""), octets))
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
    let mail = app.mail(message(&id)?).await?;
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
    let mail = app.mail(message(&id)?).await?;
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
    ),
)]
pub(super) async fn part(
    State(app): State<Arc<App>>,
    Path((id, number)): Path<(String, String)>,
) -> Result<Response, Problem> {
    app.part(&id, &number).await
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
        let stack = self.mail(id).await?.summary.stack;
        let unknown = || Problem::from(ProblemKind::MessageUnknown);
        let store = self.town.store(&stack).ok_or_else(unknown)?;
        follow::raw(&store.client, id, MOST_OCTETS).await.map_err(problem)
    }

    /// A part of a message, as a response.
    pub(crate) async fn part(&self, id: &str, number: &str) -> Result<Response, Problem> {
        let unknown = || Problem::new(ProblemKind::NotFound, "the message has no such part");
        let number: usize = number.parse().map_err(|_| unknown())?;
        let raw = self.raw(message(id)?).await?;
        let found = tokio::task::spawn_blocking(move || parsed::part(&raw, number)).await;
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
pub(crate) fn safe(media_type: &str, disposition: String, octets: Vec<u8>) -> Response {
    let value = |text: &str| HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("attachment"));
    let media_type = HeaderValue::from_str(media_type).unwrap_or(HeaderValue::from_static("application/octet-stream"));
    let headers: [(HeaderName, HeaderValue); 4] = [
        (header::CONTENT_TYPE, media_type),
        (header::CONTENT_DISPOSITION, value(&disposition)),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(HOSTILE)),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    (headers, octets).into_response()
}

/// RFC 8187 §3.2.1
fn percent_encoded(text: &str) -> String {
    let encode = |octet: u8| match octet {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' => char::from(octet).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(encode).collect()
}
