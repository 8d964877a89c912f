//! Pictures of 16 by 16, drawn by hand.

use maud::{Markup, PreEscaped, html};

/// A picture. It says nothing to a screen reader: a text stands beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Icon {
    /// The town: two houses.
    Town,
    /// Three places, and the ways between them.
    Map,
    /// Two speech bubbles.
    Talk,
    /// A letter.
    Mail,
    /// Several letters.
    Tray,
    /// A mailbox.
    Mailbox,
    /// An hourglass.
    Waiting,
    /// A sign that forbids.
    Refused,
    /// A paper clip.
    Clip,
    /// A pen.
    Compose,
    /// A waste bin.
    Delete,
    /// A circle that is filled.
    Unread,
    /// A circle that is not.
    Read,
    /// A magnifying glass.
    Search,
    /// A half-filled circle.
    Theme,
    /// A question mark.
    Help,
    /// A cross.
    Close,
    /// To the left.
    Back,
    /// To the right.
    Next,
    /// Down into a tray.
    Download,
    /// Once more.
    Again,
    /// A phone.
    Phone,
    /// A tablet.
    Tablet,
    /// A screen.
    Desktop,
    /// A landscape in a frame.
    Image,
    /// A part of a window that is opened alone.
    Open,
}

impl Icon {
    fn paths(self) -> &'static str {
        match self {
            Self::Town => r#"<path d="M1.5 14.5h13M2.5 14.5V7l3.25-3L9 7v7.5M9 9.5h4.5v5M5.75 14.5v-3"/>"#,
            Self::Mail => {
                r#"<rect x="1.75" y="3.25" width="12.5" height="9.5" rx="1.5"/><path d="m2 4.5 6 4.75L14 4.5"/>"#
            }
            Self::Tray => r#"<path d="M1.75 9.5h3.5l1 1.75h3.5l1-1.75h3.5M3.5 3.25h9l1.75 6.25v3.25H1.75V9.5z"/>"#,
            Self::Mailbox => {
                r#"<path d="M1.75 11.5V7A2.75 2.75 0 0 1 4.5 4.25h7A2.75 2.75 0 0 1 14.25 7v4.5zM4.5 4.25A2.75 2.75 0 0 1 7.25 7v4.5M8 11.5v3M10 7h2"/>"#
            }
            Self::Waiting => {
                r#"<path d="M4 1.75h8M4 14.25h8M5 1.75v2.5L8 8l3-3.75v-2.5M5 14.25v-2.5L8 8l3 3.75v2.5"/>"#
            }
            Self::Refused => r#"<circle cx="8" cy="8" r="6.25"/><path d="m3.75 3.75 8.5 8.5"/>"#,
            Self::Clip => {
                r#"<path d="m13.25 7.5-5.6 5.6a3.2 3.2 0 0 1-4.5-4.5l5.9-5.9a2.15 2.15 0 0 1 3 3l-5.7 5.7a1.05 1.05 0 0 1-1.5-1.5l5-5"/>"#
            }
            Self::Compose => r#"<path d="M11.25 2.25a1.6 1.6 0 0 1 2.5 2.5L5.5 13l-3.25.75L3 10.5z"/>"#,
            Self::Delete => r#"<path d="M2.5 4.25h11M6 4.25v-1.5h4v1.5M3.75 4.25l.6 9.5h7.3l.6-9.5M6.5 7v4M9.5 7v4"/>"#,
            Self::Unread => r#"<circle cx="8" cy="8" r="3.5" fill="currentColor"/>"#,
            Self::Read => r#"<circle cx="8" cy="8" r="3.5"/>"#,
            Self::Search => r#"<circle cx="7" cy="7" r="4.75"/><path d="m10.5 10.5 3.75 3.75"/>"#,
            Self::Theme => r#"<circle cx="8" cy="8" r="6"/><path d="M8 2v12a6 6 0 0 0 0-12z" fill="currentColor"/>"#,
            Self::Help => {
                r#"<circle cx="8" cy="8" r="6.25"/><path d="M6.1 6.2A1.95 1.95 0 0 1 8 4.75c1.1 0 1.95.75 1.95 1.7C9.95 7.9 8 7.9 8 9.25M8 11.4v.1"/>"#
            }
            Self::Map => {
                r#"<circle cx="3.5" cy="4" r="1.75"/><circle cx="12.5" cy="4" r="1.75"/><circle cx="8" cy="12.25" r="1.75"/><path d="M5.25 4h5.5M4.5 5.5l2.6 5.1M11.5 5.5l-2.6 5.1"/>"#
            }
            Self::Talk => {
                r#"<path d="M2 3.25A1.25 1.25 0 0 1 3.25 2h6.5A1.25 1.25 0 0 1 11 3.25v3.5A1.25 1.25 0 0 1 9.75 8H5.5L3.25 10V8A1.25 1.25 0 0 1 2 6.75z"/><path d="M7 10.25v.5A1.25 1.25 0 0 0 8.25 12h2.25l2.25 2v-2A1.25 1.25 0 0 0 14 10.75v-3.5A1.25 1.25 0 0 0 13 6"/>"#
            }
            Self::Close => r#"<path d="m3.5 3.5 9 9M12.5 3.5l-9 9"/>"#,
            Self::Back => r#"<path d="M10 3 5 8l5 5"/>"#,
            Self::Next => r#"<path d="m6 3 5 5-5 5"/>"#,
            Self::Download => r#"<path d="M8 2v8M4.75 7 8 10.25 11.25 7M2.25 13.75h11.5"/>"#,
            Self::Again => r#"<path d="M13.5 2.5v3.25h-3.25M13.25 5.5A5.75 5.75 0 1 0 13.75 8"/>"#,
            Self::Phone => r#"<rect x="4.5" y="1.75" width="7" height="12.5" rx="1.5"/><path d="M7.5 12h1"/>"#,
            Self::Tablet => r#"<rect x="2.75" y="1.75" width="10.5" height="12.5" rx="1.5"/><path d="M7 12h2"/>"#,
            Self::Desktop => {
                r#"<rect x="1.5" y="2.5" width="13" height="8.75" rx="1.25"/><path d="M5.5 14h5M8 11.25V14"/>"#
            }
            Self::Image => {
                r#"<rect x="1.75" y="2.75" width="12.5" height="10.5" rx="1.5"/><circle cx="5.5" cy="6.25" r="1.1"/><path d="m2 12 3.75-3.5L8 10.5 10.75 7.5 14 11"/>"#
            }
            Self::Open => r#"<path d="M6.5 3H3v10h10V9.5M9.25 2.5h4.25v4.25M13.25 2.75 7.5 8.5"/>"#,
        }
    }
}

/// Draws it.
pub(crate) fn icon(icon: Icon) -> Markup {
    html! {
        svg.icon viewBox="0 0 16 16" aria-hidden="true" focusable="false" { (PreEscaped(icon.paths())) }
    }
}
