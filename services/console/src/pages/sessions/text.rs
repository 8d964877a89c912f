//! A session as a file: as text, and as a golden dialogue.

use crate::{
    api::App,
    duration::duration,
    transcript::{self, What},
};
use axum::{
    extract::{Path, Query, State},
    http::header,
    response::{IntoResponse, Response},
};
use dialogue::{Event, Volatile};
use internal_api::{Mark, Problem, ProblemKind, Seen, SessionId, SessionRecords};
use mail_proto::{
    Side,
    remark::{Remark, Weight},
};
use serde::Deserialize;
use std::{
    fmt::{self, Write as _},
    sync::Arc,
};

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

/// The session as text: each line with the time since its start, and what breaks an RFC below it.
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
    for line in transcript::lines(session) {
        let since = line.at.duration_since(state.opened_at).as_micros();
        let since = duration(u64::try_from(since).unwrap_or(0));
        // Writing to a String cannot fail.
        let _ = match &line.what {
            What::Said { by, octets, is_body, missing, remarks, .. } => {
                let who = if *by == Side::Client { "C:" } else { "S:" };
                let separator = if *is_body { "\n" } else { " " };
                let shown = String::from_utf8_lossy(octets).replace("\r\n", "\n");
                writeln!(text, "{since:>10} {who}{separator}{}", shown.trim_end_matches('\n'))
                    .and_then(
                        |()| if *missing > 0 { writeln!(text, "[{missing} octets were not kept]") } else { Ok(()) },
                    )
                    .and_then(|()| remarks.iter().try_for_each(|remark| remarked(&mut text, remark)))
            }
            What::Marked(mark) => writeln!(text, "{since:>10} -- {}", transcript::sentence(mark).0),
        };
    }
    text
}

fn remarked(text: &mut String, remark: &Remark) -> fmt::Result {
    let what = if remark.weight == Weight::Advice { "unwise" } else { "breach" };
    writeln!(text, "{what:>10} !! {} (by the {}, RFC {} §{})", remark.text, remark.by, remark.rfc, remark.section)
}

#[cfg(test)]
mod tests {
    use super::*;
    use internal_api::{ConnectionId, Flow, Form, Octets, Protocol, Record, RecordedSession, Role, SeenOctets};
    use jiff::Timestamp;

    #[test]
    fn breaches_stand_below_their_lines() {
        let at = Timestamp::UNIX_EPOCH;
        let id = SessionId::new(at, &ConnectionId::random());
        let of = ("a.test".parse().unwrap(), "smtp-gateway".into());
        let state = RecordedSession::opened((id, at), of, (Role::Server, Protocol::Smtp));
        let said = [
            (Flow::Sent, Form::Line, "220 a.test ready\r\n"),
            (Flow::Received, Form::Line, "EHLO b.test\n"),
            (Flow::Sent, Form::Line, "250 a.test\r\n"),
        ];
        let records = (1..).zip(said).map(|(sequence, (direction, form, text))| {
            let octets = Octets::of(text.as_bytes());
            Record { sequence, at, what: Seen::Octets(SeenOctets { direction, form, missing: 0, octets }) }
        });
        let text = plain_text(&SessionRecords { session: state, records: records.collect() });
        let lines: Vec<_> = text.lines().skip(3).collect();
        assert_eq!(lines[..2], ["      0 µs S: 220 a.test ready", "      0 µs C: EHLO b.test"]);
        assert!(lines[2].starts_with("    breach !! ") && lines[2].contains("(by the client, RFC 5321 §"), "{text}");
        assert_eq!(lines[3..], ["      0 µs S: 250 a.test"]);
    }
}
