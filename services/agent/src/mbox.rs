//! Writes messages as an mbox (RFC 4155), piece by piece.

use jiff::Timestamp;
use std::io::{self, Write};

/// The most octets of a first line in which a `Return-Path` is looked for.
const FIRST_LINE_OCTETS: usize = 1024;
const SEPARATOR: &[u8] = b"From ";

/// Writes one message: local line ends, and lines that look like a separator quoted with `>` in a way that can be
/// undone.
pub(crate) struct MboxWriter<W> {
    output: W,
    received: Timestamp,
    /// The first line so far; `None` once the message's own `From ` line was written.
    first_line: Option<Vec<u8>>,
    position: Position,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Position {
    /// At the start of a line, perhaps after some `>`: how many octets of `From ` were seen and not yet written.
    Start(usize),
    Text,
    /// After a CR that is not yet written.
    Cr,
}

impl<W: Write> MboxWriter<W> {
    /// `received` is the date on the message's `From ` line.
    pub(crate) fn new(output: W, received: Timestamp) -> Self {
        Self { output, received, first_line: Some(Vec::new()), position: Position::Start(0) }
    }

    /// Takes the next octets of the message.
    pub(crate) fn write(&mut self, octets: &[u8]) -> io::Result<()> {
        let Some(first_line) = &mut self.first_line else { return self.write_text(octets) };
        first_line.extend_from_slice(octets);
        if first_line.contains(&b'\n') || first_line.len() > FIRST_LINE_OCTETS {
            self.write_first_line()?;
        }
        Ok(())
    }

    /// Ends the message with an empty line.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.write_first_line()?;
        let end: &[u8] = match self.position {
            Position::Start(0) => b"\n",
            Position::Start(seen) => &[&SEPARATOR[..seen], b"\n\n"].concat(),
            Position::Text => b"\n\n",
            Position::Cr => b"\r\n\n",
        };
        self.output.write_all(end)?;
        self.output.flush()
    }

    fn write_first_line(&mut self) -> io::Result<()> {
        let Some(first_line) = self.first_line.take() else { return Ok(()) };
        let date = self.received.strftime("%a %b %e %H:%M:%S %Y");
        writeln!(self.output, "From {} {date}", envelope_sender(&first_line))?;
        self.write_text(&first_line)
    }

    fn write_text(&mut self, octets: &[u8]) -> io::Result<()> {
        let mut text = Vec::with_capacity(octets.len() + octets.len() / 16);
        for &octet in octets {
            self.position = step(self.position, octet, &mut text);
        }
        self.output.write_all(&text)
    }
}

/// Appends to `text` what this octet decides, and returns what comes next.
fn step(position: Position, octet: u8, text: &mut Vec<u8>) -> Position {
    match position {
        Position::Cr if octet == b'\n' => {
            text.push(b'\n');
            return Position::Start(0);
        }
        Position::Cr => text.push(b'\r'),
        Position::Start(0) if octet == b'>' => {
            text.push(octet);
            return position;
        }
        Position::Start(seen) if octet == SEPARATOR[seen] => {
            if seen + 1 < SEPARATOR.len() {
                return Position::Start(seen + 1);
            }
            // It stands after the other `>`, which cannot be told apart.
            text.push(b'>');
            text.extend_from_slice(SEPARATOR);
            return Position::Text;
        }
        Position::Start(seen) => text.extend_from_slice(&SEPARATOR[..seen]),
        Position::Text => {}
    }
    match octet {
        b'\r' => Position::Cr,
        b'\n' => {
            text.push(octet);
            Position::Start(0)
        }
        _ => {
            text.push(octet);
            Position::Text
        }
    }
}

/// The address of a `Return-Path` field (RFC 5321 §4.4), or the customary name for "no sender".
fn envelope_sender(first_line: &[u8]) -> String {
    let line = first_line.split(|&octet| octet == b'\n').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let path = line.split_once(':').filter(|(name, _)| name.eq_ignore_ascii_case("Return-Path")).map(|(_, path)| path);
    let address = path.and_then(|path| path.trim().strip_prefix('<')?.strip_suffix('>'));
    let plain = |address: &&str| !address.is_empty() && address.bytes().all(|octet| octet.is_ascii_graphic());
    address.filter(plain).unwrap_or("MAILER-DAEMON").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(message: &[u8], chunk: usize) -> String {
        let mut output = Vec::new();
        let mut writer = MboxWriter::new(&mut output, Timestamp::from_second(1_700_000_000).unwrap());
        message.chunks(chunk).for_each(|piece| writer.write(piece).unwrap());
        writer.finish().unwrap();
        String::from_utf8(output).unwrap()
    }

    #[test]
    fn messages_at_every_chunk_size() {
        let long = "x".repeat(FIRST_LINE_OCTETS + 10);
        let table = [
            ("Subject: a\r\n\r\nFrom b\r\n>From c\r\nFrom\r\n", "Subject: a\n\n>From b\n>>From c\nFrom\n\n"),
            ("Subject: a\r\n\r\nno end", "Subject: a\n\nno end\n\n"),
            ("Subject: a\r\n\r\nFro", "Subject: a\n\nFro\n\n"),
            ("Subject: a\r\n\r\n\r\n", "Subject: a\n\n\n\n"),
            ("From a\r\n>>>From b\r\n> From c\r\nFrFrom \r\n", ">From a\n>>>>From b\n> From c\nFrFrom \n\n"),
            ("a\rb\r\r\nc\nFrom d\r\n", "a\rb\r\nc\n>From d\n\n"),
            (&*format!("{long}\r\n"), &*format!("{long}\n\n")),
            ("", "\n"),
        ];
        for (message, expected) in table {
            let expected = format!("From MAILER-DAEMON Tue Nov 14 22:13:20 2023\n{expected}");
            for chunk in 1..=message.len().max(1) {
                assert_eq!(written(message.as_bytes(), chunk), expected, "{message:?} in chunks of {chunk}");
            }
        }
    }

    #[test]
    fn the_sender_is_the_return_path() {
        let table = [
            ("Return-Path: <usr1@mail.sustech.edu.cn>", "usr1@mail.sustech.edu.cn"),
            ("return-path:<a@b>", "a@b"),
            ("Return-Path: <>", "MAILER-DAEMON"),
            ("Return-Path: <\"a b\"@c>", "MAILER-DAEMON"),
            ("Return-Path: a@b", "MAILER-DAEMON"),
            ("From: a@b", "MAILER-DAEMON"),
        ];
        for (line, sender) in table {
            let output = written(format!("{line}\r\n\r\n").as_bytes(), 3);
            assert_eq!(output, format!("From {sender} Tue Nov 14 22:13:20 2023\n{line}\n\n\n"));
        }
    }
}
