//! Marking and deleting messages.

use crate::{
    api::{App, extract},
    deletion::Deletion,
    pages::Failure,
    query::Query,
};
use axum::{
    extract::{RawForm, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Redirect, Response},
};
use internal_api::{MessageId, Problem};
use std::sync::Arc;

/// What is to be done, and with which messages.
#[derive(Debug, Default, PartialEq, Eq)]
struct Action {
    ids: Vec<MessageId>,
    action: String,
    /// Which messages all are.
    query: String,
    back: String,
}

impl Action {
    /// From a form. What is no id is ignored.
    fn read(form: &[u8]) -> Self {
        let mut action = Self::default();
        for (name, value) in form_pairs(form) {
            match name.as_str() {
                "id" => action.ids.extend(value.parse::<MessageId>()),
                "action" => action.action = value,
                "query" => action.query = value,
                "back" => action.back = value,
                _ => {}
            }
        }
        action
    }

    /// Where to go on: a page of the console, and nothing else.
    fn destination(&self) -> &str {
        let is_mail = self.back == "/mail" || self.back.starts_with("/mail?") || self.back.starts_with("/mail/");
        if is_mail && !self.back.contains(['\r', '\n', '\\']) { &self.back } else { "/mail" }
    }
}

/// `POST /mail/actions`. A script gets a sentence, a form the way back.
pub(super) async fn act(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    RawForm(form): RawForm,
) -> Result<Response, Failure> {
    let wanted = Action::read(&form);
    let number = wanted.ids.len();
    let ids = wanted.ids.clone();
    let done = match wanted.action.as_str() {
        "read" | "unread" => {
            app.index.set_read(ids, wanted.action == "read").await?;
            Ok(format!("{number} marked as {}", wanted.action))
        }
        "read-all" => {
            app.index.set_all_read(&all(&wanted)?, true).await?;
            Ok("all marked as read".to_owned())
        }
        "delete" => deleted(&app.delete(app.index.places_of(ids).await?).await?),
        "delete-all" => {
            app.caught_up().await;
            deleted(&app.delete(app.places(&all(&wanted)?).await?).await?)
        }
        _ => Err("nothing to do: the action is read, unread, delete, read-all or delete-all".to_owned()),
    };
    let by_script = headers.contains_key("x-requested-with");
    Ok(match done {
        Ok(text) if by_script => text.into_response(),
        Ok(_) => Redirect::to(wanted.destination()).into_response(),
        Err(text) => (StatusCode::CONFLICT, text).into_response(),
    })
}

/// Which messages all are. A query that cannot be meant finds none, and not all.
fn all(wanted: &Action) -> Result<Query, Problem> {
    extract::mail_query(Some(&wanted.query))
}

/// What a deletion has done, in a sentence.
fn deleted(deletion: &Deletion) -> Result<String, String> {
    let (number, left) = (deletion.deleted, deletion.not_deleted.len());
    match deletion.not_deleted.first() {
        None => Ok(format!("{number} deleted")),
        Some(first) => Err(format!("{number} deleted, {left} not: {}", first.reason)),
    }
}

/// The pairs of a form (application/x-www-form-urlencoded).
fn form_pairs(form: &[u8]) -> impl Iterator<Item = (String, String)> {
    let url = reqwest::Url::parse(&format!("http://localhost/?{}", String::from_utf8_lossy(form)));
    let pairs: Vec<_> = url.iter().flat_map(|url| url.query_pairs().into_owned().collect::<Vec<_>>()).collect();
    pairs.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_read() {
        let id = "0123456789abc";
        let action = Action::read(format!("id={id}&id=x&action=delete&back=%2Fmail%3Fquery%3Da%2Bb").as_bytes());
        assert_eq!(action.ids.len(), 1);
        assert_eq!((action.action.as_str(), action.destination()), ("delete", "/mail?query=a+b"));
        for foreign in ["//evil.test", "https://evil.test", "/mailx", "/\\evil.test", "", "/mail?\r\nSet-Cookie: a=b"] {
            let action = Action { back: foreign.to_owned(), ..Action::default() };
            assert_eq!(action.destination(), "/mail", "{foreign:?}");
        }
    }
}
