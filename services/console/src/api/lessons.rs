//! The lessons that every town has with it: what they ask, and whether answers are right.

use super::{
    App,
    extract::{self, Path},
    invalid,
};
use axum::Json;
use internal_api::{Problem, ProblemKind};
use lessons::{BuiltIn, Given, LessonError};
use serde::Serialize;
use serde_json::{Map, Value};
use std::sync::Arc;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

/// The lessons, in the order in which to take them.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Lessons {
    lessons: Vec<LessonTitle>,
}

/// A lesson in a list.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LessonTitle {
    /// Its name, as for `mailtown lesson run`.
    name: String,
    /// What it is about.
    title: String,
}

/// What a student sees of a lesson.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ShownLesson {
    /// What it is about.
    title: String,
    /// What the student is told first.
    text: String,
    /// What is asked at the end.
    questions: Vec<ShownQuestion>,
}

/// A question of a lesson.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ShownQuestion {
    /// The key of its answer.
    key: String,
    /// The question.
    ask: String,
    /// What can be answered; anything when it is empty.
    choices: Vec<String>,
    /// What it is worth.
    points: u32,
}

/// The marks of some answers.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Marks {
    /// The points of the right answers.
    points: u32,
    /// The points that all questions of the lesson can give.
    of: u32,
    /// The marks of each question.
    items: Vec<Mark>,
}

/// The marks of one answer. They never tell the right one.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Mark {
    /// The key of the question.
    key: String,
    /// The points that it gave.
    points: u32,
    /// The points that it can give.
    of: u32,
    /// Why it gave none.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

/// The routes of this module.
pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(show)).routes(routes!(mark))
}

/// All lessons.
#[utoipa::path(
    get, path = "/v1/lessons", operation_id = "list_lessons", tag = "lessons",
    responses((status = 200, description = "The lessons, in the order in which to take them", body = Lessons)),
)]
pub(super) async fn list() -> Result<Json<Lessons>, Problem> {
    let title = |built_in: &BuiltIn| Ok((built_in.name.to_owned(), built_in.lesson()?.title));
    let titles: Result<Vec<_>, LessonError> = lessons::all().iter().map(title).collect();
    let lessons = titles.map_err(broken)?.into_iter().map(|(name, title)| LessonTitle { name, title }).collect();
    Ok(Json(Lessons { lessons }))
}

/// What a lesson says and asks.
#[utoipa::path(
    get, path = "/v1/lessons/{name}", operation_id = "show_lesson", tag = "lessons",
    params(("name" = String, Path)),
    responses(
        (status = 200, description = "The lesson, without its answers", body = ShownLesson),
        (status = 404, description = "No such lesson"),
    ),
)]
pub(super) async fn show(Path(name): Path<String>) -> Result<Json<ShownLesson>, Problem> {
    let lesson = named(&name)?.lesson().map_err(broken)?;
    let questions = lesson.questions.into_iter().map(|question| ShownQuestion {
        key: question.key,
        ask: question.ask,
        choices: question.choices,
        points: question.points,
    });
    Ok(Json(ShownLesson { title: lesson.title, text: lesson.text, questions: questions.collect() }))
}

/// Marks answers: an object with a text for the key of each question that is answered. What is right is not told.
#[utoipa::path(
    post, path = "/v1/lessons/{name}/answers", operation_id = "mark_answers", tag = "lessons",
    params(("name" = String, Path)),
    request_body(content = Object, example = json!({"refused": "gmail.com"})),
    responses(
        (status = 200, description = "The marks", body = Marks),
        (status = 400, description = "An answer is no text, or there is no such question"),
        (status = 404, description = "No such lesson"),
    ),
)]
pub(super) async fn mark(
    Path(name): Path<String>,
    extract::Json(answers): extract::Json<Map<String, Value>>,
) -> Result<Json<Marks>, Problem> {
    let built_in = named(&name)?;
    let lesson = built_in.lesson().map_err(broken)?;
    let right = built_in.answers(&lesson).map_err(broken)?;
    let read = |(key, answer): (String, Value)| match answer {
        Value::String(answer) => Ok((key, answer)),
        _ => Err(invalid(format!("the answer of {key} is no text"))),
    };
    let given: Given = answers.into_iter().map(read).collect::<Result<_, _>>()?;
    if let Some(key) = given.unknown_key(&lesson.questions) {
        return Err(invalid(format!("the lesson {name} has no question {key}")));
    }
    let items = lesson.questions.iter().map(|question| {
        let item = question.mark(&right, &given);
        Mark { key: question.key.clone(), points: item.points, of: item.of, problem: item.problem }
    });
    let items: Vec<_> = items.collect();
    let sum = |points: fn(&Mark) -> u32| items.iter().map(points).sum();
    let (points, of) = (sum(|mark| mark.points), sum(|mark| mark.of));
    Ok(Json(Marks { points, of, items }))
}

fn named(name: &str) -> Result<BuiltIn, Problem> {
    let unknown = || Problem::new(ProblemKind::NotFound, format!("there is no lesson {name}; see /v1/lessons"));
    lessons::named(name).ok_or_else(unknown)
}

/// A test reads all lessons.
fn broken(error: LessonError) -> Problem {
    Problem::new(ProblemKind::Internal, error.to_string())
}
