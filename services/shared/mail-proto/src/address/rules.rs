//! How a server compares the local parts of its own addresses. Only it may do so (RFC 5321 §2.4).

use super::{LocalPart, Mailbox};

/// When two spellings are one address. By default, none are but the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct AddressRules {
    /// Whether upper and lower case are the same.
    pub ignores_case: bool,
    /// What separates the name of a mailbox from a detail that anybody may add (RFC 5233 §4): with `+`, mail for
    /// `user+detail` is for `user`.
    pub delimiter: Option<char>,
}

impl AddressRules {
    /// Whether only the same spelling is the same address.
    pub fn are_exact(self) -> bool {
        self == Self::default()
    }

    /// The addresses that this one may stand for, the most exact first: itself, and itself without its detail.
    pub fn candidates(self, address: &Mailbox) -> Vec<Mailbox> {
        let without_detail = self.delimiter.and_then(|delimiter| address.without_detail(delimiter));
        std::iter::once(address.clone()).chain(without_detail).collect()
    }

    /// The one spelling that stands for all spellings of an address.
    pub fn key(self, address: &Mailbox) -> Mailbox {
        if self.ignores_case { address.folded() } else { address.clone() }
    }

    /// Whether these are two spellings of one address.
    pub fn are_same(self, one: &Mailbox, other: &Mailbox) -> bool {
        one == other || (self.ignores_case && one.folded() == other.folded())
    }
}

impl Mailbox {
    /// The mailbox in lower case.
    #[must_use]
    pub fn folded(&self) -> Self {
        Self { local_part: LocalPart(self.local_part.0.to_ascii_lowercase()), domain: self.domain.clone() }
    }

    /// The mailbox without the first delimiter and what follows; `None` where nothing would change, or be left.
    fn without_detail(&self, delimiter: char) -> Option<Self> {
        let (name, _) = self.local_part.0.split_once(delimiter).filter(|(name, _)| !name.is_empty())?;
        let local_part = LocalPart::new(name.to_owned()).ok()?;
        Some(Self { local_part, domain: self.domain.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: AddressRules = AddressRules { ignores_case: true, delimiter: Some('+') };

    fn candidates(rules: AddressRules, address: &str) -> Vec<String> {
        rules.candidates(&address.parse().unwrap()).iter().map(Mailbox::to_string).collect()
    }

    #[test]
    fn a_detail_is_left_out_after_the_whole() {
        assert_eq!(candidates(BOTH, "u+tag@a"), ["u+tag@a", "u@a"]);
        assert_eq!(candidates(BOTH, "u+one+two@a"), ["u+one+two@a", "u@a"]);
        assert_eq!(candidates(BOTH, "\"a b+c\"@a"), ["\"a b+c\"@a", "\"a b\"@a"]);
        assert_eq!(candidates(BOTH, "Postmaster+x@a"), ["Postmaster+x@a", "postmaster@a"]);
        for whole in ["u@a", "+tag@a", "u-tag@a"] {
            assert_eq!(candidates(BOTH, whole), [whole]);
        }
        assert_eq!(candidates(AddressRules::default(), "u+tag@a"), ["u+tag@a"]);
    }

    #[test]
    fn case_matters_unless_it_is_ignored() {
        let [one, other, third] = ["Usr1@a", "uSR1@A", "usr2@a"].map(|address| address.parse::<Mailbox>().unwrap());
        assert!(BOTH.are_same(&one, &other) && !BOTH.are_same(&one, &third));
        assert!(!AddressRules::default().are_same(&one, &other) && AddressRules::default().are_same(&one, &one));
        assert_eq!(BOTH.key(&other).to_string(), "usr1@a");
        assert_eq!(AddressRules::default().key(&one), one);
        assert!(AddressRules::default().are_exact() && !BOTH.are_exact());
    }
}
