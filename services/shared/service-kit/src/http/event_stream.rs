//! Server-sent events: what callers ask for, and how streams are answered.

use axum::{
    http::{HeaderMap, header},
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures_util::Stream;
use std::time::Duration;

/// How long a stream stays silent. Shorter than what any client or proxy takes for the end.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// The header with which an event source goes on where it was.
const LAST_EVENT_ID: &str = "last-event-id";

/// Whether the caller asks for a stream of events.
pub fn accepts(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut types = accepted.flat_map(|value| value.split(',')).filter_map(|range| range.split(';').next());
    types.any(|range| range.trim().eq_ignore_ascii_case("text/event-stream"))
}

/// The id of the last event that the caller has got of an earlier stream.
pub fn last_event_id(headers: &HeaderMap) -> Option<&str> {
    headers.get(LAST_EVENT_ID).and_then(|id| id.to_str().ok())
}

/// The response that sends these events as they come. It reads on only when its caller has taken what was sent.
pub fn response(events: impl Stream<Item = Result<Event, axum::Error>> + Send + 'static) -> Response {
    Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_asked_for_by_its_media_type() {
        for (value, expected) in [
            ("text/event-stream", true),
            ("application/json, Text/Event-Stream;q=0.5", true),
            ("application/json", false),
            ("*/*", false),
        ] {
            let headers = HeaderMap::from_iter([(header::ACCEPT, value.parse().unwrap())]);
            assert_eq!(accepts(&headers), expected, "{value}");
        }
        assert!(!accepts(&HeaderMap::new()));
    }
}
