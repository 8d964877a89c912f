//! A session as a dialogue: explained, remarked, and compared with a script.

use super::{
    App,
    extract::{Json, Path},
    invalid,
};
use crate::transcript::{Heard, Line, What, lines, sentence};
use axum::{Json as Answer, extract::State};
use dialogue::Script;
use internal_api::{Problem, ProblemKind, RecordedSession, SessionId, SessionRecords};
use jiff::Timestamp;
use mail_proto::{
    Side,
    explain::Part,
    remark::{Remark, Weight},
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

/// A session with each line of it explained and remarked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SessionDialogue {
    /// The session.
    pub session: RecordedSession,
    /// What was said and done in it, in order, as far as it is kept.
    pub lines: Vec<DialogueLine>,
}

/// A line of a dialogue, or what a service did between two of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DialogueLine {
    /// The record that it is from.
    pub record: u64,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// How long after the beginning of the session, in microseconds.
    pub microseconds: u64,
    /// Who has said or done it.
    pub by: Speaker,
    /// The line with its line end, or a sentence about what the service did. What is no UTF-8 is replaced; the records of the
    /// session have the octets.
    pub text: String,
    /// Whether it is a message or a listing: several lines.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_body: bool,
    /// How many octets follow that were not kept.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub missing: u64,
    /// Whether it tells of a refusal.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub refused: bool,
    /// What its words mean.
    pub explanations: Vec<Explained>,
    /// What in it breaks an RFC, or is unwise.
    pub remarks: Vec<Remarked>,
}

/// Who speaks in a dialogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Speaker {
    /// The client.
    Client,
    /// The server.
    Server,
    /// The service that has recorded the session says what it did.
    Service,
}

/// What a word means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Explained {
    /// The word, as it stands in the line.
    pub word: String,
    /// One sentence.
    pub text: String,
    /// The number of the RFC that defines it.
    pub rfc: u16,
    /// The section of it.
    pub section: String,
}

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Remarked {
    /// A short name, such as `bare-lf`.
    pub name: String,
    /// One sentence.
    pub text: String,
    /// The number of the RFC that says so.
    pub rfc: u16,
    /// The section of it.
    pub section: String,
    /// Whether it is allowed, and only unwise.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_advice: bool,
}

/// A session and what it is compared with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct MatchRequest {
    /// The session.
    session: SessionId,
    /// A golden dialogue: `C: ` and `S: ` lines. In both, `{…}` or `{...}` stands for one or more octets; a line `...` stands for
    /// any number of lines.
    #[schema(example = "S: 220 {…}\n...\nC: RCPT TO:<nobody@gmail.com>\nS: 550 5.1.1 {…}\n...")]
    pattern: String,
}

/// Whether a session is as the pattern says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(super) struct Matched {
    /// Whether it is.
    matches: bool,
    /// The first place where it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    difference: Option<Difference>,
}

/// Where a session is not as the pattern says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(super) struct Difference {
    /// The line of the pattern, from 1; its last line where the session goes on behind it.
    line: usize,
    /// What this line says; absent where the pattern has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expected: Option<String>,
    /// What was there instead, as a line of a golden dialogue; absent where the session has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    actual: Option<String>,
    /// Which line of the session this is, from 1.
    actual_line: usize,
}

/// The routes of this module.
pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(show)).routes(routes!(compare))
}

/// A session as a dialogue: each line with the time since the session began, what its words mean, and what breaks an RFC.
#[utoipa::path(
    get, path = "/v1/sessions/{id}/dialogue", operation_id = "show_dialogue", tag = "sessions",
    params(("id" = SessionId, Path)),
    responses(
        (status = 200, description = "The dialogue", body = SessionDialogue),
        (status = 404, description = "The console knows no such session, or not any more"),
    ),
)]
pub(super) async fn show(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Answer<SessionDialogue>, Problem> {
    let records = app.session_records(&id).await?;
    let lines = lines(&records).into_iter().map(|line| told(&records.session, line)).collect();
    Ok(Answer(SessionDialogue { session: records.session, lines }))
}

/// Compares a session with a golden dialogue that has gaps. What the session has said so far counts; passwords are masked in
/// it, so the pattern has gaps there.
#[utoipa::path(
    post, path = "/v1/sessions/match", operation_id = "match_session", tag = "sessions",
    request_body = MatchRequest,
    responses(
        (status = 200, description = "Whether it matches, and else the first difference", body = Matched),
        (status = 400, description = "The pattern cannot be read; the answer says which line, and why"),
        (status = 404, description = "The console knows no such session, or not any more"),
    ),
)]
pub(super) async fn compare(
    State(app): State<Arc<App>>,
    Json(MatchRequest { session, pattern }): Json<MatchRequest>,
) -> Result<Answer<Matched>, Problem> {
    let script = Script::parse("pattern", &pattern).map_err(|error| invalid(error.to_string()))?;
    let records = app.session_records(&session.to_string()).await?;
    let difference = script.compare(Heard::of(&records).events()).err().map(|difference| Difference {
        line: difference.line,
        expected: difference.expected,
        actual: difference.actual,
        actual_line: difference.actual_line,
    });
    Ok(Answer(Matched { matches: difference.is_none(), difference }))
}

impl App {
    /// A session with what was seen of it, by its id as text.
    pub(super) async fn session_records(&self, id: &str) -> Result<SessionRecords, Problem> {
        let id = super::extract::session(id)?;
        self.traces_caught_up().await;
        let found = self.index.session(id).await?;
        found.ok_or_else(|| Problem::new(ProblemKind::NotFound, "no such session, or not any more"))
    }
}

fn told(session: &RecordedSession, Line { record, at, what }: Line) -> DialogueLine {
    let microseconds = u64::try_from(at.duration_since(session.opened_at).as_micros()).unwrap_or(0);
    let (by, text) = (Speaker::Service, String::new());
    let (explanations, remarks) = (Vec::new(), Vec::new());
    let line = DialogueLine {
        record,
        at,
        microseconds,
        by,
        text,
        is_body: false,
        missing: 0,
        refused: false,
        explanations,
        remarks,
    };
    match what {
        What::Marked(mark) => {
            let (text, refused) = sentence(&mark);
            DialogueLine { text, refused, ..line }
        }
        What::Said { by, octets, is_body, missing, explained, remarks } => {
            let text = String::from_utf8_lossy(&octets).into_owned();
            DialogueLine {
                by: if by == Side::Client { Speaker::Client } else { Speaker::Server },
                refused: by == Side::Server && !is_body && crate::transcript::is_refusal(&text),
                text,
                is_body,
                missing,
                explanations: explained.iter().map(|part| Explained::of(part, &octets)).collect(),
                remarks: remarks.iter().map(Remarked::of).collect(),
                ..line
            }
        }
    }
}

impl Explained {
    fn of(part: &Part, line: &[u8]) -> Self {
        let word = line.get(part.octets.clone()).unwrap_or_default();
        Self {
            word: String::from_utf8_lossy(word).trim().to_owned(),
            text: part.explanation.text.to_owned(),
            rfc: part.explanation.rfc,
            section: part.explanation.section.to_owned(),
        }
    }
}

impl Remarked {
    fn of(remark: &Remark) -> Self {
        Self {
            name: remark.what.name().to_owned(),
            text: remark.text.to_owned(),
            rfc: remark.rfc,
            section: remark.section.to_owned(),
            is_advice: remark.weight == Weight::Advice,
        }
    }
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}
