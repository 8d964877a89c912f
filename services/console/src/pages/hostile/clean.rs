//! Takes out of HTML what is hostile.

use super::RemoteImages;
use crate::{message::Part, model::MailSummary, pages::format::encoded};
use lol_html::{RewriteStrSettings, element, html_content::Element, rewrite_str, text};
use std::cell::{Cell, RefCell};

/// Removed with all that is in them. SVG and MathML change how HTML is read; mail readers show neither.
const REMOVED: &[&str] = &[
    "applet",
    "audio",
    "base",
    "bgsound",
    "embed",
    "fencedframe",
    "frame",
    "frameset",
    "iframe",
    "link",
    "math",
    "meta",
    "noembed",
    "noframes",
    "noscript",
    "object",
    "param",
    "portal",
    "script",
    "source",
    "svg",
    "template",
    "track",
    "video",
];
/// Removed around what is in them.
const UNWRAPPED: &[&str] = &["dialog", "form", "picture"];
/// Attributes that load, send, navigate or take the keyboard, each in its way.
const REMOVED_ATTRIBUTES: &[&str] = &[
    "accesskey",
    "action",
    "archive",
    "attributionsrc",
    "autofocus",
    "cite",
    "classid",
    "code",
    "codebase",
    "command",
    "commandfor",
    "contenteditable",
    "data",
    "download",
    "dynsrc",
    "form",
    "formaction",
    "http-equiv",
    "imagesrcset",
    "interestfor",
    "is",
    "longdesc",
    "lowsrc",
    "manifest",
    "nonce",
    "ping",
    "popover",
    "popovertarget",
    "profile",
    "rel",
    "srcdoc",
    "srcset",
    "target",
];
/// Attributes that name an image.
const IMAGES: &[&str] = &["background", "href", "poster", "src", "xlink:href"];
/// What a link may lead to. A link within the message is allowed too.
const SCHEMES: &[&str] = &["http://", "https://", "mailto:", "tel:"];

/// The HTML of a message, without what is hostile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cleaned {
    pub(crate) html: String,
    /// How many images on the network it names.
    pub(crate) remote_images: usize,
}

/// The HTML cannot be read in one way only, so nobody knows what a browser would do with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the HTML of this message is ambiguous: browsers do not agree how to read it")]
pub(crate) struct Ambiguous;

/// Removes what is hostile, and lets `cid:` lead to the parts of the message (RFC 2392).
///
/// # Errors
/// [`Ambiguous`].
pub(crate) fn clean(
    html: &str,
    summary: &MailSummary,
    parts: &[Part],
    images: RemoteImages,
) -> Result<Cleaned, Ambiguous> {
    let cleaner = Cleaner { prefix: format!("/v1/mail/{}/parts/", summary.id), parts, images, remote: Cell::new(0) };
    let cleaned = cleaner.rewrite(html)?;
    let remote_images = cleaner.remote.get();
    // What is left must be nothing to remove: two readings would be ambiguous.
    let again = Cleaner { remote: Cell::new(0), ..cleaner }.rewrite(&cleaned)?;
    if again == cleaned { Ok(Cleaned { html: cleaned, remote_images }) } else { Err(Ambiguous) }
}

struct Cleaner<'m> {
    /// Of the URLs of the message's parts.
    prefix: String,
    parts: &'m [Part],
    images: RemoteImages,
    remote: Cell<usize>,
}

impl Cleaner<'_> {
    fn rewrite(&self, html: &str) -> Result<String, Ambiguous> {
        let style = RefCell::new(String::new());
        let settings = RewriteStrSettings::new()
            .with_strict(true)
            .append_element_content_handler(element!("*", |element| {
                self.element(element);
                Ok(())
            }))
            // A style sheet may come in pieces.
            .append_element_content_handler(text!("style", |chunk| {
                style.borrow_mut().push_str(chunk.as_str());
                if chunk.last_in_text_node() {
                    let sheet = self.sheet(&style.take());
                    chunk.replace(&sheet, lol_html::html_content::ContentType::Html);
                } else {
                    chunk.remove();
                }
                Ok(())
            }));
        rewrite_str(html, settings).map_err(|_| Ambiguous)
    }

    fn element(&self, element: &mut Element<'_, '_>) {
        let name = element.tag_name();
        if REMOVED.contains(&name.as_str()) {
            element.remove();
            return;
        }
        if UNWRAPPED.contains(&name.as_str()) {
            element.remove_and_keep_content();
            return;
        }
        let is_link = ["a", "area"].contains(&name.as_str());
        let attributes: Vec<_> = element.attributes().iter().map(|one| (one.name(), one.value())).collect();
        for (attribute, value) in attributes {
            let kept = match attribute.as_str() {
                "href" if is_link => self.link(&value),
                "style" => Some(self.sheet(&value)),
                name if name.starts_with("on") || REMOVED_ATTRIBUTES.contains(&name) => None,
                name if IMAGES.contains(&name) => self.image(&value),
                _ => Some(value.clone()),
            };
            match kept {
                None => element.remove_attribute(&attribute),
                // A name that cannot be written again is none that a browser knows.
                Some(kept) if kept != value && element.set_attribute(&attribute, &kept).is_err() => {
                    element.remove_attribute(&attribute);
                }
                Some(_) => {}
            }
        }
        let leads_away = element.get_attribute("href").is_some_and(|href| !href.trim_start().starts_with('#'));
        if is_link && leads_away {
            // Both names can be written.
            let _ = element.set_attribute("target", "_blank");
            let _ = element.set_attribute("rel", "noopener noreferrer");
        }
    }

    /// A link, if it may lead there. Character references count as they are written: what hides its scheme is removed.
    fn link(&self, value: &str) -> Option<String> {
        let lower = value.trim().to_ascii_lowercase();
        let is_allowed = lower.starts_with('#') || SCHEMES.iter().any(|scheme| lower.starts_with(scheme));
        if let Some(url) = self.part(value) {
            return Some(url);
        }
        is_allowed.then(|| value.to_owned())
    }

    /// The URL of an image, if it may be loaded.
    fn image(&self, value: &str) -> Option<String> {
        let lower = value.trim().to_ascii_lowercase();
        if let Some(url) = self.part(value) {
            return Some(url);
        }
        if lower.starts_with("data:image/") || lower.starts_with('#') || value.starts_with(&self.prefix) {
            return Some(value.to_owned());
        }
        if ["http://", "https://", "//"].iter().any(|begin| lower.starts_with(begin)) {
            self.remote.set(self.remote.get() + 1);
            return (self.images == RemoteImages::On).then(|| value.to_owned());
        }
        None
    }

    /// The URL of the part that a `cid:` URL names.
    fn part(&self, url: &str) -> Option<String> {
        let url = url.trim();
        let (scheme, id) = url.split_at_checked(4)?;
        let id = decoded(id);
        let found = self.parts.iter().find(|part| !part.content_id.is_empty() && part.content_id == id);
        let found = found.filter(|_| scheme.eq_ignore_ascii_case("cid:"));
        found.map(|part| format!("{}{}", self.prefix, part.number))
    }

    /// A style sheet with URLs of parts instead of `cid:`. The policy decides what else is loaded.
    fn sheet(&self, css: &str) -> String {
        let lower = css.to_ascii_lowercase();
        let remote = lower.matches("url(").count();
        let local = lower.matches("url(cid:").count()
            + lower.matches("url(data:").count()
            + lower.matches(&self.prefix).count();
        let quoted = ["url('cid:", "url(\"cid:", "url('data:", "url(\"data:"].iter();
        let local = local + quoted.map(|begin| lower.matches(begin).count()).sum::<usize>();
        self.remote.set(self.remote.get() + remote.saturating_sub(local));
        let mut sheet = css.to_owned();
        for part in self.parts.iter().filter(|part| !part.content_id.is_empty()) {
            for id in [part.content_id.clone(), encoded(&part.content_id)] {
                for end in [")", "'", "\"", "&"] {
                    sheet = sheet.replace(&format!("cid:{id}{end}"), &format!("{}{}{end}", self.prefix, part.number));
                }
            }
        }
        sheet
    }
}

/// Percent-encoded octets as themselves (RFC 3986 §2.1).
fn decoded(text: &str) -> String {
    let (mut octets, mut rest) = (Vec::new(), text.as_bytes());
    while let [first, after @ ..] = rest {
        let hex = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match hex.and_then(|digits| u8::from_str_radix(digits, 16).ok()).filter(|_| *first == b'%') {
            Some(octet) => {
                octets.push(octet);
                rest = &after[2..];
            }
            None => {
                octets.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&octets).into_owned()
}
