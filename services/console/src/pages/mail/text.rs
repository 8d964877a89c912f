//! Text in which URLs are links.

use maud::{Markup, html};

/// What ends a URL in a text.
const ENDS: &str = "<>\"'`{}|\\^";

/// A text in which URLs are links. They open beside the console, which they cannot reach.
pub(crate) fn linked(text: &str) -> Markup {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, url, after)) = next_url(rest) {
        pieces.push((before, url));
        rest = after;
    }
    html! {
        @for (before, url) in pieces {
            (before)
            a href=(url) target="_blank" rel="noopener noreferrer" { (url) }
        }
        (rest)
    }
}

/// What stands before the first URL, the URL, and what stands behind it.
fn next_url(text: &str) -> Option<(&str, &str, &str)> {
    let begins = text.match_indices("http").map(|(at, _)| at);
    begins
        .filter(|at| text[*at..].starts_with("http://") || text[*at..].starts_with("https://"))
        .filter(|at| !text[..*at].chars().next_back().is_some_and(char::is_alphanumeric))
        .find_map(|at| {
            let rest = &text[at..];
            let end = rest.find(|next: char| next.is_whitespace() || next.is_control() || ENDS.contains(next));
            let url = rest[..end.unwrap_or(rest.len())].trim_end_matches(['.', ',', ';', ':', '!', '?', ']', ')']);
            let has_host = url.split_once("://").is_some_and(|(_, host)| !host.is_empty());
            has_host.then(|| (&text[..at], url, &text[at + url.len()..]))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_links_and_all_else_is_text() {
        for (text, expected) in [
            ("no url", "no url"),
            ("<b>&", "&lt;b&gt;&amp;"),
            (
                "see http://a.test/x.",
                "see <a href=\"http://a.test/x\" target=\"_blank\" rel=\"noopener noreferrer\">http://a.test/x</a>.",
            ),
            ("http:// https://", "http:// https://"),
            ("javascript:alert(1)", "javascript:alert(1)"),
        ] {
            assert_eq!(linked(text).0, expected);
        }
        let hostile = linked("http://a.test/\"onclick=alert(1) https://b/?a=1&b=2").0;
        assert!(hostile.contains("href=\"http://a.test/\"") && hostile.contains("?a=1&amp;b=2\""), "{hostile}");
    }
}
