//! What a test wants to find in a message: links, and the numeric codes of a confirmation.

/// How many links and codes are kept.
const MOST: usize = 200;
/// How many octets a link has at most. A longer one is left out.
const LINK_OCTETS: usize = 2048;
/// How many digits a code has.
const CODE_DIGITS: std::ops::RangeInclusive<usize> = 4..=8;

/// The targets of `href` in HTML, in order, each once. The time it takes grows with the length of the HTML.
pub(super) fn links_of_html(html: &str) -> Vec<String> {
    let lower = html.to_ascii_lowercase();
    let (mut links, mut from) = (Vec::new(), 0);
    while let Some(at) = lower[from..].find("href").filter(|_| links.len() < MOST) {
        let name_end = from + at + "href".len();
        from = name_end;
        let Some(value) = html[name_end..].trim_start().strip_prefix('=').map(str::trim_start) else { continue };
        from = html.len() - value.len();
        let quote = value.chars().next().filter(|quote| ['"', '\''].contains(quote));
        from += quote.map_or(0, char::len_utf8);
        let window = &html[from..html.floor_char_boundary(from + LINK_OCTETS)];
        let end = match quote {
            Some(quote) => window.find(quote),
            None => window.find([' ', '>', '\t', '\r', '\n']),
        };
        match end {
            Some(end) => {
                push(&mut links, &window[..end].trim().replace("&amp;", "&"));
                from += end;
            }
            None if quote.is_none() => {
                if from + window.len() == html.len() {
                    push(&mut links, &window.trim().replace("&amp;", "&"));
                }
                from += window.len();
            }
            // The quote is not closed: other links may follow.
            None => {}
        }
    }
    links
}

/// Adds the URLs that stand in a text.
pub(super) fn links_of_text(text: &str, links: &mut Vec<String>) {
    for (_, url) in urls(text) {
        if links.len() == MOST {
            break;
        }
        if url.len() <= LINK_OCTETS {
            push(links, url);
        }
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

/// Where each URL of a text begins, and the URL without the punctuation behind it. URLs do not overlap: one inside another, as
/// in a query, is part of it.
fn urls(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut from = 0;
    std::iter::from_fn(move || {
        while let Some(found) = text[from..].find("http") {
            let at = from + found;
            let rest = &text[at..];
            from = at + "http".len();
            let is_url = rest.starts_with("http://") || rest.starts_with("https://");
            let before = text[..at].chars().next_back();
            if !is_url || before.is_some_and(char::is_alphanumeric) {
                continue;
            }
            let ends = |other: char| other.is_whitespace() || "<>\"'`{}|\\^".contains(other) || other.is_control();
            let url = &rest[..rest.find(ends).unwrap_or(rest.len())];
            from = at + url.len();
            let url = url.trim_end_matches(['.', ',', ';', ':', '!', '?', ']']);
            // A bracket belongs to the URL only with its opposite.
            let url = if url.contains('(') { url } else { url.trim_end_matches(')') };
            if url.split_once("://").is_some_and(|(_, host)| !host.is_empty()) {
                return Some((at, url));
            }
        }
        None
    })
}

fn push(found: &mut Vec<String>, new: &str) {
    if !new.is_empty() && found.len() < MOST && !found.iter().any(|old| old == new) {
        found.push(new.to_owned());
    }
}
