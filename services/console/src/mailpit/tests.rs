use super::{is_from_here, model::canonical_name};
use axum::http::{HeaderMap, HeaderName, HeaderValue};

#[test]
fn header_names_are_written_as_go_does() {
    for (name, expected) in [("message-id", "Message-Id"), ("MIME-Version", "Mime-Version"), ("X", "X"), ("to", "To")] {
        assert_eq!(canonical_name(name), expected);
    }
}

#[test]
fn only_a_page_of_the_console_or_none_marks_a_message_as_read() {
    assert!(is_from_here(&HeaderMap::new()));
    for (site, expected) in [("same-origin", true), ("none", true), ("same-site", false), ("cross-site", false)] {
        let name = HeaderName::from_static("sec-fetch-site");
        let headers = HeaderMap::from_iter([(name, HeaderValue::from_static(site))]);
        assert_eq!(is_from_here(&headers), expected, "{site}");
    }
}
