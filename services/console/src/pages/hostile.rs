//! HTML of messages, which is hostile: it must run nothing, fetch nothing, and change nothing around it.
//!
//! Two walls stand one behind the other. The first is the policy that the browser enforces ([`policy`]): a sandbox of an
//! origin of its own without scripts and forms, in which nothing is loaded but images. The second is [`clean()`], which removes
//! what the policy does not cover (`<link rel=preconnect>`), what would be a nuisance (`<base>`, links within the frame), and
//! what is on the network, as long as nobody has asked for it.

mod clean;

pub(super) use clean::clean;

use crate::model::{Mail, MailSummary};
use axum::{
    http::{HeaderName, HeaderValue, header},
    response::{IntoResponse, Response},
};
use maud::{DOCTYPE, Markup, PreEscaped, html};

/// Whether images are fetched that a message names on the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RemoteImages {
    /// They are not.
    Off,
    /// They are, by the browser, as somebody has asked for it.
    On,
}

/// What a browser lets the HTML of a message do.
pub(crate) fn policy(images: RemoteImages) -> HeaderValue {
    HeaderValue::from_static(match images {
        RemoteImages::Off => {
            "sandbox allow-popups allow-popups-to-escape-sandbox; default-src 'none'; img-src 'self' data:; \
             style-src 'unsafe-inline'; form-action 'none'; base-uri 'none'; frame-ancestors 'self'"
        }
        RemoteImages::On => {
            "sandbox allow-popups allow-popups-to-escape-sandbox; default-src 'none'; img-src 'self' data: http: https:; \
             style-src 'unsafe-inline'; form-action 'none'; base-uri 'none'; frame-ancestors 'self'"
        }
    })
}

/// What a message shows: its HTML, or else its text.
pub(crate) fn view(mail: &Mail, images: RemoteImages) -> Response {
    let document = if mail.html.trim().is_empty() {
        plain(&mail.summary, &super::mail::linked(&mail.text)).0
    } else {
        match clean(&mail.html, &mail.summary, &mail.parts, images) {
            Ok(cleaned) => cleaned.html,
            Err(error) => {
                let text = html! { "(" (error) "; its text follows)\n\n" (super::mail::linked(&mail.text)) };
                plain(&mail.summary, &text).0
            }
        }
    };
    let headers: [(HeaderName, HeaderValue); 6] = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (header::CONTENT_SECURITY_POLICY, policy(images)),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (HeaderName::from_static("x-dns-prefetch-control"), HeaderValue::from_static("off")),
    ];
    (headers, document).into_response()
}

fn plain(summary: &MailSummary, text: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (summary.subject) }
                style { (PreEscaped("pre{white-space:pre-wrap;overflow-wrap:anywhere;font:14px/1.5 ui-monospace,monospace;margin:16px}")) }
            }
            body { pre { (text) } }
        }
    }
}

#[cfg(test)]
mod tests;
