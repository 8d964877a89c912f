//! The search field, what is wrong in it, and what can stand in it.

use super::View;
use crate::pages::{
    icons::{Icon, icon},
    layout::dialog,
};
use crate::query::Query;
use maud::{Markup, html};

/// What can stand in a query, each with what it finds.
const SYNTAX: &[(&str, &str)] = &[
    ("word  \"a phrase\"", "Anywhere: subject, addresses, text, names of files"),
    ("-word  !from:anna", "Not this"),
    ("from:  to:  cc:  bcc:  reply-to:", "In this header field"),
    ("addressed:", "In any of them"),
    ("subject:  message-id:", "In this header field"),
    ("mailbox:usr1@…", "In this maildrop now"),
    ("rcpt:  mail-from:  domain:", "Recipient and sender of the envelope"),
    ("state:queued", "queued, deferred, held, delivered, relayed, failed, bounced, deleted"),
    ("reply:451", "What another server has said"),
    ("is:unread  is:read  is:gone", "Read in the console; gone: no store has it any more"),
    ("has:attachment", "Also inline, link, code"),
    ("before:2026-11-28  after:…", "Accepted until, or from, then (UTC)"),
    ("larger:5kb  smaller:2mb", "Size"),
    ("stack:  id:", "The server that has it, and the message's id"),
];

/// A query that cannot be meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    /// The query in three: before the fault, the fault, and after it.
    pieces: [String; 3],
    message: String,
}

/// Reads the query of a view.
///
/// # Errors
/// [`Fault`], with its place in what stands in the field.
pub(super) fn parse(view: &View) -> Result<Query, Fault> {
    Query::parse(&view.whole_query()).map_err(|error| {
        let text = view.query.as_str();
        let ends = text.char_indices().filter(|(_, next)| next.is_whitespace()).map(|(at, _)| at).chain([text.len()]);
        let mut begin = 0;
        for end in ends {
            if Query::parse(&text[..end]).is_err() {
                let piece = &text[begin..end];
                let begin = begin + piece.len() - piece.trim_start().len();
                let pieces = [&text[..begin], &text[begin..end], &text[end..]].map(str::to_owned);
                return Fault { pieces, message: error.to_string() };
            }
            begin = end;
        }
        Fault { pieces: [String::new(), text.to_owned(), String::new()], message: error.to_string() }
    })
}

impl Fault {
    /// Shows what is wrong, and where.
    pub(super) fn shown(&self) -> Markup {
        let [before, fault, after] = &self.pieces;
        html! {
            div.notice.refused.query-fault role="alert" #query-fault {
                p { (self.message) }
                p { code { (before) mark { (fault) } (after) } }
            }
        }
    }
}

/// The search field.
pub(super) fn field(view: &View, fault: bool) -> Markup {
    let hint = if view.mailbox.is_empty() { "Search all mail".to_owned() } else { format!("Search {}", view.mailbox) };
    html! {
        search.searchbar {
            form action="/mail" {
                (icon(Icon::Search))
                @if !view.mailbox.is_empty() { input type="hidden" name="mailbox" value=(view.mailbox); }
                label.visually-hidden for="search" { "Search" }
                input #search type="search" name="query" value=(view.query) placeholder=(hint) autocomplete="off" spellcheck="false"
                    aria-invalid=[fault.then_some("true")] aria-describedby=[fault.then_some("query-fault")];
            }
            button.plain.square type="button" data-dialog="syntax" title="What can be searched for" {
                (icon(Icon::Help)) span.visually-hidden { "What can be searched for" }
            }
        }
        (dialog("syntax", "Search", &html! {
            table.syntax {
                tbody {
                    @for (term, meaning) in SYNTAX { tr { td { code { (term) } } td.quiet { (meaning) } } }
                }
            }
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_has_its_place() {
        let fault =
            |query: &str| parse(&View { query: query.to_owned(), ..View::default() }).map_err(|fault| fault.pieces);
        assert!(fault("a from:b \"c d\"").is_ok());
        let [before, wrong, after] = fault("a is:new b").unwrap_err();
        assert_eq!([before.as_str(), &wrong, &after], ["a ", "is:new", " b"]);
        assert_eq!(fault("larger:x").unwrap_err()[1], "larger:x");
        let shown = parse(&View { query: "is:<script>".to_owned(), ..View::default() }).unwrap_err().shown().0;
        assert!(shown.contains("<mark>is:&lt;script&gt;</mark>"), "{shown}");
    }

    #[test]
    fn what_the_help_names_is_a_query() {
        for (terms, _) in SYNTAX {
            let terms = terms.replace("…", "2026-01-01");
            for term in terms.split("  ") {
                let term = if term.ends_with(':') { format!("{term}x") } else { term.to_owned() };
                assert!(Query::parse(&term).is_ok(), "{term}");
            }
        }
    }
}
