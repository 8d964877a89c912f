//! One expected line.

/// The octets of a line, with gaps where anything may stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pattern {
    /// What stands before, between and after the gaps: always one more than there are gaps.
    literals: Vec<Vec<u8>>,
}

impl Pattern {
    pub(crate) fn new(text: &str) -> Self {
        let literals = text.replace("{...}", "{…}").split("{…}").map(|literal| literal.as_bytes().to_vec()).collect();
        Self { literals }
    }

    /// A line without gaps.
    pub(crate) fn exact(line: Vec<u8>) -> Self {
        Self { literals: vec![line] }
    }

    /// The same line after these octets.
    pub(crate) fn after(mut self, octets: &[u8]) -> Self {
        if let Some(first) = self.literals.first_mut() {
            first.splice(..0, octets.iter().copied());
        }
        self
    }

    /// How many octets such a line has at least.
    #[cfg(feature = "stream")]
    pub(crate) fn least_octets(&self) -> usize {
        self.literals.iter().map(|literal| literal.len() + 1).sum::<usize>() - 1
    }

    /// Whether `line` is this, each gap filled with at least one octet.
    pub(crate) fn matches(&self, line: &[u8]) -> bool {
        matches(&self.literals, line)
    }
}

fn matches(literals: &[Vec<u8>], line: &[u8]) -> bool {
    let Some((first, others)) = literals.split_first() else { return line.is_empty() };
    let Some(rest) = line.strip_prefix(&first[..]) else { return false };
    if others.is_empty() {
        return rest.is_empty();
    }
    (1..=rest.len()).any(|gap| matches(others, &rest[gap..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_take_one_or_more_octets() {
        let table = [
            ("+OK", "+OK", true),
            ("+OK", "+OK ", false),
            ("", "", true),
            ("", "x", false),
            ("+OK {…}", "+OK ", false),
            ("+OK {...}", "+OK x", true),
            ("{…}", "anything", true),
            ("250 queued as {…}", "250 queued as 06gk", true),
            ("<{…}@{…}> ok", "<a@b> ok", true),
            ("<{…}@{…}> ok", "<a@b@c> ok", true),
            ("<{…}@{…}> ok", "<@b> ok", false),
            ("a{…}a", "a", false),
        ];
        for (pattern, line, expected) in table {
            assert_eq!(Pattern::new(pattern).matches(line.as_bytes()), expected, "{pattern} {line}");
        }
    }
}
