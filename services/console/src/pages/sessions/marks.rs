//! What services have understood and decided, between the lines of a dialogue.

use crate::transcript::sentence;
use internal_api::Mark;
use maud::{Markup, html};

/// A mark between the lines of a dialogue.
pub(super) fn mark(mark: &Mark) -> Markup {
    let (text, is_refusal) = sentence(mark);
    html! {
        span.mark.refused[is_refusal] {
            (text)
            @if let Mark::Message { message, .. } = mark { " " a href={ "/journey/" (message) } { "Journey" } }
        }
    }
}
