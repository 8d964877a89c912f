//! What was seen on a connection, into the text of a dialogue.

use crate::volatile;
use std::fmt::Write as _;

/// Something that was seen on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'o> {
    /// The client has sent octets: a line, several, or a part of one.
    Client(&'o [u8]),
    /// The server has sent octets.
    Server(&'o [u8]),
    /// TLS begins.
    Tls,
    /// The client has closed its side.
    ClientCloses,
    /// The server has closed the connection.
    ServerCloses,
}

/// What becomes of the parts of the server's lines that are different the next time: ids, dates, ports and challenges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Volatile {
    /// They are written as they were.
    Kept,
    /// They are written as `{…}`, which stands for anything.
    Gaps,
}

/// The text of a dialogue that shows `rule`, with these settings in its header. `Dialogue::parse` reads it back: with
/// [`Volatile::Kept`] the same octets in the same order, where there is an event. Nothing is written of what comes
/// after [`Event::ServerCloses`]. What the client sends is written as it is, also where a record has masked a password.
pub fn write<'o>(
    rule: &str,
    settings: &[(&str, &str)],
    events: impl IntoIterator<Item = Event<'o>>,
    volatile: Volatile,
) -> String {
    let mut script = Script { text: String::new(), volatile, unwritten: Unwritten::default() };
    script.line("# ", &one_line(rule));
    for (key, value) in settings {
        script.line("# ", &format!("{key}: {}", one_line(value)));
    }
    let mut client_has_closed = false;
    for event in events {
        match event {
            Event::Client(_) if client_has_closed => {}
            Event::Client(octets) => script.add(true, octets),
            Event::Server(octets) => script.add(false, octets),
            Event::Tls => script.event("TLS"),
            Event::ClientCloses if client_has_closed => {}
            Event::ClientCloses => {
                client_has_closed = true;
                script.event("C-EOF");
            }
            Event::ServerCloses => {
                script.event("S-EOF");
                break;
            }
        }
    }
    script.flush();
    script.text
}

/// The text so far.
struct Script {
    text: String,
    volatile: Volatile,
    unwritten: Unwritten,
}

/// Octets of one side in a row.
#[derive(Default)]
struct Unwritten {
    by_client: bool,
    octets: Vec<u8>,
}

impl Script {
    fn line(&mut self, tag: &str, text: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "{tag}{text}");
    }

    fn add(&mut self, by_client: bool, octets: &[u8]) {
        if self.unwritten.by_client != by_client {
            self.flush();
            self.unwritten.by_client = by_client;
        }
        self.unwritten.octets.extend_from_slice(octets);
    }

    fn event(&mut self, tag: &str) {
        self.flush();
        self.line(tag, "");
    }

    /// Writes the octets of one side, line by line.
    fn flush(&mut self) {
        let Unwritten { by_client, octets } = std::mem::take(&mut self.unwritten);
        let mut rest = &octets[..];
        while !rest.is_empty() {
            let end = rest.windows(2).position(|pair| pair == b"\r\n").map_or(rest.len(), |at| at + 2);
            let (line, others) = rest.split_at(end);
            self.octets(by_client, line);
            rest = others;
        }
    }

    fn octets(&mut self, by_client: bool, line: &[u8]) {
        let tag = if by_client { "C" } else { "S" };
        let plain = line.strip_suffix(b"\r\n").and_then(printable);
        match plain {
            // Three dots in braces are a pattern.
            Some(text) if by_client || !text.contains("{...}") => {
                let gaps = !by_client && self.volatile == Volatile::Gaps;
                let text = if gaps { volatile::with_gaps(text) } else { text.to_owned() };
                let separator = if text.is_empty() { ":" } else { ": " };
                self.line(tag, &[separator, &text].concat());
            }
            _ => self.line(tag, &["-RAW: ", &escape(line)].concat()),
        }
    }
}

fn one_line(text: &str) -> String {
    text.replace(char::is_control, " ")
}

fn printable(octets: &[u8]) -> Option<&str> {
    let is_printable = octets.iter().all(|octet| matches!(octet, b' '..=b'~'));
    str::from_utf8(octets).ok().filter(|_| is_printable)
}

/// The octets as they are written after `C-RAW` and `S-RAW`.
fn escape(octets: &[u8]) -> String {
    let mut text = String::new();
    for &octet in octets {
        match octet {
            b'\r' => text.push_str("\\r"),
            b'\n' => text.push_str("\\n"),
            b'\t' => text.push_str("\\t"),
            0 => text.push_str("\\0"),
            b'\\' => text.push_str("\\\\"),
            b' '..=b'~' => text.push(char::from(octet)),
            // Writing to a String cannot fail.
            _ => drop(write!(text, "\\x{octet:02x}")),
        }
    }
    text
}

#[cfg(test)]
mod tests;
