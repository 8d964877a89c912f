//! What went wrong, as a page.

use super::{
    icons::{Icon, icon},
    layout::{Page, Section},
};
use crate::index::IndexError;
use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use internal_api::Problem;
use maud::html;

/// Why there is no such page.
#[derive(Debug)]
pub(crate) struct Failure(Problem);

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl From<IndexError> for Failure {
    fn from(error: IndexError) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let Self(problem) = self;
        let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let title = if status == StatusCode::NOT_FOUND { "There is no such page" } else { "This did not work" };
        let detail = problem.to_string();
        Page {
            title: title.to_owned(),
            section: Section::Mail,
            stream: String::new(),
            scripts: &[],
            keys: &[],
            content: html! {
                main #main.page {
                    h1 { (title) }
                    p.quiet { (detail) }
                    p { a.button href="/mail" { (icon(Icon::Back)) "To all mail" } " " a.button href="/" { "To the map" } }
                }
            },
        }
        .with_status(status)
    }
}
