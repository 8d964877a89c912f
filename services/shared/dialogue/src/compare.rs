//! What was seen on a connection, compared with a script.

use crate::{Event, LoadError, Volatile, parse::unescape, pattern::Pattern, write::write};

/// What a dialogue is compared with: a golden dialogue in which the client's lines may have gaps, too.
///
/// Its text has the lines of a golden dialogue. These are different:
///
/// | line | meaning |
/// |---|---|
/// | `# text` | a comment, anywhere; no first line is required |
/// | `C: text`, `S: text` | `{…}` (or `{...}`) stands for one or more octets of any kind |
/// | `...` (or `…`) | any number of lines of both sides, also none |
/// | `C-EOF`, `S-EOF` | not compared |
///
/// ```
/// use dialogue::{Event, Script};
///
/// let seen = [Event::Server(b"220 mail.example ready\r\n"), Event::Client(b"EHLO me\r\n"), Event::Server(b"250 mail.example\r\n")];
/// assert!(Script::parse("pattern", "S: 220 {…}\nC: EHLO {…}\n...").unwrap().compare(seen).is_ok());
/// let difference = Script::parse("pattern", "S: 220 {…}\nC: HELO {…}\n...").unwrap().compare(seen).unwrap_err();
/// assert_eq!((difference.line, difference.actual.as_deref()), (2, Some("C: EHLO me")));
/// ```
#[derive(Debug, Clone)]
pub struct Script {
    steps: Vec<Step>,
}

/// Where a dialogue is not as the script says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The line of the script, from 1; its last line where the dialogue goes on behind the script.
    pub line: usize,
    /// What that line says; `None` where the script has ended.
    pub expected: Option<String>,
    /// What was there instead, as a line of a golden dialogue; `None` where the dialogue has ended.
    pub actual: Option<String>,
    /// Which line of the dialogue this is, from 1; one more than there are where it has ended.
    pub actual_line: usize,
}

/// A line of the script.
#[derive(Debug, Clone)]
struct Step {
    line: usize,
    /// As it is written.
    text: String,
    what: Wanted,
}

#[derive(Debug, Clone)]
enum Wanted {
    Said { by_client: bool, octets: Pattern },
    Tls,
    AnyLines,
}

/// A line of a dialogue.
#[derive(Debug)]
struct Seen {
    text: String,
    what: Said,
}

#[derive(Debug, PartialEq, Eq)]
enum Said {
    Octets { by_client: bool, octets: Vec<u8> },
    Tls,
    Other,
}

impl Script {
    /// Reads the text of a script; `file` is what mistakes are reported under.
    ///
    /// # Errors
    /// [`LoadError::Syntax`].
    pub fn parse(file: &str, text: &str) -> Result<Self, LoadError> {
        let mut reader = Reader::default();
        for (number, line) in (1..).zip(text.lines()) {
            let syntax = |reason| LoadError::Syntax { file: file.to_owned(), line: number, reason };
            reader.line(number, line).map_err(syntax)?;
        }
        reader.flush();
        if reader.steps.is_empty() {
            let reason = "there is no line to compare".to_owned();
            return Err(LoadError::Syntax { file: file.to_owned(), line: 1, reason });
        }
        Ok(Self { steps: reader.steps })
    }

    /// Compares what was seen on a connection with it.
    ///
    /// # Errors
    /// The first [`Difference`]: where gaps of lines can be filled in several ways, that of the way that comes farthest.
    pub fn compare<'o>(&self, events: impl IntoIterator<Item = Event<'o>>) -> Result<(), Difference> {
        let seen = seen(events);
        let (mut step, mut at) = (0, 0);
        let mut farthest = (0, 0);
        // Where the script goes on after its last gap of lines, and which line is tried there.
        let mut after_gap = None;
        loop {
            match (self.steps.get(step).map(|step| &step.what), seen.get(at)) {
                (None, None) => return Ok(()),
                (Some(Wanted::AnyLines), _) => {
                    step += 1;
                    after_gap = Some((step, at));
                }
                (Some(wanted), Some(line)) if wanted.is(&line.what) => (step, at) = (step + 1, at + 1),
                _ => {
                    if step >= farthest.0 {
                        farthest = (step, at);
                    }
                    let Some((next, tried)) = after_gap.filter(|(_, tried)| *tried < seen.len()) else { break };
                    (step, at) = (next, tried + 1);
                    after_gap = Some((step, at));
                }
            }
        }
        Err(self.difference(&seen, farthest))
    }

    fn difference(&self, seen: &[Seen], (step, at): (usize, usize)) -> Difference {
        let expected = self.steps.get(step);
        Difference {
            line: expected.or(self.steps.last()).map_or(1, |step| step.line),
            expected: expected.map(|step| step.text.clone()),
            actual: seen.get(at).map(|line| line.text.clone()),
            actual_line: at + 1,
        }
    }
}

impl Wanted {
    fn is(&self, said: &Said) -> bool {
        match (self, said) {
            (Self::Said { by_client, octets }, Said::Octets { by_client: client_has, octets: line }) => {
                by_client == client_has && octets.matches(line)
            }
            (Self::Tls, Said::Tls) => true,
            _ => false,
        }
    }
}

/// Reads a script line by line.
#[derive(Default)]
struct Reader {
    steps: Vec<Step>,
    /// The end of a `C-RAW` or `S-RAW` that lacks its CRLF: what the same side says next belongs to it.
    unfinished: Option<(Step, bool, Vec<u8>)>,
}

impl Reader {
    fn line(&mut self, number: usize, line: &str) -> Result<(), String> {
        let line = line.trim_end_matches('\r');
        let (tag, text) = match line.split_once(':') {
            Some((tag, text)) => (tag, text.strip_prefix(' ').unwrap_or(text)),
            None => (line.trim_end(), ""),
        };
        let step = |what| Step { line: number, text: line.to_owned(), what };
        match tag {
            _ if line.starts_with('#') || line.trim().is_empty() => {}
            "C-EOF" | "S-EOF" => {}
            "C" | "S" => self.said(step(Wanted::AnyLines), tag == "C", Pattern::new(&format!("{text}\r\n"))),
            "C-RAW" | "S-RAW" => self.raw(&step(Wanted::AnyLines), tag == "C-RAW", &unescape(text)?),
            "TLS" => self.other(step(Wanted::Tls)),
            "..." | "…" => self.other(step(Wanted::AnyLines)),
            _ => return Err(format!("`{tag}` is none of #, C:, C-RAW:, C-EOF, S:, S-EOF, TLS, ...")),
        }
        Ok(())
    }

    fn other(&mut self, step: Step) {
        self.flush();
        self.steps.push(step);
    }

    /// A line with its CRLF. `step` lacks what it wants.
    fn said(&mut self, step: Step, by_client: bool, line: Pattern) {
        let (step, line) = match self.unfinished.take() {
            Some((begun, client_has, octets)) if client_has == by_client => (begun, line.after(&octets)),
            unfinished => {
                self.unfinished = unfinished;
                self.flush();
                (step, line)
            }
        };
        self.steps.push(Step { what: Wanted::Said { by_client, octets: line }, ..step });
    }

    /// Octets that may be several lines.
    fn raw(&mut self, step: &Step, by_client: bool, mut octets: &[u8]) {
        while let Some(end) = octets.windows(2).position(|pair| pair == b"\r\n") {
            let (line, rest) = octets.split_at(end + 2);
            self.said(step.clone(), by_client, Pattern::exact(line.to_vec()));
            octets = rest;
        }
        if octets.is_empty() {
            return;
        }
        match &mut self.unfinished {
            Some((_, client_has, begun)) if *client_has == by_client => begun.extend_from_slice(octets),
            _ => {
                self.flush();
                self.unfinished = Some((step.clone(), by_client, octets.to_vec()));
            }
        }
    }

    fn flush(&mut self) {
        if let Some((step, by_client, octets)) = self.unfinished.take() {
            self.steps.push(Step { what: Wanted::Said { by_client, octets: Pattern::exact(octets) }, ..step });
        }
    }
}

/// The lines of a golden dialogue of these events.
fn seen<'o>(events: impl IntoIterator<Item = Event<'o>>) -> Vec<Seen> {
    let text = write("", &[], events, Volatile::Kept);
    text.lines().skip(1).map(|line| Seen { text: line.to_owned(), what: said(line) }).collect()
}

/// What a line that was written says.
fn said(line: &str) -> Said {
    let octets = |by_client, octets: Option<Vec<u8>>| match octets {
        Some(octets) => Said::Octets { by_client, octets },
        None => Said::Other,
    };
    let (tag, text) = line.split_once(':').unwrap_or((line, ""));
    let text = text.strip_prefix(' ').unwrap_or(text);
    match tag {
        "C" | "S" => octets(tag == "C", Some([text.as_bytes(), b"\r\n"].concat())),
        "C-RAW" | "S-RAW" => octets(tag == "C-RAW", unescape(text).ok()),
        "TLS" => Said::Tls,
        _ => Said::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEEN: [Event<'static>; 9] = [
        Event::Server(b"220 mail.example ready\r\n"),
        Event::Client(b"EHLO me\r\n"),
        Event::Server(b"250-mail.example\r\n250-PIPELINING\r\n250 SIZE\r\n"),
        Event::Client(b"MAIL FROM:<a@b>\r\n"),
        Event::Server(b"250 2.1.0 OK\r\n"),
        Event::Client(b"NOOP\nQUIT\r\n"),
        Event::Server(b"500 5.5.2 no\r\n"),
        Event::Tls,
        Event::Server(b"221 Bye\r\n"),
    ];

    fn compared(script: &str) -> Result<(), Difference> {
        Script::parse("pattern", script).unwrap().compare(SEEN)
    }

    #[test]
    fn gaps_stand_for_octets_and_for_lines() {
        for script in [
            "...",
            "…\nS: 221 Bye",
            "S: 220 {…}\n...\nC: MAIL FROM:<{...}>\n...\nS-EOF",
            "...\nC: MAIL FROM:{…}\nS: 250 {…}\nC-RAW: NOOP\\nQUIT\\r\\n\nS: 500 {…}\nTLS\nS: 221 {…}",
            "# a comment\n\n...\nC-RAW: NOOP\\n\nC: QUIT\n# another\n...",
            "...\nC-RAW: NO\nC-RAW: OP\\nQUIT\\r\\n\n...",
            "S: 220 {…}\nC: EHLO {…}\nS: 250-{…}\nS: 250-{…}\nS: 250 {…}\n...",
        ] {
            assert_eq!(compared(script), Ok(()), "{script}");
        }
    }

    #[test]
    fn the_first_difference_is_told() {
        for (script, line, expected, actual, actual_line) in [
            ("S: 220 {…}\nC: HELO me\n...", 2, Some("C: HELO me"), Some("C: EHLO me"), 2),
            ("S: 220 {…}", 1, None, Some("C: EHLO me"), 2),
            ("# r\n...\nS: 251 {…}", 3, Some("S: 251 {…}"), None, 12),
            ("...\nC: MAIL {…}\nS: 550 {…}\n...", 3, Some("S: 550 {…}"), Some("S: 250 2.1.0 OK"), 7),
            ("...\nTLS\nTLS", 3, Some("TLS"), Some("S: 221 Bye"), 11),
            ("...\nS: 221 Bye\nC: X", 3, Some("C: X"), None, 12),
            ("...\nC: NOOP\n...", 2, Some("C: NOOP"), None, 12),
        ] {
            let difference = compared(script).unwrap_err();
            let told = (difference.expected.as_deref(), difference.actual.as_deref(), difference.actual_line);
            assert_eq!((difference.line, told), (line, (expected, actual, actual_line)), "{script}");
        }
    }

    #[test]
    fn mistakes_are_reported_with_their_line() {
        for (text, expected) in [
            ("C: x\nX: y", "p:2: `X` is none of #, C:, C-RAW:, C-EOF, S:, S-EOF, TLS, ..."),
            ("C-RAW: \\q", "p:1: `\\q` is no escape"),
            ("# r\n", "p:1: there is no line to compare"),
        ] {
            assert_eq!(Script::parse("p", text).unwrap_err().to_string(), expected);
        }
    }

    /// What a console writes of a session is a script that the session matches, with and without gaps.
    #[test]
    fn a_written_dialogue_is_a_script() {
        for volatile in [Volatile::Kept, Volatile::Gaps] {
            let text = write("a session", &[], SEEN, volatile);
            assert_eq!(compared(&text), Ok(()), "{text}");
        }
    }
}
