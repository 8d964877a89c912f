//! Keys and headers that stand in a file twice.

use super::line_of;

/// Where a key that stands twice stood first, and what to do; `None` for another error, or where that cannot be told.
pub(super) fn first(text: &str, error: &toml::de::Error) -> Option<String> {
    if !error.message().starts_with("duplicate key") {
        return None;
    }
    let line = line_of(text.as_bytes(), error.span()?.start);
    let lines: Vec<_> = text.lines().map(str::trim).collect();
    let second = lines.get(line.checked_sub(1)?)?;
    let earlier = lines[..line - 1].iter().enumerate().rev();
    let (name, first) = if let Some(header) = header(second) {
        (header, earlier.filter(|(_, line)| self::header(line) == Some(header)).map(|(index, _)| index).next()?)
    } else {
        let name = key(second)?;
        let mut same_table = earlier.take_while(|(_, line)| header(line).is_none());
        (name, same_table.find(|(_, line)| key(line) == Some(name))?.0)
    };
    let name = name.replace(char::is_control, " ");
    Some(format!("duplicate key: {name} stands in line {} too; keep one of them", first + 1))
}

/// The header of a table, if this line is one.
fn header(line: &str) -> Option<&str> {
    line.starts_with('[').then(|| line.rsplit_once(']').map_or(line, |(header, _)| header)).map(|header| {
        // Without a comment that has brackets.
        line.get(..=header.len()).unwrap_or(line).split(" #").next().unwrap_or(line).trim_end()
    })
}

/// The key of a line that has one, as it is written. What stands in quotes may have `=`, `#` and escaped quotes.
fn key(line: &str) -> Option<&str> {
    let (mut quote, mut is_escaped) = (None, false);
    for (index, character) in line.char_indices() {
        match (quote, character) {
            _ if is_escaped => is_escaped = false,
            (Some('"'), '\\') => is_escaped = true,
            (Some(open), _) if open == character => quote = None,
            (None, '"' | '\'') => quote = Some(character),
            (None, '#') => return None,
            (None, '=') => return Some(line[..index].trim()).filter(|key| !key.is_empty()),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use crate::{Config, zone::Zone};
    use std::path::Path;

    #[test]
    fn both_lines_of_a_key_that_stands_twice_are_named() {
        let table = [
            (
                "[server.a]\nsmtp = 1\n[server.b]\nsmtp = 2\npop=3\nsmtp = 4\n",
                "f:6: duplicate key: smtp stands in line 4 too; keep one of them",
            ),
            (
                "[accounts.a]\n\"u@x\" = \"p\"\n# \"u@x\" = 1\n\"u@x\" = \"q\"\n",
                "f:4: duplicate key: \"u@x\" stands in line 2 too; keep one of them",
            ),
            (
                "[accounts.a]\n\"u=1@x\" = \"p\"\n\"u=2@x\" = \"p\"\n\"u=1@x\" = \"q\"\n",
                "f:4: duplicate key: \"u=1@x\" stands in line 2 too; keep one of them",
            ),
            (
                "[accounts.a]\n\"u\\\"=1@x\" = \"p\"\n'u\"=2' = \"p\"\n\"u\\\"=1@x\" = \"q\"\n",
                "f:4: duplicate key: \"u\\\"=1@x\" stands in line 2 too; keep one of them",
            ),
            (
                "[server.a] # [one]\nsmtp = 1\n[accounts.a]\n[server.a]\npop = 2\n",
                "f:4: duplicate key: [server.a] stands in line 1 too; keep one of them",
            ),
        ];
        for (text, expected) in table {
            let faults = Config::check(text, Path::new("f")).unwrap_err();
            assert_eq!(faults[0].to_string(), expected, "{text}");
        }
        let zone = "[MX]\n[P]\n\"a.\" = \"1\"\n\"a.\" = \"2\"\n";
        let expected = "f:4: not TOML: duplicate key: \"a.\" stands in line 3 too; keep one of them";
        assert_eq!(Zone::check(zone, Path::new("f")).unwrap_err()[0].to_string(), expected);
    }
}
