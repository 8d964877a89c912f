//! The bodies of Mailpit's requests: JSON, or the data of a form.

use axum::http::{HeaderMap, header};
use internal_api::MessageId;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// The messages that a request names, and what is to become of them. `None` is what it does not name.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) ids: Option<Vec<String>>,
    pub(super) read: Option<bool>,
    pub(super) search: Option<String>,
}

impl Wanted {
    /// Reads a body. Without one, all messages are meant, as Mailpit has it.
    ///
    /// # Errors
    /// Says that it is neither JSON nor a form, or that it names nothing known. All messages would be meant by mistake.
    pub(super) fn read(headers: &HeaderMap, body: &[u8]) -> Result<Self, String> {
        let media_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let body = body.trim_ascii();
        if body.is_empty() {
            return Ok(Self::default());
        }
        let is_form = media_type.to_ascii_lowercase().starts_with("application/x-www-form-urlencoded");
        // Clients that send JSON as a form by default are not punished.
        let wanted = if is_form && !body.starts_with(b"{") {
            Self::of_form(body)
        } else {
            let fields: Map<String, Value> = serde_json::from_slice(body)
                .map_err(|error| format!("the body is no JSON as Mailpit takes it: {error}"))?;
            if fields.is_empty() {
                return Ok(Self::default());
            }
            Self::of_json(fields)?
        };
        if wanted == Self::default() {
            return Err("the body has none of IDs, Read and Search; without a body, all messages are meant".to_owned());
        }
        Ok(wanted)
    }

    /// Whether it names messages; otherwise all are meant, or those of a search.
    pub(super) fn names_messages(&self) -> bool {
        self.ids.as_ref().is_some_and(|ids| !ids.is_empty())
    }

    /// The ids, as far as they are ids.
    pub(super) fn messages(&self) -> Vec<MessageId> {
        self.ids.iter().flatten().filter_map(|id| id.parse().ok()).collect()
    }

    /// Names are compared without regard to case, as Go does, and null is nothing.
    fn of_json(fields: Map<String, Value>) -> Result<Self, String> {
        let mut wanted = Self::default();
        for (name, value) in fields {
            match name.to_ascii_lowercase().as_str() {
                "ids" => wanted.ids = Some(field(&name, value)?),
                "read" => wanted.read = Some(field(&name, value)?),
                "search" => wanted.search = Some(field(&name, value)?),
                _ => {}
            }
        }
        Ok(wanted)
    }

    fn of_form(body: &[u8]) -> Self {
        let mut wanted = Self::default();
        let Ok(mut url) = reqwest::Url::parse("http://form/") else { return wanted };
        url.set_query(Some(&String::from_utf8_lossy(body)));
        for (name, value) in url.query_pairs() {
            match name.trim_end_matches("[]").to_ascii_lowercase().as_str() {
                "ids" | "id" => {
                    wanted.ids.get_or_insert_default().extend(value.split(',').map(|id| id.trim().to_owned()))
                }
                "read" => wanted.read = Some(["true", "1", "on"].contains(&&*value.to_ascii_lowercase())),
                "search" | "query" => wanted.search = Some(value.into_owned()),
                _ => {}
            }
        }
        wanted
    }
}

fn field<T: Default + DeserializeOwned>(name: &str, value: Value) -> Result<T, String> {
    match value {
        Value::Null => Ok(T::default()),
        value => serde_json::from_value(value).map_err(|error| format!("{name}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn json_and_forms_are_read() {
        let wanted = |ids: Option<&[&str]>, read, search: Option<&str>| Wanted {
            ids: ids.map(|ids| ids.iter().map(|id| (*id).to_owned()).collect()),
            read,
            search: search.map(str::to_owned),
        };
        let form = "application/x-www-form-urlencoded";
        for (media_type, body, expected) in [
            ("application/json", "{\"IDs\":[\"a\",\"b\"],\"Read\":true}", wanted(Some(&["a", "b"]), Some(true), None)),
            ("", "{\"Ids\":[\"a\"],\"x\":1}", wanted(Some(&["a"]), None, None)),
            ("", "{\"IDs\":null}", wanted(Some(&[]), None, None)),
            ("", " ", wanted(None, None, None)),
            ("", "{}", wanted(None, None, None)),
            ("text/plain", "{\"SEARCH\":\"to:x\",\"Read\":false}", wanted(None, Some(false), Some("to:x"))),
            (form, "IDs=a&IDs=b&Read=true", wanted(Some(&["a", "b"]), Some(true), None)),
            (form, "ids[]=a&ids%5B%5D=b", wanted(Some(&["a", "b"]), None, None)),
            (form, "IDs=a%2Cb&search=x+y", wanted(Some(&["a", "b"]), None, Some("x y"))),
            (form, "{\"IDs\":[\"a\"]}", wanted(Some(&["a"]), None, None)),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_str(media_type).unwrap());
            assert_eq!(Wanted::read(&headers, body.as_bytes()).unwrap(), expected, "{body}");
        }
        for body in ["[1]", "IDs=a", "{\"Messages\":[\"a\"]}", "{\"IDs\":\"a\"}", "{\"IDs\":[1]}"] {
            assert!(Wanted::read(&HeaderMap::new(), body.as_bytes()).is_err(), "{body}");
        }
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(form));
        assert!(Wanted::read(&headers, b"messages=a").is_err());
    }
}
