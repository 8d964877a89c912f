//! Octets as people read them.

use maud::{Markup, html};

/// A piece of what is shown of octets.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    /// Text, as it is.
    Text(String),
    /// An octet that has no letter, and its picture.
    Sign(&'static str, String),
}

/// Octets with all that is not seen otherwise: CR and LF, controls, and what is no UTF-8. A CR or LF alone is marked.
pub(crate) fn visible(octets: &[u8]) -> Markup {
    html! {
        @for piece in pieces(octets) {
            @match piece {
                Piece::Text(text) => (text),
                Piece::Sign(class, text) => span.(class) { (text) },
            }
        }
    }
}

fn pieces(octets: &[u8]) -> Vec<Piece> {
    let mut pieces = Vec::new();
    for chunk in octets.utf8_chunks() {
        let mut text = String::new();
        let mut letters = chunk.valid().chars().peekable();
        let mut sign = |text: &mut String, class, sign: String| {
            if !text.is_empty() {
                pieces.push(Piece::Text(std::mem::take(text)));
            }
            pieces.push(Piece::Sign(class, sign));
        };
        while let Some(letter) = letters.next() {
            match letter {
                '\r' if letters.next_if_eq(&'\n').is_some() => {
                    sign(&mut text, "eol", "\\r\\n".to_owned());
                    if letters.peek().is_some() {
                        text.push('\n');
                    }
                }
                '\r' => sign(&mut text, "eol bare", "\\r".to_owned()),
                '\n' => {
                    sign(&mut text, "eol bare", "\\n".to_owned());
                    if letters.peek().is_some() {
                        text.push('\n');
                    }
                }
                '\t' => text.push(letter),
                letter if letter.is_control() => sign(&mut text, "octet", format!("\\x{:02x}", u32::from(letter))),
                letter => text.push(letter),
            }
        }
        if !text.is_empty() {
            pieces.push(Piece::Text(text));
        }
        let rest = chunk.invalid().iter().map(|octet| Piece::Sign("octet", format!("\\x{octet:02x}")));
        pieces.extend(rest);
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_ends_are_seen() {
        for (octets, expected) in [
            (&b"QUIT\r\n"[..], "QUIT<span class=\"eol\">\\r\\n</span>"),
            (b"QUIT\n", "QUIT<span class=\"eol bare\">\\n</span>"),
            (b"a\rb", "a<span class=\"eol bare\">\\r</span>b"),
            (b"a\r\nb\r\n", "a<span class=\"eol\">\\r\\n</span>\nb<span class=\"eol\">\\r\\n</span>"),
            (b"\0\xff<", "<span class=\"octet\">\\x00</span><span class=\"octet\">\\xff</span>&lt;"),
            ("é".as_bytes(), "é"),
        ] {
            assert_eq!(visible(octets).0, expected);
        }
    }
}
