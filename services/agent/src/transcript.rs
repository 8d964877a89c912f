//! What `--verbose` prints: the dialogue with a server, line by line, on standard error.

use crate::printable;
use jiff::Timestamp;
use mail_net::{Clock, Direction, Kind, Tap, Taps};
use std::sync::{Arc, Mutex, PoisonError};

/// The octets of one line that are shown: a server may send lines without end.
const SHOWN_OCTETS: usize = 500;

/// Shows what is sent as `C:` and what is received as `S:`. Shows nothing when it is off.
#[derive(Debug)]
pub(crate) struct Transcript {
    on: bool,
}

impl Transcript {
    pub(crate) fn new(on: bool) -> Self {
        Self { on }
    }

    /// Shows a remark that is part of no dialogue.
    pub(crate) fn note(&self, text: &str) {
        if self.on {
            eprintln!("-- {}", printable(text));
        }
    }

    /// What shows a dialogue.
    pub(crate) fn taps(&self, clock: &Clock) -> Taps {
        match self.on {
            true => Taps::new(vec![Arc::new(Shown::default())], |_| false, clock.wall.clone()),
            false => Taps::none(),
        }
    }
}

/// The dialogue so far.
#[derive(Debug, Default)]
struct Shown {
    sent: Mutex<Lines>,
    received: Mutex<Lines>,
}

impl Tap for Shown {
    fn saw(&self, _: Timestamp, direction: Direction, kind: Kind, octets: &[u8]) {
        let (lines, mark) = match direction {
            Direction::Sent => (&self.sent, "C:"),
            Direction::Received => (&self.received, "S:"),
        };
        let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
        let show = |line: &str| eprintln!("{mark} {line}");
        match kind {
            Kind::Line | Kind::Body => lines.take(octets, show),
            Kind::Secret => lines.take(&masked(octets), show),
        }
    }
}

/// The line of a command without what follows its first word.
fn masked(line: &[u8]) -> Vec<u8> {
    let verb = line.split(|&octet| octet == b' ').next().unwrap_or_default();
    [verb, b" ****\r\n"].concat()
}

/// Cuts octets into printable lines of bounded length.
#[derive(Debug, Default)]
struct Lines {
    line: Vec<u8>,
    omitted_octets: u64,
}

impl Lines {
    fn take(&mut self, octets: &[u8], mut show: impl FnMut(&str)) {
        for piece in octets.split_inclusive(|&octet| octet == b'\n') {
            let text = piece.strip_suffix(b"\n");
            self.append(text.unwrap_or(piece));
            if text.is_some() {
                show(&self.finish());
            }
        }
    }

    fn append(&mut self, octets: &[u8]) {
        let shown = octets.len().min(SHOWN_OCTETS - self.line.len());
        self.line.extend_from_slice(&octets[..shown]);
        self.omitted_octets += (octets.len() - shown) as u64;
    }

    fn finish(&mut self) -> String {
        let line = self.line.strip_suffix(b"\r").unwrap_or(&self.line);
        let mut text = String::from_utf8_lossy(line).replace(char::is_control, " ");
        if self.omitted_octets > 0 {
            text.push_str(&format!(" ({} more octets)", self.omitted_octets));
        }
        self.line.clear();
        self.omitted_octets = 0;
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_at_every_chunk_size() {
        let long = "x".repeat(SHOWN_OCTETS);
        let wire = format!("220 a\r\n\r\n{long}yz\nbell\x07\r\nopen");
        let expected = ["220 a".to_owned(), String::new(), format!("{long} (2 more octets)"), "bell ".to_owned()];
        for chunk in 1..wire.len() {
            let mut lines = Lines::default();
            let mut shown = Vec::new();
            for piece in wire.as_bytes().chunks(chunk) {
                lines.take(piece, |line| shown.push(line.to_owned()));
            }
            assert_eq!(shown, expected, "in chunks of {chunk}");
        }
    }

    #[test]
    fn a_password_is_masked() {
        assert_eq!(masked(b"PASS my secret\r\n"), b"PASS ****\r\n");
    }

    #[test]
    fn a_line_without_end_takes_bounded_memory() {
        let mut lines = Lines::default();
        for _ in 0..1000 {
            lines.take(&[b'x'; 1000], |line| panic!("{line}"));
        }
        assert!(lines.line.capacity() <= 2 * SHOWN_OCTETS);
    }
}
