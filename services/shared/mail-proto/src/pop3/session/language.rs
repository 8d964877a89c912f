//! LANG (RFC 6856 §3). All texts are in English, so a language changes only what LANG says.

use super::Session;
use crate::pop3::{Reply, UniqueId};

/// A language of replies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Language {
    /// What everybody may be able to read (RFC 2277 §4.5).
    #[default]
    Default,
    English,
}

impl Language {
    const ALL: [Self; 2] = [Self::Default, Self::English];

    /// Its tag (RFC 5646).
    fn tag(self) -> &'static str {
        match self {
            Self::Default => "i-default",
            Self::English => "en",
        }
    }

    /// Its name in itself.
    fn name(self) -> &'static str {
        match self {
            Self::Default => "English, for everybody",
            Self::English => "English",
        }
    }

    /// The language for a range: that of its tag, or of the tag without its last subtags (RFC 4647 §3.4).
    fn matching(range: &str) -> Option<Self> {
        if range == "*" {
            return Some(Self::Default);
        }
        let has_tag = |language: &Self| {
            let (tag, octets) = (language.tag(), language.tag().len());
            let is_tag = range.get(..octets).is_some_and(|part| part.eq_ignore_ascii_case(tag));
            is_tag && matches!(range.as_bytes().get(octets), None | Some(b'-'))
        };
        Self::ALL.into_iter().find(has_tag)
    }
}

impl<U: UniqueId> Session<U> {
    pub(super) fn lang(&mut self, range: Option<&str>) -> Reply {
        let Some(range) = range else {
            let lines = Language::ALL.map(|language| format!("{} {}", language.tag(), language.name()));
            return Reply::lines("language listing follows", lines);
        };
        match Language::matching(range) {
            Some(language) => {
                self.language = language;
                Reply::ok(format_args!("{} replies are in English", language.tag()))
            }
            // What was in force stays, and is named as it is in the RFC's examples.
            None => Reply::error(format_args!("{} no such language; LANG lists them", self.language.tag())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_looked_up() {
        let table = [
            ("*", Some(Language::Default)),
            ("i-default", Some(Language::Default)),
            ("en", Some(Language::English)),
            ("EN", Some(Language::English)),
            ("en-GB", Some(Language::English)),
            ("en-", Some(Language::English)),
            ("eng", None),
            ("de", None),
            ("i", None),
            ("é", None),
            ("", None),
        ];
        for (range, expected) in table {
            assert_eq!(Language::matching(range), expected, "{range}");
        }
    }
}
