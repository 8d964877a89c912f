//! The headers that a failure message returns: bounded, and safe on any way (RFC 2045 §6.7).

use std::fmt::Write;

/// How much of a header section is returned.
const HEADER_OCTETS: usize = 64 * 1024;
/// The longest line of quoted-printable text, without its CRLF.
const LINE_OCTETS: usize = 76;

/// A message's header section, or the beginning of a long one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReturnedHeaders {
    lines: Vec<u8>,
    is_cut: bool,
}

impl ReturnedHeaders {
    /// Whether no more than `read` is needed of a message.
    pub(super) fn are_complete(read: &[u8]) -> bool {
        read.len() > HEADER_OCTETS || memchr::memmem::find(read, b"\r\n\r\n").is_some()
    }

    /// The header section at the beginning of `message`: up to the empty line, or to the first line that is no field.
    /// A long one ends with the last whole line that fits.
    pub(crate) fn of(mut message: Vec<u8>) -> Self {
        let is_long = message.len() > HEADER_OCTETS;
        message.truncate(HEADER_OCTETS);
        let mut end = 0;
        while let Some(length) = memchr::memmem::find(&message[end..], b"\r\n") {
            if !belongs_to_a_field(&message[end..end + length], end == 0) {
                message.truncate(end);
                return Self { lines: message, is_cut: false };
            }
            end += length + 2;
        }
        message.truncate(end);
        Self { lines: message, is_cut: is_long }
    }

    /// Whether more of it was left out.
    pub(crate) fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// Its text in lines of printable ASCII.
    pub(crate) fn quoted_printable(&self) -> Vec<u8> {
        let mut output = String::with_capacity(self.lines.len());
        let mut rest = &self.lines[..];
        while let Some(length) = memchr::memmem::find(rest, b"\r\n") {
            encode_line(&rest[..length], &mut output);
            rest = &rest[length + 2..];
        }
        output.into_bytes()
    }
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
        for (message, headers) in table {
            let returned = ReturnedHeaders::of(message.to_vec());
            assert_eq!((&returned.lines[..], returned.is_cut), (*headers, false));
        }
    }

    #[test]
    fn a_long_header_section_is_cut_at_the_end_of_a_line() {
        let returned = ReturnedHeaders::of(b"X-Field: some text\r\n".repeat(5_000));
        assert!(returned.is_cut && returned.lines.len() <= HEADER_OCTETS && returned.lines.ends_with(b"text\r\n"));
        let returned = ReturnedHeaders::of([b"X: ".to_vec(), vec![b'x'; 100_000]].concat());
        assert!(returned.is_cut && returned.lines.is_empty());
    }

    #[test]
    fn whatever_they_hold_they_travel_in_short_lines_of_ascii() {
        let octets: Vec<u8> = (0..=255).filter(|octet| *octet != b'\n').cycle().take(5_000).collect();
        let headers = [b"Subject: ", &octets[..], b" \r\nX: =\r\n"].concat();
        let text = ReturnedHeaders::of(headers).quoted_printable();
        assert!(text.is_ascii() && !text.contains(&0));
        for line in String::from_utf8(text).unwrap().split("\r\n") {
            assert!(line.len() <= LINE_OCTETS && !line.contains(char::is_control) && !line.ends_with(' '), "{line}");
        }
    }
}
