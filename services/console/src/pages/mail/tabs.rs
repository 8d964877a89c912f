//! What a message shows: HTML, text, headers, source, attachments.

use super::{View, linked};
use crate::{
    api::App,
    message::Part,
    model::Mail,
    pages::{
        format::{encoded, octets},
        hostile::{self, RemoteImages},
        icons::{Icon, icon},
        journey,
    },
};
use internal_api::Problem;
use maud::{Markup, html};

/// How much of a source is shown. The rest can be downloaded.
const SOURCE_OCTETS: usize = 512 * 1024;

/// What is shown of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tab {
    Html,
    Text,
    Headers,
    Source,
    Files,
    Journey,
}

impl Tab {
    const ALL: [Self; 6] = [Self::Html, Self::Text, Self::Headers, Self::Source, Self::Files, Self::Journey];

    fn name(self) -> &'static str {
        match self {
            Self::Html => "html",
            Self::Text => "text",
            Self::Headers => "headers",
            Self::Source => "source",
            Self::Files => "files",
            Self::Journey => "journey",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Html => "HTML",
            Self::Text => "Text",
            Self::Headers => "Headers",
            Self::Source => "Source",
            Self::Files => "Attachments",
            Self::Journey => "Journey",
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tab| tab.name() == name)
    }
}

/// How wide HTML is shown, as on which device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Width {
    Phone,
    Tablet,
    Desktop,
}

impl Width {
    const ALL: [(Self, &'static str, &'static str, Icon); 3] = [
        (Self::Phone, "phone", "390 px", Icon::Phone),
        (Self::Tablet, "tablet", "768 px", Icon::Tablet),
        (Self::Desktop, "desktop", "Full", Icon::Desktop),
    ];

    pub(super) fn named(name: &str) -> Self {
        Self::ALL.iter().find(|(_, known, ..)| *known == name).map_or(Self::Desktop, |(width, ..)| *width)
    }

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(width, ..)| *width == self).map_or("desktop", |(_, name, ..)| name)
    }
}

/// A message, and how it is shown.
pub(super) struct Shown<'a> {
    pub(super) mail: &'a Mail,
    pub(super) view: &'a View,
    pub(super) tab: Tab,
    pub(super) width: Width,
    pub(super) images: RemoteImages,
}

impl Shown<'_> {
    /// This message in another way.
    fn url(&self, tab: Tab, width: Width, images: RemoteImages) -> String {
        let mut url = self.view.url(&format!("/mail/{}", self.mail.summary.id));
        let mut add = |name: &str, value: &str| {
            url.push(if url.contains('?') { '&' } else { '?' });
            url.push_str(&format!("{name}={}", encoded(value)));
        };
        add("tab", tab.name());
        if width != Width::Desktop {
            add("width", width.name());
        }
        if images == RemoteImages::On {
            add("images", "remote");
        }
        url
    }

    fn files(&self) -> impl Iterator<Item = &Part> {
        self.mail.parts.iter().filter(|part| part.attachment || part.inline)
    }
}

/// The tabs. Those that would be empty are left out.
pub(super) fn bar(shown: &Shown<'_>) -> Markup {
    let files = shown.files().count();
    let is_there = |tab: &Tab| match tab {
        Tab::Html => !shown.mail.html.trim().is_empty(),
        Tab::Files => files > 0,
        _ => true,
    };
    html! {
        nav.tabs aria-label="Parts of the message" {
            @for tab in Tab::ALL.into_iter().filter(is_there) {
                a href=(shown.url(tab, Width::Desktop, RemoteImages::Off)) aria-current=[(tab == shown.tab).then_some("page")] {
                    (tab.title()) @if tab == Tab::Files { " " span.number { (files) } }
                }
            }
        }
    }
}

/// What stands below the tabs.
///
/// # Errors
/// When a store does not give the source.
pub(super) async fn body(app: &App, shown: &Shown<'_>) -> Result<Markup, Problem> {
    Ok(match shown.tab {
        Tab::Html => rendered(shown),
        Tab::Text if shown.mail.text.trim().is_empty() => html! { div.pad { p.quiet { "The message has no text." } } },
        Tab::Text => html! { pre.text { (linked(&shown.mail.text)) } },
        Tab::Headers => headers(shown.mail),
        Tab::Source => source(app, shown.mail).await,
        Tab::Files => files(shown),
        Tab::Journey => {
            let journey = app.journey(shown.mail.summary.id).await?;
            html! { div.pad { (journey::panel(&journey, app.clock.wall.now())) } }
        }
    })
}

fn rendered(shown: &Shown<'_>) -> Markup {
    let Shown { mail, width, images, .. } = *shown;
    let cleaned = match hostile::clean(&mail.html, &mail.summary, &mail.parts, images) {
        Ok(cleaned) => cleaned,
        Err(error) => {
            return html! {
                div.pad { div.notice.waiting { "It is not shown: " (error) ". The tab Source has it." } }
            };
        }
    };
    let remote = if images == RemoteImages::On { "?images=remote" } else { "" };
    html! {
        div.view-tools {
            div.segments role="group" aria-label="Width" {
                @for (one, _, words, picture) in Width::ALL {
                    a href=(shown.url(Tab::Html, one, images)) aria-current=[(one == width).then_some("true")] { (icon(picture)) (words) }
                }
            }
            @if cleaned.remote_images > 0 {
                @if images == RemoteImages::Off {
                    span.quiet.small {
                        (cleaned.remote_images) " remote " @if cleaned.remote_images == 1 { "image is" } @else { "images are" } " not loaded"
                    }
                    a.button #remote-images href=(shown.url(Tab::Html, width, RemoteImages::On)) { (icon(Icon::Image)) "Load for this view" }
                } @else {
                    span.quiet.small { "Your browser loads remote images for this view" }
                    a.button href=(shown.url(Tab::Html, width, RemoteImages::Off)) { "Stop" }
                }
            }
        }
        div class={ "stage " (width.name()) } {
            iframe title={ "The message: " (mail.summary.subject) } sandbox="allow-popups allow-popups-to-escape-sandbox"
                referrerpolicy="no-referrer" src={ "/mail/" (mail.summary.id) "/view" (remote) } {}
        }
    }
}

fn headers(mail: &Mail) -> Markup {
    html! {
        div.pad {
            table.headers {
                tbody {
                    @for field in &mail.headers { tr { td { (field.name) } td { code { (field.value) } } } }
                }
            }
        }
    }
}

async fn source(app: &App, mail: &Mail) -> Markup {
    let raw = match app.raw(mail.summary.id).await {
        Ok(raw) => raw,
        Err(problem) => {
            return html! { div.pad { div.notice { "The source is not there: " (problem.to_string()) } } };
        }
    };
    let shown = &raw[..raw.len().min(SOURCE_OCTETS)];
    html! {
        @if shown.len() < raw.len() {
            div.pad {
                div.notice {
                    "Only the first " (octets(SOURCE_OCTETS as u64)) " of " (octets(raw.len() as u64)) " are shown. "
                    a href={ "/v1/mail/" (mail.summary.id) "/raw" } { "Download all" }
                }
            }
        }
        pre.source tabindex="0" { (String::from_utf8_lossy(shown)) }
    }
}

fn files(shown: &Shown<'_>) -> Markup {
    let id = shown.mail.summary.id;
    html! {
        div.pad {
            ul.attachments {
                @for part in shown.files() {
                    li.attachment {
                        (icon(if part.media_type.starts_with("image/") { Icon::Image } else { Icon::Clip }))
                        span.file { @if part.name.is_empty() { "part " (part.number) } @else { (part.name) } }
                        a.button href={ "/v1/mail/" (id) "/parts/" (part.number) } download=(part.name) {
                            (icon(Icon::Download)) span.visually-hidden { "Download " (part.name) }
                        }
                        span.about {
                            (part.media_type) ", " (octets(part.octets as u64)) @if part.inline { ", within the message" }
                            br; "SHA-256 " code { (part.sha256) }
                        }
                    }
                }
            }
        }
    }
}
