//! The stylesheet and the scripts: embedded in the binary, and served under a URL that changes with their content.
//!
//! All have one directory, whose name is a hash of them all. So a script imports another by its plain name.

use crate::message::hexadecimal;
use axum::{
    extract::Path,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use sha2::{Digest, Sha256};
use std::sync::LazyLock;

/// Its content never changes under this URL.
const FOR_EVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

macro_rules! embedded {
    ($($name:literal $media_type:ident [$($file:literal),+]),* $(,)?) => {
        &[$(($name, $media_type, concat!($(include_str!(concat!("../../assets/", $file))),+))),*]
    };
}

/// Name, media type and content of each. A stylesheet may be made of several files.
const FILES: &[(&str, &str, &str)] = embedded!(
    "console.css" CSS ["base.css", "mail.css", "town.css"],
    "theme.js" SCRIPT ["theme.js"],
    "main.js" SCRIPT ["main.js"],
    "live.js" SCRIPT ["live.js"],
    "keys.js" SCRIPT ["keys.js"],
    "mail.js" SCRIPT ["mail.js"],
    "message.js" SCRIPT ["message.js"],
    "journey.js" SCRIPT ["journey.js"],
    "map.js" SCRIPT ["map.js"],
    "queue.js" SCRIPT ["queue.js"],
);

/// A hash of all of them.
static VERSION: LazyLock<String> = LazyLock::new(|| {
    let mut hash = Sha256::new();
    for (name, _, content) in FILES {
        hash.update(name);
        hash.update(content);
    }
    hexadecimal(&hash.finalize()[..8])
});

/// Where a file of this name is.
///
/// # Panics
/// When there is none: a bug, which each test of a page finds.
pub(crate) fn url(name: &str) -> String {
    assert!(FILES.iter().any(|(known, ..)| *known == name), "there is no asset {name}");
    format!("/assets/{}/{name}", *VERSION)
}

/// `GET /assets/{version}/{name}`
pub(super) async fn serve(Path((version, name)): Path<(String, String)>, headers: HeaderMap) -> Response {
    let found = FILES.iter().find(|(known, ..)| *known == name && version == *VERSION);
    let Some((_, media_type, content)) = found else { return StatusCode::NOT_FOUND.into_response() };
    let tag = format!("\"{}\"", *VERSION);
    let known = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let is_known = known.flat_map(|list| list.split(',')).any(|one| one.trim().trim_start_matches("W/") == tag);
    let tag = HeaderValue::from_str(&tag).unwrap_or(HeaderValue::from_static("\"\""));
    let common = [(header::ETAG, tag), (header::CACHE_CONTROL, FOR_EVER)];
    if is_known {
        return (StatusCode::NOT_MODIFIED, common).into_response();
    }
    let own = [
        (header::CONTENT_TYPE, HeaderValue::from_static(media_type)),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    (common, own, *content).into_response()
}
