//! What a test wants to find in a message: links, and the numeric codes of a confirmation.

/// How many links and codes are kept.
const MOST: usize = 200;
/// How many digits a code has.
const CODE_DIGITS: std::ops::RangeInclusive<usize> = 4..=8;

/// The targets of `href` in HTML, in order, each once.
pub(super) fn links_of_html(html: &str) -> Vec<String> {
    let lower = html.to_ascii_lowercase();
    let mut links = Vec::new();
    for (at, _) in lower.match_indices("href") {
        let rest = html[at + "href".len()..].trim_start();
        let Some(value) = rest.strip_prefix('=').map(str::trim_start) else { continue };
        let target = match value.chars().next() {
            Some(quote @ ('"' | '\'')) => value[1..].split(quote).next(),
            _ => value.split([' ', '>', '\t', '\r', '\n']).next(),
        };
        push(&mut links, &target.unwrap_or_default().trim().replace("&amp;", "&"));
    }
    links
}

/// Adds the URLs that stand in a text.
pub(super) fn links_of_text(text: &str, links: &mut Vec<String>) {
    for (begin, url) in urls(text) {
        let _ = begin;
        push(links, url);
    }
}

/// The numbers of 4 to 8 digits that stand by themselves in a text and in none of its URLs, in order, each once.
pub(super) fn codes(text: &str) -> Vec<String> {
    let (mut codes, mut rest) = (Vec::new(), 0);
    for (begin, url) in urls(text) {
        codes_between(&text[rest..begin], &mut codes);
        rest = begin + url.len();
    }
    codes_between(&text[rest..], &mut codes);
    codes
}

fn codes_between(text: &str, codes: &mut Vec<String>) {
    for word in text.split(|other: char| !other.is_alphanumeric() && other != '_') {
        if CODE_DIGITS.contains(&word.len()) && word.bytes().all(|octet| octet.is_ascii_digit()) {
            push(codes, word);
        }
    }
}

/// Where each URL of a text begins, and the URL without the punctuation behind it.
fn urls(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let begins = text.match_indices("http").map(|(at, _)| at);
    begins.filter_map(|at| {
        let rest = &text[at..];
        let is_url = rest.starts_with("http://") || rest.starts_with("https://");
        let before = text[..at].chars().next_back();
        if !is_url || before.is_some_and(char::is_alphanumeric) {
            return None;
        }
        let ends = |other: char| other.is_whitespace() || "<>\"'`{}|\\^".contains(other) || other.is_control();
        let url = rest.split(ends).next()?;
        let url = url.trim_end_matches(['.', ',', ';', ':', '!', '?', ']']);
        // A bracket belongs to the URL only with its opposite.
        let url = if url.contains('(') { url } else { url.trim_end_matches(')') };
        url.split_once("://").is_some_and(|(_, host)| !host.is_empty()).then_some((at, url))
    })
}

fn push(found: &mut Vec<String>, new: &str) {
    if !new.is_empty() && found.len() < MOST && !found.iter().any(|old| old == new) {
        found.push(new.to_owned());
    }
}
