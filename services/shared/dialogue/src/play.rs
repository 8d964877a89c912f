//! A dialogue against a server in memory, and what to say when they differ.

use crate::{Dialogue, Turn};
use std::fmt::{self, Write as _};

/// A server without a socket.
pub trait Peer {
    /// A client has connected: what the server sends first.
    fn connect(&mut self) -> Vec<u8>;
    /// The client has sent these octets: what the server answers.
    fn receive(&mut self, input: &[u8]) -> Vec<u8>;
    /// The client has closed its side: what the server still sends.
    fn end_of_input(&mut self) -> Vec<u8>;
    /// Whether the server has closed the connection.
    fn is_closed(&self) -> bool;
    /// Both have agreed on TLS: what the server sends first over it.
    ///
    /// # Panics
    /// When the server speaks no TLS.
    fn start_tls(&mut self) -> Vec<u8> {
        panic!("this server speaks no TLS")
    }
}

/// The server did not keep to the dialogue.
#[derive(Debug, thiserror::Error)]
#[error("{file}:{line}: {reason} ({pace})\n--- expected\n{expected}--- actual\n{actual}")]
pub struct Mismatch {
    file: String,
    line: usize,
    reason: String,
    pace: Pace,
    expected: String,
    actual: String,
}

/// In what pieces the client's octets were sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace(usize);

impl fmt::Display for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            usize::MAX => f.write_str("each turn sent whole"),
            octets => write!(f, "sent in chunks of {octets}"),
        }
    }
}

impl Dialogue {
    /// Plays against `peer`, giving it at most `chunk_octets` at a time (`usize::MAX`: each turn whole).
    ///
    /// # Errors
    /// [`Mismatch`], which displays both conversations.
    ///
    /// # Panics
    /// When `chunk_octets` is zero.
    pub fn play(&self, peer: &mut impl Peer, chunk_octets: usize) -> Result<(), Mismatch> {
        let mut record = Record::new(self, chunk_octets);
        let mut output = peer.connect();
        for turn in &self.turns {
            record.client(turn);
            let mut chunks = turn.client.chunks(chunk_octets);
            while !peer.is_closed()
                && let Some(chunk) = chunks.next()
            {
                output.extend(peer.receive(chunk));
            }
            if turn.client_closes && !peer.is_closed() {
                output.extend(peer.end_of_input());
            }
            record.server(turn, &std::mem::take(&mut output), peer.is_closed())?;
            if turn.tls {
                output = peer.start_tls();
            }
        }
        if !peer.is_closed() {
            let output = peer.end_of_input();
            record.nothing_more(&output)?;
        }
        Ok(())
    }
}

/// What happened so far, and the judge of it.
pub(crate) struct Record<'a> {
    dialogue: &'a Dialogue,
    pace: Pace,
    actual: String,
    /// The last line of the file that was reached.
    line: usize,
}

impl<'a> Record<'a> {
    pub(crate) fn new(dialogue: &'a Dialogue, chunk_octets: usize) -> Self {
        Self { dialogue, pace: Pace(chunk_octets), actual: String::new(), line: 1 }
    }

    pub(crate) fn client(&mut self, turn: &Turn) {
        for line in turn.client.split_inclusive(|&octet| octet == b'\n') {
            self.write("C", line);
        }
        if turn.client_closes {
            self.actual.push_str("C-EOF\n");
        }
    }

    /// Compares all that the server sent in a turn.
    pub(crate) fn server(&mut self, turn: &Turn, output: &[u8], closed: bool) -> Result<(), Mismatch> {
        let lines = crlf_lines(output);
        lines.iter().for_each(|line| self.write("S", line));
        if closed {
            self.actual.push_str("S-EOF\n");
        }
        let mut lines = lines.into_iter();
        for expectation in &turn.server {
            self.line = expectation.line;
            let Some(line) = lines.next() else {
                return Err(self.mismatch(if closed { "the server closed instead" } else { "the server is silent" }));
            };
            let content = if expectation.ends { line.strip_suffix(b"\r\n") } else { Some(line) };
            if !content.is_some_and(|content| expectation.pattern.matches(content)) {
                return Err(self.mismatch(&format!("the server sent {}", line.escape_ascii())));
            }
        }
        self.line = turn.server_closes.unwrap_or(self.line);
        if let Some(line) = lines.next() {
            return Err(self.mismatch(&format!("after this line the server sent {}", line.escape_ascii())));
        }
        match (turn.server_closes.is_some(), closed) {
            (true, false) => Err(self.mismatch("the server does not close the connection")),
            (false, true) if !turn.client_closes => Err(self.mismatch("after this line the server closed")),
            _ => Ok(()),
        }
    }

    /// Checks what the server sent after the last line.
    pub(crate) fn nothing_more(&mut self, output: &[u8]) -> Result<(), Mismatch> {
        if output.is_empty() {
            return Ok(());
        }
        crlf_lines(output).iter().for_each(|line| self.write("S", line));
        Err(self.mismatch("the server goes on after the end of the dialogue"))
    }

    pub(crate) fn mismatch(&self, reason: &str) -> Mismatch {
        Mismatch {
            file: self.dialogue.file.clone(),
            line: self.line,
            reason: reason.to_owned(),
            pace: self.pace,
            expected: self.dialogue.text.clone(),
            actual: self.actual.clone(),
        }
    }

    fn write(&mut self, who: &str, line: &[u8]) {
        // Writing to a String cannot fail.
        let _ = match line.strip_suffix(b"\r\n").map(<[u8]>::escape_ascii) {
            Some(text) => writeln!(self.actual, "{who}: {text}"),
            None => writeln!(self.actual, "{who}-RAW: {}", line.escape_ascii()),
        };
    }
}

/// The lines with their CRLF; the last may lack it. A lone LF ends no line.
fn crlf_lines(mut output: &[u8]) -> Vec<&[u8]> {
    let mut lines = Vec::new();
    while let Some(at) = output.windows(2).position(|pair| pair == b"\r\n") {
        let (line, rest) = output.split_at(at + 2);
        lines.push(line);
        output = rest;
    }
    if !output.is_empty() {
        lines.push(output);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers each line with itself, and closes after `quit`.
    #[derive(Default)]
    struct Echo {
        line: Vec<u8>,
        closed: bool,
    }

    impl Peer for Echo {
        fn connect(&mut self) -> Vec<u8> {
            b"hello\r\n".to_vec()
        }

        fn receive(&mut self, input: &[u8]) -> Vec<u8> {
            let mut output = Vec::new();
            for octet in input {
                self.line.push(*octet);
                if *octet == b'\n' {
                    self.closed |= self.line == b"quit\r\n";
                    output.append(&mut self.line);
                }
            }
            output
        }

        fn end_of_input(&mut self) -> Vec<u8> {
            self.closed = true;
            std::mem::take(&mut self.line)
        }

        fn is_closed(&self) -> bool {
            self.closed
        }
    }

    fn play(events: &str, chunk_octets: usize) -> Result<(), String> {
        let dialogue = Dialogue::parse("f", &format!("# r\n{events}"), &[]).unwrap();
        dialogue.play(&mut Echo::default(), chunk_octets).map_err(|mismatch| mismatch.to_string())
    }

    #[test]
    fn a_server_that_keeps_to_the_dialogue() {
        for chunk_octets in [usize::MAX, 1, 3] {
            assert_eq!(
                play("S: hello\nC: one\nC: two\nS: one\nS: t{…}o\nC: quit\nS: quit\nS-EOF", chunk_octets),
                Ok(())
            );
            assert_eq!(play("S: hello\nC: one\nS: one\nC-EOF", chunk_octets), Ok(()));
            assert_eq!(play("S: hello\nC: a\nC-RAW: one\\n\nS: a\nS-RAW: one\\n\nC: b\nS: b", chunk_octets), Ok(()));
        }
    }

    #[test]
    fn every_way_to_differ_is_found() {
        let table = [
            ("S: hullo", "f:2: the server sent hello\\r\\n"),
            ("S: hello\nC: x\nS: y", "f:4: the server sent x\\r\\n"),
            ("S: hello\nC: x\nS: x\nS: y", "f:5: the server is silent"),
            ("S: hello\nC: x\nC: y\nS: x", "f:5: after this line the server sent y\\r\\n"),
            ("S: hello\nC: quit\nS: quit", "f:4: after this line the server closed"),
            ("S: hello\nC: quit\nS: quit\nS: bye", "f:5: the server closed instead"),
            ("S: hello\nC: x\nS: x\nS-EOF", "f:5: the server does not close the connection"),
            ("S: hello\nC-RAW: x\\n\nS: x", "f:4: the server sent x\\n"),
            ("S: hello\nC: x\nS: x\nC-RAW: rest", "f:4: the server goes on after the end of the dialogue"),
            ("S: hello\nC-RAW: x\\n\nS-RAW: x", "f:4: the server sent x\\n"),
        ];
        for (events, expected) in table {
            let mismatch = play(events, usize::MAX).unwrap_err();
            assert!(mismatch.starts_with(&format!("{expected} (each turn sent whole)\n--- expected\n")), "{mismatch}");
        }
        let whole = "f:4: the server sent one\\r\\n (sent in chunks of 1)\n--- expected\n# r\nS: hello\nC: one\nS: two\n--- actual\nS: hello\nC: one\nS: one\n";
        assert_eq!(play("S: hello\nC: one\nS: two\n", 1), Err(whole.to_owned()));
    }
}
