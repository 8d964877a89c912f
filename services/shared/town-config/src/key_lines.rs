//! In which line of a file a key stands, for what is wrong with a value that is well formed.

use crate::toml_file::line_of;
use std::collections::BTreeMap;
use toml::de::{DeTable, DeValue};

/// The lines of all keys of a TOML file. Upper and lower case are the same.
#[derive(Debug, Clone, Default)]
pub struct KeyLines {
    /// By path: the names of the tables, and the key.
    lines: BTreeMap<Vec<String>, usize>,
}

impl KeyLines {
    /// Those of a text; of what can be read of it, if it is not TOML.
    pub fn of(text: &str) -> Self {
        let mut keys = Self::default();
        keys.add(DeTable::parse_recoverable(text).0.get_ref(), text, &[]);
        keys
    }

    fn add(&mut self, table: &DeTable<'_>, text: &str, above: &[String]) {
        for (key, value) in table {
            let path = [above, &[key.get_ref().to_lowercase()]].concat();
            if let DeValue::Table(table) = value.get_ref() {
                self.add(table, text, &path);
            }
            self.lines.insert(path, line_of(text.as_bytes(), key.span().start));
        }
    }

    /// The line of a key, or of the table around it if it is missing.
    pub fn line<S: AsRef<str>>(&self, path: &[S]) -> Option<usize> {
        let path: Vec<_> = path.iter().map(|name| name.as_ref().to_lowercase()).collect();
        (1..=path.len()).rev().find_map(|length| self.lines.get(&path[..length]).copied())
    }

    /// The line of the key that a message begins with, such as `server."a.test".pop is missing`.
    pub(crate) fn line_of_message(&self, message: &str) -> Option<usize> {
        // A name in quotes may have any dots, so the quotes tell nothing that the keys themselves do not.
        let bare = |text: &str| text.replace('"', "").to_lowercase();
        let message = bare(message);
        let is_first = |path: &[String]| {
            let rest = message.strip_prefix(&bare(&path.join(".")));
            rest.is_some_and(|rest| rest.starts_with([' ', ':', '.']))
        };
        let found = self.lines.iter().filter(|(path, _)| is_first(path));
        found.max_by_key(|(path, _)| path.iter().map(String::len).sum::<usize>()).map(|(_, line)| *line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "profile = \"rfc\"\n\n[server.\"A.test\"]\nsmtp = 1\n[server.\"a.test.org\"]\nsmtp = 2\n\
                        [accounts.\"a.test\"]\n\"u@a.test\" = \"p\"\n[MX]\n\"a.test.\" = \"mx.a.test.\"\n";

    #[test]
    fn a_key_has_a_line_and_a_missing_one_that_of_its_table() {
        let keys = KeyLines::of(TEXT);
        for (path, expected) in [
            (&["profile"][..], Some(1)),
            (&["server", "a.test", "SMTP"], Some(4)),
            (&["server", "a.test", "pop"], Some(3)),
            (&["accounts", "a.test", "u@a.test"], Some(8)),
            (&["MX", "a.test."], Some(10)),
            (&["limits", "recipients"], None),
        ] {
            assert_eq!(keys.line(path), expected, "{path:?}");
        }
        assert_eq!(KeyLines::of("[server.a]\nsmtp = \n").line(&["server", "a"]), Some(1));
    }

    #[test]
    fn a_message_begins_with_its_key() {
        let keys = KeyLines::of(TEXT);
        for (message, expected) in [
            ("server.\"a.test\".smtp and server.\"a.test.org\".smtp are both 1", Some(4)),
            ("server.\"a.test.org\".smtp is 1", Some(6)),
            ("server.\"a.test\".pop is missing", Some(3)),
            ("accounts.\"a.test\".\"u@a.test\": no", Some(8)),
            ("accounts.\"a.test\": no such server", Some(7)),
            ("limits.recipients is 1", None),
            ("profiles are good", None),
        ] {
            assert_eq!(keys.line_of_message(message), expected, "{message}");
        }
    }
}
