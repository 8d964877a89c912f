//! The bodies of Mailpit's requests: JSON, or the data of a form.

use axum::http::{HeaderMap, header};
use internal_api::MessageId;
use serde::Deserialize;

/// The messages that a request names, and what is to become of them.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct Wanted {
    #[serde(rename = "IDs", alias = "ids")]
    pub(super) ids: Vec<String>,
    #[serde(rename = "Read", alias = "read")]
    pub(super) read: bool,
    #[serde(rename = "Search", alias = "search")]
    pub(super) search: String,
}

impl Wanted {
    /// Reads a body. Without one, all messages are meant, as Mailpit has it.
    ///
    /// # Errors
    /// Says that it is neither JSON nor a form. All messages would be meant by mistake.
    pub(super) fn read(headers: &HeaderMap, body: &[u8]) -> Result<Self, String> {
        let media_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let body = body.trim_ascii();
        if body.is_empty() {
            return Ok(Self::default());
        }
        if media_type.to_ascii_lowercase().starts_with("application/x-www-form-urlencoded") {
            // Clients that send JSON as a form by default are not punished.
            if !body.starts_with(b"{") {
                return Ok(Self::of_form(body));
            }
        }
        serde_json::from_slice(body).map_err(|error| format!("the body is no JSON as Mailpit takes it: {error}"))
    }

    /// The ids, as far as they are ids.
    pub(super) fn messages(&self) -> Vec<MessageId> {
        self.ids.iter().filter_map(|id| id.parse().ok()).collect()
    }

    fn of_form(body: &[u8]) -> Self {
        let mut wanted = Self::default();
        let Ok(mut url) = reqwest::Url::parse("http://form/") else { return wanted };
        url.set_query(Some(&String::from_utf8_lossy(body)));
        for (name, value) in url.query_pairs() {
            match name.trim_end_matches("[]").to_ascii_lowercase().as_str() {
                "ids" | "id" => wanted.ids.extend(value.split(',').map(|id| id.trim().to_owned())),
                "read" => wanted.read = ["true", "1", "on"].contains(&&*value.to_ascii_lowercase()),
                "search" | "query" => wanted.search = value.into_owned(),
                _ => {}
            }
        }
        wanted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn json_and_forms_are_read() {
        let wanted = |ids: &[&str], read, search: &str| Wanted {
            ids: ids.iter().map(|id| (*id).to_owned()).collect(),
            read,
            search: search.to_owned(),
        };
        let form = "application/x-www-form-urlencoded";
        for (media_type, body, expected) in [
            ("application/json", "{\"IDs\":[\"a\",\"b\"],\"Read\":true}", wanted(&["a", "b"], true, "")),
            ("", "{\"ids\":[\"a\"]}", wanted(&["a"], false, "")),
            ("", " ", wanted(&[], false, "")),
            ("text/plain", "{\"Search\":\"to:x\",\"Read\":false}", wanted(&[], false, "to:x")),
            (form, "IDs=a&IDs=b&Read=true", wanted(&["a", "b"], true, "")),
            (form, "ids[]=a&ids%5B%5D=b", wanted(&["a", "b"], false, "")),
            (form, "IDs=a%2Cb&search=x+y", wanted(&["a", "b"], false, "x y")),
            (form, "{\"IDs\":[\"a\"]}", wanted(&["a"], false, "")),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_str(media_type).unwrap());
            assert_eq!(Wanted::read(&headers, body.as_bytes()).unwrap(), expected, "{body}");
        }
        assert!(Wanted::read(&HeaderMap::new(), b"[1]").is_err());
        assert!(Wanted::read(&HeaderMap::new(), b"IDs=a").is_err());
    }
}
