//! Text into a dialogue.

use crate::{Dialogue, Expectation, LoadError, Turn, pattern::Pattern};
use std::collections::BTreeMap;

pub(crate) fn parse(file: &str, text: &str, known_settings: &[&str]) -> Result<Dialogue, LoadError> {
    let syntax = |line, reason: &str| LoadError::Syntax { file: file.to_owned(), line, reason: reason.to_owned() };
    let mut lines = text.lines().enumerate().map(|(index, line)| (index + 1, line));
    let rule = lines
        .next()
        .and_then(|(_, line)| line.strip_prefix("# "))
        .ok_or_else(|| syntax(1, "the first line is `# ` and the rule that the file shows"))?;
    let mut settings = BTreeMap::new();
    let mut script = Script::default();
    for (number, line) in lines {
        match line.strip_prefix('#') {
            Some(comment) if script.is_empty() => {
                let Some((key, value)) = setting(comment) else { continue };
                if !known_settings.contains(&key) {
                    return Err(syntax(number, &format!("unknown setting `{key}`")));
                }
                settings.insert(key.to_owned(), value.to_owned());
            }
            Some(_) => {}
            None => script.add(number, line).map_err(|reason| syntax(number, &reason))?,
        }
    }
    if script.is_empty() {
        return Err(syntax(1, "a dialogue without an event"));
    }
    Ok(Dialogue { file: file.to_owned(), rule: rule.to_owned(), settings, turns: script.turns, text: text.to_owned() })
}

/// `word: value`; other comments are prose.
fn setting(comment: &str) -> Option<(&str, &str)> {
    let (key, value) = comment.trim().split_once(':')?;
    let word = !key.is_empty() && key.bytes().all(|octet| octet.is_ascii_lowercase() || octet == b'_');
    word.then(|| (key, value.trim()))
}

/// The turns so far.
#[derive(Default)]
struct Script {
    turns: Vec<Turn>,
}

impl Script {
    fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }

    fn add(&mut self, number: usize, line: &str) -> Result<(), String> {
        let (tag, text) = match line.split_once(':') {
            Some((tag, text)) => (tag, text.strip_prefix(' ').unwrap_or(text)),
            None => (line.trim_end(), ""),
        };
        if tag.is_empty() {
            return Ok(());
        }
        if self.turns.last().is_some_and(|turn| turn.server_closes.is_some()) {
            return Err("nothing comes after S-EOF".to_owned());
        }
        match tag {
            "C" => {
                let turn = self.client_turn()?;
                turn.client.extend_from_slice(text.as_bytes());
                turn.client.extend_from_slice(b"\r\n");
            }
            "C-RAW" => {
                let octets = unescape(text)?;
                self.client_turn()?.client.extend(octets);
            }
            "S-RAW" => {
                let (line, ends) = raw_line(text)?;
                self.expect(Expectation { line: number, pattern: Pattern::exact(line), ends })?;
            }
            "C-EOF" => self.client_turn()?.client_closes = true,
            "S" => self.expect(Expectation { line: number, pattern: Pattern::new(text), ends: true })?,
            "S-EOF" => self.server_turn().server_closes = Some(number),
            "TLS" => self.server_turn().tls = true,
            _ => return Err(format!("`{tag}` is none of #, C:, C-RAW:, C-EOF, S:, S-EOF, TLS")),
        }
        Ok(())
    }

    /// The turn that the client goes on with: a new one once the server has spoken.
    fn client_turn(&mut self) -> Result<&mut Turn, String> {
        if self.turns.iter().any(|turn| turn.client_closes) {
            return Err("the client has closed its side".to_owned());
        }
        if self.turns.last().is_none_or(|turn| turn.tls || !turn.server.is_empty()) {
            self.turns.push(Turn::default());
        }
        Ok(self.last())
    }

    /// The server sends one more line.
    fn expect(&mut self, expectation: Expectation) -> Result<(), String> {
        let server = &mut self.server_turn().server;
        if server.last().is_some_and(|last| !last.ends) {
            return Err("only the last S-RAW of a turn may lack its \\r\\n".to_owned());
        }
        server.push(expectation);
        Ok(())
    }

    fn server_turn(&mut self) -> &mut Turn {
        if self.turns.last().is_none_or(|turn| turn.tls) {
            self.turns.push(Turn::default());
        }
        self.last()
    }

    fn last(&mut self) -> &mut Turn {
        let last = self.turns.len() - 1;
        &mut self.turns[last]
    }
}

/// The octets of an `S-RAW` line without its CRLF, and whether it has one.
fn raw_line(text: &str) -> Result<(Vec<u8>, bool), String> {
    let mut line = unescape(text)?;
    let end = line.windows(2).position(|pair| pair == b"\r\n");
    if line.is_empty() || end.is_some_and(|end| end + 2 < line.len()) {
        return Err("S-RAW is one line, at most one \\r\\n at its end".to_owned());
    }
    line.truncate(end.unwrap_or(line.len()));
    Ok((line, end.is_some()))
}

/// The octets that the text of a `C-RAW` or `S-RAW` line stands for.
pub(crate) fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut octets = Vec::new();
    let mut rest = text;
    while let Some((before, escaped)) = rest.split_once('\\') {
        octets.extend_from_slice(before.as_bytes());
        let mut characters = escaped.chars();
        let escape = characters.next().ok_or("a `\\` at the end")?;
        rest = characters.as_str();
        match escape {
            'r' => octets.push(b'\r'),
            'n' => octets.push(b'\n'),
            't' => octets.push(b'\t'),
            '0' => octets.push(0),
            '\\' => octets.push(b'\\'),
            'x' => {
                let digits = rest.get(..2).ok_or("`\\x` takes two digits")?;
                octets.push(u8::from_str_radix(digits, 16).map_err(|_| format!("`\\x{digits}` is no octet"))?);
                rest = &rest[2..];
            }
            '(' => {
                let (inside, after) = rest.split_once(')').ok_or("`\\(` without `)`")?;
                let (repeated, count) = inside.rsplit_once('*').ok_or("`\\(text*count)` lacks its `*`")?;
                let count = count.parse().map_err(|_| format!("`{count}` is no count"))?;
                octets.extend_from_slice(&unescape(repeated)?.repeat(count));
                rest = after;
            }
            other => return Err(format!("`\\{other}` is no escape")),
        }
    }
    octets.extend_from_slice(rest.as_bytes());
    Ok(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_turns() {
        let text = "# rule\n# profile: rfc\n# A note: prose.\n\nS: hello\nC: one\nC-RAW: t\\x77o\\r\\n\\0\\\\\\(a\\0*2)\n# between\nS: 1\nS:\nC-EOF\nS-EOF\n";
        let dialogue = parse("f", text, &["profile"]).unwrap();
        assert_eq!((dialogue.rule(), dialogue.setting("profile"), dialogue.setting("x")), ("rule", Some("rfc"), None));
        let clients: Vec<_> = dialogue.turns.iter().map(|turn| (&turn.client[..], turn.client_closes)).collect();
        assert_eq!(clients, [(&b""[..], false), (b"one\r\ntwo\r\n\0\\a\0a\0", false), (b"", true)]);
        let servers: Vec<_> = dialogue.turns.iter().map(|turn| (turn.server.len(), turn.server_closes)).collect();
        assert_eq!(servers, [(1, None), (2, None), (0, Some(12))]);
    }

    #[test]
    fn tls_begins_a_turn() {
        let text = "# rule\nTLS\nS: hello\nC: STLS\nS: go\nTLS\nC: one\nS: 1\n";
        let turns = parse("f", text, &[]).unwrap().turns;
        let turns: Vec<_> = turns.iter().map(|turn| (&turn.client[..], turn.server.len(), turn.tls)).collect();
        assert_eq!(turns, [(&b""[..], 0, true), (b"", 1, false), (b"STLS\r\n", 1, true), (b"one\r\n", 1, false)]);
    }

    #[test]
    fn mistakes_are_reported_with_their_line() {
        let table = [
            ("C: x", "f:1: the first line is `# ` and the rule that the file shows"),
            ("# r\n# prifile: rfc\nC: x", "f:2: unknown setting `prifile`"),
            ("# r\nX: y", "f:2: `X` is none of #, C:, C-RAW:, C-EOF, S:, S-EOF, TLS"),
            ("# r\nC-RAW: \\q", "f:2: `\\q` is no escape"),
            ("# r\nC-RAW: \\xzz", "f:2: `\\xzz` is no octet"),
            ("# r\nC-RAW: \\(a)", "f:2: `\\(text*count)` lacks its `*`"),
            ("# r\nS-RAW: a\nS: b", "f:3: only the last S-RAW of a turn may lack its \\r\\n"),
            ("# r\nS-RAW: a\\r\\nb\\r\\n", "f:2: S-RAW is one line, at most one \\r\\n at its end"),
            ("# r\nS-RAW:", "f:2: S-RAW is one line, at most one \\r\\n at its end"),
            ("# r\nS-EOF\nS: x", "f:3: nothing comes after S-EOF"),
            ("# r\nC-EOF\nC: x", "f:3: the client has closed its side"),
            ("# r\n", "f:1: a dialogue without an event"),
        ];
        for (text, expected) in table {
            assert_eq!(parse("f", text, &["profile"]).unwrap_err().to_string(), expected);
        }
    }
}
