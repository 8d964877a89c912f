//! A session as a file: as text, and as a golden dialogue.

use crate::{api::App, duration::duration, transcript};
use axum::{
    extract::{Path, Query, State},
    http::header,
    response::{IntoResponse, Response},
};
use dialogue::{Event, Volatile};
use internal_api::{Form, Mark, Problem, ProblemKind, Seen, SessionId, SessionRecords};
use mail_proto::Side;
use serde::Deserialize;
use std::{fmt::Write as _, sync::Arc};

/// How a golden dialogue is written.
#[derive(Debug, Deserialize)]
pub(crate) struct Wanted {
    /// `gaps`: ids, dates and challenges become `{…}`.
    #[serde(default)]
    volatile: String,
}

/// The session of a path.
pub(super) async fn session(app: &App, id: &str) -> Result<SessionRecords, Problem> {
    let gone = || Problem::new(ProblemKind::NotFound, "no such session, or not any more");
    let id: SessionId = id.parse().map_err(|_| gone())?;
    app.index.session(id).await?.ok_or_else(gone)
}

/// `GET /sessions/{id}/dialogue.txt`
pub(super) async fn golden(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Query(wanted): Query<Wanted>,
) -> Result<Response, Problem> {
    let session = session(&app, &id).await?;
    let volatile = if wanted.volatile == "gaps" { Volatile::Gaps } else { Volatile::Kept };
    Ok(file(&format!("{id}.dialogue.txt"), golden_text(&session, volatile)))
}

/// `GET /sessions/{id}/session.txt`
pub(super) async fn plain(State(app): State<Arc<App>>, Path(id): Path<String>) -> Result<Response, Problem> {
    let session = session(&app, &id).await?;
    Ok(file(&format!("{id}.txt"), plain_text(&session)))
}

fn file(name: &str, text: String) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8".to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
    ];
    (headers, text).into_response()
}

/// The session as a golden dialogue.
pub(crate) fn golden_text(session: &SessionRecords, volatile: Volatile) -> String {
    let octets: Vec<_> = session
        .records
        .iter()
        .filter_map(|record| match &record.what {
            Seen::Octets(seen) => Some((transcript::side(&session.session, seen.direction), seen.octets.bytes()?)),
            _ => None,
        })
        .collect();
    let mut octets = octets.iter();
    let events = session.records.iter().filter_map(|record| match &record.what {
        Seen::Octets(seen) if seen.octets.bytes().is_some() => octets.next().map(|(side, octets)| match side {
            Side::Client => Event::Client(octets),
            Side::Server => Event::Server(octets),
        }),
        Seen::Mark(Mark::Encrypted { .. }) => Some(Event::Tls),
        _ => None,
    });
    let state = &session.session;
    let rule = format!("session {} of the {} of {}", state.id, state.service, state.stack);
    dialogue::write(&rule, &[], events, volatile)
}

/// The session as text: each line with the time since its start.
fn plain_text(session: &SessionRecords) -> String {
    let state = &session.session;
    let mut text = format!(
        "Session {} of the {} of {}\nOpened {}, ended {}\n\n",
        state.id,
        state.service,
        state.stack,
        state.opened_at,
        state.ended.as_deref().unwrap_or("not yet"),
    );
    for record in &session.records {
        let since = record.at.duration_since(state.opened_at).as_micros();
        let since = duration(u64::try_from(since).unwrap_or(0));
        // Writing to a String cannot fail.
        let _ = match &record.what {
            Seen::Octets(seen) => {
                let who = match transcript::side(state, seen.direction) {
                    Side::Client => "C:",
                    Side::Server => "S:",
                };
                let octets = seen.octets.bytes().unwrap_or_default();
                let separator = if seen.form == Form::Body { "\n" } else { " " };
                let shown = String::from_utf8_lossy(&octets).replace("\r\n", "\n");
                let missing = match seen.missing {
                    0 => String::new(),
                    missing => format!("\n[{missing} octets were not kept]"),
                };
                writeln!(text, "{since:>10} {who}{separator}{}{missing}", shown.trim_end_matches('\n'))
            }
            Seen::Mark(mark) => writeln!(text, "{since:>10} -- {}", transcript::sentence(mark).0),
            Seen::Opened { .. } | Seen::Closed { .. } => Ok(()),
        };
    }
    text
}
