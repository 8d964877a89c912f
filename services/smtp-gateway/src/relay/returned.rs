//! What a report returns of the message: bounded, and safe on its way (RFC 2045 §6.7).

use std::{borrow::Cow, fmt::Write};

/// How much of a header section is returned.
const HEADER_OCTETS: usize = 64 * 1024;
/// The longest line of quoted-printable text, without its CRLF.
const LINE_OCTETS: usize = 76;
/// The longest line that travels as it is, without its CRLF (RFC 5322 §2.1.1).
const PLAIN_LINE_OCTETS: usize = 998;

/// A message, or its header section, or the beginning of a long one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Returned {
    /// All of it. It is not encoded (RFC 2046 §5.2.1).
    Whole(Vec<u8>),
    /// Lines of its header section.
    Headers {
        /// With their CRLFs.
        lines: Vec<u8>,
        /// Whether more of it was left out.
        is_cut: bool,
    },
}

impl Returned {
    /// The longest message that is returned as a whole, in octets.
    pub(super) const WHOLE_OCTETS: u64 = 1024 * 1024;

    /// Whether no more than `read` is needed of a message to return its headers.
    pub(super) fn headers_are_complete(read: &[u8]) -> bool {
        read.len() > HEADER_OCTETS || memchr::memmem::find(read, b"\r\n\r\n").is_some()
    }

    /// All of a message, if it can travel without being encoded. Otherwise its header section.
    pub(super) fn whole(message: Vec<u8>, takes_eight_bits: bool) -> Self {
        let is_plain = |line: &[u8]| line.len() <= PLAIN_LINE_OCTETS + 1 && !line.contains(&0);
        let can_travel =
            (takes_eight_bits || message.is_ascii()) && message.split(|octet| *octet == b'\n').all(is_plain);
        if can_travel { Self::Whole(message) } else { Self::headers(message) }
    }

    /// The header section at the beginning of `message`: up to the empty line, or to the first line that is no field.
    /// A long one ends with the last whole line that fits.
    pub(crate) fn headers(mut message: Vec<u8>) -> Self {
        let is_long = message.len() > HEADER_OCTETS;
        message.truncate(HEADER_OCTETS);
        let mut end = 0;
        while let Some(length) = memchr::memmem::find(&message[end..], b"\r\n") {
            if !belongs_to_a_field(&message[end..end + length], end == 0) {
                message.truncate(end);
                return Self::Headers { lines: message, is_cut: false };
            }
            end += length + 2;
        }
        message.truncate(end);
        Self::Headers { lines: message, is_cut: is_long }
    }

    /// What the human reader is told it is; "attached" follows.
    pub(crate) fn description(&self) -> &'static str {
        match self {
            Self::Whole(_) => "The message is",
            Self::Headers { is_cut: true, .. } => "The beginning of the message's headers is",
            Self::Headers { .. } => "The message's own headers are",
        }
    }

    /// Its media type (RFC 6522 §3). With `smtputf8`, its reader takes headers in UTF-8 (RFC 6532 §3.7, RFC 6533 §4).
    pub(crate) fn content_type(&self, smtputf8: bool) -> &'static str {
        let header = match self {
            Self::Whole(message) => &message[..memchr::memmem::find(message, b"\r\n\r\n").unwrap_or(message.len())],
            Self::Headers { lines, .. } => lines,
        };
        let is_global = smtputf8 && !header.is_ascii() && std::str::from_utf8(header).is_ok();
        match self {
            Self::Whole(_) if is_global => "message/global",
            Self::Whole(_) => "message/rfc822",
            Self::Headers { .. } if is_global => "message/global-headers",
            Self::Headers { .. } => "text/rfc822-headers",
        }
    }

    /// How [`Returned::octets`] are encoded.
    pub(crate) fn transfer_encoding(&self) -> &'static str {
        match self {
            Self::Whole(message) if message.is_ascii() => "7bit",
            Self::Whole(_) => "8bit",
            Self::Headers { .. } => "quoted-printable",
        }
    }

    /// Its octets as they travel. Headers are in lines of printable ASCII.
    pub(crate) fn octets(&self) -> Cow<'_, [u8]> {
        let lines = match self {
            Self::Whole(message) => return message.into(),
            Self::Headers { lines, .. } => lines,
        };
        quoted_printable(lines).into_bytes().into()
    }
}

/// Lines with their CRLFs, in printable ASCII (RFC 2045 §6.7).
pub(super) fn quoted_printable(lines: &[u8]) -> String {
    let mut output = String::with_capacity(lines.len());
    let mut rest = lines;
    while let Some(length) = memchr::memmem::find(rest, b"\r\n") {
        encode_line(&rest[..length], &mut output);
        rest = &rest[length + 2..];
    }
    output
}

/// Whether a line is a header field's first line (RFC 5322 §2.2), or goes on with one.
fn belongs_to_a_field(line: &[u8], is_first: bool) -> bool {
    if !is_first && (line.starts_with(b" ") || line.starts_with(b"\t")) {
        return true;
    }
    let name = line.split(|octet| *octet == b':').next().unwrap_or_default();
    let name = name.trim_ascii_end();
    name.len() < line.len() && !name.is_empty() && name.iter().all(|octet| octet.is_ascii_graphic())
}

/// Appends a line, its soft line breaks and its CRLF.
fn encode_line(line: &[u8], output: &mut String) {
    let mut column = 0;
    for (index, octet) in line.iter().enumerate() {
        let is_last = index + 1 == line.len();
        let is_plain = match octet {
            b' ' => !is_last,
            octet => octet.is_ascii_graphic() && *octet != b'=',
        };
        let width = if is_plain { 1 } else { 3 };
        // One column is for the "=" of a soft line break.
        if column + width > LINE_OCTETS - 1 {
            output.push_str("=\r\n");
            column = 0;
        }
        if is_plain {
            output.push(char::from(*octet));
        } else {
            let _ = write!(output, "={octet:02X}");
        }
        column += width;
    }
    output.push_str("\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[u8], is_cut: bool) -> Returned {
        Returned::Headers { lines: lines.to_vec(), is_cut }
    }

    #[test]
    fn headers_end_at_the_empty_line_or_with_the_last_field() {
        let table: &[(&[u8], &[u8])] = &[
            (b"A: 1\r\nB: 2\r\n\r\nbody\r\n", b"A: 1\r\nB: 2\r\n"),
            (b"A: 1\r\n\tmore\r\nno field\r\n", b"A: 1\r\n\tmore\r\n"),
            (b"\r\nbody\r\n", b""),
            (b" A: 1\r\n", b""),
            (b"body only\r\n", b""),
            (b"A: 1\r\nB: 2", b"A: 1\r\n"),
            (b"A: 1\r\n", b"A: 1\r\n"),
            (b"", b""),
        ];
        for (message, lines) in table {
            assert_eq!(Returned::headers(message.to_vec()), headers(lines, false));
        }
    }

    #[test]
    fn a_long_header_section_is_cut_at_the_end_of_a_line() {
        let Returned::Headers { lines, is_cut: true } = Returned::headers(b"X-Field: some text\r\n".repeat(5_000))
        else {
            panic!("it is long")
        };
        assert!(lines.len() <= HEADER_OCTETS && lines.ends_with(b"text\r\n"));
        let returned = Returned::headers([b"X: ".to_vec(), vec![b'x'; 100_000]].concat());
        assert_eq!(returned, headers(b"", true));
    }

    #[test]
    fn whatever_they_hold_they_travel_in_short_lines_of_ascii() {
        let octets: Vec<u8> = (0..=255).filter(|octet| *octet != b'\n').cycle().take(5_000).collect();
        let lines = [b"Subject: ", &octets[..], b" \r\nX: =\r\n"].concat();
        let text = Returned::headers(lines).octets().into_owned();
        assert!(text.is_ascii() && !text.contains(&0));
        for line in String::from_utf8(text).unwrap().split("\r\n") {
            assert!(line.len() <= LINE_OCTETS && !line.contains(char::is_control) && !line.ends_with(' '), "{line}");
        }
    }

    #[test]
    fn a_header_in_utf8_has_a_media_type_of_its_own_for_those_who_know_it() {
        let table = [
            ("Subject: é\r\n\r\nx\r\n".as_bytes(), "message/global-headers", "message/global"),
            ("Subject: e\r\n\r\né\r\n".as_bytes(), "text/rfc822-headers", "message/rfc822"),
            (b"Subject: \xe9\r\n\r\nx\r\n", "text/rfc822-headers", "message/rfc822"),
        ];
        for (message, headers, whole) in table {
            let (part, all) = (Returned::headers(message.to_vec()), Returned::whole(message.to_vec(), true));
            assert_eq!((part.content_type(true), all.content_type(true)), (headers, whole), "{message:?}");
            assert_eq!((part.content_type(false), all.content_type(false)), ("text/rfc822-headers", "message/rfc822"));
        }
    }

    #[test]
    fn a_whole_message_is_returned_where_its_way_takes_it() {
        let with_line = |octets: &[u8]| [b"A: 1\r\n\r\n", octets, b"\r\n"].concat();
        let table = [
            (with_line(b"ascii"), true, true),
            (with_line(&[0xe9]), false, true),
            (with_line(&[0]), false, false),
            (with_line(&[b'x'; 998]), true, true),
            (with_line(&[b'x'; 999]), false, false),
        ];
        for (message, in_seven_bits, in_eight_bits) in table {
            for (takes_eight_bits, expected) in [(false, in_seven_bits), (true, in_eight_bits)] {
                let returned = Returned::whole(message.clone(), takes_eight_bits);
                let whole = Returned::Whole(message.clone());
                assert_eq!(returned, if expected { whole } else { headers(b"A: 1\r\n", false) });
            }
        }
    }
}
