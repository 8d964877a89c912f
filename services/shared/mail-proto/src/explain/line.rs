//! The words of one line of a dialogue.

use super::{Explanation, Part, auth, codes, find, pop3, smtp, status_code};
use crate::{Protocol, Side};
use std::ops::Range;

/// Explains the words of a line, in their order; what has no explanation is left out. The line may have its CRLF.
///
/// `about` is the command that the line belongs to: the one that a server answers, whose keywords differ after EHLO and
/// CAPA, or the AUTH that a client goes on with. Without it, a client's line is a command.
pub fn line(protocol: Protocol, side: Side, line: &[u8], about: Option<&[u8]>) -> Vec<Part> {
    let text = Text::of(line);
    let about = about.map(Text::of).unwrap_or_default();
    let mut parts = Parts::default();
    match (protocol, side) {
        (_, Side::Client) if about.verb() == "AUTH" => response(&about, &text, &mut parts),
        (Protocol::Smtp, Side::Client) => smtp_command(&text, &mut parts),
        (Protocol::Smtp, Side::Server) => smtp_reply(&about, &text, &mut parts),
        (Protocol::Pop3, Side::Client) => pop3_command(&text, &mut parts),
        (Protocol::Pop3, Side::Server) => pop3_reply(&about, &text, &mut parts),
    }
    parts.0
}

/// The words of a line, each with its place.
#[derive(Default)]
struct Text<'l> {
    whole: &'l str,
    words: Vec<(usize, &'l str)>,
}

impl<'l> Text<'l> {
    /// The ASCII at the front of the line, which is where all that can be explained stands.
    fn of(line: &'l [u8]) -> Self {
        let end = line.iter().position(|octet| !matches!(octet, b' '..=b'~' | b'\t')).unwrap_or(line.len());
        let whole = str::from_utf8(&line[..end]).unwrap_or_default();
        let place = |word: &str| word.as_ptr().addr() - whole.as_ptr().addr();
        Self { whole, words: whole.split_ascii_whitespace().map(|word| (place(word), word)).collect() }
    }

    fn word(&self, index: usize) -> (usize, &'l str) {
        self.words.get(index).copied().unwrap_or((self.whole.len(), ""))
    }

    fn verb(&self) -> String {
        self.word(0).1.to_ascii_uppercase()
    }
}

#[derive(Default)]
struct Parts(Vec<Part>);

impl Parts {
    fn add(&mut self, (at, word): (usize, &str), explanation: Option<Explanation>) {
        self.range(at..at + word.len(), explanation);
    }

    fn range(&mut self, octets: Range<usize>, explanation: Option<Explanation>) {
        if let Some(explanation) = explanation {
            self.0.push(Part { octets, explanation });
        }
    }
}

fn smtp_command(text: &Text<'_>, parts: &mut Parts) {
    let verb = text.word(0);
    if text.whole == "." {
        return parts.add(verb, Some(smtp::FINAL_DOT));
    }
    parts.add(verb, smtp::find_command(verb.1).map(smtp::SmtpCommand::explanation));
    match text.verb().as_str() {
        "AUTH" => begin_exchange(text, parts),
        verb => {
            // A parameter stands behind the path.
            let path_end = text.whole.rfind('>').unwrap_or_default();
            for &(at, word) in text.words.iter().skip(1).filter(|(at, _)| *at > path_end) {
                let keyword = word.split('=').next().unwrap_or_default();
                parts.add((at, word), smtp::parameter(verb, keyword));
            }
        }
    }
}

/// AUTH with its mechanism, and the first message if there is one.
fn begin_exchange(text: &Text<'_>, parts: &mut Parts) {
    let (mechanism, initial) = (text.word(1), text.word(2));
    parts.add(mechanism, find(auth::MECHANISMS, mechanism.1));
    if !initial.1.is_empty() {
        let empty = find(auth::IN_EXCHANGE, initial.1).filter(|_| initial.1 == "=");
        let message = find(auth::RESPONSES, mechanism.1);
        parts.add(initial, empty.or(message).or_else(|| find(auth::IN_EXCHANGE, "initial")));
    }
}

/// A message of an exchange.
fn response(about: &Text<'_>, text: &Text<'_>, parts: &mut Parts) {
    let special = Some(text.whole).filter(|whole| matches!(*whole, "" | "*"));
    let explanation = match special {
        Some(special) => find(auth::IN_EXCHANGE, special),
        None => find(auth::RESPONSES, about.word(1).1).or_else(|| find(auth::IN_EXCHANGE, "response")),
    };
    parts.range(0..text.whole.len(), explanation);
}

fn smtp_reply(about: &Text<'_>, text: &Text<'_>, parts: &mut Parts) {
    let code = text.whole.get(..3).filter(|code| code.bytes().all(|octet| octet.is_ascii_digit()));
    let Some(code) = code.and_then(|code| code.parse().ok()) else { return };
    parts.range(0..3, codes::explain(code));
    let Some(rest) = text.whole.get(4..) else { return };
    let end = rest.find(' ').unwrap_or(rest.len());
    let word = (4, &rest[..end]);
    match (code, about.verb().as_str()) {
        (250, "EHLO") => {
            parts.add(word, find(smtp::KEYWORDS, word.1));
            mechanisms(word.1, "AUTH", text, parts);
        }
        (334, _) if !rest.is_empty() => parts.range(4..text.whole.len(), find(auth::IN_EXCHANGE, "challenge")),
        _ => parts.add(word, status_code(word.1)),
    }
}

/// Explains the mechanisms behind `keyword`, if `word` is that.
fn mechanisms(word: &str, keyword: &str, text: &Text<'_>, parts: &mut Parts) {
    if word.eq_ignore_ascii_case(keyword) {
        text.words.iter().skip(1).for_each(|&word| parts.add(word, find(auth::MECHANISMS, word.1)));
    }
}

fn pop3_command(text: &Text<'_>, parts: &mut Parts) {
    let verb = text.word(0);
    parts.add(verb, find(pop3::COMMANDS, verb.1));
    if text.verb() == "AUTH" {
        begin_exchange(text, parts);
    }
}

fn pop3_reply(about: &Text<'_>, text: &Text<'_>, parts: &mut Parts) {
    let first = text.word(0);
    if text.whole == "." {
        return parts.add(first, Some(pop3::FINAL_DOT));
    }
    let Some(status) = find(pop3::STATUS, first.1) else {
        if about.verb() == "CAPA" {
            parts.add(first, find(pop3::CAPABILITIES, first.1));
            mechanisms(first.1, "SASL", text, parts);
        }
        return;
    };
    parts.add(first, Some(status));
    let (at, word) = text.word(1);
    match word.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        _ if first.1 == "+" => parts.add((at, word), find(auth::IN_EXCHANGE, "challenge").filter(|_| !word.is_empty())),
        Some((code, _)) => parts.range(at..at + code.len() + 2, find(pop3::RESPONSE_CODES, code)),
        None => {}
    }
}
