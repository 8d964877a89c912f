//! What all pages share: the frame around their content, and their headers.

use super::{
    assets,
    icons::{Icon, icon},
};
use axum::{
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use maud::{DOCTYPE, Markup, html};

/// What a page may load, and from where: its own files, nothing inline.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; frame-src 'self'; \
     form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
);

/// Where a page belongs in the navigation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Section {
    /// The town.
    Map,
    /// Messages.
    Mail,
    /// Who has spoken with the town.
    Sessions,
    /// What waits to be sent.
    Queue,
}

impl Section {
    /// In the order of the navigation. Each has a page at its path.
    const ALL: [Self; 4] = [Self::Map, Self::Mail, Self::Sessions, Self::Queue];

    fn entry(self) -> (&'static str, &'static str, Icon) {
        match self {
            Self::Map => ("/", "Map", Icon::Map),
            Self::Mail => ("/mail", "Mail", Icon::Mail),
            Self::Sessions => ("/sessions", "Sessions", Icon::Talk),
            Self::Queue => ("/queue", "Queue", Icon::Waiting),
        }
    }
}

/// A page of the console.
#[derive(Debug, Clone)]
pub(crate) struct Page {
    /// What stands in the title bar of the browser.
    pub(crate) title: String,
    /// Where it belongs.
    pub(crate) section: Section,
    /// The URL of its stream of changes; empty without. See `assets/live.js`.
    pub(crate) stream: String,
    /// The scripts that it has besides those of all pages: names of assets.
    pub(crate) scripts: &'static [&'static str],
    /// The keys that it knows, for the help: each with what it does.
    pub(crate) keys: &'static [(&'static str, &'static str)],
    /// All between the bar and the end. It has one element `main` with the id `main`.
    pub(crate) content: Markup,
}

impl IntoResponse for Page {
    fn into_response(self) -> Response {
        respond(StatusCode::OK, &self.markup())
    }
}

impl Page {
    /// The page as a response with another status.
    pub(crate) fn with_status(self, status: StatusCode) -> Response {
        respond(status, &self.markup())
    }

    fn markup(&self) -> Markup {
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    title { (self.title) " · mailtown" }
                    link rel="icon" href="data:,";
                    link rel="stylesheet" href=(assets::url("console.css"));
                    script src=(assets::url("theme.js")) {}
                    script type="module" src=(assets::url("main.js")) {}
                    @for script in self.scripts { script type="module" src=(assets::url(script)) {} }
                }
                body data-stream=[Some(&self.stream).filter(|stream| !stream.is_empty())] {
                    a.skip href="#main" { "Skip to the content" }
                    (self.bar())
                    (self.content)
                    (self.key_help())
                    div #announcer.visually-hidden role="status" aria-live="polite" {}
                }
            }
        }
    }

    fn bar(&self) -> Markup {
        html! {
            header.bar {
                a.brand href="/" aria-label="mailtown" { (icon(Icon::Town)) span { "mailtown" } }
                nav aria-label="Sections" {
                    ul {
                        @for section in Section::ALL {
                            @let (path, name, picture) = section.entry();
                            li {
                                a href=(path) aria-current=[(section == self.section).then_some("page")] {
                                    (icon(picture)) (name)
                                }
                            }
                        }
                    }
                }
                div.tools {
                    @if !self.stream.is_empty() {
                        div #link-state.link-state data-state="starting" { span { "Connecting" } }
                    }
                    @if !self.keys.is_empty() {
                        button.plain.square type="button" data-dialog="keys" title="Keys: ?" {
                            (icon(Icon::Help)) span.visually-hidden { "Keys" }
                        }
                    }
                    button #theme.plain.square type="button" { (icon(Icon::Theme)) span.visually-hidden { "Colours" } }
                }
            }
        }
    }

    fn key_help(&self) -> Markup {
        if self.keys.is_empty() {
            return html! {};
        }
        dialog(
            "keys",
            "Keys",
            &html! {
                dl.keys {
                    @for (key, meaning) in self.keys {
                        div { dt { @for part in key.split(' ') { kbd { (part) } " " } } dd { (meaning) } }
                    }
                }
            },
        )
    }
}

/// A window above the page, opened by a button with `data-dialog` of this id.
pub(crate) fn dialog(id: &str, title: &str, content: &Markup) -> Markup {
    html! {
        dialog.dialog id=(id) aria-labelledby={ (id) "-title" } {
            div.dialog-head {
                h2 id={ (id) "-title" } { (title) }
                button.plain.square type="button" data-close title="Close: Esc" {
                    (icon(Icon::Close)) span.visually-hidden { "Close" }
                }
            }
            div.dialog-body { (content) }
        }
    }
}

/// A part of a page that a script has asked for.
pub(crate) fn fragment(markup: &Markup) -> Response {
    respond(StatusCode::OK, markup)
}

fn respond(status: StatusCode, markup: &Markup) -> Response {
    (status, headers(), markup.0.clone()).into_response()
}

/// The headers of all pages and fragments.
fn headers() -> [(HeaderName, HeaderValue); 7] {
    [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::REFERRER_POLICY, HeaderValue::from_static("same-origin")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
        (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
    ]
}
