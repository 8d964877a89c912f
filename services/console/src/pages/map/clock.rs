//! The time of a town whose clock is virtual, and the ways to move it.

use crate::{
    api::{App, clock::Advance},
    pages::{Failure, format::full_time},
};
use axum::{Form, extract::State, response::Redirect};
use jiff::Timestamp;
use maud::{Markup, html};
use serde::Deserialize;
use std::sync::Arc;

/// How far the buttons move it.
const STEPS: [(&str, &str); 4] =
    [("1m", "A minute on"), ("10m", "Ten minutes on"), ("1h", "An hour on"), ("1d", "A day on")];

/// What a form asks for: a time to be added, or else the moment at which the next thing happens.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Move {
    by: String,
}

/// `POST /map/clock`
pub(super) async fn change(State(app): State<Arc<App>>, Form(wanted): Form<Move>) -> Result<Redirect, Failure> {
    let by = Some(wanted.by).filter(|by| !by.is_empty());
    let next_due = by.is_none();
    app.advance_clock(Advance { by, next_due, ..Advance::default() }).await?;
    Ok(Redirect::to("/"))
}

/// The time, when the next thing happens by itself, and the buttons.
pub(super) fn panel((now, next_due): (Timestamp, Option<Timestamp>)) -> Markup {
    html! {
        section #clock.panel.town-clock aria-label="The clock" {
            p { "In this town it is " strong { (full_time(now)) } ". The clock stands still until it is moved." }
            p.small.quiet {
                @match next_due {
                    Some(due) => { "Something is due at " (full_time(due)) "." }
                    None => { "Nothing is due." }
                }
            }
            form method="post" action="/map/clock" {
                @for (by, label) in STEPS { button name="by" value=(by) { (label) } }
                @if next_due.is_some() { button.primary name="by" value="" { "To what is due next" } }
            }
        }
    }
}
