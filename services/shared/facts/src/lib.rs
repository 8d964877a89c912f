//! The catalogue of what mailtown's services log: one line for each fact, with a name and fields that stay.
//!
//! ```
//! let (message_id, reply) = ("18c2a", "450 4.2.1 later");
//! facts::RelayDeferred { message_id, recipient: "ann@gmail.com", reply, retry_seconds: 5_u64 }.log();
//! ```
//!
//! The module `catalogue` has the facts, one entry each. `docs/in-operation.md` lists them for operators; a test here compares the two.
//! No fact has a message's body or a credential.

mod catalogue;
mod field;

pub use catalogue::*;
pub use field::{Count, Quoted, Seconds, Shown};

/// A kind of line in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fact {
    /// Its stable name, such as `smtp.accepted`.
    pub name: &'static str,
    /// How much it matters.
    pub level: tracing::Level,
    /// The names of its own fields, in their order.
    pub fields: &'static [&'static str],
    /// What it says, as one sentence.
    pub meaning: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique_and_tell_the_part_of_the_town() {
        let names: BTreeSet<_> = FACTS.iter().map(|fact| fact.name).collect();
        assert_eq!(names.len(), FACTS.len());
        for fact in FACTS {
            let (part, what) = fact.name.split_once('.').unwrap();
            let is_word = |text: &str| {
                !text.is_empty() && text.bytes().all(|octet| matches!(octet, b'a'..=b'z' | b'0'..=b'9' | b'_'))
            };
            assert!(is_word(part) && is_word(what), "{}", fact.name);
            assert!(!fact.fields.contains(&"message"), "{}: tracing has a field of this name", fact.name);
        }
    }

    /// The page for operators lists exactly these facts.
    #[test]
    fn the_documentation_has_the_same_facts() {
        let page = include_str!("../../../../docs/in-operation.md");
        let (_, rest) = page.split_once("<!-- facts -->").unwrap();
        let documented: BTreeSet<_> = rest
            .lines()
            .skip_while(|line| !line.starts_with("| `"))
            .take_while(|line| line.starts_with("| `"))
            .map(str::to_owned)
            .collect();
        let rows: BTreeSet<_> = FACTS.iter().map(row).collect();
        let missing: Vec<_> = rows.difference(&documented).collect();
        let extra: Vec<_> = documented.difference(&rows).collect();
        assert!(missing.is_empty() && extra.is_empty(), "not in the table: {missing:#?}\nnot in the code: {extra:#?}");
    }

    fn row(fact: &Fact) -> String {
        let fields: Vec<_> = fact.fields.iter().map(|field| format!("`{field}`")).collect();
        format!("| `{}` | {} | {} | {} |", fact.name, fact.level, fields.join(", "), fact.meaning)
    }
}
